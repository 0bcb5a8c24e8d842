//! Starting runs: `POST /v1/runs` and `POST /v1/calls`.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use riverrun_engine::{BatchError, EngineError, Shown, Start, StartKey, Started};
use riverrun_kernel::compose::{self, ChainInput, GroupInput};
use riverrun_kernel::{
    DefinitionKind, DefinitionRef, Fingerprint, Json, KeyOptions, Next, OnFailure, OnInput, OnSuccess,
    RunOptions, RunSummary, RunView, StartKind, State, TaskOptions, Ttl, Wall,
};
use riverrun_plan::nearest;
use riverrun_wire::http::{self as wire, Code, Run};

use crate::app::{App, Shared, namespace};
use crate::extract::Payload;
use crate::options::{kind_of, read_next, read_options};
use crate::problem::Refused;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /v1/runs`
pub(crate) async fn start(
    extract::State(app): extract::State<Shared>,
    headers: HeaderMap,
    Payload(body): Payload<wire::Start>,
) -> Result<Response, Refused> {
    let wait = app.wait_limit(body.wait)?;
    let start = read_start(&app, &headers, body)?;
    Ok(show(begin(&app, start, wait).await?, wait.is_some()))
}

/// `POST /v1/runs/batch`
pub(crate) async fn batch(
    extract::State(app): extract::State<Shared>,
    Payload(body): Payload<wire::Batch>,
) -> Result<Answer<wire::Batched>, Refused> {
    check_batch(&app, body.runs.len())?;
    let mut starts = Vec::with_capacity(body.runs.len());
    let none = HeaderMap::new();
    for (at, mut start) in body.runs.into_iter().enumerate() {
        if start.wait.is_some() {
            return Err(Refused::invalid(format!(
                "runs[{at}]: wait has no meaning in a batch: ask for the runs"
            )));
        }
        start.namespace = start.namespace.or_else(|| body.namespace.clone());
        starts.push(read_start(&app, &none, start).map_err(|refused| refused.of_item("runs", at))?);
    }
    let answers = app.engine.start_many(starts).await.map_err(|BatchError { at, error }| {
        let refused = Refused::from(error);
        if let Some(at) = at { refused.of_item("runs", at) } else { refused }
    })?;
    Ok(Answer(wire::Batched { items: answers.into_iter().map(batch_item).collect() }))
}

fn check_batch(app: &App, count: usize) -> Result<(), Refused> {
    let limit = app.config.limits.max_batch;
    if count <= limit {
        return Ok(());
    }
    let text =
        format!("{count} runs at once, and the limit max_batch is {limit}: send them in several requests");
    Err(Refused::new(Code::OverLimit, text).with("limit", "max_batch"))
}

/// `POST /v1/groups`
pub(crate) async fn group(
    extract::State(app): extract::State<Shared>,
    Payload(mut body): Payload<wire::Compose>,
) -> Result<Response, Refused> {
    let namespace = namespace(body.namespace.take());
    let parts = read_parts(&app, &namespace, &body.runs)?;
    let then = body.then.as_deref().map(|then| read_next(&app, &namespace, then)).transpose()?;
    let input = GroupInput { parts, then, allow_failures: body.allow_failures };
    compose(&app, namespace, compose::GROUP, encode(&input)?, body).await
}

/// `POST /v1/chains`
pub(crate) async fn chain(
    extract::State(app): extract::State<Shared>,
    Payload(mut body): Payload<wire::Compose>,
) -> Result<Response, Refused> {
    if body.then.is_some() || body.allow_failures {
        return Err(Refused::invalid("then and allow_failures are options of groups: in a chain, add a run"));
    }
    let namespace = namespace(body.namespace.take());
    let input = ChainInput { parts: read_parts(&app, &namespace, &body.runs)? };
    compose(&app, namespace, compose::CHAIN, encode(&input)?, body).await
}

fn read_parts(app: &App, namespace: &str, runs: &[wire::Start]) -> Result<Vec<Next>, Refused> {
    check_batch(app, runs.len())?;
    let part = |(at, start)| read_next(app, namespace, start).map_err(|refused| refused.of_item("runs", at));
    runs.iter().enumerate().map(part).collect()
}

fn encode(input: &impl serde::Serialize) -> Result<Json, Refused> {
    serde_json::to_string(input)
        .map(Json::trusted)
        .map_err(|error| Refused::invalid(format!("an input is not JSON: {error}")))
}

async fn compose(
    app: &App,
    namespace: String,
    what: &str,
    input: Json,
    body: wire::Compose,
) -> Result<Response, Refused> {
    let wait = app.wait_limit(body.wait)?;
    let start = Start {
        namespace,
        definition: what.to_owned(),
        kind: Some(DefinitionKind::Builtin),
        version: None,
        input,
        run: body.run_id,
        key: None,
        options: RunOptions { labels: body.labels, ..RunOptions::default() },
    };
    Ok(show(begin(app, start, wait).await?, wait.is_some()))
}

fn batch_item(answer: Result<Started, EngineError>) -> wire::BatchItem {
    match answer {
        Ok(Started { run, kind, .. }) => {
            wire::BatchItem { run_id: Some(run), existing: kind != StartKind::Created, error: None }
        }
        Err(error) => {
            let refused = Refused::from(error);
            let problem = refused.problem();
            let error =
                wire::BatchError { code: problem.code.as_str().to_owned(), message: problem.detail.clone() };
            wire::BatchItem { error: Some(error), ..wire::BatchItem::default() }
        }
    }
}

/// `POST /v1/calls`
pub(crate) async fn call(
    extract::State(app): extract::State<Shared>,
    Payload(body): Payload<wire::Call>,
) -> Result<Response, Refused> {
    let wait = app.wait_limit(body.wait)?.unwrap_or(app.config.limits.max_wait);
    let namespace = namespace(body.namespace);
    require_task(&app, &namespace, &body.task).await?;
    let start = Start {
        namespace,
        definition: body.task,
        kind: Some(DefinitionKind::Task),
        version: None,
        input: body.params.unwrap_or_else(Json::empty_object),
        run: None,
        key: None,
        options: RunOptions { task: Some(TaskOptions::default()), ..RunOptions::default() },
    };
    Ok(show(begin(&app, start, Some(wait)).await?, true))
}

/// A run that was started or found.
pub(crate) struct Begun {
    /// How.
    pub started: Started,
    /// The run, as far as can be told.
    pub view: RunView,
    /// It was started and cannot be looked at now.
    unseen: bool,
    /// The start asked to join what is in flight.
    unique: bool,
}

/// Starts a run and looks at it, for all who start runs. Once the start is durable its answer is no refusal any more, whatever becomes
/// of the look at the run: a client would take a refusal for leave to start another.
pub(crate) async fn begin(app: &App, start: Start, wait: Option<Duration>) -> Result<Begun, EngineError> {
    let asked = start.clone();
    let Shown { started, view, watch } = app.engine.start_and_show(start).await?;
    let view = match (view, wait) {
        (Ok(view), Some(limit)) => app.wait_on(view, watch, limit).await,
        (view, _) => view,
    };
    match view {
        Ok(view) => {
            app.read_once.seen(&view);
            Ok(Begun { started, view, unseen: false, unique: asked.key.as_ref().is_some_and(is_unique) })
        }
        // What was there before is found again by the same start.
        Err(error) if matches!(started.kind, StartKind::Reused | StartKind::Attached) => Err(error),
        Err(error) => {
            tracing::warn!(run = %started.run, %error, "a run was started and cannot be shown now");
            let view = unseen(&started, asked);
            Ok(Begun { started, view, unseen: true, unique: false })
        }
    }
}

fn show(begun: Begun, waited: bool) -> Response {
    let mut response = answer(&begun.started, begun.view, begun.unique, waited && !begun.unseen);
    if begun.unseen {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    response
}

/// A run that was just started, as far as its start tells.
fn unseen(started: &Started, asked: Start) -> RunView {
    let definition = DefinitionRef {
        namespace: asked.namespace.into(),
        kind: asked.kind.unwrap_or(DefinitionKind::Flow),
        name: asked.definition.into(),
        version: asked.version.unwrap_or_default().into(),
    };
    let summary = RunSummary {
        id: started.run,
        definition,
        state: State::Queued,
        waiting: None,
        created: Wall(started.run.wall_ms() as i64),
        started: None,
        ended: None,
        labels: asked.options.labels,
        key: None,
        parent: None,
        error: None,
        origin: None,
        queue: None,
        expires: None,
        read_once: false,
        attempts: 0,
    };
    RunView {
        summary,
        input: asked.input,
        outcome: None,
        status: None,
        callback_url: None,
        steps: Vec::new(),
        entries: 0,
    }
}

/// A caller waits for the answer, so a slip in the name must not wait for a worker that never comes.
async fn require_task(app: &App, namespace: &str, task: &str) -> Result<(), Refused> {
    let workers = app.engine.workers().await?;
    let known = workers
        .iter()
        .filter(|worker| &*worker.spec.namespace == namespace)
        .flat_map(|worker| worker.spec.functions.iter().map(String::as_str));
    if known.clone().any(|name| name == task) {
        return Ok(());
    }
    let hint = nearest(task, known).map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
    Err(Refused::new(
        Code::UnknownTask,
        format!(
            "no connected worker has a task `{task}`.{hint} Start a worker that has it, or queue the task for later with POST /v1/runs and \
             \"kind\": \"task\""
        ),
    ))
}

/// `200` carries a result, `201` a new run, `202` a run that was there and has not ended.
pub(crate) fn answer(started: &Started, view: RunView, unique: bool, waited: bool) -> Response {
    let closed = view.summary.state.is_closed();
    let status = match started.kind {
        StartKind::Reused => StatusCode::OK,
        _ if waited && closed => StatusCode::OK,
        StartKind::Created => StatusCode::CREATED,
        StartKind::Attached | StartKind::Resumed => StatusCode::ACCEPTED,
    };
    let mut run = Run::from(view);
    run.reused = started.kind == StartKind::Reused;
    run.attached = started.kind == StartKind::Attached;
    run.duplicate = unique && run.attached;
    run.item.generation = started.generation;
    let mut response = (status, Answer(run)).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/runs/{}", started.run)) {
        headers.insert(LOCATION, location);
    }
    if started.kind == StartKind::Reused {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Checks a start and brings it into the engine's form.
pub(crate) fn read_start(app: &App, headers: &HeaderMap, body: wire::Start) -> Result<Start, Refused> {
    if body.definition.is_empty() {
        return Err(Refused::invalid(
            "definition is missing: name what to run (GET /v1/definitions lists it)",
        ));
    }
    let namespace = namespace(body.namespace.clone());
    let key = match read_unique(&body)? {
        Some(unique) if body.continue_id.as_deref().is_none_or(str::is_empty) => Some(unique),
        Some(_) => {
            return Err(Refused::invalid(
                "unique and continue_id exclude each other: both say which starts are the same",
            ));
        }
        None => read_key(headers, &body)?,
    };
    if key.is_some() && body.run_id.is_some() {
        return Err(Refused::invalid(
            "run_id and continue_id exclude each other: both say which run this is",
        ));
    }
    let kind = kind_of(app, &namespace, &body);
    if kind == DefinitionKind::Builtin {
        return Err(Refused::invalid(
            "groups and chains are started with POST /v1/groups and POST /v1/chains",
        ));
    }
    if body.into.is_some() {
        return Err(Refused::invalid(
            "into has a meaning only in `then` and in a chain: here no run comes before",
        ));
    }
    let options = read_options(app, &namespace, &body, kind)?;
    Ok(Start {
        namespace,
        definition: body.definition,
        kind: body.kind,
        version: body.version,
        input: body.input.unwrap_or_else(Json::empty_object),
        run: body.run_id,
        key,
        options,
    })
}

/// What the keys of `unique` starts begin with, so that they meet no `continue_id` by chance.
const UNIQUE: &str = "unique/";

fn is_unique(key: &StartKey) -> bool {
    key.continue_id.starts_with(UNIQUE)
}

/// The key of a start that is unique: it holds while a run is in flight, and joins it.
fn read_unique(body: &wire::Start) -> Result<Option<StartKey>, Refused> {
    let given = body.unique_key.as_deref().filter(|key| !key.is_empty());
    let name = match given {
        Some(key) if key.len() > 240 => {
            return Err(Refused::invalid(format!(
                "unique_key has {} bytes; it may have 1 to 240",
                key.len()
            )));
        }
        Some(key) => format!("{UNIQUE}{key}"),
        None if body.unique => {
            let input = body.input.as_ref().map_or("{}", Json::get);
            let fingerprint = Fingerprint::of(input)
                .map_err(|error| Refused::invalid(format!("the input has no canonical form: {error}")))?;
            format!("{UNIQUE}#{fingerprint}")
        }
        None => return Ok(None),
    };
    Ok(Some(while_in_flight(name)))
}

/// A key that holds while a run is in flight, and joins it: for all starts that are unique.
pub(crate) fn while_in_flight(continue_id: String) -> StartKey {
    StartKey {
        on_success: OnSuccess::Rerun,
        on_failure: Some(OnFailure::Rerun),
        on_input: OnInput::Ignore,
        allow_new_input: true,
        rerun_purged: true,
        ttl: Ttl::Ms(0),
        max_generations: u32::MAX,
        ..StartKey::new(continue_id)
    }
}

fn read_key(headers: &HeaderMap, body: &wire::Start) -> Result<Option<StartKey>, Refused> {
    let from_header = header_key(headers)?;
    let from_body = body.continue_id.as_deref().filter(|key| !key.is_empty());
    let continue_id = match (from_header, from_body) {
        (Some(header), Some(body)) if header != body => {
            return Err(Refused::invalid(format!(
                "the Idempotency-Key header says `{header}` and continue_id `{body}`: they are the same key, send one of them"
            )));
        }
        (None, None) => return Ok(None),
        (header, body) => header.or(body).unwrap_or_default(),
    };
    if continue_id.len() > 255 {
        return Err(Refused::new(
            Code::OverLimit,
            format!(
                "continue_id has {} bytes, and the limit max_continue_id is 255: use a digest of what you have",
                continue_id.len()
            ),
        )
        .with("limit", "max_continue_id"));
    }
    let by_header = from_header.map(|_| OnFailure::Return);
    Ok(Some(StartKey {
        continue_id: continue_id.to_owned(),
        scope_version: body.scope_version,
        fingerprint_paths: body.fingerprint_paths.clone(),
        on_success: body.on_success.unwrap_or_default(),
        on_failure: body.on_failure.or(by_header),
        on_running: body.on_running.unwrap_or_default(),
        on_input: body.on_input.unwrap_or_default(),
        allow_new_input: body.allow_new_input,
        rerun_purged: body.rerun_purged,
        force: body.force,
        ttl: body.ttl.map_or(Ttl::DEFAULT, wire::KeyTtl::to_kernel),
        max_generations: body.max_generations.unwrap_or(KeyOptions::MAX_GENERATIONS),
    }))
}

/// The key of the header. The quotes of its draft standard are not part of it; most clients send none.
fn header_key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Refused::invalid("the Idempotency-Key header stands twice: send it once"));
    }
    let Some(value) = first else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Refused::invalid("the Idempotency-Key header is not UTF-8"))?
        .trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Reads a date.
pub(crate) fn read_date(name: &str, text: &str) -> Result<Wall, Refused> {
    text.parse::<jiff::Timestamp>().map(|stamp| Wall(stamp.as_millisecond())).map_err(|_| {
        Refused::invalid(format!(
            "{name} is `{text}`: expected a date with a time zone, such as 2026-11-21T09:30:00Z (RFC 3339)"
        ))
    })
}
