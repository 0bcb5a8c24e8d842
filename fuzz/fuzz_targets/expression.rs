//! Conditions and paths within a flow that is right otherwise: condition, path, input, each up to a zero byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use riverrun_fuzz::{parts, play};
use riverrun_kernel::Json;
use riverrun_plan::Flow;

fuzz_target!(|data: &[u8]| {
    let [condition, path, input] = parts(data).map(String::from_utf8_lossy);
    let quoted = |text: &str| serde_json::to_string(text).expect("text");
    let source = format!(
        "version: v1\ntype: flow\nsteps:\n  - type: choice\n    name: Choose\n    choices:\n      \
         - condition: {}\n        goto: Pass\n    default: Pass\n  - type: pass\n    name: Pass\n    inputMappings:\n      \
         - target: x\n        source: {}\n    outputMappings:\n      - target: y\n        source: $input.x\n",
        quoted(&condition),
        quoted(&path)
    );
    let Ok((flow, _)) = Flow::parse(&source) else { return };
    let input = Json::parse(&input).unwrap_or_else(|_| Json::empty_object());
    play(&flow, &input, std::iter::empty());
});
