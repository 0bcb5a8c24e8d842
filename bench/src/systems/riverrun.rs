//! Riverrun: the real server and real workers, as separate processes.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::program::Program;
use super::{Stand, free_address};
use crate::http::{Connection, Request, until_ok};
use crate::process::Process;
use crate::settings::{Settings, here};

/// How long a process may take to come up.
const START: Duration = Duration::from_mins(2);

/// What executes the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// Nobody.
    None,
    /// `riverrun worker` with Python functions, of which so many run at once.
    Python(usize),
    /// A Rust program with the SDK, which has so many attempts at once.
    Rust(usize),
}

/// A Riverrun with a data directory of its own.
pub struct Riverrun {
    /// Its processes.
    pub stand: Stand,
    /// How long it took from the start of the process to an answer.
    pub cold_start: Duration,
    place: Place,
}

/// Where a server has its files.
struct Place {
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
    address: SocketAddr,
}

impl Riverrun {
    /// Starts a server with nothing in it, and workers.
    pub async fn start(settings: &Settings, workers: Workers) -> io::Result<Riverrun> {
        let place = Place {
            binary: settings.riverrun.clone(),
            data: settings.fresh("riverrun")?,
            log: settings.log("riverrun"),
            address: free_address()?,
        };
        let (engine, cold_start) = place.serve().await?;
        let mut riverrun =
            Riverrun { stand: Stand { address: place.address, engine, worker: None }, cold_start, place };
        riverrun.employ(settings, workers).await?;
        Ok(riverrun)
    }

    /// Starts workers for a server that has none.
    pub async fn employ(&mut self, settings: &Settings, workers: Workers) -> io::Result<()> {
        if let Some(mut command) = self.place.worker(settings, workers)? {
            self.stand.worker = Some(Process::start(&mut command, &self.place.log)?);
            self.until_workers().await?;
        }
        Ok(())
    }

    /// Starts the server again on the same data; how long it took until it answered.
    pub async fn restart(&mut self) -> io::Result<Duration> {
        let (engine, took) = self.place.serve().await?;
        self.stand.engine = engine;
        Ok(took)
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.place.data
    }

    /// Asks for something once.
    pub async fn ask(&self, request: &Request) -> io::Result<Value> {
        Ok(Connection::new(self.place.address).send(request).await?.accepted()?.json())
    }

    /// Keeps a flow.
    pub async fn deploy(&self, name: &str, source: &str) -> io::Result<()> {
        let body = json!({"name": name, "source": source});
        self.ask(&Request::post("/v1/definitions", &body)).await.map(drop)
    }

    /// One of its metrics.
    pub async fn metric(&self, name: &str) -> io::Result<f64> {
        let answer = Connection::new(self.place.address).send(&Request::get("/metrics")).await?.accepted()?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).ok_or_else(|| io::Error::other(format!("no metric {name}")))
    }

    /// Waits until a metric has at least this value; looks seldom, so that looking costs nothing.
    pub async fn until(&self, metric: &str, value: f64, limit: Duration) -> io::Result<()> {
        let start = Instant::now();
        while self.metric(metric).await? < value {
            if start.elapsed() > limit {
                return Err(io::Error::other(format!("{metric} did not reach {value}")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn until_workers(&self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            let answer = self.ask(&Request::get("/v1/workers")).await?;
            if answer["items"].as_array().is_some_and(|workers| !workers.is_empty()) {
                return Ok(());
            }
            if start.elapsed() > START {
                return Err(io::Error::other("no worker connected"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Place {
    fn worker(&self, settings: &Settings, workers: Workers) -> io::Result<Option<Command>> {
        let server = format!("http://{}", self.address);
        let mut command = match workers {
            Workers::None => return Ok(None),
            Workers::Python(slots) => {
                let mut command = Command::new(&self.binary);
                command.arg("worker").arg(here("functions")).args(["--server", &server]);
                command.args(["--concurrency", &slots.to_string()]);
                command.env("BENCH_MARKS", settings.marks()).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Workers::Rust(slots) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["worker", &server, &slots.to_string()]).env("BENCH_MARKS", settings.marks());
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Some(command))
    }

    async fn serve(&self) -> io::Result<(Process, Duration)> {
        let mut command = Command::new(&self.binary);
        command
            .arg("server")
            .arg("--data")
            .arg(&self.data)
            .args(["--listen", &self.address.to_string()])
            // The load may begin before the first worker is there.
            .arg("--accept-unknown-tasks")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let start = Instant::now();
        let engine = Process::start(&mut command, &self.log)?;
        until_ok(self.address, &Request::get("/readyz"), START).await?;
        Ok((engine, start.elapsed()))
    }
}

/// A client in Python, with the package of these sources.
pub fn client(settings: &Settings, riverrun: &Riverrun) -> io::Result<Program> {
    let mut command = Command::new("python3");
    command
        .arg(here("peers/queue_client.py"))
        .args(["riverrun", &format!("http://{}", riverrun.stand.address)])
        .env("PYTHONPATH", here("../python/src"));
    Program::start(&mut command, &settings.log("queue-client"))
}

/// A flow of so many calls of one function, one after another.
pub fn calls(function: &str, count: usize) -> String {
    let mut source = "version: v1\ntype: flow\nsteps:\n".to_owned();
    for step in 1..=count {
        // Writing to a String cannot fail.
        let _ = writeln!(source, "  - type: task\n    name: S{step}\n    resourceArn: {function}");
    }
    source
}

/// The start of a run, answered when it has ended.
pub fn run(definition: &str) -> Request {
    Request::post("/v1/runs", &json!({"definition": definition, "wait": "60s"}))
}

/// The same for the workflow of the Rust worker, with so many steps.
pub fn run_steps(count: usize) -> Request {
    let body = json!({"definition": "steps", "kind": "workflow", "input": {"steps": count}, "wait": "60s"});
    Request::post("/v1/runs", &body)
}
