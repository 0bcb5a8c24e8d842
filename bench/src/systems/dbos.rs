//! DBOS on SQLite: client, engine and worker are one Python process.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Process;
use crate::settings::{Settings, here};

/// What it is called in the results.
pub const NAME: &str = "DBOS 3.4.0, SQLite";

/// A DBOS application with a database of its own.
pub struct Dbos {
    /// Its process.
    pub process: Process,
    /// How long it took from the start of the process until it was ready.
    pub cold_start: Duration,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
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
        command
            .arg(here("peers/dbos_app.py"))
            .arg(settings.work.join("dbos"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let start = Instant::now();
        let mut process = Process::start(&mut command, &settings.log("dbos"))?;
        let (input, output) = process.pipes().ok_or_else(|| io::Error::other("DBOS has no pipes"))?;
        let mut dbos = Dbos { process, cold_start: Duration::ZERO, input, output: BufReader::new(output) };
        dbos.answer()?;
        dbos.cold_start = start.elapsed();
        Ok(dbos)
    }

    /// Has something done.
    pub fn ask(&mut self, command: &Value) -> io::Result<Value> {
        self.tell(command)?;
        self.answer()
    }

    /// Has something begun.
    pub fn tell(&mut self, command: &Value) -> io::Result<()> {
        writeln!(self.input, "{command}")
    }

    /// Waits for what was begun.
    pub fn answer(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| io::Error::other("DBOS ended; its log says why"))
    }
}

/// A list of numbers in an answer.
pub fn numbers(answer: &Value, name: &str) -> Vec<f64> {
    answer[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
