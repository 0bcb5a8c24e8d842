//! What may happen once a batch is durable, and what a partition must have in memory before it can decide.

use std::sync::Arc;

use crate::driver::Call;
use crate::entry::Record;
use crate::ids::{AttemptId, PartitionId, RunId, StepId, Token, WorkerId};
use crate::keys::KeyId;
use crate::message::Message;
use crate::schedule::ScheduleId;
use crate::time::Now;
use crate::workflow::Event;

/// Something to do once the records decided before it are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Give an attempt to a worker.
    Offer {
        /// To whom.
        worker: WorkerId,
        /// What.
        offer: Box<Offer>,
    },
    /// Tell a worker to stop an attempt: gently, and by force after `grace_ms`. It answers with [`crate::Report::Stopped`],
    /// or with the outcome if that was first.
    Stop {
        /// The worker.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// How long it may clean up.
        grace_ms: u64,
    },
    /// Tell the worker that executes a run's code what was recorded.
    Tell {
        /// The worker.
        worker: WorkerId,
        /// The attempt at the run's body.
        attempt: AttemptId,
        /// What.
        event: Event,
    },
    /// Have a worker let a run's code go, once what executes is recorded.
    Park {
        /// The worker.
        worker: WorkerId,
        /// The attempt at the run's body.
        attempt: AttemptId,
    },
    /// Deliver a message; again after a while, until it is acknowledged.
    Send {
        /// To whom.
        to: PartitionId,
        /// Its number.
        seq: u64,
        /// The message.
        message: Message,
    },
    /// Read this run's row; the answer comes as [`crate::Command::Loaded`].
    Load {
        /// The run.
        run: RunId,
    },
    /// Read this schedule's row; the answer comes as [`crate::Command::Loaded`], also when it is in memory.
    LoadSchedule {
        /// The schedule.
        id: ScheduleId,
    },
    /// Issue [`crate::Command::Continue`] for the run, behind the commands that wait.
    Continue {
        /// The run.
        run: RunId,
    },
    /// The run's journal grew: whoever watches it should look.
    Changed {
        /// The run.
        run: RunId,
        /// Whether it has closed.
        closed: bool,
    },
    /// The connection has been silent for the length of a lease: close it.
    Evict {
        /// The worker.
        worker: WorkerId,
    },
}

/// An attempt, as a worker gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Which.
    pub attempt: AttemptId,
    /// The right to report its outcome.
    pub token: Token,
    /// The run's definition name.
    pub definition: Arc<str>,
    /// The step's path.
    pub path: String,
    /// What to execute.
    pub call: Call,
    /// Stable over attempts and resumes; new in a new run.
    pub idempotency_key: String,
    /// For a call with `callback`: the token that completes it.
    pub callback: Option<String>,
    /// For a run's body: where its code stands.
    pub body: Option<Body>,
}

/// Where the code of a workflow run stands when it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Whether the journal has nothing that the code must know.
    pub fresh: bool,
    /// The line of the journal that began the attempt.
    pub at: u64,
}

/// What must be loaded before a command can be applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Runs whose rows are not in memory.
    pub runs: Vec<RunId>,
    /// Keys whose rows are not in memory.
    pub keys: Vec<KeyId>,
    /// Schedules whose rows are not in memory.
    pub schedules: Vec<ScheduleId>,
}

impl Needs {
    /// Whether the command can be applied at once.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.keys.is_empty() && self.schedules.is_empty()
    }
}

/// What was decided since the last [`crate::Partition::take_decided`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decided {
    /// The moment of each decision is that of its batch.
    pub now: Now,
    /// The number of the first record.
    pub first: u64,
    /// What to persist, in order.
    pub records: Vec<Record>,
    /// What to do afterwards, in order.
    pub effects: Vec<Effect>,
}

/// The idempotency key of a step: 32 hex digits of a hash of run and path.
pub fn idempotency_key(run: RunId, path: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(run.to_bytes());
    hash.update(path.as_bytes());
    let digest = hash.finalize();
    Token(digest[..16].try_into().expect("a digest has 32 bytes")).to_string()
}

/// What stands for the callback token of a step in what is kept: it names the step and proves nothing.
pub fn callback_name(run: RunId, step: StepId) -> String {
    format!("callback:{run}.{}", step.0)
}

/// Used by [`crate::Partition`] to name the step of a callback token in text.
pub fn callback_text(run: RunId, step: StepId, token: Token) -> String {
    format!("{run}.{}.{token}", step.0)
}
