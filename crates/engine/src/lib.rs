//! Drives kernels over a store: commit, then act.
//!
//! The [`Engine`] owns the partitions of this node: it decides commands in group commits, makes them durable, and only then answers. It knows
//! nothing of HTTP or sockets. Main type: [`Engine`].

mod api;

pub use api::{
    DeployError, Deployed, Engine, EngineError, Health, Journal, OpenError, Settings, Start, StartKey,
    Started, ToWorker, Watch, WorkerLink,
};
