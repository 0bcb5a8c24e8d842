//! BaiChuan's HTTP API, as it is: `POST /baichuan/task_create` and `GET /baichuan/task_get`.
//!
//! Whatever becomes of a request, its status is 200 and its outcome in `stat`; only who may not ask at all is told so by the status. What a
//! run is in BaiChuan's words stands in [`riverrun_wire::baichuan`].

mod ask;
mod info;
mod reply;

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use riverrun_engine::{EngineError, ShortId};
use riverrun_kernel::{Failure, Refusal, RunView};
use riverrun_wire::baichuan::{Answer, OK, Status, TaskInfo};
use serde_json::value::RawValue;

use crate::app::{App, Shared};
use crate::extract::{Params, parse_json, read_body};
use crate::serve::Peer;
use info::info;
use reply::{Outcome, Trouble, respond};

pub(crate) use ask::{Create, Get};

/// The kernel's name for a failure by a result that is not JSON.
const INVALID_OUTPUT: &str = "InvalidOutput";
/// Lines of a journal that are read for who executed a task, and how.
const LINES: usize = 1_000;

/// `POST /baichuan/task_create`
pub(crate) async fn create(State(app): State<Shared>, request: Request) -> Response {
    let begun = Instant::now();
    match queue(&app, request).await {
        Ok(task) => {
            tracing::info!(reqid = %task, run = %task.run(), "task_create");
            let body = format!("{{\"stat\": \"{OK}\", \"data\": {{\"task_id\": \"{task}\"}}}}");
            respond(task, begun, Outcome { body, reason: None })
        }
        Err(trouble) => {
            let request = ShortId::random();
            tracing::info!(reqid = %request, reason = trouble.reason, "task_create was refused");
            respond(request, begun, trouble.into())
        }
    }
}

async fn queue(app: &App, request: Request) -> Result<ShortId, Trouble> {
    let ip = Peer::ip(&request);
    let body = read_body(app, request).await?;
    let task: Create = parse_json(if body.is_empty() { b"{}" } else { &body })?;
    let started = app.engine.start_short(task.into_start(&ip)?).await?;
    Ok(ShortId::of(started.run))
}

/// `GET /baichuan/task_get`
pub(crate) async fn get(
    State(app): State<Shared>,
    query: Result<Params<Get>, crate::problem::Refused>,
) -> Response {
    let begun = Instant::now();
    let outcome = match query {
        Ok(Params(query)) => look(&app, &query.task_id).await,
        Err(refused) => Err(refused.into()),
    };
    respond(ShortId::random(), begun, outcome.unwrap_or_else(Outcome::from))
}

async fn look(app: &App, task: &str) -> Result<Outcome, Trouble> {
    let not_there = || Outcome { body: "{\"stat\": \"ERR_MSG_NOT_EXIST\"}".to_owned(), reason: None };
    let Ok(id) = task.parse::<ShortId>() else { return Ok(not_there()) };
    let view = match app.engine.run(id.run()).await {
        Ok(view) => view,
        Err(EngineError::Refused(Refusal::UnknownRun(_))) => return Ok(not_there()),
        Err(error) => return Err(error.into()),
    };
    let lines = app.engine.journal(id.run(), 0, LINES).await?.rows;
    let task = TaskInfo::of(&view);
    let fields = info(&view, &task, &lines, app.port);
    app.read_once.seen(&view);
    Ok(told(&view, &task, &fields))
}

/// The answer about a task.
fn told(view: &RunView, task: &TaskInfo, info: &str) -> Outcome {
    let because = task.exc_info.clone();
    let stat = match (task.status, &task.answer) {
        (Status::Queued, _) => "ERR_MSG_IN_QUEUED",
        (Status::Started, _) => "ERR_MSG_IN_STARTED",
        (Status::Finished, Some(answer)) => {
            let body = format!(
                "{{\"stat\": {}, \"task_info\": {info}, \"data\": {}}}",
                reply::text(&answer.stat),
                data(answer)
            );
            return Outcome { body, reason: None };
        }
        _ if has_bad_result(view) => "ERR_MSG_RESULT_FAILED",
        _ => "ERR_MSG_EXE_FAILED",
    };
    Outcome { body: format!("{{\"stat\": \"{stat}\", \"task_info\": {info}}}"), reason: because }
}

fn has_bad_result(view: &RunView) -> bool {
    matches!(&view.outcome, Some(Err(Failure { error, .. })) if error == INVALID_OUTPUT)
}

/// What a handler answered beside its stat: its `data`, or everything where it calls nothing so.
fn data(answer: &Answer) -> String {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(&answer.body).unwrap_or_default();
    if let Some(data) = fields.get("data") {
        return data.get().to_owned();
    }
    fields.remove("stat");
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}: {}", reply::text(name), value.get())).collect();
    format!("{{{}}}", fields.join(", "))
}
