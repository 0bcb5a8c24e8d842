//! Runs: showing, listing, counting, steering.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use riverrun_kernel::{Json, RunId, State as RunState};
use riverrun_plan::nearest;
use riverrun_store::RunFilter;
use riverrun_wire::http::{
    CancelBody, CountAnswer, DeleteQuery, LabelsBody, ListQuery, Run, RunItem, RunQuery, Runs, SignalBody,
    StateAnswer,
};

use crate::app::{Shared, namespace};
use crate::extract::{Params, Payload, RunPath};
use crate::paging::{page_size, parse_run_cursor, run_cursor};
use crate::problem::Refused;
use crate::start::read_date;

/// Counting stops here: the limit `max_count`.
const MAX_COUNT: u64 = 10_000;

/// `GET /v1/runs/{run}`
pub(crate) async fn show(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Params(query): Params<RunQuery>,
) -> Result<Answer<Run>, Refused> {
    let view = match app.wait_limit(query.wait)? {
        Some(limit) => app.wait(run, limit).await?,
        None => app.engine.run(run).await?,
    };
    app.read_once.seen(&view);
    Ok(Answer(view.into()))
}

/// `GET /v1/runs`
pub(crate) async fn list(
    State(app): State<Shared>,
    Params(query): Params<ListQuery>,
) -> Result<Answer<Runs>, Refused> {
    let limit = page_size(query.limit)?;
    let cursor = query.cursor.as_deref().map(parse_run_cursor).transpose()?;
    let page = app.engine.list(filter(query)?, cursor, limit).await?;
    Ok(Answer(Runs {
        items: page.items.iter().map(RunItem::from).collect(),
        next_cursor: page.next.map(run_cursor),
    }))
}

/// `GET /v1/runs/count`
pub(crate) async fn count(
    State(app): State<Shared>,
    Params(query): Params<ListQuery>,
) -> Result<Answer<CountAnswer>, Refused> {
    let count = app.engine.count(filter(query)?, MAX_COUNT).await?;
    Ok(Answer(CountAnswer { count: count.count, capped: count.capped }))
}

/// `POST /v1/runs/{run}/cancel`
pub(crate) async fn cancel(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Payload(body): Payload<CancelBody>,
) -> Result<Answer<StateAnswer>, Refused> {
    Ok(state(run, app.engine.cancel(run, body.reason).await?))
}

/// `POST /v1/runs/{run}/pause`
pub(crate) async fn pause(
    State(app): State<Shared>,
    RunPath(run): RunPath,
) -> Result<Answer<StateAnswer>, Refused> {
    Ok(state(run, app.engine.pause(run).await?))
}

/// `POST /v1/runs/{run}/resume`
pub(crate) async fn resume(
    State(app): State<Shared>,
    RunPath(run): RunPath,
) -> Result<Answer<StateAnswer>, Refused> {
    Ok(state(run, app.engine.resume(run).await?))
}

/// `POST /v1/runs/{run}/signal`
pub(crate) async fn signal(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Payload(body): Payload<SignalBody>,
) -> Result<StatusCode, Refused> {
    if body.name.is_empty() {
        return Err(Refused::invalid("name is empty: name the signal that the run waits for"));
    }
    let payload = body.payload.unwrap_or_else(Json::null);
    app.engine.signal(run, body.name, payload, body.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /v1/runs/{run}/labels`
pub(crate) async fn labels(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Payload(body): Payload<LabelsBody>,
) -> Result<StatusCode, Refused> {
    app.engine.set_labels(run, body.labels).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/runs/{run}`
pub(crate) async fn delete(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Params(query): Params<DeleteQuery>,
) -> Result<StatusCode, Refused> {
    if query.cancel {
        app.engine.cancel(run, "to be deleted".to_owned()).await?;
        app.wait(run, app.config.limits.max_wait).await?;
    }
    app.engine.delete(run).await?;
    app.logs.forget(run);
    Ok(StatusCode::NO_CONTENT)
}

fn state(run_id: RunId, state: RunState) -> Answer<StateAnswer> {
    Answer(StateAnswer { run_id, state })
}

fn filter(query: ListQuery) -> Result<RunFilter, Refused> {
    let date = |name: &str, text: Option<String>| text.map(|text| read_date(name, &text)).transpose();
    Ok(RunFilter {
        namespace: namespace(query.namespace),
        definition: query.definition,
        kind: query.kind,
        states: query
            .state
            .iter()
            .flat_map(|states| states.split(','))
            .map(read_state)
            .collect::<Result<_, _>>()?,
        waiting: query.waiting,
        labels: query.label.iter().map(|label| read_label(label)).collect::<Result<_, _>>()?,
        continue_id: query.continue_id,
        parent: query.parent,
        created_from: date("created_from", query.created_from)?,
        created_before: date("created_before", query.created_before)?,
        ended_before: None,
        expires_before: None,
        attention: query.needs_attention,
    })
}

fn read_state(text: &str) -> Result<RunState, Refused> {
    let names = || RunState::ALL.iter().map(|state| state.as_str());
    if let Some(state) = RunState::ALL.iter().find(|state| state.as_str() == text.trim()) {
        return Ok(*state);
    }
    let hint = nearest(text, names()).map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
    let all: Vec<_> = names().collect();
    Err(Refused::invalid(format!("there is no state `{text}`.{hint} States are {}", all.join(", "))))
}

fn read_label(text: &str) -> Result<(String, String), Refused> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => {
            Err(Refused::invalid(format!("label is `{text}`: expected name=value, as in label=team=billing")))
        }
    }
}
