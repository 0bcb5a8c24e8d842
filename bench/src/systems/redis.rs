//! Redis as Debian has it, which makes every command durable before it answers, and RQ and Celery on it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::program::{Program, number};
use super::{Used, free_address};
use crate::process::Process;
use crate::settings::{Settings, Subject, here};

/// How long a process may take to come up.
const START: Duration = Duration::from_mins(1);

/// A task queue on Redis, with two processes that execute tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RQ's worker, which forks for each job.
    RqForking,
    /// RQ's worker that executes jobs itself.
    RqSimple,
    /// Celery with the number of messages that its workers fetch ahead unless told otherwise.
    Celery,
    /// Celery whose workers fetch 64 each ahead and speak with nobody but Redis.
    CeleryTuned,
}

/// A Redis with nothing in it, workers on it, and a client.
pub struct Queue {
    /// The client.
    pub client: Program,
    redis: Process,
    workers: Option<Process>,
    address: SocketAddr,
    kind: Kind,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::RqForking, Kind::RqSimple, Kind::Celery, Kind::CeleryTuned];

    /// What it is called in the results.
    pub fn name(self) -> &'static str {
        match self {
            Kind::RqForking => "RQ 3.0.0",
            Kind::RqSimple => "RQ 3.0.0, SimpleWorker",
            Kind::Celery => "Celery 5.7.0",
            Kind::CeleryTuned => "Celery 5.7.0, prefetch 64",
        }
    }

    /// What it is called on the command line.
    pub fn subject(self) -> Subject {
        if self.is_rq() { Subject::Rq } else { Subject::Celery }
    }

    /// Whether it is RQ.
    fn is_rq(self) -> bool {
        matches!(self, Kind::RqForking | Kind::RqSimple)
    }
}

impl Queue {
    /// Starts Redis and a client, and no workers yet.
    pub fn start(settings: &Settings, kind: Kind) -> io::Result<Queue> {
        let address = free_address()?;
        let data = settings.fresh("redis")?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let redis = Process::start(&mut command, &settings.log("redis"))?;
        until_pong(address)?;
        let system = if kind.is_rq() { "rq" } else { "celery" };
        let mut command = Command::new(settings.peer("queues/bin/python"));
        command.arg(here("peers/queue_client.py")).args([system, &url(address)]);
        let client = Program::start(&mut command, &settings.log("queue-client"))?;
        Ok(Queue { client, redis, workers: None, address, kind })
    }

    /// Starts the workers.
    pub fn employ(&mut self, settings: &Settings) -> io::Result<()> {
        let command = self.worker(settings);
        self.start_workers(settings, command)
    }

    /// Starts the workers, and waits until they execute tasks: each of the two has most likely executed one of so many.
    pub fn serve(&mut self, settings: &Settings) -> io::Result<()> {
        self.employ(settings)?;
        self.client.ask(&json!({"do": "pickup", "count": 20, "pause_s": 0.0})).map(drop)
    }

    /// Starts workers that take delayed tasks, too. RQ has a scheduler only in a worker without a pool.
    pub fn employ_with_scheduler(&mut self, settings: &Settings) -> io::Result<()> {
        if !self.kind.is_rq() {
            return self.employ(settings);
        }
        let mut command = Command::new(settings.peer("queues/bin/rq"));
        command.args(["worker", "--with-scheduler", "--url", &url(self.address), "--logging_level", "ERROR"]);
        command.args(["-w", "rq.SimpleWorker", "default"]);
        self.start_workers(settings, command)
    }

    fn start_workers(&mut self, settings: &Settings, mut command: Command) -> io::Result<()> {
        command
            .current_dir(here("peers"))
            .env("BENCH_REDIS", url(self.address))
            .env("PYTHONPATH", here("peers"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Celery warns of a superuser in text that is nobody's here.
            .env("C_FORCE_ROOT", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.workers = Some(Process::start(&mut command, &settings.log("queue-workers"))?);
        Ok(())
    }

    fn worker(&self, settings: &Settings) -> Command {
        let program = if self.kind.is_rq() { "queues/bin/rq" } else { "queues/bin/celery" };
        let mut command = Command::new(settings.peer(program));
        let url = url(self.address);
        match self.kind {
            Kind::RqForking => {
                command.args(["worker-pool", "-n", "2", "-u", &url, "-l", "ERROR", "default"]);
            }
            Kind::RqSimple => {
                command.args(["worker-pool", "-n", "2", "-u", &url, "-l", "ERROR"]);
                command.args(["-w", "rq.SimpleWorker", "default"]);
            }
            Kind::Celery => {
                command.args(["-A", "celery_tasks", "worker", "-c", "2", "-l", "ERROR"]);
            }
            Kind::CeleryTuned => {
                command.args(["-A", "celery_tasks", "worker", "-c", "2", "-l", "ERROR"]);
                command.args(["--without-gossip", "--without-mingle", "--without-heartbeat"]);
                command.env("BENCH_PREFETCH", "64");
            }
        }
        command
    }

    /// How many tasks have ended.
    pub fn ended(&mut self) -> io::Result<f64> {
        Ok(number(&self.count()?, "ended"))
    }

    /// How many tasks have ended and how many wait, and the bytes that Redis keeps.
    pub fn count(&mut self) -> io::Result<Value> {
        self.client.ask(&json!({"do": "count"}))
    }

    /// What Redis and the workers have used so far.
    pub fn used(&self) -> Used {
        let worker = self.workers.as_ref().map(Process::usage).unwrap_or_default();
        Used { engine: self.redis.usage(), worker }
    }
}

fn url(address: SocketAddr) -> String {
    format!("redis://{address}/0")
}

fn until_pong(address: SocketAddr) -> io::Result<()> {
    let start = Instant::now();
    loop {
        let problem = match ping(address) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if start.elapsed() > START {
            return Err(problem);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ping(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if answer == *b"+PONG\r\n" { Ok(()) } else { Err(io::Error::other("Redis does not answer a ping")) }
}
