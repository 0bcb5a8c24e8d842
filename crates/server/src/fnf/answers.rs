//! What the operations answer: the vendor's field names and JSON types, which no client checks.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use riverrun_kernel::{Definition, RunSummary, RunView, State};
use riverrun_plan::error_name;
use riverrun_wire::http::time;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::names::{NAMESPACE, name_of};
use super::request::{Trace, uuid};
use crate::app::App;

/// Facts that are kept with a flow, by their parameter's name in `CreateFlow`.
pub(crate) const FACTS: [(&str, &str); 7] = [
    ("Description", "description"),
    ("Type", "fnf.type"),
    ("RoleArn", "fnf.role_arn"),
    ("ExternalStorageLocation", "fnf.external_storage_location"),
    ("ExecutionMode", "fnf.execution_mode"),
    ("ResourceGroupId", "fnf.resource_group_id"),
    ("Environment", "fnf.environment"),
];

/// The answer to a call that was done.
pub(crate) fn answer(mut body: Value, trace: &Trace) -> Response {
    if let Value::Object(fields) = &mut body {
        fields.insert("RequestId".to_owned(), trace.id.clone().into());
    }
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What is kept with a flow under a parameter's name.
pub(crate) fn fact<'d>(definition: &'d Definition, parameter: &str) -> &'d str {
    let name = FACTS.iter().find(|(known, _)| *known == parameter).map(|(_, name)| *name);
    name.and_then(|name| definition.facts.get(name)).map_or("", String::as_str)
}

/// A flow. `mode_or_storage` is the field in which the operations differ.
pub(crate) fn flow(definition: &Definition, mode_or_storage: &str) -> Value {
    let fact = |parameter| fact(definition, parameter);
    let kind = Some(fact("Type")).filter(|kind| !kind.is_empty()).unwrap_or("FDL");
    let mut body = json!({
        "Id": flow_id(definition),
        "Name": *definition.reference.name,
        "Definition": *definition.source,
        "Description": fact("Description"),
        "Type": kind,
        "RoleArn": fact("RoleArn"),
        "ResourceGroupId": fact("ResourceGroupId"),
        "CreatedTime": time(definition.created.unwrap_or(definition.deployed)),
        "LastModifiedTime": time(definition.deployed),
    });
    body[mode_or_storage] = fact(mode_or_storage).into();
    if let Some(environment) = environment(definition) {
        body["Environment"] = environment;
    }
    body
}

/// The variables that are kept with a flow; nothing here reads them.
pub(crate) fn environment(definition: &Definition) -> Option<Value> {
    serde_json::from_str(fact(definition, "Environment")).ok()
}

/// The same for a name as long as it is not deleted.
fn flow_id(definition: &Definition) -> String {
    let mut hash = Sha256::new();
    hash.update(&*definition.reference.namespace);
    hash.update([0]);
    hash.update(&*definition.reference.name);
    hash.update(definition.created.map_or(0, |created| created.0).to_be_bytes());
    uuid(hash.finalize()[..16].try_into().expect("a digest has 32 bytes"))
}

/// The vendor's word for a state: the mapping of docs/states.md.
pub(crate) fn status(state: State) -> &'static str {
    match state {
        State::Queued => "Starting",
        State::Running | State::Suspended | State::Cancelling => "Running",
        State::Succeeded => "Succeeded",
        State::Failed => "Failed",
        State::TimedOut => "TimedOut",
        State::Cancelled | State::Expired => "Stopped",
    }
}

/// What lists tell of an execution without looking at it.
pub(crate) fn summary(run: &RunSummary) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value.into());
    put("Name", name_of(run));
    put("FlowName", run.definition.name.to_string());
    put("Status", status(run.state).to_owned());
    put("StartedTime", time(run.started.unwrap_or(run.created)));
    put("StoppedTime", run.ended.map_or_else(String::new, time));
    fields
}

/// An execution in full.
pub(crate) fn execution(app: &App, view: &RunView) -> Value {
    let of = &view.summary.definition;
    let definition = app.engine.definition(NAMESPACE, &of.name, Some(&of.version));
    let source = definition.map_or_else(|| "".into(), |definition| definition.source);
    let mut fields = summary(&view.summary);
    fields.insert("FlowDefinition".to_owned(), (*source).into());
    fields.insert("Input".to_owned(), view.input.get().into());
    fields.insert("Output".to_owned(), output(view).into());
    Value::Object(fields)
}

/// The output as text; empty before the end. One that failed tells why, for which the vendor's answer has no field of its own.
fn output(view: &RunView) -> String {
    match &view.outcome {
        None => String::new(),
        Some(Ok(output)) => output.get().to_owned(),
        Some(Err(_)) => {
            let (code, message) = error(view);
            json!({"ErrorCode": code, "ErrorMessage": message}).to_string()
        }
    }
}

/// The error of an execution in the language's own words; empty if there is none.
pub(crate) fn error(view: &RunView) -> (String, String) {
    match &view.outcome {
        // As for a flow that waits for this one: what its time limit is called depends on whose it was.
        Some(Err(failure)) => (error_name(&failure.error, true).to_owned(), failure.message.clone()),
        _ => (String::new(), String::new()),
    }
}
