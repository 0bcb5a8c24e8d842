//! What a run adds to the picture of its flow.

use std::collections::{BTreeMap, BTreeSet};

use crate::ways::Way;

/// How a step stands. Of a step that was visited more than once, the most telling of its visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepState {
    /// Every visit ended well.
    Succeeded,
    /// The last visit failed, and a catch took the error.
    Caught,
    /// It was given up.
    Cancelled,
    /// It waits for a time, a worker, a callback, a child or a retry.
    Waiting,
    /// It is being executed, or something inside it is.
    Running,
    /// It failed, and the run with it.
    Failed,
}

impl StepState {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Succeeded => "succeeded",
            StepState::Caught => "caught",
            StepState::Cancelled => "cancelled",
            StepState::Waiting => "waiting",
            StepState::Running => "running",
            StepState::Failed => "failed",
        }
    }
}

/// What a run made of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// How it stands.
    pub state: StepState,
    /// How often it was entered, iterations of a foreach included.
    pub visits: u64,
    /// How long its visits took together, where that is known.
    pub duration_ms: Option<u64>,
    /// Attempts beyond the first of each visit.
    pub retries: u64,
    /// The last error, by name.
    pub error: Option<String>,
}

/// A run, as a picture shows it: [`crate::Trace`] makes it of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overlay {
    /// A line about the run as a whole.
    pub caption: String,
    /// The steps that were entered, by name.
    pub steps: BTreeMap<String, Mark>,
    /// Ways that were taken.
    pub(crate) taken: Taken,
}

/// Ways that were taken, by the number of the step that they leave.
pub(crate) type Taken = BTreeSet<(usize, Way)>;
