//! The bodies of the HTTP API, for both sides: the server answers with them, clients read them.
//!
//! A request refuses fields it does not know, so that a mistyped option is never silently ignored. An answer is read tolerantly: a newer
//! server may say more. Every type here has a JSON Schema, from which the OpenAPI document is made. Nothing here decides anything.

mod definition;
mod duration;
mod json;
mod key;
mod problem;
mod queue;
mod run;
mod schedule;
mod start;
mod worker;

pub use definition::{
    DefinitionGraphQuery, DefinitionQuery, DefinitionView, Definitions, DeleteDefinitionQuery, Deploy,
    DeployQuery, Deployed, Diagnostic, Severity,
};
pub use duration::{Duration, InvalidDuration, KeyTtl};
pub use json::{MAX_DEPTH, check};
pub use key::{DeleteKeyQuery, KeyQuery, KeyView, Keys};
pub use problem::{Code, Problem};
pub use queue::{Changed, DeadQuery, LimitBody, QueueBody, QueueItem, QueueQuery, QueuedFunction, Queues};
pub use run::{
    CancelBody, CountAnswer, CountQuery, DeleteQuery, ErrorView, GraphFormat, GraphQuery, HistoryEvent,
    HistoryQuery, HistoryView, JournalEntry, JournalQuery, JournalView, LabelsBody, ListQuery, LogLine, Logs,
    LogsQuery, Run, RunItem, RunQuery, Runs, SignalBody, StateAnswer, Step, WaitingView, time,
};
pub use schedule::{
    BackfillSchedule, Backfilled, BackfilledTime, FiredView, LateView, MissedWord, NextQuery, NextTimes,
    OneSchedule, OriginView, PauseSchedule, PlannedTime, PutSchedule, ScheduleQuery, ScheduleView, Schedules,
    TriggerSchedule, planned_time,
};
pub use start::{Backoff, Batch, BatchError, BatchItem, Batched, Call, Compose, Retries, Start};
pub use worker::{CallbackBody, CallbackError, WorkerItem, Workers};
