//! Requests to change a partition, and how they are answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::definition::{Definition, DefinitionRef};
use crate::driver::{ANY_ADDRESS, RetryPolicy, is_address};
use crate::entry::Lost;
use crate::ids::{AttemptId, PartitionId, RunId, StepId, Token, WorkerId};
use crate::json::{Fingerprint, Json};
use crate::keys::{KeyId, KeyOptions, Ttl};
use crate::limits::{CallLimit, LimiterChange, LimiterId, LimiterKind};
use crate::message::Message;
use crate::rows::LoadedRows;
use crate::run::{Failure, Labels, Parent, State};
use crate::schedule::{Origin, ScheduleCommand, ScheduleId};
use crate::time::Wall;
use crate::workflow::Act;

/// How a run is to be run. Nothing here can change its result, so nothing here is part of a key's fingerprint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// Labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The run becomes `timed_out` after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Not before this date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Wall>,
    /// Not before so many milliseconds have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// `expired` unless started within so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ttl_ms: Option<u64>,
    /// How long an output is kept; as closed runs are unless given, but for a task [`Ttl::TASK_MS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_ttl: Option<Ttl>,
    /// How long any other outcome is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_ttl: Option<Ttl>,
    /// What starts when it has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<Next>>,
    /// The address that is told how it has ended: see [`crate::callback`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<Arc<str>>,
    /// For a task: its one step's options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskOptions>,
    /// A step of another run that its outcome completes, when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_to: Option<AwaitedStep>,
    /// Steps whose callback tokens were handed down to it: its data holds their names ([`crate::callback_name`]), and functions that
    /// it calls get the tokens in their place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<AwaitedStep>,
    /// The schedule that it comes from, and for which planned time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl RunOptions {
    /// The concurrency key of a run of `definition`: such runs live together, so that one partition counts them.
    pub fn limiter(&self, definition: &DefinitionRef) -> Option<LimiterId> {
        let limit = self.task.as_ref()?.limit.as_ref()?;
        let namespace = definition.namespace.clone();
        Some(LimiterId { namespace, kind: LimiterKind::Key, name: limit.key.clone() })
    }

    /// Takes from what the task `name` says of itself what this start does not say.
    pub fn fill(&mut self, name: &str, defaults: &RunOptions) {
        self.queue_ttl_ms = self.queue_ttl_ms.or(defaults.queue_ttl_ms);
        self.result_ttl = self.result_ttl.or(defaults.result_ttl);
        self.failure_ttl = self.failure_ttl.or(defaults.failure_ttl);
        if let Some(defaults) = &defaults.task {
            self.task.get_or_insert_default().fill(name, defaults);
        }
    }
}

/// Options of a task's one step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskOptions {
    /// The queue; `default` when empty.
    pub queue: String,
    /// 0 to 9, higher first; 0 when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Time limit of an attempt.
    pub timeout_ms: Option<u64>,
    /// Retries.
    pub retry: Vec<RetryPolicy>,
    /// Never run again once it may have started; not so when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most_once: Option<bool>,
    /// Worker deaths after which it is given up; the default when `None`.
    pub max_crashes: Option<u32>,
    /// Its concurrency key, and how much of that may execute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Arc<CallLimit>>,
}

impl TaskOptions {
    fn fill(&mut self, name: &str, defaults: &TaskOptions) {
        if self.queue.is_empty() {
            self.queue.clone_from(&defaults.queue);
        }
        if self.retry.is_empty() {
            self.retry.clone_from(&defaults.retry);
        }
        self.priority = self.priority.or(defaults.priority);
        self.timeout_ms = self.timeout_ms.or(defaults.timeout_ms);
        self.at_most_once = self.at_most_once.or(defaults.at_most_once);
        self.max_crashes = self.max_crashes.or(defaults.max_crashes);
        self.limit = match (self.limit.take(), &defaults.limit) {
            (Some(own), Some(defaults)) => Some(Arc::new(CallLimit {
                // A limit without a key has the task's name for one.
                key: if *own.key == *name { defaults.key.clone() } else { own.key.clone() },
                max_running: own.max_running.or(defaults.max_running),
                rate: own.rate.or(defaults.rate),
            })),
            (own, defaults) => own.or_else(|| defaults.clone()),
        };
    }
}

/// What starts when another run has succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// What to run; its version is settled.
    pub definition: DefinitionRef,
    /// Its input, an object if `into` is given; the output of the other run where both are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// The field of the input that gets the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// How.
    #[serde(default)]
    pub options: RunOptions,
}

/// A request to start a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRun {
    /// The id it gets if it is created; its slot is where the run lives ([`KeyId::slot`] for a start with a key).
    pub run: RunId,
    /// The client chose the id and may have sent it before: the same id again finds that run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_id: bool,
    /// What to run.
    pub definition: DefinitionRef,
    /// With what.
    pub input: Json,
    /// Under which key.
    pub key: Option<KeyOptions>,
    /// For whom.
    pub parent: Option<Parent>,
    /// How.
    pub options: RunOptions,
}

/// What a worker can do; not persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Its name, as shown.
    pub name: Arc<str>,
    /// Namespace it serves.
    pub namespace: Arc<str>,
    /// Queues it takes from; empty means every queue.
    pub queues: BTreeSet<String>,
    /// Functions it has.
    pub functions: BTreeSet<String>,
    /// Attempts it can execute at once.
    pub slots: u32,
    /// It lives in the server's own process: after a restart of that it does not come back.
    pub in_process: bool,
    /// Which process it is. One that does not say is taken for a new one on each connection.
    pub incarnation: Option<Incarnation>,
}

/// One process of a worker, and one of its connections. What was offered over an earlier connection of the same process and is not
/// claimed on a later one has never arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Drawn at random when the process starts.
    pub process: Arc<str>,
    /// Which of its connections: each has a higher number than those before.
    pub connection: u64,
}

impl Incarnation {
    /// Whether this is a later connection of the same process.
    pub(crate) fn is_after(&self, other: &Incarnation) -> bool {
        self.process == other.process && self.connection > other.connection
    }
}

impl WorkerSpec {
    /// The namespace of a worker that serves them all: the server's own, which calls addresses.
    pub const EVERY_NAMESPACE: &str = "*";

    /// Whether it takes calls of this function from this queue.
    pub fn serves(&self, namespace: &str, queue: &str, function: &str) -> bool {
        (*self.namespace == *namespace || *self.namespace == *Self::EVERY_NAMESPACE)
            && (self.queues.is_empty() || self.queues.contains(queue))
            && (self.functions.contains(function)
                || (is_address(function) && self.functions.contains(ANY_ADDRESS)))
    }
}

/// What a worker says about an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// It returned.
    Succeeded(Json),
    /// It raised, or ran out of time.
    Failed(Failure),
    /// It ended without an outcome.
    Lost(Lost),
    /// It was told to stop, and has.
    Stopped,
    /// The code of a workflow waits, and its worker has let it go. It had seen the journal up to line `seen`.
    Parked {
        /// The last line that it was told of.
        seen: u64,
    },
    /// The code of a workflow does not do what its journal says: a person must see to it.
    Unreplayable(String),
}

/// A request to one partition.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Start a run. Reply: [`Reply::Started`].
    Start(Box<StartRun>),
    /// Start many runs in one commit. What one of them finds or is refused for concerns no other. Reply: [`Reply::StartedMany`].
    StartMany(Vec<StartRun>),
    /// Change what is set for a queue or a concurrency key. Reply: [`Reply::Done`].
    ChangeLimit {
        /// Which.
        limiter: LimiterId,
        /// What.
        change: LimiterChange,
    },
    /// Send a message to a run. Reply: [`Reply::Done`].
    Signal {
        /// The run.
        run: RunId,
        /// The name.
        name: String,
        /// The payload.
        payload: Json,
        /// Makes it idempotent.
        id: Option<String>,
    },
    /// Stop a run. Again, or when closed, it changes nothing. Reply: [`Reply::State`].
    Cancel {
        /// The run.
        run: RunId,
        /// Why, for the journal.
        reason: String,
    },
    /// The same, and the run's outcome is this failure. Reply: [`Reply::State`].
    Stop {
        /// The run.
        run: RunId,
        /// What whoever waits for the run is told.
        failure: Failure,
    },
    /// Begin no new step. Reply: [`Reply::State`].
    Pause {
        /// The run.
        run: RunId,
    },
    /// Go on: after a pause, a repair, or a failure. Reply: [`Reply::State`].
    Resume {
        /// The run.
        run: RunId,
    },
    /// Cancel those of these runs that stand in a queue, or are to, and of which nothing executes. Reply: [`Reply::Withdrawn`].
    Withdraw {
        /// The queue.
        queue: String,
        /// The runs.
        runs: Vec<RunId>,
        /// Why, for the journal.
        reason: String,
    },
    /// Remove a closed run and its journal. Reply: [`Reply::Done`].
    Delete {
        /// The run.
        run: RunId,
    },
    /// Replace its labels. Reply: [`Reply::Done`].
    SetLabels {
        /// The run.
        run: RunId,
        /// The new ones.
        labels: Labels,
    },
    /// Complete a waiting step from outside. Reply: [`Reply::Done`].
    CompleteCallback {
        /// The token: it names run and step, and proves the right.
        token: CallbackToken,
        /// The step's outcome.
        outcome: Result<Json, Failure>,
    },
    /// Forget a key. In flight it is refused unless `cancel`. Reply: [`Reply::Done`].
    DeleteKey {
        /// The key.
        key: KeyId,
        /// Cancel what is in flight.
        cancel: bool,
    },
    /// Forget a key whose time to live is over; any other is left alone. Reply: [`Reply::Done`].
    SweepKey {
        /// The key.
        key: KeyId,
    },
    /// Keep a definition version. Reply: [`Reply::Done`].
    Deploy(Definition),
    /// Do something with a schedule. Reply: as [`ScheduleCommand`] says.
    Schedule(ScheduleId, ScheduleCommand),
    /// A worker connected; attempts it still executes are claimed with their tokens. Reply: [`Reply::Claims`].
    ConnectWorker {
        /// This connection.
        worker: WorkerId,
        /// What it can do.
        spec: Arc<WorkerSpec>,
        /// What it is executing.
        claims: Vec<(AttemptId, Token)>,
    },
    /// The worker takes so many attempts beyond its slots, because it is done with each within milliseconds: the next one is there when a
    /// slot falls free. Reply: [`Reply::Done`].
    OfferAhead {
        /// The connection.
        worker: WorkerId,
        /// How many.
        attempts: u32,
    },
    /// For now the worker can begin so many attempts at once only, up to its slots. Reply: [`Reply::Done`].
    LimitSlots {
        /// The connection.
        worker: WorkerId,
        /// How many.
        slots: u32,
        /// Why they are fewer, for a person.
        why: Option<Arc<str>>,
    },
    /// The worker takes no further attempts. Reply: [`Reply::Done`].
    DrainWorker {
        /// The connection.
        worker: WorkerId,
    },
    /// The connection is gone. With `goodbye` its attempts go back at once, else after the reconnect grace. Reply: [`Reply::Done`].
    DisconnectWorker {
        /// The connection.
        worker: WorkerId,
        /// Whether it said so.
        goodbye: bool,
    },
    /// A sign of life. Reply: [`Reply::Done`].
    Heartbeat {
        /// The connection.
        worker: WorkerId,
    },
    /// How an attempt went. Reply: [`Reply::Done`], or [`Reply::AlreadyRecorded`].
    Report {
        /// Which.
        attempt: AttemptId,
        /// The right to say so.
        token: Token,
        /// How.
        report: Report,
        /// For a run's body: how many counted acts of the attempt come before it. If they were not all taken, it is refused.
        acts: u64,
    },
    /// What the code of a workflow did and asks for, in order. Reply: [`Reply::Done`].
    Progress {
        /// The attempt at the run's body.
        attempt: AttemptId,
        /// The right to say so.
        token: Token,
        /// The number of the first act that [counts](Act::counts), from 1 in each attempt; those taken before are skipped.
        first: u64,
        /// The acts.
        acts: Vec<Act>,
    },
    /// Time has passed: fire what is due, at most `limit` runs. Reply: [`Reply::Done`].
    Tick {
        /// How many.
        limit: usize,
    },
    /// Give a run its next turn. Reply: [`Reply::Done`].
    Continue {
        /// The run.
        run: RunId,
    },
    /// What was asked for with [`crate::Needs`] or [`crate::Effect::Load`]. Reply: [`Reply::Done`].
    Loaded(Box<LoadedRows>),
    /// A message of another partition. Reply: [`Reply::Received`].
    Receive {
        /// From whom.
        from: PartitionId,
        /// Its number.
        seq: u64,
        /// The message.
        message: Message,
    },
    /// Another partition has taken in the messages up to `seq`. Reply: [`Reply::Done`].
    Acknowledge {
        /// Which.
        to: PartitionId,
        /// Up to which number.
        seq: u64,
    },
}

/// The right to complete a step from outside: names the step, proves the right, works once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackToken {
    /// The run.
    pub run: RunId,
    /// Its step.
    pub step: StepId,
    /// The secret.
    pub token: Token,
}

impl CallbackToken {
    /// The token of a step. Nobody without the deployment's secret can make one, and none needs to be stored.
    pub fn of(secret: &[u8; 32], run: RunId, step: StepId) -> Self {
        CallbackToken { run, step, token: Token::derive(secret, b"callback", run, step, 0) }
    }
}

/// A step that waits for the end of a run that it did not start: it handed out its callback token for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedStep {
    /// The run.
    pub run: RunId,
    /// Its step.
    pub step: StepId,
}

/// How a start was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// A new run.
    Created,
    /// One in flight, under the same key or id.
    Attached,
    /// One that had ended.
    Reused,
    /// One that had failed, reopened.
    Resumed,
}

/// What became of the attempts that a reconnecting worker claimed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// It goes on executing these.
    pub keep: Vec<AttemptId>,
    /// It kills these: their right was lost.
    pub drop: Vec<AttemptId>,
}

/// A command's answer, released once the batch it belongs to is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It took effect, or had before.
    Done,
    /// The start's run.
    Started {
        /// The run.
        run: RunId,
        /// How.
        kind: StartKind,
        /// The key's generation; 1 without a key.
        generation: u32,
    },
    /// Of each start, in order: its run, how it was found or made, and the generation of its key; or why it was refused.
    StartedMany(Vec<Result<(RunId, StartKind, u32), Refusal>>),
    /// The run's state after the command.
    State(State),
    /// So many runs were cancelled.
    Withdrawn(usize),
    /// The same report was recorded before.
    AlreadyRecorded,
    /// The attempt's outcome was no longer wanted: only that it has stopped was recorded.
    Superseded,
    /// What became of the claims.
    Claims(Claims),
    /// The schedule is kept.
    Scheduled {
        /// Whether there was none of the name before.
        created: bool,
        /// Whether anything is different from before.
        changed: bool,
    },
    /// Messages of that partition have taken effect up to here.
    Received {
        /// Up to which number.
        seq: u64,
    },
}

/// A command that was refused and changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such run.
    #[error("there is no run {0}")]
    UnknownRun(RunId),
    /// No such key.
    #[error("there is no key `{}` of {}", .0.continue_id, .0.definition)]
    UnknownKey(KeyId),
    /// No driver for the definition.
    #[error("there is no {} `{}`, version `{}`", .0.kind, .0.name, .0.version)]
    UnknownDefinition(DefinitionRef),
    /// The run's state does not allow it.
    #[error("run {run} is {state}: {hint}")]
    WrongState {
        /// The run.
        run: RunId,
        /// Its state.
        state: State,
        /// What to do.
        hint: &'static str,
    },
    /// The client's own run id was used for another start.
    #[error("run {0} exists with another definition or input")]
    RunIdTaken(RunId),
    /// The key stands for another input.
    #[error(
        "continue_id `{}` of {} was used with another input by {run} (its fingerprint {}…, this one {}…)",
        .key.continue_id, .key.definition, .stored.short(), .given.short()
    )]
    KeyMismatch {
        /// The key.
        key: KeyId,
        /// Its run.
        run: RunId,
        /// The fingerprint it stands for.
        stored: Fingerprint,
        /// The fingerprint of this start.
        given: Fingerprint,
    },
    /// The key has a run, and the caller wanted none.
    #[error("continue_id `{}` of {} has {run}, which is {state}, and the start asked to be rejected then", .key.continue_id, .key.definition)]
    KeyRejected {
        /// The key.
        key: KeyId,
        /// Its run.
        run: RunId,
        /// Where that stands.
        state: State,
    },
    /// Too many failures in a row.
    #[error(
        "continue_id `{}` of {} has failed {failures} times in a row, the limit max_generations; mend the cause, then start with force",
        .key.continue_id, .key.definition
    )]
    TooManyGenerations {
        /// The key.
        key: KeyId,
        /// The last run.
        run: RunId,
        /// How often.
        failures: u32,
    },
    /// The key is known, its run was deleted.
    #[error("the result of {run} under continue_id `{}` of {} was deleted; start with on_success=rerun to run it again", .key.continue_id, .key.definition)]
    KeyPurged {
        /// The key.
        key: KeyId,
        /// The run.
        run: RunId,
    },
    /// The key is in use.
    #[error("continue_id `{}` of {} is in flight as {run}", .key.continue_id, .key.definition)]
    KeyInFlight {
        /// The key.
        key: KeyId,
        /// The run.
        run: RunId,
    },
    /// Another outcome is recorded for this attempt.
    #[error("attempt {0} has another outcome on record")]
    Conflict(AttemptId),
    /// The token is not the attempt's, or its lease was lost.
    #[error("the lease of attempt {0} was lost")]
    LeaseLost(AttemptId),
    /// The run has ended.
    #[error("run {0} is closed")]
    RunClosed(RunId),
    /// It takes in no more signals before a step of it takes one.
    #[error(
        "run {run} has as many signals that it has not taken as {name} lets it have, {limit}: send this one later, or raise the limit"
    )]
    TooManySignals {
        /// The run.
        run: RunId,
        /// Which limit: `max_signals`, or `max_signal_bytes`.
        name: &'static str,
        /// How many, or how many bytes, it may have.
        limit: usize,
    },
    /// The callback token is wrong, used, or its step is over.
    #[error("this callback token is not valid, or was used before")]
    InvalidCallback,
    /// No such schedule.
    #[error("there is no schedule `{}` in namespace `{}`", .0.name, .0.namespace)]
    UnknownSchedule(ScheduleId),
    /// It was to be created, and is there.
    #[error("there is a schedule `{}` in namespace `{}` already", .0.name, .0.namespace)]
    ScheduleExists(ScheduleId),
    /// There are as many as there may be.
    #[error(
        "there are {limit} schedules, the limit max_schedules: delete one that is not needed, or raise it"
    )]
    TooManySchedules {
        /// How many there may be.
        limit: usize,
    },
    /// It says no time at which it could fire, or nothing that it could start.
    #[error("{0}")]
    InvalidSchedule(String),
    /// An earlier message of that partition, or an earlier act of that attempt, is missing; it will be delivered again.
    #[error("number {got} came before {expected}")]
    OutOfOrder {
        /// What came.
        got: u64,
        /// What was expected.
        expected: u64,
    },
}

impl Next {
    /// Its input, given what the other run's output is.
    pub(crate) fn input_with(&self, output: &Json) -> Json {
        match (&self.input, &self.into) {
            (input, Some(field)) => output.put_into(input.as_ref(), field),
            (Some(input), None) => input.clone(),
            (None, None) => output.clone(),
        }
    }
}
