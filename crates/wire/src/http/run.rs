//! Runs as they are shown, listed and steered.

use riverrun_kernel::{
    DefinitionKind, Failure, Json, Labels, RunId, RunSummary, RunView, State, StepView, WaitKind, Waiting,
    Wall,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Duration;

/// A moment as it is shown: RFC 3339, UTC, with milliseconds.
pub fn time(moment: Wall) -> String {
    match jiff::Timestamp::from_millisecond(moment.0) {
        Ok(stamp) => format!("{stamp:.3}"),
        // Only a hand-made date beyond the year 9999 comes here; it is shown as its number.
        Err(_) => format!("{}ms", moment.0),
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// What lists show.
    #[serde(flatten)]
    pub item: RunItem,
    /// Its input.
    #[schemars(with = "Value")]
    pub input: Json,
    /// Its output, once it has succeeded.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub output: Option<Json>,
    /// How it failed, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// In the answer to a start: the result was stored before.
    #[serde(default)]
    pub reused: bool,
    /// In the answer to a start: the run was in flight before.
    #[serde(default)]
    pub attached: bool,
    /// In the answer to a `unique` start: the run was in flight before, and nothing was started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The live status that its code published.
    #[serde(default)]
    #[schemars(with = "Value")]
    pub status: Option<Json>,
    /// The address that is told how it has ended, without its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// Its open steps, oldest first.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// How many entries its journal has.
    #[serde(default)]
    pub entries: u64,
}

/// A run, as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunItem {
    /// The run.
    #[schemars(with = "String")]
    pub run_id: RunId,
    /// Its namespace.
    pub namespace: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's kind.
    #[schemars(with = "KindSchema")]
    pub kind: DefinitionKind,
    /// The definition's version; empty for a task.
    pub version: String,
    /// Its state.
    #[schemars(with = "StateSchema")]
    pub state: State,
    /// What it waits for, unless it moves or has ended.
    pub waiting: Option<WaitingView>,
    /// When it was created.
    pub created_at: String,
    /// When its first step began.
    pub started_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Its key.
    pub continue_id: Option<String>,
    /// Which generation of its key it is, from 1.
    pub generation: u32,
    /// Its labels.
    pub labels: Labels,
    /// The run that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub parent: Option<RunId>,
    /// The schedule that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<super::OriginView>,
    /// The name of the error it ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// For a task: its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// Why a run or a step does not move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingView {
    /// What for.
    #[schemars(with = "WaitKindSchema")]
    pub kind: WaitKind,
    /// Since when.
    pub since: String,
    /// Until when at the latest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The step, signal, function or run it waits for; the reason for `repair`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorView {
    /// The error's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// What a person reads.
    pub message: String,
    /// More.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub details: Option<Json>,
}

/// An open step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its number.
    pub id: u32,
    /// Its path.
    pub path: String,
    /// `call`, `sleep`, `signal`, `callback` or `child`.
    pub kind: String,
    /// The function, signal or definition.
    pub target: String,
    /// Whether an attempt is executing now.
    pub running: bool,
    /// Attempts begun.
    pub attempts: u32,
    /// What it waits for, unless it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingView>,
}

impl From<&Waiting> for WaitingView {
    fn from(waiting: &Waiting) -> Self {
        WaitingView {
            kind: waiting.kind,
            since: time(waiting.since),
            until: waiting.until.map(time),
            name: waiting.name.clone(),
        }
    }
}

impl From<Failure> for ErrorView {
    fn from(failure: Failure) -> Self {
        ErrorView { kind: failure.error, message: failure.message, details: failure.details }
    }
}

impl From<&StepView> for Step {
    fn from(step: &StepView) -> Self {
        Step {
            id: step.id.0,
            path: step.path.clone(),
            kind: step.kind.to_string(),
            target: step.target.clone(),
            running: step.running,
            attempts: step.attempts,
            waiting: step.waiting.as_ref().map(WaitingView::from),
        }
    }
}

impl From<&RunSummary> for RunItem {
    fn from(run: &RunSummary) -> Self {
        RunItem {
            run_id: run.id,
            namespace: run.definition.namespace.to_string(),
            definition: run.definition.name.to_string(),
            kind: run.definition.kind,
            version: run.definition.version.to_string(),
            state: run.state,
            waiting: run.waiting.as_ref().map(WaitingView::from),
            created_at: time(run.created),
            started_at: run.started.map(time),
            ended_at: run.ended.map(time),
            continue_id: run.key.as_ref().map(|key| key.id.continue_id.to_string()),
            generation: run.key.as_ref().map_or(1, |key| key.generation),
            labels: run.labels.clone(),
            parent: run.parent.map(|parent| parent.run),
            schedule: run.origin.as_ref().map(super::OriginView::from),
            error_type: run.error.clone(),
            queue: run.queue.as_ref().map(ToString::to_string),
        }
    }
}

impl From<RunView> for Run {
    fn from(run: RunView) -> Self {
        let (output, error) = match run.outcome {
            None => (None, None),
            Some(Ok(output)) => (Some(output), None),
            Some(Err(failure)) => (None, Some(failure.into())),
        };
        Run {
            item: RunItem::from(&run.summary),
            input: run.input,
            output,
            error,
            reused: false,
            attached: false,
            duplicate: false,
            status: run.status,
            callback_url: run.callback_url.map(|url| url.split('?').next().unwrap_or_default().to_owned()),
            steps: run.steps.iter().map(Step::from).collect(),
            entries: run.entries,
        }
    }
}

/// What to wait for: `GET /v1/runs/{run}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// Answer when the run has ended, at the latest after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// Which runs: `GET /v1/runs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// The namespace; `default` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The definition's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The definition's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<KindSchema>")]
    pub kind: Option<DefinitionKind>,
    /// One of these states: repeated, or joined by commas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Waits for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<WaitKindSchema>")]
    pub waiting: Option<WaitKind>,
    /// Needs a person: dead letters (tasks that failed for good), runs that wait for repair, runs whose next call no connected worker
    /// serves, and those that wait for another try after five or more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_attention: bool,
    /// Has this label, as `name=value`; repeated: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<String>,
    /// Started under this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_id: Option<String>,
    /// A child of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub parent: Option<RunId>,
    /// Created at this date (RFC 3339) or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_from: Option<String>,
    /// Created before this date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<String>,
    /// How many at most; 100 unless given, 1,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where to go on: `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// The runs.
    pub items: Vec<RunItem>,
    /// Where the next page starts; null at the end.
    pub next_cursor: Option<String>,
}

/// Which runs to count: `GET /v1/runs/count`. The filters are those of the list.
pub type CountQuery = ListQuery;

/// How many runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountAnswer {
    /// So many, or the cap of the counting.
    pub count: u64,
    /// There are more than that.
    pub capped: bool,
}

/// Why a run is cancelled: `POST /v1/runs/{run}/cancel`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CancelBody {
    /// For the journal.
    pub reason: String,
}

/// A message to a run: `POST /v1/runs/{run}/signal`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalBody {
    /// Its name.
    pub name: String,
    /// Its payload; null unless given.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub payload: Option<Json>,
    /// The sender's id of it: the same id again changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// New labels: `PUT /v1/runs/{run}/labels`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelsBody {
    /// All of them: what is not here is removed.
    pub labels: Labels,
}

/// How to delete a run: `DELETE /v1/runs/{run}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteQuery {
    /// An open run is cancelled first, and deleted if it ends within the server's `max_wait`.
    pub cancel: bool,
}

/// A run's state after a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateAnswer {
    /// The run.
    #[schemars(with = "String")]
    pub run_id: RunId,
    /// Its state.
    #[schemars(with = "StateSchema")]
    pub state: State,
}

/// Which part of a journal: `GET /v1/runs/{run}/journal`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JournalQuery {
    /// Entries with a greater number than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many at most; 1,000 unless given, which is also the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// With the entries that only Riverrun itself reads.
    pub internal: bool,
}

/// Which part of a flow run's history: `GET /v1/runs/{run}/history`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// Events with a greater number than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many at most; 1,000 unless given, which is also the most. Fewer come where they are large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Wait so long for an event, where there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// Part of a flow run's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// The events, in order.
    pub items: Vec<HistoryEvent>,
    /// What to give as `after` for the next part.
    pub next_after: u64,
    /// The run is closed, and these are its last events.
    pub complete: bool,
}

/// What happened in a run of a flow, in the words of the flow language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEvent {
    /// Its number, from 1.
    pub event_id: u64,
    /// The number of the event that caused it; 0 for the first.
    pub schedule_event_id: u64,
    /// What happened: `StepEntered`, `TaskSucceeded`, `ExecutionFailed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// To which step; empty for the run itself.
    pub step_name: String,
    /// When it was recorded.
    pub time: String,
    /// More about it: `{"input": …, "local": …}`, `{"output": …}`, `{"error": …, "cause": …}`.
    #[schemars(with = "Value")]
    pub event_detail: Json,
}

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GraphFormat {
    /// Laid out; what browsers show.
    #[default]
    Svg,
    /// For Graphviz.
    Dot,
    /// For Mermaid.
    Mermaid,
}

/// How to draw a run: `GET /v1/runs/{run}/graph`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GraphQuery {
    /// `svg` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<GraphFormat>,
}

/// Part of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalView {
    /// The entries, in order.
    pub items: Vec<JournalEntry>,
    /// What to give as `after` for the next part.
    pub next_after: u64,
    /// The run is closed, and these are its last entries.
    pub complete: bool,
}

/// One recorded fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalEntry {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// When it was recorded.
    pub at: String,
    /// What happened, in the past tense: `StepSucceeded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its own fields.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// Which log lines: `GET /v1/runs/{run}/logs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogsQuery {
    /// Only this attempt's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
}

/// What a run's attempts printed and logged. It is kept in the server's memory, within bounds, and is gone after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    /// The pieces, in the order in which they came.
    pub items: Vec<LogLine>,
    /// Bytes that were dropped from the front because of the limit `max_run_log` or `max_log_memory`.
    pub dropped_bytes: u64,
    /// Always false: output does not survive the server. It is no part of the journal.
    pub durable: bool,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When the server got it.
    pub at: String,
    /// Which attempt.
    pub attempt: String,
    /// `stdout`, `stderr` or `log`.
    pub stream: String,
    /// The text.
    pub text: String,
}

/// What drives the runs of a definition.
#[derive(JsonSchema)]
#[schemars(rename = "DefinitionKind", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
pub(super) enum KindSchema {
    Flow,
    Task,
    Workflow,
    Builtin,
}

/// The state of a run.
#[derive(JsonSchema)]
#[schemars(rename = "State", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
pub(super) enum StateSchema {
    Queued,
    Running,
    Suspended,
    Cancelling,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Expired,
}

/// What a run that does not move is waiting for.
#[derive(JsonSchema)]
#[schemars(rename = "WaitKind", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum WaitKindSchema {
    Timer,
    Signal,
    Callback,
    Child,
    Retry,
    Worker,
    Limit,
    Predecessor,
    Pause,
    Repair,
}
