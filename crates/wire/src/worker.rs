//! The messages between a server and a worker. `docs/worker-protocol.md` tells when each is sent.

use riverrun_kernel::{AttemptId, Failure, Incarnation, Json, Lost, Token};
use serde::{Deserialize, Serialize};

use crate::workflow::{Act, Activation, Event};

/// The protocol's version; a peer with another one is refused with [`ToWorker::Error`].
pub const PROTOCOL: u32 = 1;

/// A function that a worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its name: `service/function`, or a task's name.
    pub name: String,
    /// Why it cannot be called, for a function whose file does not load: a call fails with this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// What it takes, as a JSON Schema of an object, if it says so: calls that do not fit are refused when they are started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Json>,
    /// For a task: an object of what its runs are run with where their start does not say, under the names of a start's body: `queue`,
    /// `retries`, `at_most_once` and so on. Read by the server, so that one that is wrong is refused by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Json>,
    /// It is the code of a workflow: its attempts record steps of their own, may park, and are replayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub workflow: bool,
}

/// An attempt that a reconnecting worker still executes, with its right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which.
    pub attempt: AttemptId,
    /// Its token.
    pub token: Token,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// From the worker to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// What to call the worker: `host:pid` unless it was named.
        name: String,
        /// The namespace it serves.
        namespace: String,
        /// Queues it takes from; empty for all.
        #[serde(default)]
        queues: Vec<String>,
        /// Functions it has.
        functions: Vec<Function>,
        /// Attempts it can execute at once.
        slots: u32,
        /// It lives in the server's own process, and does not come back when that ends.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_process: bool,
        /// Which process it is, and which of its connections: then what it was offered before and does not claim is offered again at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
        /// What it is executing, after a reconnect.
        #[serde(default)]
        attempts: Vec<Claim>,
    },
    /// An attempt returned.
    Done {
        /// Number of the report on this connection, from 1, without gaps over all kinds of reports.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
        /// What it returned.
        output: Json,
        /// For the code of a workflow: how many acts that [count](Act::counts) the attempt has sent before. The report is taken after them.
        #[serde(default, skip_serializing_if = "is_zero")]
        acts: u64,
    },
    /// An attempt raised, or was killed at its time limit.
    Failed {
        /// Number of the report.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
        /// How.
        failure: Failure,
        /// For the code of a workflow: how many acts that [count](Act::counts) the attempt has sent before. The report is taken after them.
        #[serde(default, skip_serializing_if = "is_zero")]
        acts: u64,
    },
    /// An attempt ended without an outcome.
    Lost {
        /// Number of the report.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
        /// Why.
        reason: Lost,
    },
    /// An attempt that was told to stop has.
    Stopped {
        /// Number of the report.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
    },
    /// What the code of a workflow did and asks for, in order. When it is durable, [`ToWorker::Events`] say so.
    Progress {
        /// Number of the report.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
        /// The number of the first act that [counts](Act::counts), from 1 in each attempt. Acts that were taken before are skipped, so that
        /// a report can be sent again.
        first: u64,
        /// The acts.
        acts: Vec<Act>,
    },
    /// The code of a workflow waits, and the worker has let it go: the attempt ends. It is replayed when something has happened.
    Parked {
        /// Number of the report.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
        /// The last event ([`Event::at`]) that the code has seen. If there is a later one, it is offered again at once.
        seen: u64,
        /// For the code of a workflow: how many acts that [count](Act::counts) the attempt has sent before. The report is taken after them.
        #[serde(default, skip_serializing_if = "is_zero")]
        acts: u64,
    },
    /// The code does not do what the run's journal says it did: the run is suspended for repair.
    Unreplayable {
        /// Number of the report.
        seq: u64,
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
        /// What differs, for a person.
        reason: String,
    },
    /// Asks for [`ToWorker::History`]: before replay, and after a reconnect for each workflow attempt that was kept.
    WantHistory {
        /// Which.
        attempt: AttemptId,
        /// Its token.
        token: Token,
    },
    /// A piece of what an attempt printed or logged; not acknowledged.
    Log {
        /// Which.
        attempt: AttemptId,
        /// `stdout`, `stderr` or `log`.
        stream: String,
        /// The text.
        text: String,
    },
    /// A sign of life, every third of a lease when there is nothing else to say.
    Beat {},
    /// It takes so many attempts beyond its slots, because it is done with each within milliseconds: the next one is there when a slot
    /// falls free. What had to wait for long is given back as `returned`. A new connection begins with none.
    Ahead {
        /// How many; the server may have a limit.
        attempts: u32,
    },
    /// For now it can begin so many attempts at once only, up to its slots: what executes them is still starting, or does not start. What it
    /// had been offered beyond and has not begun it gives back as `returned`. A new connection begins with all slots.
    Slots {
        /// How many.
        slots: u32,
        /// Why they are fewer, for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// It takes no further attempts, finishes what it has, then says [`FromWorker::Bye`].
    Draining {},
    /// It goes: what it has not reported goes to others at once.
    Bye {},
}

/// From the server to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// The answer to `hello`.
    Welcome {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The server's version.
        server: String,
        /// Silence for so long costs the worker its attempts.
        lease_ms: u64,
        /// Claimed attempts that it goes on executing.
        keep: Vec<AttemptId>,
        /// Claimed attempts that it kills: their right was lost.
        drop: Vec<AttemptId>,
    },
    /// An attempt to execute now.
    Offer(Box<Offer>),
    /// Stop an attempt: gently, by force after the grace; then report.
    Stop {
        /// Which.
        attempt: AttemptId,
        /// How long it may clean up.
        grace_ms: u64,
    },
    /// What has become durable for a running workflow attempt, in the order of its journal.
    Events {
        /// Which.
        attempt: AttemptId,
        /// The events.
        events: Vec<Event>,
    },
    /// The answer to [`FromWorker::WantHistory`]: everything from the beginning of the run's journal that its code must know. Events
    /// that were sent beside it and are not later than its last one say nothing new.
    History {
        /// Which.
        attempt: AttemptId,
        /// A part of the events, in order.
        events: Vec<Event>,
        /// The line of the journal up to which the parts so far tell everything.
        upto: u64,
        /// Whether this was the last part.
        last: bool,
    },
    /// Begin nothing new for this workflow attempt and report it `parked` as soon as what executes is recorded.
    Park {
        /// Which.
        attempt: AttemptId,
    },
    /// All reports up to this number are durable, or were refused before.
    Ack {
        /// Up to which number.
        seq: u64,
    },
    /// A report changed nothing: another outcome is on record, its lease was lost, its run is closed. Comes before the ack that covers it.
    Refused {
        /// The report.
        seq: u64,
        /// `Conflict`, `LeaseLost`, `RunClosed` or `UnknownRun`.
        code: String,
        /// For a person.
        message: String,
    },
    /// The server is going: keep your attempts, connect again.
    Going {},
    /// The connection ends because of this.
    Error {
        /// A stable code.
        code: String,
        /// For a person, with what to do.
        message: String,
    },
}

/// An attempt, as offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Which.
    pub attempt: AttemptId,
    /// The right to report its outcome.
    pub token: Token,
    /// The function to call.
    pub function: String,
    /// Its input.
    pub input: Json,
    /// The definition of the run it belongs to.
    pub definition: String,
    /// The step's path in that run.
    pub path: String,
    /// Its time limit: the worker kills it then and reports a failure named `Timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Stable over attempts and resumes of the step.
    pub idempotency_key: String,
    /// The token that completes the step from outside, for callback steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// For the code of a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Activation>,
}
