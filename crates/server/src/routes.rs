//! Every path, once: the table that both the router and the OpenAPI document are made from.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use riverrun_wire::http::{self as wire, Code};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::app::{App, Shared};
use crate::problem::Refused;
use crate::store;
use crate::{
    baichuan, callbacks, definitions, events, fnf, graph, guard, history, journal, keys, metrics, openapi,
    pages, queues, runs, schedules, socket, start, workers,
};

/// Makes a type's schema.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method of one path.
pub(crate) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    handler: MethodRouter<Shared>,
    /// Its query string's type.
    pub query: Option<SchemaOf>,
    /// Its body's type.
    pub body: Option<SchemaOf>,
    /// Request headers that it reads, each with what it means.
    pub headers: &'static [(&'static str, &'static str)],
    /// Its answers: status, meaning, media type, and type.
    pub answers: Vec<(u16, &'static str, &'static str, Option<SchemaOf>)>,
    /// Errors of its own, beside those that every path can answer.
    pub errors: &'static [Code],
}

const JSON: &str = "application/json";

impl Route {
    fn new<H, T>(
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        Route {
            method,
            path,
            summary,
            handler: on(filter, handler),
            query: None,
            body: None,
            headers: &[],
            answers: Vec::new(),
            errors: &[],
        }
    }

    fn get<H: Handler<T, Shared>, T: 'static>(path: &'static str, summary: &'static str, handler: H) -> Self {
        Route::new(Method::GET, MethodFilter::GET, path, summary, handler)
    }

    fn post<H: Handler<T, Shared>, T: 'static>(
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Route::new(Method::POST, MethodFilter::POST, path, summary, handler)
    }

    fn put<H: Handler<T, Shared>, T: 'static>(path: &'static str, summary: &'static str, handler: H) -> Self {
        Route::new(Method::PUT, MethodFilter::PUT, path, summary, handler)
    }

    fn delete<H: Handler<T, Shared>, T: 'static>(
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Route::new(Method::DELETE, MethodFilter::DELETE, path, summary, handler)
    }

    fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|generator| T::json_schema(generator));
        self
    }

    fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    fn answers<T: JsonSchema>(mut self, status: u16, meaning: &'static str) -> Self {
        self.answers.push((status, meaning, JSON, Some(SchemaGenerator::subschema_for::<T>)));
        self
    }

    fn answers_text(mut self, status: u16, meaning: &'static str, media: &'static str) -> Self {
        self.answers.push((status, meaning, media, None));
        self
    }

    fn done(mut self) -> Self {
        self.answers.push((204, "It took effect, or had before", "", None));
        self
    }

    fn errors(mut self, errors: &'static [Code]) -> Self {
        self.errors = errors;
        self
    }
}

/// The table.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = run_routes();
    routes.extend(steering_routes());
    routes.extend(schedule_routes());
    routes.extend(queue_routes());
    routes.extend(other_routes());
    routes
}

fn schedule_routes() -> Vec<Route> {
    use Code::{
        InvalidParams, InvalidSchedule, OverLimit, TooManySchedules, UnknownDefinition, UnknownSchedule,
        UnknownTask,
    };
    vec![
        Route::put(
            "/v1/schedules",
            "Write a schedule: create it, or replace the one of this name",
            schedules::put,
        )
        .body::<wire::PutSchedule>()
        .answers::<wire::ScheduleView>(200, "It was there before")
        .answers::<wire::ScheduleView>(201, "A new schedule")
        .errors(&[InvalidSchedule, TooManySchedules, UnknownDefinition, UnknownTask, InvalidParams]),
        Route::get("/v1/schedules", "List schedules, or show one by `name`", schedules::read)
            .query::<wire::ScheduleQuery>()
            .answers::<Either<wire::Schedules, wire::ScheduleView>>(
                200,
                "The list, or with `name` the schedule",
            )
            .errors(&[UnknownSchedule, OverLimit]),
        Route::delete("/v1/schedules", "Forget a schedule; its runs go on", schedules::delete)
            .query::<wire::OneSchedule>()
            .done()
            .errors(&[UnknownSchedule]),
        Route::get("/v1/schedules/next", "When a line would fire", schedules::next)
            .query::<wire::NextQuery>()
            .answers::<wire::NextTimes>(200, "The planned times")
            .errors(&[InvalidSchedule, OverLimit]),
        Route::post("/v1/schedules/pause", "Let nothing of a schedule fire", schedules::pause)
            .body::<wire::PauseSchedule>()
            .answers::<wire::ScheduleView>(200, "The schedule")
            .errors(&[UnknownSchedule]),
        Route::post("/v1/schedules/resume", "Let a schedule fire again", schedules::resume)
            .body::<wire::OneSchedule>()
            .answers::<wire::ScheduleView>(200, "The schedule")
            .errors(&[UnknownSchedule]),
        Route::post(
            "/v1/schedules/backfill",
            "Start runs for planned times of a while that have none",
            schedules::backfill,
        )
        .body::<wire::BackfillSchedule>()
        .answers::<wire::Backfilled>(200, "The planned times, and their runs")
        .errors(&[UnknownSchedule]),
        Route::post("/v1/schedules/trigger", "Start a run of a schedule now", schedules::trigger)
            .body::<wire::TriggerSchedule>()
            .answers::<wire::Run>(201, "A new run")
            .answers::<wire::Run>(202, "The run that the same `request_id` started before")
            .errors(&[UnknownSchedule, InvalidSchedule]),
    ]
}

fn run_routes() -> Vec<Route> {
    use Code::{
        InvalidParams, KeyMismatch, KeyPurged, KeyRejected, OverLimit, RunIdTaken, TooManyGenerations,
        UnknownDefinition, UnknownRun, UnknownTask,
    };
    vec![
        Route::post("/v1/runs", "Start a run, or find the one that its key or id stands for", start::start)
            .headers(&[(
                "Idempotency-Key",
                "The same as `continue_id`, with `on_failure: return` unless given",
            )])
            .body::<wire::Start>()
            .answers::<wire::Run>(
                200,
                "The result: stored (`reused`), or waited for with `wait`, also where the run failed",
            )
            .answers::<wire::Run>(201, "A new run")
            .answers::<wire::Run>(202, "A run that was in flight, or was reopened")
            .errors(&[
                UnknownDefinition,
                UnknownTask,
                InvalidParams,
                RunIdTaken,
                KeyRejected,
                TooManyGenerations,
                KeyPurged,
                KeyMismatch,
                OverLimit,
            ]),
        Route::post("/v1/runs/batch", "Start many runs in one commit", start::batch)
            .body::<wire::Batch>()
            .answers::<wire::Batched>(200, "One answer for each start, in their order")
            .errors(&[UnknownDefinition, UnknownTask, InvalidParams, OverLimit]),
        Route::post("/v1/groups", "Run many side by side, as one run with all their results", start::group)
            .body::<wire::Compose>()
            .answers::<wire::Run>(200, "The result, waited for with `wait`")
            .answers::<wire::Run>(201, "A new run")
            .errors(&[UnknownDefinition, UnknownTask, InvalidParams, RunIdTaken, OverLimit]),
        Route::post("/v1/chains", "Run one after another, each with the output of the one before", start::chain)
            .body::<wire::Compose>()
            .answers::<wire::Run>(200, "The result, waited for with `wait`")
            .answers::<wire::Run>(201, "A new run")
            .errors(&[UnknownDefinition, UnknownTask, InvalidParams, RunIdTaken, OverLimit]),
        Route::get("/v1/runs", "List runs, newest first", runs::list)
            .query::<wire::ListQuery>()
            .answers::<wire::Runs>(200, "A page")
            .errors(&[OverLimit]),
        Route::get("/v1/runs/count", "Count runs", runs::count)
            .query::<wire::CountQuery>()
            .answers::<wire::CountAnswer>(200, "How many"),
        Route::get("/v1/runs/{run}", "Show a run; with `wait`, when it has ended", runs::show)
            .query::<wire::RunQuery>()
            .answers::<wire::Run>(200, "The run")
            .errors(&[UnknownRun, OverLimit]),
        Route::get("/v1/runs/{run}/journal", "Read a run's journal", journal::journal)
            .query::<wire::JournalQuery>()
            .answers::<wire::JournalView>(200, "The entries")
            .errors(&[UnknownRun, OverLimit]),
        Route::get(
            "/v1/runs/{run}/events",
            "Follow a run's journal: an `entry` event for each entry, then `end`",
            events::events,
        )
        .query::<wire::JournalQuery>()
        .headers(&[("Last-Event-ID", "The id of the last event that came: go on behind it")])
        .answers_text(200, "The events", "text/event-stream")
        .errors(&[UnknownRun]),
        Route::get(
            "/v1/runs/{run}/graph",
            "Draw a flow's run: states, visits, durations and the ways it took; `format` is `svg`, `dot` or `mermaid`",
            graph::of_run,
        )
        .query::<wire::GraphQuery>()
        .answers_text(200, "The picture", "image/svg+xml")
        .errors(&[UnknownRun, UnknownDefinition]),
        Route::get(
            "/v1/runs/{run}/history",
            "Read a flow run's history, in the flow language's own events; with `wait`, when there is one",
            history::history,
        )
        .query::<wire::HistoryQuery>()
        .answers::<wire::HistoryView>(200, "The events")
        .errors(&[UnknownRun, UnknownDefinition, OverLimit]),
        Route::get(
            "/v1/runs/{run}/logs",
            "Read what a run's attempts printed; kept in memory within bounds, not durable",
            journal::logs,
        )
        .query::<wire::LogsQuery>()
        .answers::<wire::Logs>(200, "The output")
        .errors(&[UnknownRun]),
    ]
}

fn steering_routes() -> Vec<Route> {
    use Code::{
        InvalidCallback, InvalidParams, OverLimit, RunClosed, TooManySignals, UnknownRun, UnknownTask,
        WrongState,
    };
    vec![
        Route::post("/v1/runs/{run}/cancel", "Ask a run to stop", runs::cancel)
            .body::<wire::CancelBody>()
            .answers::<wire::StateAnswer>(200, "Its state now")
            .errors(&[UnknownRun]),
        Route::post("/v1/runs/{run}/pause", "Let a run begin nothing new", runs::pause)
            .answers::<wire::StateAnswer>(200, "Its state now")
            .errors(&[UnknownRun, WrongState, RunClosed]),
        Route::post("/v1/runs/{run}/resume", "Let a run go on, or reopen a failed one", runs::resume)
            .answers::<wire::StateAnswer>(200, "Its state now")
            .errors(&[UnknownRun, WrongState]),
        Route::post("/v1/runs/{run}/signal", "Send a run a message", runs::signal)
            .body::<wire::SignalBody>()
            .done()
            .errors(&[UnknownRun, RunClosed, TooManySignals]),
        Route::put("/v1/runs/{run}/labels", "Replace a run's labels", runs::labels)
            .body::<wire::LabelsBody>()
            .done()
            .errors(&[UnknownRun]),
        Route::delete("/v1/runs/{run}", "Remove a closed run and its journal", runs::delete)
            .query::<wire::DeleteQuery>()
            .done()
            .errors(&[UnknownRun, WrongState]),
        Route::post("/v1/callbacks/{token}", "Complete a step by its one-time token", callbacks::complete)
            .body::<wire::CallbackBody>()
            .done()
            .errors(&[InvalidCallback]),
        Route::post("/v1/calls", "Call a task like a function", start::call)
            .body::<wire::Call>()
            .answers::<wire::Run>(200, "Its result, also where it failed")
            .answers::<wire::Run>(201, "It has not ended yet: ask for the run")
            .errors(&[UnknownTask, InvalidParams, OverLimit]),
    ]
}

fn queue_routes() -> Vec<Route> {
    use Code::OverLimit;
    vec![
        Route::get(
            "/v1/queues",
            "List queues: what waits, what executes, what no worker takes",
            queues::list,
        )
        .query::<wire::QueueQuery>()
        .answers::<wire::Queues>(200, "The queues"),
        Route::post("/v1/queues/pause", "Let nothing of a queue begin", queues::pause)
            .body::<wire::QueueBody>()
            .answers::<wire::QueueItem>(200, "The queue now"),
        Route::post("/v1/queues/resume", "Let a paused queue go on", queues::resume)
            .body::<wire::QueueBody>()
            .answers::<wire::QueueItem>(200, "The queue now"),
        Route::post(
            "/v1/queues/drain",
            "Pause a queue; with `wait`, until nothing of it executes",
            queues::drain,
        )
        .body::<wire::QueueBody>()
        .answers::<wire::QueueItem>(200, "The queue now: drained where `running` is 0")
        .errors(&[OverLimit]),
        Route::post("/v1/queues/empty", "Cancel everything that waits in a queue", queues::empty)
            .body::<wire::QueueBody>()
            .answers::<wire::Changed>(200, "How many were cancelled"),
        Route::post("/v1/queues/limit", "Set or lift limits of a queue or a concurrency key", queues::limit)
            .body::<wire::LimitBody>()
            .answers::<wire::Changed>(200, "It took effect"),
        Route::get("/v1/dead", "List dead letters: tasks that failed for good, newest first", queues::dead)
            .query::<wire::DeadQuery>()
            .answers::<wire::Runs>(200, "A page")
            .errors(&[OverLimit]),
        Route::post("/v1/dead/retry", "Try dead letters again, with all their retries", queues::retry_dead)
            .body::<wire::DeadQuery>()
            .answers::<wire::Changed>(200, "How many go on"),
        Route::post("/v1/dead/delete", "Remove dead letters", queues::delete_dead)
            .body::<wire::DeadQuery>()
            .answers::<wire::Changed>(200, "How many were removed"),
    ]
}

fn other_routes() -> Vec<Route> {
    use Code::{
        DefinitionInUse, InvalidDefinition, KeyInFlight, NotFound, OverLimit, Stopping, Unavailable,
        UnknownDefinition, UnknownKey, UpgradeRequired,
    };
    vec![
        Route::post(
            "/v1/definitions",
            "Check and keep a flow; a YAML body (`text/yaml`) takes its name from the query",
            definitions::deploy,
        )
        .query::<wire::DeployQuery>()
        .body::<wire::Deploy>()
        .answers::<wire::Deployed>(200, "This version was there before")
        .answers::<wire::Deployed>(201, "A new version")
        .errors(&[InvalidDefinition]),
        Route::get("/v1/definitions", "List definitions, or read one by `name`", definitions::read)
            .query::<wire::DefinitionQuery>()
            .answers::<Either<wire::Definitions, wire::DefinitionView>>(
                200,
                "The list, or with `name` the definition",
            )
            .errors(&[UnknownDefinition]),
        Route::delete(
            "/v1/definitions",
            "Delete a flow, with its runs and keys; or forget a task that no worker has any more",
            definitions::delete,
        )
        .query::<wire::DeleteDefinitionQuery>()
        .done()
        .errors(&[UnknownDefinition, DefinitionInUse]),
        Route::get("/v1/definitions/graph", "Draw a flow", graph::of_definition)
            .query::<wire::DefinitionGraphQuery>()
            .answers_text(200, "The picture", "image/svg+xml")
            .errors(&[UnknownDefinition]),
        Route::get("/v1/keys", "List keys, or show one by `definition` and `continue_id`", keys::read)
            .query::<wire::KeyQuery>()
            .answers::<Either<wire::Keys, wire::KeyView>>(200, "The list, or with `continue_id` the key")
            .errors(&[UnknownKey, OverLimit]),
        Route::delete("/v1/keys", "Forget a key", keys::delete)
            .query::<wire::DeleteKeyQuery>()
            .done()
            .errors(&[UnknownKey, KeyInFlight]),
        Route::get("/v1/workers", "List connected workers", workers::workers)
            .answers::<wire::Workers>(200, "The workers"),
        Route::get(
            "/v1/worker",
            "Connect a worker: `Upgrade: riverrun-worker/1`, see docs/worker-protocol.md",
            socket::upgrade,
        )
        .answers_text(101, "The connection speaks the worker protocol from here", "")
        .errors(&[UpgradeRequired]),
        Route::post(
            "/baichuan/task_create",
            "Queue a task, as BaiChuan does: always 200, how it went is in `stat`",
            baichuan::create,
        )
        .body::<baichuan::Create>()
        .answers_text(
            200,
            "`OK` and the task's id, `ERR_BAD_PARAMS` or `ERR_SERVER_EXCEPTION`",
            JSON,
        ),
        Route::get(
            "/baichuan/task_get",
            "Look at a task, as BaiChuan does: always 200, how it stands is in `stat`",
            baichuan::get,
        )
        .query::<baichuan::Get>()
        .answers_text(
            200,
            "The task's `stat`, its `task_info`, and its `data` once it has finished",
            JSON,
        ),
        Route::post("/v1/store/checkpoint", "Bring the store's rows up to date", store::checkpoint)
            .done()
            .errors(&[Unavailable]),
        Route::post("/v1/store/backup", "Copy the store as it is now: `riverrun backup`", store::backup)
            .answers_text(
                200,
                "A line of JSON, which is the manifest or has an `error`, then the database",
                "application/vnd.riverrun.backup",
            ),
        Route::get("/healthz", "Whether the process is worth keeping", metrics::healthz)
            .answers_text(200, "It is", "text/plain")
            .errors(&[Unavailable]),
        Route::get("/readyz", "Whether the server takes work", metrics::readyz)
            .answers_text(200, "It does", "text/plain")
            .errors(&[Unavailable, Stopping]),
        Route::get("/metrics", "Counters and gauges for Prometheus", metrics::metrics).answers_text(
            200,
            "The metrics",
            "text/plain",
        ),
        Route::get("/openapi.json", "This document", openapi::serve).answers_text(200, "The document", JSON),
        Route::get("/errors/{code}", "A page on an error code", pages::error)
            .answers_text(200, "The page", "text/markdown")
            .errors(&[NotFound]),
        Route::get(
            "/",
            "A page for people; with an `Action`, the Serverless Workflow API",
            fnf::call_or_page,
        )
        .answers_text(200, "The page", "text/html"),
        Route::post(
            "/",
            "The Serverless Workflow API, version 2019-03-15: an operation by its `Action`",
            fnf::call_in,
        )
        .answers_text(200, "What the operation answers, as the vendor documents it", JSON),
    ]
}

/// One of two answers, depending on the query.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum Either<A, B> {
    One(A),
    Other(B),
}

/// The router: the table behind the guard.
pub(crate) fn router(app: Shared) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), bounded))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn_with_state(app.clone(), observed))
        .with_state(app)
}

async fn unknown_path(request: Request) -> Refused {
    Refused::new(
        Code::NotFound,
        format!("there is nothing at {}: the paths are in /openapi.json", request.uri().path()),
    )
}

async fn wrong_method(request: Request) -> Refused {
    Refused::new(
        Code::MethodNotAllowed,
        format!("{} does not take {}: see /openapi.json", request.uri().path(), request.method()),
    )
}

/// No request is answered never: not even when the store hangs.
async fn bounded(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let limits = &app.config.limits;
    let limit = limits.max_wait + limits.body_timeout + limits.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => no_answer(&app).into_response(),
    }
}

fn no_answer(app: &App) -> Refused {
    Refused::new(
        Code::Unavailable,
        format!(
            "the engine gave no answer within request_timeout ({}s); a start with a key or a run id can be sent again safely",
            app.config.limits.request_timeout.as_secs_f64()
        ),
    )
    .with("limit", "request_timeout")
}

/// Counts and traces. The path is traced as its pattern: the real one may hold a callback's token.
async fn observed(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let _open = app.counters.request();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    app.counters.response(response.status());
    let path = path.as_ref().map_or("(unknown)", MatchedPath::as_str);
    tracing::debug!(%method, path, status = response.status().as_u16(), "request");
    response
}
