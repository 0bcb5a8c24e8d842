//! The options that a worker announces for a task, checked as those of a start are.

use std::collections::BTreeMap;
use std::sync::Arc;

use riverrun_engine::check_queue;
use riverrun_kernel::RunOptions;
use riverrun_wire::http as wire;
use riverrun_wire::worker::Function;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::options::read_task;

/// What a function may say of its runs. The rest of a start is about one call.
const OPTIONS: [&str; 12] = [
    "queue",
    "priority",
    "timeout",
    "retries",
    "max_crashes",
    "at_most_once",
    "queue_ttl",
    "concurrency_key",
    "max_running",
    "rate",
    "result_ttl",
    "failure_ttl",
];

/// Reads a function's options. What is not known is of a newer worker, and ignored; the error names the function and the option.
pub(super) fn announced_options(function: &Function) -> Result<Option<Arc<RunOptions>>, String> {
    let Some(options) = &function.options else { return Ok(None) };
    let name = &function.name;
    let given: BTreeMap<String, &RawValue> = serde_json::from_str(options.get())
        .map_err(|_| format!("the options of the function `{name}` must be an object"))?;
    let known: Vec<(&str, &RawValue)> =
        OPTIONS.iter().filter_map(|option| Some((*option, *given.get(*option)?))).collect();
    for one in &known {
        read(name, &[*one])
            .map_err(|problem| format!("the option {} of the function `{name}`: {problem}", one.0))?;
    }
    if known.is_empty() {
        return Ok(None);
    }
    let read =
        read(name, &known).map_err(|problem| format!("the options of the function `{name}`: {problem}"))?;
    Ok(Some(Arc::new(read)))
}

/// Reads options as those of a start of the function.
fn read(function: &str, options: &[(&str, &RawValue)]) -> Result<RunOptions, String> {
    let fields = options.iter().map(|(option, value)| format!("\"{option}\":{value}"));
    let definition = format!("\"definition\":{}", Value::from(function));
    let body: Vec<String> = std::iter::once(definition).chain(fields).collect();
    let body: wire::Start =
        serde_json::from_str(&format!("{{{}}}", body.join(","))).map_err(|error| plain(&error))?;
    let task = read_task(&body).map_err(|refused| refused.problem().detail.clone())?;
    let options = RunOptions {
        queue_ttl_ms: body.queue_ttl.map(|ttl| ttl.ms),
        result_ttl: body.result_ttl.map(wire::KeyTtl::to_kernel),
        failure_ttl: body.failure_ttl.map(wire::KeyTtl::to_kernel),
        task: Some(task),
        ..RunOptions::default()
    };
    check_queue(&options).map_err(|refused| refused.to_string())?;
    Ok(options)
}

/// The problem without its place: the text that it is in is made here.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
