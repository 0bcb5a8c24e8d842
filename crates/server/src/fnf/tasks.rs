//! Reports of tasks that ran outside: the same tokens that `/v1/callbacks` takes.

use riverrun_kernel::{Failure, Json};
use serde_json::{Value, json};

use super::executions::{failure, read_json};
use super::fault::Fault;
use super::request::Call;
use crate::app::App;

/// `ReportTaskSucceeded`
pub(crate) async fn succeeded(app: &App, call: &Call) -> Result<Value, Fault> {
    let token = call.required("TaskToken")?;
    let output = read_json("Output", call.required("Output")?)?;
    report(app, token, Ok(output)).await
}

/// `ReportTaskFailed`
pub(crate) async fn failed(app: &App, call: &Call) -> Result<Value, Fault> {
    let token = call.required("TaskToken")?;
    report(app, token, Err(failure(call)?)).await
}

/// Completes the task. The number in the answer is that of the run's last event, of which the report is one.
async fn report(app: &App, token: &str, outcome: Result<Json, Failure>) -> Result<Value, Fault> {
    crate::callbacks::complete_step(app, token, outcome).await?;
    let run = app.engine.awaited_by(token).map(|step| step.run);
    let last = match run {
        Some(run) => super::history::last_event(app, run).await.unwrap_or_default(),
        None => 0,
    };
    Ok(json!({"EventId": last}))
}
