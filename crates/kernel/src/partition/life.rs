//! The life of a run as a table: which entry is a fact in which phase, and where it leads.
//!
//! ```text
//!  Queued ─► Open ─► Cancelling ─► Cancelled
//!    │        ├─► Succeeded
//!    │        └─► Failed, TimedOut ── RunReopened ──► Open
//!    └─► Expired, Cancelled
//! ```
//! `suspended` is no phase: it is an open run whose every open step waits, or one that is held; see `view`.

use serde::{Deserialize, Serialize};

use crate::entry::{Created, Entry};
use crate::run::Failure;

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not begun.
    Queued,
    /// Begun.
    Open,
    /// Told to stop.
    Cancelling,
    /// Ended with an output. Final.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended by its time limit.
    TimedOut,
    /// Stopped on request. Final.
    Cancelled,
    /// Not begun in time. Final.
    Expired,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 8] = [
        Phase::Queued,
        Phase::Open,
        Phase::Cancelling,
        Phase::Succeeded,
        Phase::Failed,
        Phase::TimedOut,
        Phase::Cancelled,
        Phase::Expired,
    ];

    /// Whether the run has ended.
    pub fn is_closed(self) -> bool {
        self >= Phase::Succeeded
    }
}

/// The phase after `entry`, or `None` where such an entry cannot be.
pub fn next(phase: Phase, entry: &Entry) -> Option<Phase> {
    use Phase::{Cancelled, Cancelling, Expired, Failed, Open, Queued, Succeeded, TimedOut};
    match (phase, entry) {
        (Queued, Entry::RunStarted) => Some(Open),
        (Queued, Entry::RunExpired) => Some(Expired),
        (Queued | Cancelling, Entry::RunCancelled) => Some(Cancelled),
        (Open, Entry::CancelRequested { .. }) => Some(Cancelling),
        (Open, Entry::RunSucceeded { .. }) => Some(Succeeded),
        (Open, Entry::RunFailed { .. }) => Some(Failed),
        (Open, Entry::RunTimedOut) => Some(TimedOut),
        (Failed | TimedOut, Entry::RunReopened) => Some(Open),

        (Queued, Entry::CancelRequested { .. }) => Some(Queued),
        // A task's step stands in its queue while the run is still queued.
        (
            Queued | Open,
            Entry::Advanced { .. }
            | Entry::Noted(_)
            | Entry::StepBegun { .. }
            | Entry::RunPaused
            | Entry::RunResumed
            | Entry::RunSuspended { .. },
        ) => Some(phase),
        (Queued | Open | Cancelling, Entry::SignalReceived { .. } | Entry::StepCancelled { .. }) => {
            Some(phase)
        }
        (Open, Entry::CallReturned { .. } | Entry::RunEnding { .. }) => Some(Open),
        // The code of a cancelled workflow cleans up.
        (
            Open | Cancelling,
            Entry::AttemptStarted { .. }
            | Entry::AttemptFailed { .. }
            | Entry::AttemptLost { .. }
            | Entry::AttemptParked { .. }
            | Entry::ChildStarted { .. }
            | Entry::StatusPublished { .. }
            | Entry::StepRan { .. }
            | Entry::StepStarting { .. }
            | Entry::StepSucceeded { .. }
            | Entry::StepFailed { .. },
        ) => Some(phase),
        (Cancelling, Entry::StepBegun { .. }) => Some(Cancelling),
        (
            Open | Cancelling | Succeeded | Failed | TimedOut | Cancelled,
            Entry::AttemptStopped { .. } | Entry::ChildEnded { .. },
        ) => Some(phase),
        (_, Entry::LabelsSet { .. }) => Some(phase),
        _ => None,
    }
}

/// The failure of a run whose own time limit passed.
pub(crate) fn timed_out(created: &Created) -> Failure {
    let limit = created.options.timeout_ms.unwrap_or_default();
    Failure::new(Failure::TIMEOUT, format!("the run did not end within its time limit of {limit} ms"))
}
