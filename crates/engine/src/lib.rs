//! Drives kernels over a store: commit, then act.
//!
//! The [`Engine`] owns the partitions of this node: it decides commands in group commits, makes them durable, and only then answers. It knows
//! nothing of HTTP or sockets. Main type: [`Engine`]. What one partition does is in [`sequencer`], which has no threads and no clock.

mod announced;
mod backfill;
mod deletion;
mod engine;
mod error;
mod hub;
mod library;
mod lists;
mod metrics;
mod node;
mod queues;
mod schedules;
pub mod sequencer;
mod settings;
mod short_id;
mod start;
mod watch;
mod worker_link;

pub use backfill::Backfilled;
pub use engine::{Deployed, Engine, Journal, Shown, Swept};
pub use error::{BatchError, DeployError, EngineError, Health, OpenError};
pub use library::{Definitions, TaskContract};
pub use metrics::Metric;
pub use schedules::{PutSchedule, Written};
pub use settings::Settings;
pub use short_id::ShortId;
pub use start::{Start, StartKey, StartNext, Started, check_queue};
pub use watch::Watch;
pub use worker_link::{ToWorker, WorkerLink};
