//! The vendor's Serverless Workflow RPC API, version 2019-03-15, on `/`: its own client libraries work with nothing changed but the address.
//!
//! The operation is a name and not a path; parameters stand in the query or in a form; errors have `Code`s that users match on. Who may call
//! is decided by [`crate::guard`]; what a signature is, [`signature`] knows. The operations are clients of the engine like the handlers of
//! `/v1`, and keep nothing of their own.

mod answers;
mod executions;
mod fault;
mod flows;
mod history;
mod names;
mod nonces;
mod paging;
mod request;
mod schedules;
mod signature;
mod tasks;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Extension;
use axum::body::to_bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use riverrun_wire::http::Problem;
use serde_json::{Value, json};

use crate::app::Shared;
use crate::config::FnfConfig;
use crate::pages;

pub(crate) use fault::Fault;
pub(crate) use flows::clear;
pub(crate) use nonces::WINDOW;
pub(crate) use request::{ACTION_HEADER, Call, Trace, is_call};
pub(crate) use signature::Claim;

/// Errors of the layers around the operations are small.
const MAX_PROBLEM: usize = 64 << 10;

/// What the API remembers between requests.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Nonces of signed requests.
    pub nonces: nonces::Nonces,
    /// Held while a flow is created, changed or deleted, so that no two requests do so at once.
    flows: tokio::sync::Mutex<()>,
}

impl Memory {
    /// Nothing seen yet.
    pub fn new(config: &FnfConfig) -> Self {
        Memory { nonces: nonces::Nonces::new(config), flows: tokio::sync::Mutex::default() }
    }
}

/// `GET /`: a call that the guard let in, or the page for people.
pub(crate) async fn call_or_page(state: State<Shared>, call: Option<Extension<Arc<Call>>>) -> Response {
    match call {
        Some(call) => call_in(state, call).await,
        None => pages::index(),
    }
}

/// `POST /`
pub(crate) async fn call_in(State(app): State<Shared>, Extension(call): Extension<Arc<Call>>) -> Response {
    tracing::debug!(action = %call.action, request = %call.trace.id, "a call of the Serverless Workflow API");
    // Clients read nothing but JSON, also when this server has a mistake.
    let done = AssertUnwindSafe(operate(&app, &call)).catch_unwind().await;
    match done {
        Ok(Ok(body)) => answers::answer(body, &call.trace),
        Ok(Err(fault)) => fault.answer(&call.trace),
        Err(_) => {
            tracing::error!(action = %call.action, request = %call.trace.id, "an operation ended by a panic");
            Fault::internal().answer(&call.trace)
        }
    }
}

/// The table of operations. Those of flow versions and of map runs are not among them.
async fn operate(app: &Shared, call: &Call) -> Result<Value, Fault> {
    match call.action.as_str() {
        "CreateFlow" => flows::create(app, call).await,
        "UpdateFlow" => flows::update(app, call).await,
        "DescribeFlow" => flows::describe(app, call),
        "ListFlows" => flows::list(app, call),
        "DeleteFlow" => flows::delete(app, call).await,
        "StartExecution" => executions::start(app, call).await,
        "StartSyncExecution" => executions::start_sync(app, call).await,
        "DescribeExecution" => executions::describe(app, call).await,
        "ListExecutions" => executions::list(app, call).await,
        "StopExecution" => executions::stop(app, call).await,
        "GetExecutionHistory" => history::get(app, call).await,
        "ReportTaskSucceeded" => tasks::succeeded(app, call).await,
        "ReportTaskFailed" => tasks::failed(app, call).await,
        "CreateSchedule" => schedules::create(app, call).await,
        "UpdateSchedule" => schedules::update(app, call).await,
        "DescribeSchedule" => schedules::describe(app, call).await,
        "DeleteSchedule" => schedules::delete(app, call).await,
        "ListSchedules" => schedules::list(app, call).await,
        "DescribeRegions" => Ok(regions(call)),
        unknown => Err(Fault::unsupported(unknown)),
    }
}

/// There is one region: this server.
fn regions(call: &Call) -> Value {
    let id = call.given("RegionId").unwrap_or("local");
    json!({"Regions": {"Region": [
        {"RegionId": id, "LocalName": "Riverrun", "RegionEndpoint": call.trace.host},
    ]}})
}

/// Brings a problem of the layers around the operations into the form that clients read.
pub(crate) async fn translate(response: Response, trace: &Trace) -> Response {
    if response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != "application/problem+json") {
        return response;
    }
    let body = to_bytes(response.into_body(), MAX_PROBLEM).await.unwrap_or_default();
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Fault::from_problem(&problem).answer(trace),
        Err(_) => Fault::internal().answer(trace),
    }
    .into_response()
}
