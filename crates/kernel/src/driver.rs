//! The seam between the kernel and what picks a run's next steps.
//!
//! A [`Driver`] is a pure function of a definition: given a run's interpreter state and one [`Wake`], it says what the
//! run does next. The kernel calls it within `apply`, so that an outcome, the decision it leads to and the steps
//! that follow are one batch. The interpreters in `plan` implement it; the kernel's own [`crate::task`] drives runs of one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::RunOptions;
use crate::definition::DefinitionRef;
use crate::ids::RunId;
use crate::json::Json;
use crate::limits::CallLimit;
use crate::run::Failure;
use crate::time::{Due, Now};

/// Which open step of a run a decision or a wake is about: chosen by the driver, unique among the open steps of the run.
pub type Tag = u64;

/// The interpreter state of a run: numbered cells of JSON text.
///
/// Only changed cells are recorded, so a driver keeps what changes together in one cell (a container's local)
/// and what grows in cells of its own (each iteration of a foreach).
pub type Cells = BTreeMap<u32, Arc<str>>;

/// What a driver may know of the run that it drives.
#[derive(Debug, Clone, Copy)]
pub struct RunContext<'a> {
    /// The run.
    pub run: RunId,
    /// The `continue_id` that it was started under.
    pub continue_id: Option<&'a str>,
    /// Its definition, version included.
    pub definition: &'a DefinitionRef,
    /// Its input.
    pub input: &'a Json,
    /// How it is to be run.
    pub options: &'a RunOptions,
    /// The interpreter state as the last turn left it; empty before the first.
    pub cells: &'a Cells,
    /// The moment of the decision: the only clock a driver has.
    pub now: Now,
}

/// Why the driver is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Wake {
    /// The run begins.
    Started,
    /// The open step `tag` has ended; the step is gone.
    StepEnded {
        /// The step's tag.
        tag: Tag,
        /// Its output, or why it failed for good (its retries are used up).
        outcome: Result<Json, Failure>,
        /// The step waited for its callback token, and no attempt of its function gave the outcome: its retry policies were not asked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        from_outside: bool,
        /// Attempts of its function that were started.
        #[serde(default, skip_serializing_if = "is_none_yet")]
        attempts: u32,
    },
    /// The last turn ran out of fuel: go on.
    Continued,
    /// A failed run was resumed: try the step that failed it again.
    Reopened,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_yet(attempts: &u32) -> bool {
    *attempts == 0
}

/// One decision. Everything in it is recorded in one batch with the wake that led to it.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// Cells that changed: the new text, or `None` to drop the cell.
    pub cells: Vec<(u32, Option<Arc<str>>)>,
    /// What the journal should tell about this turn, in order, before the actions' own entries.
    pub notes: Vec<Note>,
    /// Steps to begin or abort, in order.
    pub actions: Vec<Action>,
    /// How many transitions (steps entered, gotos taken) the turn made: counted against the limit of
    /// transitions without a task or wait.
    pub transitions: u32,
    /// What the run does now.
    pub then: Then,
}

/// How a turn leaves the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Then {
    /// It waits for one of its open steps.
    #[default]
    Wait,
    /// The fuel was used up: call again with [`Wake::Continued`], after others had their turn.
    Continue,
    /// It has ended. Steps still open are cancelled.
    End(Result<Json, Failure>),
}

/// Something for the journal that changes nothing: FDL's `StepEntered`, `BranchExited`, ….
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// What happened, in the past tense: `StepEntered`.
    pub event: String,
    /// The name of the step in the definition; empty for the run itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Json>,
}

/// What a driver can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Begin a step.
    Begin {
        /// The driver's name for it until it ends.
        tag: Tag,
        /// The step's path, unique within the run for ever and the same on every replay: `GetJobStatus`, `GetJobStatus#2`
        /// at its second visit, `Each[3]/Work`. The step's idempotency key is a hash of run and path, so a resumed
        /// run begins a failed step again under the same path.
        path: String,
        /// What the step is.
        work: Work,
    },
    /// Give up an open step: nothing is reported for it, a running attempt is told.
    Abort {
        /// The step.
        tag: Tag,
    },
}

/// What a step does until it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// A worker executes a function; its return value is the outcome.
    Call(Call),
    /// A worker executes the run's own code, which records steps of its own: see [`crate::workflow`].
    Body(Call),
    /// Wait. The outcome is `null`.
    Sleep(Sleep),
    /// Wait for a message to this run. The outcome is its payload.
    Signal {
        /// The signal's name.
        name: String,
        /// Fails with [`Failure::TIMEOUT`] after this many milliseconds.
        timeout_ms: Option<u64>,
    },
    /// Wait to be completed from outside, by the callback token of this step ([`crate::Partition`] derives it). A function
    /// that is given the token is a `Call` with `callback`.
    Callback {
        /// Fails with [`Failure::TIMEOUT`] after this many milliseconds.
        timeout_ms: Option<u64>,
    },
    /// Start another run.
    Child(Child),
}

impl Work {
    /// Whether it can be completed from outside, by the callback token of its step.
    pub(crate) fn takes_callback(&self) -> bool {
        match self {
            Work::Callback { .. } => true,
            Work::Call(call) => call.callback,
            Work::Child(child) => child.callback.is_some(),
            Work::Body(_) | Work::Sleep(_) | Work::Signal { .. } => false,
        }
    }
}

/// A function for a worker to execute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The function's name as workers announce it: `service/function`, or a task's name. An address, `https://…`, is for
    /// workers that announce [`ANY_ADDRESS`].
    pub function: String,
    /// Its input.
    pub input: Json,
    /// The queue it stands in.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// 0 to 9; higher first.
    #[serde(default)]
    pub priority: u8,
    /// An attempt longer than this is killed and fails with [`Failure::TIMEOUT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Tried in order, the first that matches an error decides; one counter each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry: Vec<RetryPolicy>,
    /// Never run again once an attempt may have started: it fails with [`Failure::UNKNOWN_OUTCOME`] instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
    /// After so many attempts whose worker died the step fails with [`Failure::WORKER_CRASHED`].
    #[serde(default = "default_max_crashes")]
    pub max_crashes: u32,
    /// The function's return value is ignored (its failure is not): the step ends when its callback token is used, also when
    /// that happens before the function returns. `timeout_ms` then bounds the whole step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub callback: bool,
    /// JSON pointers into the input: the kernel puts the step's callback token there for the worker, and for nobody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callback_paths: Vec<String>,
    /// Its concurrency key, and how much of that may execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Arc<CallLimit>>,
}

/// The function of workers that call addresses: whatever is called at `http:` or `https:` is for them.
pub const ANY_ADDRESS: &str = "http:";

/// Whether what is called is an address.
pub fn is_address(function: &str) -> bool {
    function.starts_with("http://") || function.starts_with("https://")
}

/// The queue of what names none.
pub fn default_queue() -> String {
    "default".to_owned()
}

/// How often a worker may die under a step before the step is given up.
pub fn default_max_crashes() -> u32 {
    3
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sleep {
    /// So many milliseconds of partition time from now.
    For(u64),
    /// Until a moment.
    Until(Due),
}

/// When to try a failed step again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Error names ([`Failure::error`]) this policy is for; empty means every error.
    pub errors: Vec<String>,
    /// Error names that it is not for, whatever `errors` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
    /// Tries after the first.
    pub max_retries: u32,
    /// Wait before the first retry.
    pub interval_ms: u64,
    /// Factor for each further one; at least 1.
    pub multiplier: f64,
    /// The longest wait.
    pub max_interval_ms: u64,
    /// Full jitter: the wait is drawn between nothing and what it would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub jitter: bool,
}

/// Another run, started by this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// What to run; without a version the newest at the time of the start.
    pub definition: DefinitionRef,
    /// Its input.
    pub input: Json,
    /// Makes the start idempotent; a child with a key lives where its key does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_id: Option<String>,
    /// The `continue_id` is a name: see [`crate::KeyOptions::is_name`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_name: bool,
    /// Whether the step ends with the child's outcome, or at once with `{"run_id": …}`.
    pub wait: bool,
    /// The step ends by its callback token, whatever the child does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Handed>,
    /// What becomes of the child when this run closes first.
    #[serde(default)]
    pub on_parent_end: OnParentEnd,
    /// How it is to be run; the time limit of its definition wins.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub options: Box<RunOptions>,
}

/// A callback token that a child is handed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Handed {
    /// JSON pointers into the child's input. It holds the token's name ([`crate::callback_name`]) there; functions that the child
    /// calls get the token.
    pub paths: Vec<String>,
    /// The step fails with [`Failure::TIMEOUT`] after this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

fn is_plain(options: &RunOptions) -> bool {
    *options == RunOptions::default()
}

/// What becomes of a child when its parent closes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnParentEnd {
    /// It is cancelled.
    #[default]
    Cancel,
    /// It goes on alone.
    Abandon,
    /// The parent's end waits for it.
    Wait,
}

/// A driver that cannot go on: the run is suspended for repair with this text, never failed and never guessed at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DriverFault(pub String);

/// Picks the next steps of the runs of one definition version.
pub trait Driver: Send + Sync {
    /// Decides what follows from `wake`, making at most `fuel` transitions.
    fn advance(&self, run: RunContext<'_>, wake: &Wake, fuel: u32) -> Result<Turn, DriverFault>;
}

/// Finds the driver of a definition version. Must answer for every version that was ever deployed and still has runs.
pub trait Drivers {
    /// The driver, or `None` if this process does not know the definition.
    fn driver(&self, definition: &DefinitionRef) -> Option<Arc<dyn Driver>>;

    /// What a child's definition means now: an empty version is the newest. `None` if there is no such definition.
    fn resolve(&self, definition: &DefinitionRef) -> Option<Resolved> {
        let definition = self.driver(definition).map(|_| definition.clone())?;
        Some(Resolved { definition, timeout_ms: None, defaults: None })
    }
}

/// A definition version, and what its source says about its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The version.
    pub definition: DefinitionRef,
    /// The time limit of its runs.
    pub timeout_ms: Option<u64>,
    /// For a task: what it says of its runs, where their start does not.
    pub defaults: Option<Arc<RunOptions>>,
}
