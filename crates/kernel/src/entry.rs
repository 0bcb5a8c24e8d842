//! What is persisted: journal entries of runs, and the few facts of a partition that belong to no run.
//!
//! Entries are facts in the past tense. Folding them, in order, over an empty partition gives the partition again:
//! nothing else changes a partition's durable state.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{Incarnation, RunOptions, StartRun};
use crate::definition::{Definition, DefinitionRef};
use crate::driver::{Note, Tag, Work};
use crate::ids::{PartitionId, RunId, StepId};
use crate::json::{Fingerprint, Json};
use crate::keys::{KeyId, KeyUse, Ttl};
use crate::limits::{LimiterId, LimiterSettings};
use crate::message::Message;
use crate::run::{Failure, Labels, Parent};
use crate::schedule::{ScheduleEntry, ScheduleId};
use crate::time::Ticks;

/// One durable fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The journal of a run grew.
    Run(RunId, Entry),
    /// A run and its journal are gone.
    RunDeleted(RunId),
    /// A key was forgotten on request.
    KeyDeleted(KeyId),
    /// A definition version was deployed here.
    DefinitionDeployed(Definition),
    /// A schedule was written, or came further.
    Schedule(ScheduleId, Box<ScheduleEntry>),
    /// Something was set for a queue or a concurrency key.
    LimitSet {
        /// Which.
        limiter: LimiterId,
        /// All that is set now.
        settings: LimiterSettings,
    },
    /// A message to another partition; delivered until acknowledged.
    MessageSent {
        /// To whom.
        to: PartitionId,
        /// Its number in the line from here to there, from 1.
        seq: u64,
        /// The message.
        message: Message,
    },
    /// The messages to `to` up to `seq` have taken effect there.
    MessagesAcknowledged {
        /// Which line.
        to: PartitionId,
        /// Up to which number.
        seq: u64,
    },
    /// The message `seq` of `from` took effect here, in this batch.
    MessageReceived {
        /// Whose line.
        from: PartitionId,
        /// Which number.
        seq: u64,
    },
}

/// The first entry of every journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// What it is a run of.
    pub definition: DefinitionRef,
    /// Its input.
    pub input: Json,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CreatedKey>,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The generation before it, whose attempts must end first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<RunId>,
    /// How it is to be run.
    #[serde(default)]
    pub options: RunOptions,
}

impl Created {
    /// What the caller named it.
    pub fn continue_id(&self) -> Option<&str> {
        self.key.as_ref().map(|created| &*created.key.id.continue_id)
    }

    /// Whether `start` asks for what this run does, in whatever version.
    pub(crate) fn is_same_work(&self, start: &StartRun) -> bool {
        let (own, asked) = (&self.definition, &start.definition);
        (&own.namespace, own.kind, &own.name) == (&asked.namespace, asked.kind, &asked.name)
            && self.input == start.input
    }
}

/// What a new run says about its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The key and the generation.
    #[serde(flatten)]
    pub key: KeyUse,
    /// The input it stands for.
    pub fingerprint: Fingerprint,
    /// How long it is remembered.
    pub ttl: Ttl,
}

/// Why an attempt ended without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The worker gave it back: it never began.
    Returned,
    /// Its process ended because of something else: another attempt, or the worker's own end.
    Bystander,
    /// Its process died, and it was the one executing.
    Crashed,
    /// Its worker was not heard of for the length of a lease.
    LeaseExpired,
    /// The connection of its worker ended, and it did not come back.
    Disconnected,
    /// The very process that it was given to came back without it: the offer never arrived.
    Unclaimed,
}

impl Lost {
    /// Whether the attempt may be to blame: such a one is not tried for ever.
    pub(crate) fn is_charged(self) -> bool {
        matches!(self, Lost::Crashed) || self.is_with_worker()
    }

    /// Whether the whole worker was lost, whichever of its attempts is to blame, if any is.
    pub(crate) fn is_with_worker(self) -> bool {
        matches!(self, Lost::LeaseExpired | Lost::Disconnected)
    }

    /// Whether user code cannot have begun.
    pub(crate) fn is_before_begin(self) -> bool {
        matches!(self, Lost::Returned | Lost::Unclaimed)
    }
}

/// One fact of a run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// The run exists.
    RunCreated(Arc<Created>),
    /// It left the queue.
    RunStarted,
    /// Somebody paused it: no new step begins.
    RunPaused,
    /// It goes on after a pause or a repair.
    RunResumed,
    /// It cannot go on without a person.
    RunSuspended {
        /// Why.
        reason: String,
    },
    /// The driver decided: one wake is consumed.
    Advanced {
        /// Changed cells of the interpreter state.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cells: Vec<(u32, Option<Arc<str>>)>,
        /// Transitions made.
        #[serde(default)]
        transitions: u32,
        /// It ran out of fuel and goes on later.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unfinished: bool,
    },
    /// Something the driver wants told.
    Noted(Note),
    /// A step began: a call stands in its queue, a wait waits.
    StepBegun {
        /// Its number.
        step: StepId,
        /// The driver's name for it.
        tag: Tag,
        /// Its path.
        path: String,
        /// What it does.
        work: Work,
    },
    /// A worker was chosen; recorded before the offer leaves.
    AttemptStarted {
        /// The step.
        step: StepId,
        /// The try at it, from 1.
        attempt: u32,
        /// The worker's name.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        worker: Arc<str>,
        /// It lives in the process that has the partition, and dies with it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_process: bool,
        /// Which process of the worker got it, over which of its connections.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
    },
    /// A try failed and another follows. (A last one is [`Entry::StepFailed`].)
    AttemptFailed {
        /// The step.
        step: StepId,
        /// The try.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// Which retry policy applied.
        policy: u32,
        /// When the next one may start.
        retry_at: Ticks,
        /// The attempt may still be executing: it was told to stop.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        draining: bool,
    },
    /// A try ended without an outcome; the step goes back to its place in the queue.
    AttemptLost {
        /// The step.
        step: StepId,
        /// The try.
        attempt: u32,
        /// Why.
        reason: Lost,
        /// It was lost together with its whole worker, and counts a tenth of a crash. Entries without it count whole.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        with_worker: bool,
    },
    /// The code of a workflow waits, and its worker has let it go.
    AttemptParked {
        /// The step.
        step: StepId,
        /// The try.
        attempt: u32,
        /// Something has happened that it has not seen: it stands in its queue again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ready: bool,
    },
    /// An attempt whose step had ended without it has stopped executing.
    AttemptStopped {
        /// The step.
        step: StepId,
        /// The try.
        attempt: u32,
    },
    /// The function of a callback step returned; the step still waits for its token.
    CallReturned {
        /// The step.
        step: StepId,
        /// The try.
        attempt: u32,
    },
    /// The code of a workflow executed a step within its attempt: the outcome, for ever.
    StepRan {
        /// The code's name for it.
        tag: Tag,
        /// Its path.
        path: String,
        /// Its outcome.
        outcome: Result<Json, Failure>,
    },
    /// The code of a workflow is about to execute a step that must not be executed twice.
    StepStarting {
        /// The code's name for it.
        tag: Tag,
        /// Its path.
        path: String,
    },
    /// A step's outcome, for ever.
    StepSucceeded {
        /// The step.
        step: StepId,
        /// The try that gave it; 0 where there is none.
        #[serde(default)]
        attempt: u32,
        /// Its output.
        output: Json,
    },
    /// A step's outcome: it failed and is not tried again.
    StepFailed {
        /// The step.
        step: StepId,
        /// The last try; 0 where there is none.
        #[serde(default)]
        attempt: u32,
        /// Why.
        failure: Failure,
        /// The attempt may still be executing: it was told to stop.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        draining: bool,
    },
    /// A step was given up because its outcome is no longer wanted.
    StepCancelled {
        /// The step.
        step: StepId,
    },
    /// A child run was started for a step.
    ChildStarted {
        /// The step.
        step: StepId,
        /// The child.
        run: RunId,
    },
    /// A child that this run outlived, or waits for at its end, has ended.
    ChildEnded {
        /// The child.
        run: RunId,
    },
    /// A message came in.
    SignalReceived {
        /// Its name.
        name: String,
        /// Its payload.
        payload: Json,
        /// The sender's id of it: the same id again changes nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// Labels were replaced.
    LabelsSet {
        /// The new ones.
        labels: Labels,
    },
    /// Its code published a live status.
    StatusPublished {
        /// The status.
        status: Json,
    },
    /// Somebody asked it to stop.
    CancelRequested {
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What the outcome is to be, where that was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// Its outcome is decided; it closes when the children it must wait for have ended.
    RunEnding {
        /// The outcome.
        outcome: Result<Json, Failure>,
    },
    /// Final.
    RunSucceeded {
        /// Its output.
        output: Json,
    },
    /// Closed.
    RunFailed {
        /// Why.
        failure: Failure,
    },
    /// Closed: its own time limit passed.
    RunTimedOut,
    /// Final.
    RunCancelled,
    /// Final: not started within its time to live.
    RunExpired,
    /// A closed run was resumed: finished steps are kept, the failed one is tried again.
    RunReopened,
}

impl Entry {
    /// The entry's name, as shown.
    pub fn name(&self) -> &'static str {
        match self {
            Entry::RunCreated(_) => "RunCreated",
            Entry::RunStarted => "RunStarted",
            Entry::RunPaused => "RunPaused",
            Entry::RunResumed => "RunResumed",
            Entry::RunSuspended { .. } => "RunSuspended",
            Entry::Advanced { .. } => "Advanced",
            Entry::Noted(_) => "Noted",
            Entry::StepBegun { .. } => "StepBegun",
            Entry::AttemptStarted { .. } => "AttemptStarted",
            Entry::AttemptFailed { .. } => "AttemptFailed",
            Entry::AttemptLost { .. } => "AttemptLost",
            Entry::AttemptParked { .. } => "AttemptParked",
            Entry::AttemptStopped { .. } => "AttemptStopped",
            Entry::CallReturned { .. } => "CallReturned",
            Entry::StepRan { .. } => "StepRan",
            Entry::StepStarting { .. } => "StepStarting",
            Entry::StepSucceeded { .. } => "StepSucceeded",
            Entry::StepFailed { .. } => "StepFailed",
            Entry::StepCancelled { .. } => "StepCancelled",
            Entry::ChildStarted { .. } => "ChildStarted",
            Entry::ChildEnded { .. } => "ChildEnded",
            Entry::SignalReceived { .. } => "SignalReceived",
            Entry::LabelsSet { .. } => "LabelsSet",
            Entry::StatusPublished { .. } => "StatusPublished",
            Entry::CancelRequested { .. } => "CancelRequested",
            Entry::RunEnding { .. } => "RunEnding",
            Entry::RunSucceeded { .. } => "RunSucceeded",
            Entry::RunFailed { .. } => "RunFailed",
            Entry::RunTimedOut => "RunTimedOut",
            Entry::RunCancelled => "RunCancelled",
            Entry::RunExpired => "RunExpired",
            Entry::RunReopened => "RunReopened",
        }
    }
}
