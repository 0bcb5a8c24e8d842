//! DBOS on SQLite: client, engine and worker are one Python process.

use std::io;
use std::process::Command;

use super::program::Program;
pub use super::program::numbers;
use crate::settings::{Settings, here};

/// What it is called in the results.
pub const NAME: &str = "DBOS 3.4.0, SQLite";

/// A DBOS application with a database of its own.
pub struct Dbos {
    /// Its one process.
    pub program: Program,
}

impl Dbos {
    /// Starts it with nothing in its database.
    pub fn start(settings: &Settings) -> io::Result<Dbos> {
        settings.fresh("dbos")?;
        Dbos::again(settings)
    }

    /// Starts it on what its database holds.
    pub fn again(settings: &Settings) -> io::Result<Dbos> {
        let mut command = Command::new(settings.peer("dbos/bin/python"));
        command.arg(here("peers/dbos_app.py")).arg(settings.work.join("dbos"));
        Ok(Dbos { program: Program::start(&mut command, &settings.log("dbos"))? })
    }
}
