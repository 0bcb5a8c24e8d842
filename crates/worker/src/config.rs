//! Settings of a supervisor.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A piece of what an attempt printed, for whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLine<'a> {
    /// The function; empty for what a child prints outside of any attempt.
    pub function: &'a str,
    /// The attempt's text form; empty likewise.
    pub attempt: &'a str,
    /// `stdout`, `stderr` or `log`.
    pub stream: &'a str,
    /// One line, without its end.
    pub text: &'a str,
}

/// Called with each line that user code prints.
pub type OutputSink = Arc<dyn Fn(OutputLine<'_>) + Send + Sync>;

/// Settings of a supervisor.
#[derive(Clone)]
pub struct Config {
    /// The server: `http://host:port`.
    pub server: String,
    /// The server's access token, if it wants one.
    pub token: Option<String>,
    /// What to call the worker; `host:pid` unless given.
    pub name: Option<String>,
    /// The namespace it serves.
    pub namespace: String,
    /// Queues it takes from; empty for all.
    pub queues: Vec<String>,
    /// The folder of functions, or one file.
    pub functions: PathBuf,
    /// The Python interpreter.
    pub python: PathBuf,
    /// A folder that holds the `riverrun` package, for an interpreter that has none of its own.
    pub python_path: Option<PathBuf>,
    /// Attempts at once, and so children at most.
    pub slots: u32,
    /// The server lives in this process, too: what is executed here ends with it.
    pub in_process: bool,
    /// How long a child may take to load the functions.
    pub start_timeout: Duration,
    /// How long an attempt may wait for a child that is starting before it is given back. Its time limit runs at the server meanwhile.
    pub start_patience: Duration,
    /// Ends with an error when no child is up and none starts any more, instead of trying on without taking anything: for a caller who
    /// waits for what this worker executes, and knows of no other one.
    pub ends_without_children: bool,
    /// How long an attempt may clean up after its time limit before it is killed.
    pub timeout_grace: Duration,
    /// How long attempts may go on after the supervisor was told to shut down, before they are killed.
    pub drain_timeout: Duration,
    /// How long after `drain_timeout` the ends of killed attempts and the server's acknowledgements of all reports are waited for.
    /// Without them the supervisor leaves as if the connection were lost.
    pub settle_timeout: Duration,
    /// How much of one attempt's output is kept, in bytes.
    pub max_output_bytes: usize,
    /// The largest result of an attempt, in bytes of JSON.
    pub max_result_bytes: usize,
    /// Shows what user code prints, beside sending it to the server.
    pub show_output: Option<OutputSink>,
}

impl Config {
    /// The defaults, for a server and a folder of functions.
    pub fn new(server: impl Into<String>, functions: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Config {
            server: server.into(),
            token: None,
            name: None,
            namespace: "default".to_owned(),
            queues: Vec::new(),
            functions: functions.into(),
            python: PathBuf::from("python3"),
            python_path: None,
            slots: u32::try_from(cores.max(4)).unwrap_or(4),
            in_process: false,
            start_timeout: Duration::from_mins(1),
            start_patience: Duration::from_millis(500),
            ends_without_children: false,
            timeout_grace: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(25),
            settle_timeout: Duration::from_secs(3),
            max_output_bytes: 1 << 20,
            max_result_bytes: 32 << 20,
            show_output: None,
        }
    }

    /// The settings of the loop that talks to the server.
    pub(crate) fn service(&self) -> Service {
        Service {
            token: self.token.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            queues: self.queues.clone(),
            slots: self.slots,
            in_process: self.in_process,
            drain_timeout: self.drain_timeout,
            settle_timeout: self.settle_timeout,
        }
    }
}

/// What the loop that talks to the server needs, whatever executes the attempts.
#[derive(Clone)]
pub(crate) struct Service {
    pub token: Option<String>,
    pub name: Option<String>,
    pub namespace: String,
    pub queues: Vec<String>,
    pub slots: u32,
    pub in_process: bool,
    pub drain_timeout: Duration,
    pub settle_timeout: Duration,
}

impl Service {
    /// The name under which the worker is shown.
    pub fn worker_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            format!("{host}:{}", std::process::id())
        })
    }
}

impl fmt::Debug for Config {
    /// Without the access token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("server", &self.server)
            .field("functions", &self.functions)
            .field("python", &self.python)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}
