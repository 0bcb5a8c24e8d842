//! One file per command.

pub mod attach;
pub mod check;
pub mod deploy;
pub mod dev;
pub mod keys;
pub mod run;
pub mod runs;
pub mod server;
pub mod store;
pub mod worker;
pub mod workers;
