//! The flow language: any text is a flow or has mistakes that lie within it; a flow runs without a fault. A zero byte begins
//! the answers of its steps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use riverrun_fuzz::{parts, play};
use riverrun_kernel::Json;
use riverrun_plan::Flow;

fuzz_target!(|data: &[u8]| {
    let [source, answers] = parts(data);
    let Ok(source) = std::str::from_utf8(source) else { return };
    match Flow::parse(source) {
        Ok((flow, _)) => {
            let _ = (flow.functions(), flow.children(), flow.timeout_ms(), flow.steps());
            let input = Json::parse(r#"{"a": {"b": [1, 2.5, "x", null]}, "n": 3}"#).expect("it is JSON");
            play(&flow, &input, answers.iter().copied());
        }
        Err(mistakes) => {
            assert!(mistakes.iter().any(|mistake| mistake.is_error), "a refusal has a reason");
            // YAML also breaks lines at a lone carriage return.
            let lines = source.replace("\r\n", "\n").split(['\n', '\r']).count();
            for mistake in mistakes {
                assert!((1..=lines.max(1)).contains(&mistake.line), "{mistake:?} is not in the text");
            }
        }
    }
});
