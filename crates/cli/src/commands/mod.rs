//! One file per command.

pub mod attach;
pub mod backup;
pub mod check;
pub mod definitions;
pub mod deploy;
pub mod dev;
pub mod graph;
pub mod history;
pub mod keys;
pub mod queue;
pub mod restore;
pub mod run;
pub mod runs;
pub mod schedule;
pub mod server;
pub mod sql;
pub mod store;
pub mod test;
pub mod top;
pub mod worker;
pub mod workers;
