//! Schedules of flows: create, update, describe, list, delete.
//!
//! A schedule is one of this server's, by the name `FLOW/SCHEDULE`, so that `/v1/schedules` and the command line show it too. What it starts
//! gets the payload in the vendor's wrapping: `$input.payload`.

use std::collections::BTreeMap;

use riverrun_engine::{PutSchedule, Start};
use riverrun_kernel::schedule::{MissedPolicy, Overlap, PutMode, Schedule, ScheduleId};
use riverrun_kernel::{DefinitionKind, Json, Refusal, RunOptions};
use riverrun_wire::http::time;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fault::Fault;
use super::names::{self, NAMESPACE, check_name};
use super::paging;
use super::request::Call;
use crate::app::App;

/// The name under which the planned time is put into the input.
const TIME: &str = "triggerTime";

fn full_name(flow: &str, schedule: &str) -> String {
    format!("{flow}/{schedule}")
}

fn id(flow: &str, schedule: &str) -> ScheduleId {
    ScheduleId { namespace: NAMESPACE.into(), name: full_name(flow, schedule).into() }
}

/// `CreateSchedule`
pub(crate) async fn create(app: &App, call: &Call) -> Result<Value, Fault> {
    let (flow, name) = (call.required("FlowName")?, call.required("ScheduleName")?);
    check_name("ScheduleName", name)?;
    names::flow(app, flow)?;
    let when = call.required("CronExpression")?;
    let payload = payload(call)?;
    let enabled = enabled(call)?.unwrap_or(true);
    let put = PutSchedule {
        paused: Some(!enabled),
        ..asked(
            flow,
            name,
            when,
            payload.as_deref(),
            call.sent("Description").unwrap_or_default(),
            PutMode::Create,
        )
    };
    written(app, flow, name, put).await
}

/// `UpdateSchedule`: what is not sent stays as it is.
pub(crate) async fn update(app: &App, call: &Call) -> Result<Value, Fault> {
    let (flow, name) = (call.required("FlowName")?, call.required("ScheduleName")?);
    let found = find(app, flow, name).await?;
    let kept = payload_of(&found);
    let sent = payload(call)?;
    let payload = if call.sent("Payload").is_some() { sent.as_deref() } else { kept.as_deref() };
    let when = call.given("CronExpression").unwrap_or(&found.spec.when);
    let about = call.sent("Description").unwrap_or(&found.spec.description);
    let put = PutSchedule {
        paused: enabled(call)?.map(|enabled| !enabled),
        overlap: found.spec.overlap,
        missed: found.spec.missed,
        missed_after_ms: found.spec.missed_after_ms,
        jitter_ms: found.spec.jitter_ms,
        zone: found.spec.zone.to_string(),
        from: found.spec.from,
        until: found.spec.until,
        ..asked(flow, name, when, payload, about, PutMode::Update)
    };
    written(app, flow, name, put).await
}

/// `DescribeSchedule`
pub(crate) async fn describe(app: &App, call: &Call) -> Result<Value, Fault> {
    let (flow, name) = (call.required("FlowName")?, call.required("ScheduleName")?);
    Ok(answer(&find(app, flow, name).await?))
}

/// `DeleteSchedule`
pub(crate) async fn delete(app: &App, call: &Call) -> Result<Value, Fault> {
    let (flow, name) = (call.required("FlowName")?, call.required("ScheduleName")?);
    let found = find(app, flow, name).await?;
    app.engine.delete_schedule(found.id).await.map_err(|error| fault(flow, name, error))?;
    Ok(json!({}))
}

/// `ListSchedules`
pub(crate) async fn list(app: &App, call: &Call) -> Result<Value, Fault> {
    let flow = call.required("FlowName")?;
    names::flow(app, flow)?;
    let limit = call.number("Limit", 1, 1000)?.unwrap_or(60) as usize;
    let after = paging::read(call, paging::SCHEDULES)?;
    let prefix = full_name(flow, "");
    let mut found = app.engine.schedules(NAMESPACE, &prefix, after.as_deref(), limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut body = json!({"Schedules": found.iter().filter(|found| starts(found, flow)).map(answer).collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        body["NextToken"] = paging::token(paging::SCHEDULES, &last.id.name).into();
    }
    Ok(body)
}

/// Forgets the schedules of a flow that is deleted.
pub(crate) async fn forget(app: &App, flow: &str) -> Result<(), Fault> {
    let mut after: Option<String> = None;
    loop {
        let found = app.engine.schedules(NAMESPACE, &full_name(flow, ""), after.as_deref(), 100).await?;
        let Some(last) = found.last() else { return Ok(()) };
        after = Some(last.id.name.to_string());
        for schedule in found.into_iter().filter(|found| starts(found, flow)) {
            app.engine.delete_schedule(schedule.id).await?;
        }
    }
}

/// Whether it is a schedule of the flow, and not only named like one.
fn starts(schedule: &Schedule, flow: &str) -> bool {
    *schedule.spec.target.definition.name == *flow
}

async fn find(app: &App, flow: &str, name: &str) -> Result<Schedule, Fault> {
    names::flow(app, flow)?;
    let found = app.engine.schedule(id(flow, name)).await.map_err(|error| fault(flow, name, error))?;
    if starts(&found, flow) { Ok(found) } else { Err(Fault::no_schedule(flow, name)) }
}

async fn written(app: &App, flow: &str, name: &str, put: PutSchedule) -> Result<Value, Fault> {
    match app.engine.put_schedule(put).await {
        Ok(written) => Ok(answer(&written.schedule)),
        Err(error) => Err(fault(flow, name, error)),
    }
}

fn fault(flow: &str, name: &str, error: riverrun_engine::EngineError) -> Fault {
    match &error {
        riverrun_engine::EngineError::Refused(Refusal::UnknownSchedule(_)) => Fault::no_schedule(flow, name),
        riverrun_engine::EngineError::Refused(Refusal::ScheduleExists(_)) => {
            Fault::schedule_exists(flow, name)
        }
        _ => error.into(),
    }
}

fn asked(
    flow: &str,
    name: &str,
    when: &str,
    payload: Option<&RawValue>,
    about: &str,
    mode: PutMode,
) -> PutSchedule {
    let trigger = Value::from(name);
    let input = match payload {
        Some(payload) => format!("{{\"triggerName\":{trigger},\"payload\":{}}}", payload.get()),
        None => format!("{{\"triggerName\":{trigger}}}"),
    };
    PutSchedule {
        name: full_name(flow, name),
        when: when.to_owned(),
        zone: String::new(),
        start: Start {
            namespace: NAMESPACE.to_owned(),
            definition: flow.to_owned(),
            kind: Some(DefinitionKind::Flow),
            version: None,
            input: Json::trusted(input),
            run: None,
            key: None,
            options: RunOptions::default(),
        },
        planned_as: Some(TIME.to_owned()),
        // As the vendor: each planned time has its execution, whatever runs.
        overlap: Overlap::Allow,
        missed: MissedPolicy::One,
        missed_after_ms: 60_000,
        jitter_ms: 0,
        from: None,
        until: None,
        description: about.to_owned(),
        paused: None,
        mode,
    }
}

/// The payload that a call sends: JSON, or nothing.
fn payload(call: &Call) -> Result<Option<Box<RawValue>>, Fault> {
    let Some(text) = call.given("Payload") else { return Ok(None) };
    let json = super::executions::read_json("Payload", text)?;
    let raw = serde_json::from_str(json.get());
    raw.map(Some).map_err(|error| Fault::invalid(format!("Payload is not JSON: {error}.")))
}

fn enabled(call: &Call) -> Result<Option<bool>, Fault> {
    match call.given("Enable") {
        None => Ok(None),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(text) => Err(Fault::invalid(format!("Enable is '{text}': it must be true or false."))),
    }
}

fn payload_of(schedule: &Schedule) -> Option<Box<RawValue>> {
    let input: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(schedule.spec.target.input.get()).ok()?;
    input.into_iter().find(|(name, _)| name == "payload").map(|(_, payload)| payload)
}

fn answer(schedule: &Schedule) -> Value {
    let name = schedule.id.name.split_once('/').map_or(&*schedule.id.name, |(_, name)| name);
    json!({
        "ScheduleId": format!("{:032x}", (u128::from(schedule.number) << 64) | u128::from(schedule.created.0.unsigned_abs())),
        "ScheduleName": name,
        "CronExpression": *schedule.spec.when,
        "Description": schedule.spec.description,
        "Payload": payload_of(schedule).map_or_else(String::new, |payload| payload.get().to_owned()),
        "Enable": schedule.paused.is_none(),
        "CreatedTime": time(schedule.created),
        "LastModifiedTime": time(schedule.updated),
    })
}
