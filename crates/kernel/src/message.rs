//! What partitions say to each other. The line between two partitions keeps order; each message takes effect exactly once.

use serde::{Deserialize, Serialize};

use crate::command::StartRun;
use crate::ids::{RunId, StepId};
use crate::json::Json;
use crate::run::Failure;

/// A request or an answer from one partition to another. Within one partition the same messages are handled at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Start a child.
    StartChild(Box<StartRun>),
    /// A resumed run begins a step again whose child has ended badly, or was not waited for any more: the same child goes on.
    ReopenChild {
        /// The child of before.
        child: RunId,
        /// What is started where that one cannot go on. Its parent is the step that waits now.
        start: Box<StartRun>,
    },
    /// The child of `run`'s step was started as, or attached to, `child`.
    ChildStarted {
        /// The parent.
        run: RunId,
        /// Its step.
        step: StepId,
        /// The child.
        child: RunId,
        /// It was handed the step's callback token, and goes on whatever became of the step.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        has_token: bool,
    },
    /// The child of `run`'s step has ended, or could not be started.
    ChildEnded {
        /// The parent.
        run: RunId,
        /// Its step.
        step: StepId,
        /// The child; the id that it would have had, if it could not be started.
        child: RunId,
        /// How it ended.
        outcome: Result<Json, Failure>,
    },
    /// A signal for a run.
    Signal {
        /// The run.
        run: RunId,
        /// The signal's name.
        name: String,
        /// Its payload.
        payload: Json,
        /// The sender's id of it.
        id: Option<String>,
    },
    /// The parent of a run has closed, and wants it cancelled.
    CancelRun {
        /// The run.
        run: RunId,
        /// Why.
        reason: String,
    },
    /// The run that a step's callback token was given to has ended.
    CompleteStep {
        /// The waiting run.
        run: RunId,
        /// Its step.
        step: StepId,
        /// How the other run ended.
        outcome: Result<Json, Failure>,
    },
}

impl Message {
    /// The run whose slot decides where the message goes.
    pub fn target(&self) -> RunId {
        match self {
            Message::StartChild(start) => start.run,
            Message::ReopenChild { child, .. } => *child,
            Message::ChildStarted { run, .. }
            | Message::ChildEnded { run, .. }
            | Message::Signal { run, .. }
            | Message::CancelRun { run, .. }
            | Message::CompleteStep { run, .. } => *run,
        }
    }
}
