//! The state machine of one partition: runs and their journals, queues, leases, timers, keys, messages.
//!
//! Pure: no I/O, no clock, no randomness. [`Partition::apply`] decides a [`Command`] at a given [`Now`] and appends
//! [`Record`]s and [`Effect`]s; the engine makes the records durable and only then releases the effects and replies.
//! Folding the records over an empty partition gives the same partition again. The same commands give the same records.
//!
//! It does not know any definition language: what a run does next is a [`Driver`]'s decision.

pub mod callback;
mod command;
pub mod compose;
mod definition;
pub mod driver;
mod effect;
mod entry;
mod ids;
pub mod json;
mod keys;
mod limits;
mod message;
mod partition;
mod rows;
mod run;
pub mod schedule;
pub mod task;
mod time;
pub mod workflow;

pub use command::{
    AwaitedStep, CallbackToken, Claims, Command, Incarnation, Next, Refusal, Reply, Report, RunOptions,
    StartKind, StartRun, TaskOptions, WorkerSpec,
};
pub use definition::{Definition, DefinitionKind, DefinitionRef};
pub use driver::{Driver, Drivers, Resolved};
pub use effect::{Body, Decided, Effect, Needs, Offer, callback_name, callback_text, idempotency_key};
pub use entry::{Created, CreatedKey, Entry, Lost, Record};
pub use ids::{AttemptId, InvalidId, PartitionId, RunId, Slot, StepId, Token, WorkerId};
pub use json::{Fingerprint, Json};
pub use keys::{Key, KeyId, KeyOptions, KeyStatus, KeyUse, OnFailure, OnInput, OnRunning, OnSuccess, Ttl};
pub use limits::{
    Bucket, CallLimit, InvalidRate, LimiterChange, LimiterId, LimiterKind, LimiterRow, LimiterSettings,
    QueueView, Rate,
};
pub use message::Message;
pub use partition::{Config, Partition, RunState, WorkerView, life};
pub use rows::{JournalRow, KeyRow, LoadedRows, PartitionRow, QueuePlace, Rows, RunRow, Stub};
pub use run::{
    Failure, Holdup, Labels, Parent, QueueDepth, RunSummary, RunView, State, StepView, WaitKind, Waiting,
};
pub use time::{Due, Now, Ticks, Wall};
