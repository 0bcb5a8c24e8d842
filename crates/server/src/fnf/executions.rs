//! Executions: start, describe, list, stop.

use std::time::Duration;

use futures_util::future::join_all;
use riverrun_engine::{EngineError, Start, StartKey};
use riverrun_kernel::{
    Definition, DefinitionKind, Failure, Json, Refusal, RunId, RunOptions, RunSummary, RunView, StartKind,
    State, Ttl, Wall,
};
use riverrun_store::{Cursor, RunFilter};
use riverrun_wire::http as wire;
use serde_json::{Value, json};

use super::answers::{self, fact, status};
use super::fault::Fault;
use super::names::{self, NAMESPACE, check_name, name_of};
use super::paging;
use super::request::{Call, new_id};
use crate::app::App;
use crate::paging::{parse_run_cursor, run_cursor};
use crate::start::{Begun, begin};

/// The longest that a caller may wait for an execution's end.
const MAX_WAIT_SECONDS: u64 = 60;
/// The longest `Error` and `Cause`, in characters.
const MAX_ERROR: usize = 128;
const MAX_CAUSE: usize = 4_096;
/// Runs looked at for one page of a list: one with fewer items than asked for may be followed by others.
const MAX_SCANNED: usize = 10_000;
const SCAN: usize = 1_000;

/// `StartExecution`: idempotent by the name.
pub(crate) async fn start(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = names::flow(app, call.required("FlowName")?)?;
    let report_to = match call.given("CallbackFnFTaskToken") {
        Some(token) => Some(app.engine.awaited_by(token).ok_or_else(|| {
            Fault::invalid("CallbackFnFTaskToken is no task's token: pass $context.task.token on unchanged.")
        })?),
        None => None,
    };
    let name = call.given("ExecutionName");
    if let Some(name) = name {
        check_name("ExecutionName", name)?;
        if name.parse::<RunId>().is_ok() {
            return again(app, &flow, name).await;
        }
    }
    let mut start = request(app, call, &flow, name)?;
    start.options.report_to = report_to;
    let Begun { started, view, .. } = begin(app, start, None).await?;
    match (started.kind, name) {
        (StartKind::Reused, Some(name)) => Err(Fault::execution_exists(&flow.reference.name, name)),
        _ => Ok(answers::execution(app, &view)),
    }
}

/// A start by a name that this server gave to an execution without one.
async fn again(app: &App, flow: &Definition, name: &str) -> Result<Value, Fault> {
    let flow = &flow.reference.name;
    match names::execution(app, flow, name).await {
        Ok(view) if view.summary.state.is_closed() => Err(Fault::execution_exists(flow, name)),
        Ok(view) => Ok(answers::execution(app, &view)),
        Err(_) => Err(Fault::invalid(format!(
            "ExecutionName is '{name}': names of this form are given by the server to executions without one."
        ))),
    }
}

/// `StartSyncExecution`: start and wait.
pub(crate) async fn start_sync(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = names::flow(app, call.required("FlowName")?)?;
    if fact(&flow, "ExecutionMode") == "Standard" {
        return Err(Fault::invalid(format!(
            "Flow {} has the ExecutionMode Standard: StartSyncExecution is for Express flows, start it with StartExecution.",
            flow.reference.name
        )));
    }
    let asked = call.given("ExecutionName");
    if let Some(name) = asked {
        check_name("ExecutionName", name)?;
    }
    let id = new_id();
    let name = asked.map_or_else(|| id.clone(), |name| format!("{name}:{id}"));
    let start = request(app, call, &flow, Some(&name))?;
    let view = begin(app, start, Some(app.config.limits.max_wait)).await?.view;
    let mut fields = answers::summary(&view.summary);
    let (code, message) = answers::error(&view);
    let output = view.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    fields.insert("Output".to_owned(), output.map_or("", Json::get).into());
    fields.insert("ErrorCode".to_owned(), code.into());
    fields.insert("ErrorMessage".to_owned(), message.into());
    if let Some(environment) = answers::environment(&flow) {
        fields.insert("Environment".to_owned(), environment);
    }
    Ok(Value::Object(fields))
}

fn request(app: &App, call: &Call, flow: &Definition, name: Option<&str>) -> Result<Start, Fault> {
    let input = match call.given("Input") {
        Some(text) => read_json("Input", text)?,
        None => Json::empty_object(),
    };
    if !input.get().starts_with('{') {
        return Err(Fault::invalid("Input must be the text of a JSON object."));
    }
    let version = call.given("Qualifier").filter(|qualifier| *qualifier != "LATEST");
    if let Some(version) = version
        .filter(|version| app.engine.definition(NAMESPACE, &flow.reference.name, Some(version)).is_none())
    {
        return Err(Fault::invalid(format!(
            "Qualifier is '{version}': flow {} has no such version. Leave it out to start the newest.",
            flow.reference.name
        )));
    }
    Ok(Start {
        namespace: NAMESPACE.to_owned(),
        definition: flow.reference.name.to_string(),
        kind: Some(DefinitionKind::Flow),
        version: version.map(str::to_owned),
        input,
        run: None,
        key: name.map(|name| key(app, name)),
        options: RunOptions::default(),
    })
}

/// The name alone decides: in flight its run is the answer, ended it is taken, and free again when the run is not kept any more.
fn key(app: &App, name: &str) -> StartKey {
    let kept = |kept: Duration| Ttl::Ms(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
    let ttl = app.engine.retention().map_or(Ttl::Forever, kept);
    StartKey { rerun_purged: true, ttl, ..StartKey::once(name) }
}

/// Reads the text of a JSON value, which stays as it was sent.
pub(crate) fn read_json(parameter: &str, text: &str) -> Result<Json, Fault> {
    wire::check(text.as_bytes())
        .and_then(|()| Json::parse(text))
        .map_err(|error| Fault::invalid(format!("{parameter} is not the text of a JSON value: {error}.")))
}

/// `DescribeExecution`: at once, or when it has ended.
pub(crate) async fn describe(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = names::flow(app, call.required("FlowName")?)?;
    let name = call.required("ExecutionName")?;
    let wait = call.number("WaitTimeSeconds", 0, MAX_WAIT_SECONDS)?.unwrap_or(0);
    let limit = app.config.limits.max_wait;
    if Duration::from_secs(wait) > limit {
        return Err(Fault::invalid(format!(
            "WaitTimeSeconds is {wait}, and the limit max_wait of this server {}s: ask again when the answer comes, or raise it.",
            limit.as_secs_f64()
        )));
    }
    let mut view = names::execution(app, &flow.reference.name, name).await?;
    if wait > 0 && !view.summary.state.is_closed() {
        view = app.wait(view.summary.id, Duration::from_secs(wait)).await?;
    }
    let mut body = answers::execution(app, &view);
    if let Some(environment) = answers::environment(&flow) {
        body["Environment"] = environment;
    }
    Ok(body)
}

/// `StopExecution`
pub(crate) async fn stop(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = names::flow(app, call.required("FlowName")?)?;
    let name = call.required("ExecutionName")?;
    let failure = stopped_by(call)?;
    let run = names::execution(app, &flow.reference.name, name).await?.summary;
    if run.state.is_closed() {
        return Err(Fault::completed(&flow.reference.name, name));
    }
    match failure {
        Some(failure) => app.engine.stop(run.id, failure).await?,
        None => app.engine.cancel(run.id, "StopExecution".to_owned()).await?,
    };
    let mut body = answers::execution(app, &app.engine.run(run.id).await?);
    body["RoleArn"] = fact(&flow, "RoleArn").into();
    Ok(body)
}

fn stopped_by(call: &Call) -> Result<Option<Failure>, Fault> {
    let (error, cause) = (call.given("Error"), call.given("Cause"));
    check_length("Error", error, MAX_ERROR)?;
    check_length("Cause", cause, MAX_CAUSE)?;
    if error.is_none() && cause.is_none() {
        return Ok(None);
    }
    Ok(Some(Failure::new(error.unwrap_or(Failure::CANCELLED), cause.unwrap_or_default())))
}

/// Checks `Error` and `Cause`.
pub(crate) fn check_length(parameter: &str, text: Option<&str>, most: usize) -> Result<(), Fault> {
    match text.map(|text| text.chars().count()) {
        Some(length) if length > most => {
            Err(Fault::invalid(format!("{parameter} has {length} characters, and may have {most}.")))
        }
        _ => Ok(()),
    }
}

/// What a failure that a client reports is.
pub(crate) fn failure(call: &Call) -> Result<Failure, Fault> {
    let (error, cause) = (call.required("Error")?, call.given("Cause"));
    check_length("Error", Some(error), MAX_ERROR)?;
    check_length("Cause", cause, MAX_CAUSE)?;
    Ok(Failure::new(error, cause.unwrap_or_default()))
}

/// `ListExecutions`, newest first.
pub(crate) async fn list(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = names::flow(app, call.required("FlowName")?)?;
    let limit = call.number("Limit", 1, 99)?.unwrap_or(60) as usize;
    let (found, next) = scan(app, call, &flow, limit).await?;
    let items = if call.flag("MetadataOnly")? == Some(true) {
        found.iter().map(|run| Value::Object(answers::summary(run))).collect()
    } else {
        in_full(app, &found).await?
    };
    let mut body = json!({"Executions": items});
    if let Some(next) = next {
        body["NextToken"] = paging::token(paging::EXECUTIONS, &run_cursor(next)).into();
    }
    Ok(body)
}

async fn in_full(app: &App, found: &[RunSummary]) -> Result<Vec<Value>, Fault> {
    let views = join_all(found.iter().map(|run| app.engine.run(run.id))).await;
    let shown = |view: Result<RunView, EngineError>| match view {
        Ok(view) => Some(Ok(answers::execution(app, &view))),
        // Removed since the list was made.
        Err(EngineError::Refused(Refusal::UnknownRun(_))) => None,
        Err(error) => Some(Err(error.into())),
    };
    views.into_iter().filter_map(shown).collect()
}

/// The runs of a page, and where the next begins.
async fn scan(
    app: &App,
    call: &Call,
    flow: &Definition,
    limit: usize,
) -> Result<(Vec<RunSummary>, Option<Cursor>), Fault> {
    let prefix = call.given("ExecutionNamePrefix").unwrap_or_default();
    let filter = filter(call, flow)?;
    let mut after = match paging::read(call, paging::EXECUTIONS)? {
        Some(text) => Some(parse_run_cursor(&text).map_err(|_| paging::unknown(&text))?),
        None => None,
    };
    let mut found = Vec::new();
    let mut scanned = 0;
    // A prefix is no part of the store's filters: what does not match is passed over here.
    let read = if prefix.is_empty() { limit } else { SCAN };
    loop {
        let page = app.engine.list(filter.clone(), after, read).await?;
        for run in page.items {
            if found.len() == limit {
                return Ok((found, after));
            }
            scanned += 1;
            after = Some(Cursor { created: run.created, id: run.id });
            if name_of(&run).starts_with(prefix) {
                found.push(run);
            }
        }
        if page.next.is_none() {
            return Ok((found, None));
        }
        if found.len() == limit || scanned >= MAX_SCANNED {
            return Ok((found, after));
        }
    }
}

fn filter(call: &Call, flow: &Definition) -> Result<RunFilter, Fault> {
    let date = |parameter: &str| match call.given(parameter) {
        Some(text) => crate::start::read_date(parameter, text).map(Some).map_err(Fault::from),
        None => Ok(None),
    };
    let states = match call.given("Status") {
        None => Vec::new(),
        Some(word) => {
            let states: Vec<State> = State::ALL.into_iter().filter(|state| status(*state) == word).collect();
            if states.is_empty() {
                return Err(Fault::invalid(format!(
                    "Status is '{word}': it must be Starting, Running, Stopped, Succeeded, Failed or TimedOut."
                )));
            }
            states
        }
    };
    Ok(RunFilter {
        namespace: NAMESPACE.to_owned(),
        definition: Some(flow.reference.name.to_string()),
        kind: Some(DefinitionKind::Flow),
        states,
        created_from: date("StartedTimeBegin")?,
        // Both ends belong to the span.
        created_before: date("StartedTimeEnd")?.map(|end| Wall(end.0.saturating_add(1))),
        ..RunFilter::default()
    })
}
