//! An execution's history: its journal in the language's own events.

use riverrun_kernel::RunId;
use riverrun_plan::history::Event;
use serde_json::{Value, json};

use super::fault::Fault;
use super::names;
use super::paging;
use super::request::Call;
use crate::app::App;
use crate::history::page;

/// `GetExecutionHistory`
pub(crate) async fn get(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = names::flow(app, call.required("FlowName")?)?;
    let limit = call.number("Limit", 1, 1_000)?.unwrap_or(60) as usize;
    let after = match paging::read(call, paging::EVENTS)? {
        Some(text) => text.parse::<u64>().map_err(|_| paging::unknown(&text))?,
        None => 0,
    };
    let view = names::execution(app, &flow.reference.name, call.required("ExecutionName")?).await?;
    let page = page(app, view.summary.id, after, limit).await?;
    let mut body = json!({"Events": page.events.iter().map(shown).collect::<Vec<_>>()});
    if let Some(last) = page.events.last().filter(|_| page.is_full && !page.complete) {
        body["NextToken"] = paging::token(paging::EVENTS, &last.id.to_string()).into();
    }
    Ok(body)
}

/// The number of a run's last event.
pub(crate) async fn last_event(app: &App, run: RunId) -> Result<u64, Fault> {
    Ok(page(app, run, u64::MAX, 1).await?.last)
}

fn shown(event: &Event) -> Value {
    json!({
        "EventId": event.id,
        "ScheduleEventId": event.caused_by,
        "Type": event.kind.as_str(),
        "StepName": event.step,
        "Time": event.time(),
        "EventDetail": event.detail,
    })
}
