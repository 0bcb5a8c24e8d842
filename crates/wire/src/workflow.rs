//! What a worker that executes the code of a workflow and the server tell each other: acts one way, events the other.
//!
//! The code is replayed: a worker that takes a run over executes it from the top and answers each act from the run's history, until
//! the history is used up. `docs/worker-protocol.md` tells how.

use riverrun_kernel::driver::{OnParentEnd, RetryPolicy};
use riverrun_kernel::{DefinitionKind, Failure, Json};
use serde::{Deserialize, Serialize};

/// What the worker of a workflow attempt must know before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Whether the journal holds nothing that the code must know: it begins without asking for the history.
    pub fresh: bool,
    /// The line of the journal that offered the attempt: events sent beside the offer are later.
    pub at: u64,
}

/// Something that the code of a workflow did, or asks for. `tag` names it among all of the run's acts: the code's own counter, the same on
/// every replay. `path` is what a person sees, unique within the run: `charge`, `charge#2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A step was executed within the attempt: its outcome, for ever.
    Ran {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A step that must not be executed twice is about to be: the code waits until this is durable.
    Starting {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
    },
    /// Wait so long.
    Sleep {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// Milliseconds.
        ms: u64,
    },
    /// Wait until a date.
    SleepUntil {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// Wait for a signal; the outcome is its payload.
    Signal {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// The signal's name.
        name: String,
        /// Fails with `Timeout` after so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Have a worker execute a function.
    Call {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// What and how.
        call: Box<Call>,
    },
    /// Start another run.
    Start {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// What and how.
        child: Box<Child>,
    },
    /// The code no longer waits for this: it is given up.
    Abort {
        /// Its tag.
        tag: u64,
    },
    /// Publish the run's live status.
    Status {
        /// The status.
        status: Json,
    },
}

/// A function to be executed by a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its name as workers announce it.
    pub function: String,
    /// Its input.
    pub input: Json,
    /// Its queue; empty for `default`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// 0 to 9; higher first.
    #[serde(default)]
    pub priority: u8,
    /// Time limit of each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry: Vec<RetryPolicy>,
    /// Never run again once it may have started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
}

/// A run to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// `flow`, `task` or `workflow`.
    pub kind: DefinitionKind,
    /// The definition's name.
    pub name: String,
    /// Its version; the newest when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Its input.
    pub input: Json,
    /// Makes the start idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_id: Option<String>,
    /// Whether the outcome is the run's, or at once `{"run_id": …}`.
    pub wait: bool,
    /// What becomes of it when this run closes first.
    #[serde(default)]
    pub on_parent_end: OnParentEnd,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It returned this.
    Output(Json),
    /// It failed like this.
    Failure(Failure),
}

impl From<Result<Json, Failure>> for Outcome {
    fn from(outcome: Result<Json, Failure>) -> Self {
        match outcome {
            Ok(output) => Outcome::Output(output),
            Err(failure) => Outcome::Failure(failure),
        }
    }
}

impl From<Outcome> for Result<Json, Failure> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Output(output) => Ok(output),
            Outcome::Failure(failure) => Err(failure),
        }
    }
}

/// One line of a workflow run's journal, as its code must know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The line's number.
    pub at: u64,
    /// What it says.
    pub fact: Fact,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// An act `ran` or `starting` of this attempt is durable. Never in a history.
    Recorded {
        /// Its tag.
        tag: u64,
    },
    /// A step was executed within an attempt. Only in a history.
    Ran {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A step that must not be executed twice may have been. Only in a history.
    Starting {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
    },
    /// A wait, a call or a child began. Only in a history.
    Begun {
        /// Its tag.
        tag: u64,
        /// Its path.
        path: String,
    },
    /// A wait, a call or a child has ended.
    Ended {
        /// Its tag.
        tag: u64,
        /// Its outcome.
        outcome: Outcome,
    },
    /// It was given up: by the code, or because the run was cancelled.
    Aborted {
        /// Its tag.
        tag: u64,
    },
    /// The run is to stop: the code sees `Cancelled` at what it waits for, and may clean up.
    CancelRequested {},
    /// The run had failed and was resumed: everything that this history said before of the steps with these tags is void, and the code does
    /// them again. Only in a history.
    Reopened {
        /// The step that failed the run, and those that were given up because it closed.
        again: Vec<u64>,
    },
}

impl Act {
    /// Whether it is counted by [`crate::worker::FromWorker::Progress`]. The others may be repeated without harm.
    pub fn counts(&self) -> bool {
        !matches!(self, Act::Abort { .. } | Act::Status { .. })
    }
}
