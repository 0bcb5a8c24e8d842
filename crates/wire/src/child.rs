//! The messages between a supervisor and a child process that executes user code: over a Unix socket pair, in the frames of
//! [`crate::frame`]. Both ends are of one release, so nothing here needs to stay readable for ever.
//!
//! A child executes one attempt at a time, in the order in which it was sent them. It begins with any number of
//! [`FromChild::Loading`] and one [`FromChild::Ready`]; then each [`ToChild::Call`] is answered by exactly one of `Done`, `Failed`,
//! `Stopped` and `Returned`. It answers one before it begins the next, so the first that is not answered is the one it executes.

use riverrun_kernel::{AttemptId, Failure, Json};
use serde::{Deserialize, Serialize};

use crate::worker::Function;

/// From the supervisor to the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToChild {
    /// Execute this, after those that were sent before.
    Call(Box<Call>),
    /// Raise `Cancelled` in the attempt if it is the one executing; if it has not begun, it does not. A signal tells the child to look for it.
    Stop {
        /// Which.
        attempt: AttemptId,
    },
    /// Return every call that has not begun. A signal tells the child to look for it.
    GiveBack {},
    /// Nothing more will come: end.
    Exit {},
}

/// An attempt to execute: what user code may know of it. It holds no right to report, that stays with the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which.
    pub attempt: AttemptId,
    /// The function.
    pub function: String,
    /// Its input: the JSON text itself, in a string, so that the child gets it byte by byte as it was given.
    pub input: String,
    /// The definition of the run it belongs to.
    pub definition: String,
    /// The step's path in that run.
    pub path: String,
    /// How long it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Stable over attempts and resumes of the step.
    pub idempotency_key: String,
    /// The token that completes the step from outside, for callback steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
}

/// From the child to the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromChild {
    /// It is about to load this file: the one to blame if the child dies or hangs now.
    Loading {
        /// Its path.
        file: String,
    },
    /// It has loaded everything and takes calls.
    Ready {
        /// The version of its `riverrun` package.
        version: String,
        /// The version of its interpreter.
        python: String,
        /// What it has.
        functions: Vec<Function>,
        /// What a person should know about files that did not load or were not understood.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// The attempt returned.
    Done {
        /// Which.
        attempt: AttemptId,
        /// What.
        output: Json,
    },
    /// The attempt raised.
    Failed {
        /// Which.
        attempt: AttemptId,
        /// How.
        failure: Failure,
    },
    /// The attempt was told to stop, and has.
    Stopped {
        /// Which.
        attempt: AttemptId,
    },
    /// The attempt was to be given back, and has not begun.
    Returned {
        /// Which.
        attempt: AttemptId,
    },
    /// How far the attempt has come: its run's live status.
    Status {
        /// Which.
        attempt: AttemptId,
        /// The status.
        status: Json,
    },
    /// A piece of what the attempt printed or logged.
    Log {
        /// Which.
        attempt: AttemptId,
        /// `stdout`, `stderr` or `log`.
        stream: String,
        /// The text.
        text: String,
    },
}
