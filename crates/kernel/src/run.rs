//! A run as others see it: its public state, what it waits for, how it failed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::definition::DefinitionRef;
use crate::ids::{RunId, StepId};
use crate::json::Json;
use crate::keys::KeyUse;
use crate::schedule::Origin;
use crate::time::Wall;

/// The state of a run, as shown everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not begun: waits for its time, its predecessor or a worker.
    Queued,
    /// Something of it is executing or ready to.
    Running,
    /// Open, and nothing happens until what `waiting` names happens.
    Suspended,
    /// Told to stop; running attempts and clean-up may still end.
    Cancelling,
    /// Ended with an output. Final.
    Succeeded,
    /// Ended with an error. Closed: resume reopens it.
    Failed,
    /// Ended by the run's own time limit. Closed: resume reopens it.
    TimedOut,
    /// Stopped on request. Final.
    Cancelled,
    /// Not started within its time to live. Final.
    Expired,
}

impl State {
    /// Every state, in the order of a run's life.
    pub const ALL: [State; 9] = [
        State::Queued,
        State::Running,
        State::Suspended,
        State::Cancelling,
        State::Succeeded,
        State::Failed,
        State::TimedOut,
        State::Cancelled,
        State::Expired,
    ];

    /// Whether the run has ended. Only resume leaves a closed state, and only `failed` and `timed_out`.
    pub fn is_closed(self) -> bool {
        self >= State::Succeeded
    }

    /// The word that stands for it everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Suspended => "suspended",
            State::Cancelling => "cancelling",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::TimedOut => "timed_out",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a run that does not move is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// A moment.
    Timer,
    /// A message to the run.
    Signal,
    /// The use of a callback token.
    Callback,
    /// Another run's end.
    Child,
    /// The back-off after a failed attempt.
    Retry,
    /// A free worker that serves the function.
    Worker,
    /// A limit of its queue or its concurrency key.
    Limit,
    /// An earlier generation of its key, whose attempts have not all ended.
    Predecessor,
    /// Somebody paused it.
    Pause,
    /// It cannot go on without a person: see the text.
    Repair,
}

/// Why a run does not move. Times are wall milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What for.
    pub kind: WaitKind,
    /// Since when.
    pub since: Wall,
    /// Until when at the latest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// The step, signal, function or run it waits for; the reason for `repair`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// How an attempt, a step or a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error's name: the exception's class, or one of the constants here.
    pub error: String,
    /// What a person reads.
    pub message: String,
    /// More, as JSON: `{"traceback": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Json>,
    /// Whether retry policies may apply; `false` ends the retries at once.
    #[serde(default = "retryable", skip_serializing_if = "is_true")]
    pub retryable: bool,
    /// When a retry makes sense, in milliseconds from the failure: goes before a policy's own wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

fn retryable() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

impl Failure {
    /// Not done within its time limit.
    pub const TIMEOUT: &'static str = "Timeout";
    /// The worker process died under it, too often.
    pub const WORKER_CRASHED: &'static str = "WorkerCrashed";
    /// It may have run, and must not run twice.
    pub const UNKNOWN_OUTCOME: &'static str = "UnknownOutcome";
    /// It was cancelled.
    pub const CANCELLED: &'static str = "Cancelled";
    /// It was not started within its time to live.
    pub const EXPIRED: &'static str = "Expired";
    /// Too many transitions without a task or a wait.
    pub const TRANSITION_LIMIT: &'static str = "TransitionLimitExceeded";
    /// A flow's run whose journal grew too long.
    pub const HISTORY_LIMIT: &'static str = "FnF.HistoryLimitExceeded";
    /// A run was to be started that cannot be: unknown definition, refused key.
    pub const START_REFUSED: &'static str = "StartRefused";
    /// A run was to be started under a name that one which has ended keeps.
    pub const NAME_TAKEN: &'static str = "NameTaken";

    /// A failure with a name and a message.
    pub fn new(error: impl Into<String>, message: impl Into<String>) -> Self {
        Failure {
            error: error.into(),
            message: message.into(),
            details: None,
            retryable: true,
            retry_after_ms: None,
        }
    }

    /// The same, never retried.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            f.write_str(&self.error)
        } else {
            write!(f, "{}: {}", self.error, self.message)
        }
    }
}

/// The step of another run that started this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// Its step.
    pub step: StepId,
    /// Whether that step waits for this run's outcome.
    pub waits: bool,
}

/// Free text pairs that a user hangs on a run, for lists and filters.
pub type Labels = BTreeMap<String, String>;

/// What lists show and filter by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub id: RunId,
    /// What it is a run of.
    pub definition: DefinitionRef,
    /// Its state.
    pub state: State,
    /// Why it does not move.
    pub waiting: Option<Waiting>,
    /// When it was created: with the id, the order of every list.
    pub created: Wall,
    /// When its first step began.
    pub started: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// Its labels.
    pub labels: Labels,
    /// Its key and generation.
    pub key: Option<KeyUse>,
    /// Who started it.
    pub parent: Option<Parent>,
    /// The name of the error it ended with.
    pub error: Option<String>,
    /// The schedule that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The queue of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Arc<str>>,
    /// When it may be removed, where its own options say so; one that is kept for ever has the end of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// It goes when its outcome has been read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_once: bool,
    /// Attempts begun of the open step that has had most of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What keeps a call that is ready from being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holdup {
    /// This limit.
    Limit(String),
    /// No worker that is connected serves it.
    Unserved,
}

/// A run in full, without its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// What lists show.
    pub summary: RunSummary,
    /// Its input.
    pub input: Json,
    /// How it ended, once it has.
    pub outcome: Option<Result<Json, Failure>>,
    /// The live status that its code published.
    pub status: Option<Json>,
    /// The address that is told how it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<Arc<str>>,
    /// Its open steps, oldest first.
    pub steps: Vec<StepView>,
    /// How many entries its journal has.
    pub entries: u64,
}

/// An open step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its number.
    pub id: StepId,
    /// Its path.
    pub path: String,
    /// `call`, `sleep`, `signal`, `callback` or `child`; `body` for the run's own code.
    pub kind: Arc<str>,
    /// The function, signal or definition.
    pub target: String,
    /// Whether an attempt is executing now.
    pub running: bool,
    /// Attempts begun.
    pub attempts: u32,
    /// What it waits for, unless it is running.
    pub waiting: Option<Waiting>,
}

/// A line of calls that wait for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The queue.
    pub queue: Arc<str>,
    /// The function.
    pub function: Arc<str>,
    /// How many wait.
    pub waiting: usize,
}
