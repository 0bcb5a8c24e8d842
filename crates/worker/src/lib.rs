//! Executes user code in child processes on behalf of a Riverrun server.
//!
//! A [`Supervisor`] owns the connection to the server, the rights to its attempts, the time limits and the children. No user
//! code runs in its process, so nothing that user code does can make it miss a sign of life. It takes no decision that
//! outlives it: what it has not reported, others will do.
//!
//! Isolation: a child executes one attempt at a time. A time limit can therefore kill a child without hurting a neighbour,
//! a child that dies has exactly one attempt to blame, and what it writes to its descriptors belongs to that attempt.

mod children;
mod config;
mod connection;
mod error;
mod executor;
mod ledger;
mod member;
mod output;
mod pace;
mod pool;
pub mod sdk;
mod starts;
mod supervisor;

pub use config::{Config, OutputLine};
pub use error::WorkerError;
pub use supervisor::Supervisor;
