//! Schedules: writing, showing, listing, steering.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use riverrun_engine::PutSchedule;
use riverrun_kernel::schedule::{MissedPolicy, PutMode, ScheduleId, When};
use riverrun_wire::http::{
    BackfillSchedule, Backfilled, BackfilledTime, Code, MissedWord, NextQuery, NextTimes, OneSchedule,
    PauseSchedule, PutSchedule as Body, ScheduleQuery, ScheduleView, Schedules, TriggerSchedule,
    planned_time, time,
};

use crate::app::{App, Shared, namespace, now};
use crate::extract::{Params, Payload as Read};
use crate::paging::{MAX_PAGE, name_cursor, page_size, parse_name_cursor};
use crate::problem::Refused;
use crate::start::{read_date, read_start};

/// Planned times that are shown of one schedule.
const SHOWN: usize = 10;
/// Missed planned times that `all` makes up for unless told otherwise.
const MISSED_MAX: u32 = 100;
/// A firing that comes so much too late counts as missed, unless told otherwise.
const MISSED_AFTER_MS: u64 = 60_000;

/// `PUT /v1/schedules`
pub(crate) async fn put(State(app): State<Shared>, Read(body): Read<Body>) -> Result<Response, Refused> {
    let written = app.engine.put_schedule(read_schedule(&app, body)?).await?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(ScheduleView::new(&written.schedule, SHOWN, true))).into_response())
}

fn read_schedule(app: &App, body: Body) -> Result<PutSchedule, Refused> {
    let start = &body.start;
    let misplaced = [
        ("run_id", start.run_id.is_some()),
        ("continue_id", start.continue_id.is_some()),
        ("run_at", start.run_at.is_some()),
        ("wait", start.wait.is_some()),
    ];
    if let Some((name, _)) = misplaced.iter().find(|(_, given)| *given) {
        return Err(Refused::invalid(format!(
            "start.{name} has no place in a schedule: every firing starts a run of its own, at its planned time"
        )));
    }
    if body.missed_max.is_some() && body.missed != Some(MissedWord::All) {
        return Err(Refused::invalid("missed_max belongs to \"missed\": \"all\": set that, or leave it out"));
    }
    let missed = match body.missed.unwrap_or_default() {
        MissedWord::Skip => MissedPolicy::Skip,
        MissedWord::One => MissedPolicy::One,
        MissedWord::All => MissedPolicy::All { max: body.missed_max.unwrap_or(MISSED_MAX) },
    };
    Ok(PutSchedule {
        name: body.name,
        when: body.when,
        zone: body.zone.unwrap_or_default(),
        start: read_start(app, &HeaderMap::new(), body.start)?,
        planned_as: body.planned_as,
        overlap: body.overlap.unwrap_or_default(),
        missed,
        missed_after_ms: body.missed_after.map_or(MISSED_AFTER_MS, |after| after.ms),
        jitter_ms: body.jitter.map_or(0, |jitter| jitter.ms),
        from: body.from.as_deref().map(|text| read_date("from", text)).transpose()?,
        until: body.until.as_deref().map(|text| read_date("until", text)).transpose()?,
        description: body.description.unwrap_or_default(),
        paused: body.paused,
        mode: PutMode::Put,
    })
}

/// `GET /v1/schedules`
pub(crate) async fn read(
    State(app): State<Shared>,
    Params(query): Params<ScheduleQuery>,
) -> Result<Response, Refused> {
    match query.name {
        Some(name) => Ok(shown(&app, schedule_id(query.namespace, &name)).await?.into_response()),
        None => list(&app, query).await,
    }
}

async fn list(app: &App, query: ScheduleQuery) -> Result<Response, Refused> {
    let limit = page_size(query.limit)?;
    let after = query.cursor.as_deref().map(parse_name_cursor).transpose()?;
    let prefix = query.prefix.unwrap_or_default();
    let space = namespace(query.namespace);
    let page = app.engine.schedules(&space, &prefix, after.as_deref(), limit).await?;
    let last = page.last().filter(|_| page.len() == limit);
    let next_cursor = last.map(|schedule| name_cursor(&schedule.id.name));
    let items = page.iter().map(|schedule| ScheduleView::new(schedule, 1, false)).collect();
    Ok(Answer(Schedules { items, next_cursor }).into_response())
}

/// `DELETE /v1/schedules`
pub(crate) async fn delete(
    State(app): State<Shared>,
    Params(query): Params<OneSchedule>,
) -> Result<StatusCode, Refused> {
    app.engine.delete_schedule(schedule_id(query.namespace, &query.name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/schedules/pause`
pub(crate) async fn pause(
    State(app): State<Shared>,
    Read(body): Read<PauseSchedule>,
) -> Result<Answer<ScheduleView>, Refused> {
    let id = schedule_id(body.namespace, &body.name);
    app.engine.pause_schedule(id.clone(), body.reason.unwrap_or_default()).await?;
    shown(&app, id).await
}

/// `POST /v1/schedules/resume`
pub(crate) async fn resume(
    State(app): State<Shared>,
    Read(body): Read<OneSchedule>,
) -> Result<Answer<ScheduleView>, Refused> {
    let id = schedule_id(body.namespace, &body.name);
    app.engine.resume_schedule(id.clone()).await?;
    shown(&app, id).await
}

/// A schedule in full, with where its last runs stand.
async fn shown(app: &App, id: ScheduleId) -> Result<Answer<ScheduleView>, Refused> {
    let schedule = app.engine.schedule(id).await?;
    let mut view = ScheduleView::new(&schedule, SHOWN, true);
    for fired in &mut view.recent {
        // One that was deleted has no state any more.
        fired.state = app.engine.run(fired.run_id).await.ok().map(|run| run.summary.state);
    }
    Ok(Answer(view))
}

/// `POST /v1/schedules/trigger`
pub(crate) async fn trigger(
    State(app): State<Shared>,
    Read(body): Read<TriggerSchedule>,
) -> Result<Response, Refused> {
    if body.request_id.as_ref().is_some_and(|request| request.is_empty() || request.len() > 255) {
        return Err(Refused::invalid("request_id has 1 to 255 bytes"));
    }
    let id = schedule_id(body.namespace, &body.name);
    let started = app.engine.trigger_schedule(id, body.request_id).await?;
    let view = app.engine.run(started.run).await?;
    Ok(crate::start::answer(&started, view, false, false))
}

/// `POST /v1/schedules/backfill`
pub(crate) async fn backfill(
    State(app): State<Shared>,
    Read(body): Read<BackfillSchedule>,
) -> Result<Answer<Backfilled>, Refused> {
    let from = read_date("from", &body.from)?;
    let to = body.to.as_deref().map(|text| read_date("to", text)).transpose()?.unwrap_or_else(now);
    let id = schedule_id(body.namespace, &body.name);
    let times = app.engine.backfill(id, from, to, body.dry_run).await?;
    let item = |found: riverrun_engine::Backfilled| BackfilledTime {
        planned_at: time(found.planned),
        run_id: found.run,
        created: found.created,
    };
    Ok(Answer(Backfilled { items: times.into_iter().map(item).collect() }))
}

/// `GET /v1/schedules/next`
pub(crate) async fn next(Params(query): Params<NextQuery>) -> Result<Answer<NextTimes>, Refused> {
    let after = query.after.as_deref().map(|text| read_date("after", text)).transpose()?.unwrap_or_else(now);
    let zone = query.zone.unwrap_or_default();
    let when = When::parse(&query.when, &zone, after)
        .map_err(|error| Refused::new(Code::InvalidSchedule, error.to_string()))?;
    let count = query.count.unwrap_or(SHOWN);
    if count > MAX_PAGE {
        return Err(Refused::new(Code::OverLimit, format!("count is {count}, and max_page {MAX_PAGE}"))
            .with("limit", "max_page"));
    }
    let next = when.upcoming(after, count).into_iter().map(|at| planned_time(&when, at)).collect();
    Ok(Answer(NextTimes { zone: when.zone_name().to_owned(), next }))
}

fn schedule_id(space: Option<String>, name: &str) -> ScheduleId {
    ScheduleId { namespace: namespace(space).into(), name: name.into() }
}
