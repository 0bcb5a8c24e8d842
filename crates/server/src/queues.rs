//! Queues: shown, paused, drained, emptied, limited; and dead letters.

use std::collections::HashSet;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use riverrun_engine::EngineError;
use riverrun_kernel::{
    DefinitionKind, LimiterChange, LimiterId, LimiterKind, QueueView, Refusal, RunId, RunSummary,
    State as RunState, Wall, WorkerView,
};
use riverrun_store::{Cursor, RunFilter};
use riverrun_wire::http::{
    Changed, Code, DeadQuery, LimitBody, QueueBody, QueueItem, QueueQuery, QueuedFunction, Queues, RunItem,
    Runs, time,
};

use crate::app::{App, Shared, namespace};
use crate::extract::{Params, Payload};
use crate::options::{no_start_at_all, read_rate};
use crate::paging::{MAX_PAGE, page_size, parse_run_cursor, run_cursor};
use crate::problem::Refused;

/// Dead letters retried or deleted, or runs of a queue cancelled, by one request.
const MAX_CHANGED: usize = 10_000;
/// How often a draining queue is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// `GET /v1/queues`
pub(crate) async fn list(
    State(app): State<Shared>,
    Params(query): Params<QueueQuery>,
) -> Result<Answer<Queues>, Refused> {
    let workers = app.engine.workers().await?;
    let mut queues = app.engine.queues().await?;
    queues.retain(|queue| query.namespace.as_deref().is_none_or(|asked| *queue.namespace == *asked));
    if let Some(asked) = query.queue.filter(|name| !name.is_empty()) {
        queues.retain(|queue| *queue.queue == *asked);
        if queues.is_empty() {
            queues.push(QueueView::idle(namespace(query.namespace), asked));
        }
    }
    Ok(Answer(Queues { items: queues.into_iter().map(|queue| item(queue, &workers)).collect() }))
}

/// `POST /v1/queues/pause`
pub(crate) async fn pause(
    State(app): State<Shared>,
    Payload(body): Payload<QueueBody>,
) -> Result<Answer<QueueItem>, Refused> {
    set_paused(&app, &body, true).await
}

/// `POST /v1/queues/resume`
pub(crate) async fn resume(
    State(app): State<Shared>,
    Payload(body): Payload<QueueBody>,
) -> Result<Answer<QueueItem>, Refused> {
    set_paused(&app, &body, false).await
}

/// `POST /v1/queues/drain`
pub(crate) async fn drain(
    State(app): State<Shared>,
    Payload(body): Payload<QueueBody>,
) -> Result<Answer<QueueItem>, Refused> {
    let wait = app.wait_limit(body.wait)?.unwrap_or_default();
    let deadline = tokio::time::Instant::now() + wait;
    let mut answer = set_paused(&app, &body, true).await?;
    while answer.0.running > 0 && tokio::time::Instant::now() < deadline {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.stopping.cancelled() => break,
        }
        answer = one(&app, &body).await?;
    }
    Ok(answer)
}

/// `POST /v1/queues/empty`
pub(crate) async fn empty(
    State(app): State<Shared>,
    Payload(body): Payload<QueueBody>,
) -> Result<Answer<Changed>, Refused> {
    let name = queue_name(&body)?;
    let namespace = namespace(body.namespace.clone());
    let (changed, more) = app.engine.empty_queue(&namespace, name, MAX_CHANGED).await?;
    Ok(Answer(Changed { changed, more }))
}

/// `POST /v1/queues/limit`
pub(crate) async fn limit(
    State(app): State<Shared>,
    Payload(body): Payload<LimitBody>,
) -> Result<Answer<Changed>, Refused> {
    let (kind, name) = match (body.queue, body.concurrency_key) {
        (Some(queue), None) => (LimiterKind::Queue, queue),
        (None, Some(key)) => (LimiterKind::Key, key),
        _ => return Err(Refused::invalid("name a queue or a concurrency_key, one of them")),
    };
    if body.max_running == Some(Some(0)) {
        return Err(no_start_at_all());
    }
    let rate = match body.rate {
        Some(Some(text)) => Some(Some(read_rate(&text)?)),
        Some(None) => Some(None),
        None => None,
    };
    let limiter = LimiterId { namespace: namespace(body.namespace).into(), kind, name: name.into() };
    let change = LimiterChange { paused: None, max_running: body.max_running, rate };
    app.engine.change_limit(limiter, change).await?;
    Ok(Answer(Changed { changed: 1, more: false }))
}

async fn set_paused(app: &App, body: &QueueBody, paused: bool) -> Result<Answer<QueueItem>, Refused> {
    let limiter = LimiterId {
        namespace: namespace(body.namespace.clone()).into(),
        kind: LimiterKind::Queue,
        name: queue_name(body)?.into(),
    };
    let change = LimiterChange { paused: Some(paused), ..LimiterChange::default() };
    app.engine.change_limit(limiter, change).await?;
    one(app, body).await
}

async fn one(app: &App, body: &QueueBody) -> Result<Answer<QueueItem>, Refused> {
    let (namespace, name) = (namespace(body.namespace.clone()), queue_name(body)?);
    let workers = app.engine.workers().await?;
    let queues = app.engine.queues().await?;
    let same = |queue: &QueueView| *queue.namespace == *namespace && *queue.queue == *name;
    let found = queues.into_iter().find(same).unwrap_or_else(|| QueueView::idle(namespace.as_str(), name));
    Ok(Answer(item(found, &workers)))
}

fn queue_name(body: &QueueBody) -> Result<&str, Refused> {
    if body.queue.is_empty() {
        return Err(Refused::invalid("queue is empty: name it (GET /v1/queues lists them)"));
    }
    Ok(&body.queue)
}

fn item(queue: QueueView, workers: &[WorkerView]) -> QueueItem {
    let serving = |function: Option<&str>| {
        workers.iter().filter(|worker| takes(worker, &queue.namespace, &queue.queue, function)).count()
    };
    let functions: Vec<QueuedFunction> = queue
        .functions
        .iter()
        .map(|(function, waiting)| {
            let workers = serving(Some(function));
            QueuedFunction {
                function: function.to_string(),
                waiting: *waiting,
                workers,
                unserved: workers == 0,
            }
        })
        .collect();
    QueueItem {
        namespace: queue.namespace.to_string(),
        queue: queue.queue.to_string(),
        paused: queue.settings.paused,
        waiting: queue.waiting,
        oldest_at: queue.oldest.map(|ms| time(Wall(i64::try_from(ms).unwrap_or(i64::MAX)))),
        running: queue.running,
        started: queue.started,
        ended: queue.ended,
        failed: queue.failed,
        last_minute: queue.last_minute,
        max_running: queue.settings.max_running,
        rate: queue.settings.rate.map(|rate| rate.to_string()),
        workers: serving(None),
        unserved: functions.iter().any(|function| function.unserved),
        functions,
    }
}

pub(crate) fn takes(worker: &WorkerView, namespace: &str, queue: &str, function: Option<&str>) -> bool {
    let spec = &worker.spec;
    !worker.draining
        && match function {
            Some(function) => spec.serves(namespace, queue, function),
            None => *spec.namespace == *namespace && (spec.queues.is_empty() || spec.queues.contains(queue)),
        }
}

// ---- dead letters

/// `GET /v1/dead`
pub(crate) async fn dead(
    State(app): State<Shared>,
    Params(query): Params<DeadQuery>,
) -> Result<Answer<Runs>, Refused> {
    let limit = page_size(query.limit)?;
    let (items, next) = find_dead(&app, &query, limit).await?;
    Ok(Answer(Runs { items: items.iter().map(RunItem::from).collect(), next_cursor: next.map(run_cursor) }))
}

/// `POST /v1/dead/retry`
pub(crate) async fn retry_dead(
    State(app): State<Shared>,
    Payload(query): Payload<DeadQuery>,
) -> Result<Answer<Changed>, Refused> {
    if let Some(run) = query.run {
        let dead = app.engine.run(run).await?.summary;
        let resumed = match to_resume(&app, &dead).await? {
            Again::Resume(run) => run,
            Again::Awaited(by) => {
                let text = format!(
                    "{run} is part of {by}, which has not ended: resume {by} when it has failed, and {run} goes on with it"
                );
                return Err(Refused::new(Code::WrongState, text));
            }
        };
        app.engine.resume(resumed).await?;
        return Ok(Answer(Changed { changed: 1, more: false }));
    }
    change_dead(&app, query, Change::Retry(HashSet::new())).await
}

/// What goes on when a dead letter is tried again.
enum Again {
    /// This run: the dead letter itself, or the one that failed with it.
    Resume(RunId),
    /// Nothing now: this run was waiting for it and has not ended.
    Awaited(RunId),
}

/// A part of a group goes on with the group. Resumed by itself it would succeed, and nobody would hear of it.
async fn to_resume(app: &App, dead: &RunSummary) -> Result<Again, EngineError> {
    let (mut run, mut parent) = (dead.id, dead.parent);
    while let Some(above) = parent.filter(|parent| parent.waits) {
        let view = match app.engine.run(above.run).await {
            Ok(view) => view,
            // Nobody waits for it any more.
            Err(EngineError::Refused(Refusal::UnknownRun(_))) => break,
            Err(error) => return Err(error),
        };
        match view.summary.state {
            RunState::Failed | RunState::TimedOut => (run, parent) = (above.run, view.summary.parent),
            state if state.is_closed() => break,
            _ => return Ok(Again::Awaited(above.run)),
        }
    }
    Ok(Again::Resume(run))
}

/// What is done to dead letters.
enum Change {
    /// They are tried again. The runs are those that this request has resumed, with everything that had failed in them.
    Retry(HashSet<RunId>),
    Delete,
}

impl Change {
    /// Does it to one of many, and says whether it did.
    async fn take(&mut self, app: &App, dead: &RunSummary) -> bool {
        match self {
            Change::Retry(resumed) => match to_resume(app, dead).await {
                Ok(Again::Resume(run)) => {
                    let goes_on = app.engine.resume(run).await.is_ok();
                    if goes_on {
                        resumed.insert(run);
                    }
                    goes_on
                }
                Ok(Again::Awaited(by)) => resumed.contains(&by),
                Err(_) => false,
            },
            Change::Delete => {
                let deleted = app.engine.delete(dead.id).await.is_ok();
                app.logs.forget(dead.id);
                deleted
            }
        }
    }
}

/// `POST /v1/dead/delete`
pub(crate) async fn delete_dead(
    State(app): State<Shared>,
    Payload(query): Payload<DeadQuery>,
) -> Result<Answer<Changed>, Refused> {
    if let Some(run) = query.run {
        app.engine.delete(run).await?;
        app.logs.forget(run);
        return Ok(Answer(Changed { changed: 1, more: false }));
    }
    change_dead(&app, query, Change::Delete).await
}

/// Does something to every dead letter that is asked for, page by page.
async fn change_dead(app: &App, query: DeadQuery, mut change: Change) -> Result<Answer<Changed>, Refused> {
    let most = query.limit.unwrap_or(MAX_CHANGED).min(MAX_CHANGED);
    let mut query = query;
    let mut changed = 0;
    while changed < most {
        let (found, next) = find_dead(app, &query, (most - changed).min(MAX_PAGE)).await?;
        for run in found {
            changed += usize::from(change.take(app, &run).await);
        }
        query.cursor = next.map(run_cursor);
        if query.cursor.is_none() {
            return Ok(Answer(Changed { changed, more: false }));
        }
    }
    Ok(Answer(Changed { changed, more: true }))
}

/// Tasks that failed for good, newest first, and where to go on.
async fn find_dead(
    app: &App,
    query: &DeadQuery,
    limit: usize,
) -> Result<(Vec<RunSummary>, Option<Cursor>), Refused> {
    let filter = RunFilter {
        namespace: namespace(query.namespace.clone()),
        definition: query.definition.clone(),
        kind: Some(DefinitionKind::Task),
        states: vec![RunState::Failed, RunState::TimedOut],
        ..RunFilter::default()
    };
    let wanted = |run: &RunSummary| {
        query.run.is_none_or(|asked| run.id == asked)
            && query.queue.as_deref().is_none_or(|asked| run.queue.as_deref() == Some(asked))
            && query.error.as_deref().is_none_or(|asked| run.error.as_deref() == Some(asked))
    };
    let mut after = query.cursor.as_deref().map(parse_run_cursor).transpose()?;
    let mut found = Vec::new();
    loop {
        let page = app.engine.list(filter.clone(), after, MAX_PAGE).await?;
        for run in page.items {
            after = Some(Cursor { created: run.created, id: run.id });
            if wanted(&run) {
                found.push(run);
                if found.len() == limit {
                    return Ok((found, after));
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((found, None)),
        }
    }
}
