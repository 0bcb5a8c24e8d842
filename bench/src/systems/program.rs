//! A program that takes a command as a line of JSON on its standard input and answers with a line of JSON.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::process::Process;

/// Such a program, running.
pub struct Program {
    /// Its process.
    pub process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it and waits until it says that it is ready.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Program> {
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command, log)?;
        let (input, output) = process.pipes().ok_or_else(|| io::Error::other("it has no pipes"))?;
        let mut program = Program { process, input, output: BufReader::new(output) };
        program.answer()?;
        Ok(program)
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
        serde_json::from_str(&line).map_err(|_| io::Error::other("a program ended; its log says why"))
    }
}

/// A list of numbers in an answer.
pub fn numbers(answer: &Value, name: &str) -> Vec<f64> {
    answer[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// A number in an answer; zero if there is none.
pub fn number(answer: &Value, name: &str) -> f64 {
    answer[name].as_f64().unwrap_or_default()
}
