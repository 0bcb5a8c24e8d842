//! The command line, as clap reads it. Nothing is done here.

#[cfg(test)]
mod documented;
mod queue;
mod schedule;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use serde::Deserialize;

use crate::values::{Retention, duration, label, retention};
pub use queue::*;
pub use schedule::*;

/// Runs your work to the end, whatever happens in between.
#[derive(Debug, Parser)]
#[command(name = "riverrun", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
}

const EXIT_CODES: &str = "Exit codes: 0 done or succeeded, 1 failed, 2 wrong usage or input, 3 timed out, 4 cancelled, \
5 suspended for repair, 6 expired, 7 no answer from the server, 8 still open when --wait ended, 74 the storage is broken, \
130 interrupted. See docs/cli.md.";

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// Print JSON on stdout instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// Colours: a terminal gets them unless told otherwise
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Colors,
    /// Say less on stderr: only what went wrong
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colors {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which server a command talks to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct Target {
    /// Address of a running server, such as http://127.0.0.1:7733
    #[arg(long, env = "RIVERRUN_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Data directory to open, or whose server to talk to, where no --server is given
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
    /// File that holds the server's access token (or RIVERRUN_TOKEN, the token itself)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Namespace of definitions, keys and runs
    #[arg(long, env = "RIVERRUN_NAMESPACE", value_name = "NAME", default_value = "default")]
    pub namespace: String,
}

impl Target {
    /// The options that lead another command to the same server, each with a space before it.
    pub fn options(&self) -> String {
        let mut options = String::new();
        let mut add = |name: &str, value: &str| options.extend([" ", name, " ", &word(value)]);
        match &self.server {
            Some(url) => add("--server", url),
            None if self.data == Path::new(".riverrun") => {}
            None => add("--data", &self.data.display().to_string()),
        }
        if let Some(file) = &self.token_file {
            add("--token-file", &file.display().to_string());
        }
        if self.namespace != "default" {
            add("--namespace", &self.namespace);
        }
        options
    }
}

/// A word of a shell command, in quotes where it needs them.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Where user code comes from, and who executes it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Functions")]
pub struct Code {
    /// Python interpreter (also RIVERRUN_PYTHON; else the active virtual environment, else python3)
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
    /// How many calls to execute at once; one per core by default, and at least 4
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
}

/// What a node may be told when it opens a data directory.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub struct Node {
    /// How long a silent worker keeps its attempts
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub lease: Duration,
    /// Remove closed runs after so long, or `forever` to keep them
    #[arg(long, value_name = "TIME", value_parser = retention, default_value = "30d")]
    pub retention: Retention,
    /// Configuration file (TOML): functions that have an address, hosts that may be called, access keys, bridges; riverrun.toml in this folder, if it
    /// is there
    #[arg(long, env = "RIVERRUN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Largest request body, in bytes; at most 32 MiB, so that every input fits into a worker's frame
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(1..=32 << 20), default_value_t = MAX_BODY)]
    pub max_body: u32,
    /// What flows may ask for: `fnf` is what the cloud service allows. A run keeps the limits that it began under
    #[arg(long, value_name = "PROFILE")]
    pub flow_limits: Option<FlowLimits>,
}

/// Named limits of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowLimits {
    /// Waits of years, histories and data as long and large as the server takes them
    Standard,
    /// What the cloud service allows: 32 KiB a step, 5,000 events, waits of two days, 100 branches
    Fnf,
}

impl From<FlowLimits> for riverrun_plan::Limits {
    fn from(profile: FlowLimits) -> Self {
        match profile {
            FlowLimits::Standard => riverrun_plan::Limits::default(),
            FlowLimits::Fnf => riverrun_plan::Limits::FNF,
        }
    }
}

/// How much a server takes on; the errors name the limits so.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// The longest time that a request may ask to wait
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub max_wait: Duration,
    /// Bytes of large request bodies that are read at once; others wait
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(1..), default_value_t = 256 << 20)]
    pub max_body_memory: u32,
    /// Connections at once
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), default_value_t = 10_000)]
    pub max_connections: u32,
    /// Workers connected at once
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), default_value_t = 1_000)]
    pub max_workers: u32,
    /// Signals that a run may have which no step of it has taken yet
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), default_value_t = 10_000)]
    pub max_signals: u32,
    /// Bytes that they may have together
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(1..), default_value_t = 64 << 20)]
    pub max_signal_bytes: u32,
    /// Lines that the journal of a flow's run may have before the run fails
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..), default_value_t = 1_000_000)]
    pub max_entries: u64,
    /// Schedules that there may be, in each partition
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), default_value_t = 1_000_000)]
    pub max_schedules: u32,
    /// How long a worker whose connection broke may take to come back before its attempts go to others
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3s")]
    pub reconnect_grace: Duration,
}

impl Limits {
    /// The defaults.
    pub fn standard() -> Self {
        Limits {
            max_wait: Duration::from_mins(1),
            max_body_memory: 256 << 20,
            max_connections: 10_000,
            max_workers: 1_000,
            max_signals: 10_000,
            max_signal_bytes: 64 << 20,
            max_entries: 1_000_000,
            max_schedules: 1_000_000,
            reconnect_grace: Duration::from_secs(3),
        }
    }
}

/// 16 MiB.
const MAX_BODY: u32 = 16 << 20;

impl Node {
    /// The defaults.
    pub fn standard() -> Self {
        Node {
            lease: Duration::from_secs(30),
            retention: Retention::For(Duration::from_hours(720)),
            config: None,
            max_body: MAX_BODY,
            flow_limits: None,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a flow or a task to its end and print its output
    Run(Box<Run>),
    /// Serve a data directory over HTTP
    Server(Server),
    /// Execute the functions of a folder for a server
    Worker(Worker),
    /// Serve a folder while you work on it: server, worker and flows, reloaded on change
    Dev(Dev),
    /// Check a flow and keep it on the server under a name
    Deploy(Deploy),
    /// List and delete what is deployed or was announced by workers
    #[command(subcommand)]
    Definitions(Definitions),
    /// Check flows and show every mistake in them; needs no server
    Check(Check),
    /// Play a flow's cases: functions stubbed, on a clock that jumps; needs no server
    Test(Test),
    /// Draw a flow; needs no server
    Graph(Graph),
    /// List, show and steer runs
    #[command(subcommand)]
    Runs(Runs),
    /// List, show and forget continue_ids
    #[command(subcommand)]
    Keys(Keys),
    /// Start runs by the clock: cron lines, intervals, dates
    #[command(subcommand, alias = "schedules")]
    Schedule(Schedule),
    /// List, steer and watch queues, and see to dead letters
    #[command(subcommand)]
    Queue(Queue),
    /// List the workers that are connected
    Workers(Workers),
    /// Examine and repair a data directory
    #[command(subcommand)]
    Store(StoreCommand),
    /// Copy everything as it is at one moment into a new directory; a server goes on meanwhile
    Backup(Backup),
    /// Make a data directory from a backup
    Restore(Restore),
    /// Ask for runs, steps, journals, keys and definitions in SQL; it can only read
    Sql(Sql),
}

/// `riverrun run`.
#[derive(Debug, Args)]
pub struct Run {
    /// A flow (flow.yaml, flow.yaml:NAME), a task of a Python file (jobs.py:TASK), or the NAME of a flow, task or workflow that a running
    /// server has
    #[arg(value_name = "FILE[:NAME]")]
    pub file: String,
    /// The input: JSON text, @FILE, or - for stdin
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    pub input: String,
    /// Folder of functions; `functions` beside the flow by default
    #[arg(long, value_name = "DIR")]
    pub functions: Option<PathBuf>,
    /// Leave the functions to the workers that the server has
    #[arg(long)]
    pub no_worker: bool,
    /// Hang a label on the run
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// End a flow's run as timed_out after so long; for a task, the time limit of each attempt
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// How long to follow.
    #[command(flatten)]
    pub wait: Wait,
    /// How to use a continue_id.
    #[command(flatten)]
    pub key: KeyArgs,
    /// How it stands in its queue, and the like.
    #[command(flatten)]
    pub task: TaskArgs,
    /// User code.
    #[command(flatten)]
    pub code: Code,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
    /// The node.
    #[command(flatten)]
    pub node: Node,
}

/// How a start uses its continue_id.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key")]
pub struct KeyArgs {
    /// The key that makes the start repeatable: the same again returns the stored result
    #[arg(long, value_name = "ID")]
    pub continue_id: Option<String>,
    /// When its run succeeded [default: reuse]
    #[arg(long, value_name = "WHAT", requires = "continue_id")]
    pub on_success: Option<OnSuccess>,
    /// When its run failed [default: rerun; return for a cancelled one]
    #[arg(long, value_name = "WHAT", requires = "continue_id")]
    pub on_failure: Option<OnFailure>,
    /// When its run is in flight [default: attach]
    #[arg(long, value_name = "WHAT", requires = "continue_id")]
    pub on_running: Option<OnRunning>,
    /// When the input differs from the key's [default: refuse]
    #[arg(long, value_name = "WHAT", requires = "continue_id")]
    pub on_input: Option<OnInput>,
    /// With a rerun after a failure: take another input too
    #[arg(long, requires = "continue_id")]
    pub allow_new_input: bool,
    /// How long the key is remembered after its run ended, or `forever` [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = retention, requires = "continue_id")]
    pub ttl: Option<Retention>,
    /// Start a new run whatever is found; one in flight is cancelled first
    #[arg(long, requires = "continue_id")]
    pub force: bool,
}

/// When the key's run succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnSuccess {
    /// Answer with the stored result.
    Reuse,
    /// Run again.
    Rerun,
    /// Refuse.
    Reject,
}

/// When the key's run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// Run again.
    Rerun,
    /// Reopen the same run; finished steps are kept.
    Resume,
    /// Answer with the stored failure.
    Return,
}

/// When the key's run is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnRunning {
    /// Follow it.
    Attach,
    /// Refuse.
    Reject,
    /// Cancel it and run again.
    Restart,
}

/// When the input differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnInput {
    /// Refuse.
    Refuse,
    /// The key alone decides.
    Ignore,
}

/// How long to follow a run.
#[derive(Debug, Clone, Args)]
pub struct Wait {
    /// Follow for so long at most, then exit with 8; the run goes on where a server holds it [default: to its end]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// `riverrun server`.
#[derive(Debug, Args)]
pub struct Server {
    /// Data directory
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
    /// Address to listen on; beyond loopback a token is needed
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7733")]
    pub listen: String,
    /// File that holds the access token that callers must show (or RIVERRUN_TOKEN, the token itself)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Host name that callers may use for this server, beside loopback names
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allow_hosts: Vec<String>,
    /// Queue tasks also that no worker has ever announced, unchecked, for one that may come
    #[arg(long)]
    pub accept_unknown_tasks: bool,
    /// The node.
    #[command(flatten)]
    pub node: Node,
    /// What it takes on.
    #[command(flatten)]
    pub limits: Limits,
}

/// `riverrun worker`.
#[derive(Debug, Args)]
pub struct Worker {
    /// Folder of functions: SERVICE/FUNCTION.py with handler(event, context), files with @riverrun.task, or, in a folder called
    /// `handlers`, plain functions
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Name to show for this worker [default: host:pid]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Take only from this queue; may be given more than once
    #[arg(long = "queue", value_name = "NAME")]
    pub queues: Vec<String>,
    /// User code.
    #[command(flatten)]
    pub code: Code,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Folder with flows (*.yaml) and, in `functions`, their functions
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// Data directory
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7733")]
    pub listen: String,
    /// Folder of functions; FOLDER/functions by default
    #[arg(long, value_name = "DIR")]
    pub functions: Option<PathBuf>,
    /// User code.
    #[command(flatten)]
    pub code: Code,
    /// The node.
    #[command(flatten)]
    pub node: Node,
}

/// `riverrun deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// The flow
    #[arg(value_name = "FLOW.yaml")]
    pub file: PathBuf,
    /// Name to keep it under [default: the file's name, or its folder's for a flow.yaml]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun definitions`.
#[derive(Debug, Subcommand)]
pub enum Definitions {
    /// List flows, tasks and workflows
    #[command(alias = "ls")]
    List(DefinitionsList),
    /// Delete a flow with its runs and keys, or forget a task or workflow that no worker has any more
    #[command(alias = "rm", alias = "remove")]
    Delete(DefinitionsDelete),
}

/// `riverrun definitions list`.
#[derive(Debug, Args)]
pub struct DefinitionsList {
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun definitions delete`.
#[derive(Debug, Args)]
pub struct DefinitionsDelete {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its kind, where a flow and a task have the same name
    #[arg(long, value_name = "KIND", value_parser = crate::values::kind)]
    pub kind: Option<riverrun_kernel::DefinitionKind>,
    /// Also where open runs or schedules use it
    #[arg(long)]
    pub force: bool,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The flows
    #[arg(value_name = "FLOW.yaml", required = true)]
    pub files: Vec<PathBuf>,
    /// Also refuse what is beyond these limits, as a server with `--flow-limits` does
    #[arg(long, value_name = "PROFILE", default_value = "standard")]
    pub limits: FlowLimits,
}

/// `riverrun test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The flow
    #[arg(value_name = "FLOW.yaml")]
    pub file: PathBuf,
    /// File of cases; may be given more than once [default: FLOW.case.yaml, case.yaml or cases/FLOW.yaml beside the flow]
    #[arg(long = "case", value_name = "CASES.yaml")]
    pub cases: Vec<PathBuf>,
    /// Play only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Print the journal of each case
    #[arg(long)]
    pub journal: bool,
    /// Play them under these limits, as a server with `--flow-limits` does
    #[arg(long, value_name = "PROFILE", default_value = "standard")]
    pub limits: FlowLimits,
}

/// `riverrun graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// The flow
    #[arg(value_name = "FLOW.yaml")]
    pub file: PathBuf,
    /// How to write it.
    #[command(flatten)]
    pub picture: Picture,
}

/// `riverrun runs graph`.
#[derive(Debug, Args)]
pub struct RunsGraph {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// How to write it.
    #[command(flatten)]
    pub picture: Picture,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// How a picture is written, and where to.
#[derive(Debug, Clone, Args)]
pub struct Picture {
    /// How to write the picture [default: by the output file's ending, else svg]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<PictureFormat>,
    /// File to write; stdout by default
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How to write a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PictureFormat {
    /// Laid out; what browsers show.
    Svg,
    /// For Graphviz.
    Dot,
    /// For Mermaid.
    Mermaid,
}

/// `riverrun runs`.
#[derive(Debug, Subcommand)]
pub enum Runs {
    /// List runs, newest first
    #[command(alias = "ls")]
    List(RunsList),
    /// Show one run: state, what it waits for, input, output
    Show(OneRun),
    /// Print a run's journal
    Journal(RunsJournal),
    /// Print a flow run's history, in the flow language's own events
    History(RunsHistory),
    /// Draw a flow's run: states, visits, durations and the ways it took
    Graph(RunsGraph),
    /// Print what a run's functions printed and logged
    Logs(OneRun),
    /// Follow a run to its end and print its output
    Attach(Box<RunsAttach>),
    /// Ask a run to stop
    Cancel(RunsCancel),
    /// Begin no new step of a run until it is resumed
    Pause(OneRun),
    /// Let a paused run go on, or try a failed one's failed step again
    Resume(OneRun),
    /// Send a message to a run
    Signal(RunsSignal),
    /// Remove a closed run and its journal
    #[command(alias = "rm")]
    Delete(OneRun),
}

/// A command on one run.
#[derive(Debug, Args)]
pub struct OneRun {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun runs list`.
#[derive(Debug, Args)]
pub struct RunsList {
    /// Only runs of this definition
    #[arg(long, value_name = "NAME")]
    pub definition: Option<String>,
    /// Only runs in this state; may be given more than once
    #[arg(long = "state", value_name = "STATE")]
    pub states: Vec<String>,
    /// Only runs that wait for this: timer, signal, callback, child, retry, worker, limit, predecessor, pause, repair
    #[arg(long, value_name = "KIND")]
    pub waiting: Option<String>,
    /// Only runs that need a person: dead letters, runs that wait for repair, that no worker serves, or that failed five times and more
    #[arg(long)]
    pub needs_attention: bool,
    /// Only runs with this label
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Only runs started under this continue_id
    #[arg(long, value_name = "ID")]
    pub continue_id: Option<String>,
    /// How many at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Go on after an earlier page: the cursor that it printed
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun runs journal`.
#[derive(Debug, Args)]
pub struct RunsJournal {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print further entries as they come, until the run ends
    #[arg(long, short)]
    pub follow: bool,
    /// Every entry, the interpreter's own bookkeeping included
    #[arg(long)]
    pub all: bool,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun runs history`.
#[derive(Debug, Args)]
pub struct RunsHistory {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print further events as they come, until the run ends
    #[arg(long, short)]
    pub follow: bool,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun runs attach`.
#[derive(Debug, Args)]
pub struct RunsAttach {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Folder of functions to serve meanwhile; by default the one that `run` used, where no server holds the data
    #[arg(long, value_name = "DIR")]
    pub functions: Option<PathBuf>,
    /// How long to follow.
    #[command(flatten)]
    pub wait: Wait,
    /// User code.
    #[command(flatten)]
    pub code: Code,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
    /// The node.
    #[command(flatten)]
    pub node: Node,
}

/// `riverrun runs cancel`.
#[derive(Debug, Args)]
pub struct RunsCancel {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun runs signal`.
#[derive(Debug, Args)]
pub struct RunsSignal {
    /// The run's id
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The signal's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its payload: JSON text, @FILE, or - for stdin
    #[arg(value_name = "JSON", default_value = "null")]
    pub payload: String,
    /// Makes it repeatable: the same id again changes nothing
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List keys
    #[command(alias = "ls")]
    List(KeysList),
    /// Show one key: its run, state, generation and expiry
    Show(OneKey),
    /// Forget a key
    #[command(alias = "rm")]
    Delete(KeysDelete),
}

/// `riverrun keys list`.
#[derive(Debug, Args)]
pub struct KeysList {
    /// Only keys of this definition
    #[arg(long, value_name = "NAME")]
    pub definition: Option<String>,
    /// How many at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Go on after an earlier page: the cursor that it printed
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// A command on one key.
#[derive(Debug, Args)]
pub struct OneKey {
    /// The definition it belongs to
    #[arg(value_name = "DEFINITION")]
    pub definition: String,
    /// The key
    #[arg(value_name = "CONTINUE_ID")]
    pub continue_id: String,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun keys delete`.
#[derive(Debug, Args)]
pub struct KeysDelete {
    /// Cancel its run if it is in flight
    #[arg(long)]
    pub cancel: bool,
    /// Which key.
    #[command(flatten)]
    pub key: OneKey,
}

/// `riverrun workers`.
#[derive(Debug, Args)]
pub struct Workers {
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read everything in a data directory and check every checksum
    Verify(StoreVerify),
    /// Tell what a damaged data directory has lost, and go on without it if asked to
    Repair(StoreRepair),
}

/// `riverrun backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Directory to make; it must be empty or not be there
    #[arg(value_name = "DEST")]
    pub dest: PathBuf,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Directory that `riverrun backup` made
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// Data directory to make; it must be empty or not be there
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
}

/// `riverrun sql`.
#[derive(Debug, Args)]
#[command(after_help = VIEWS)]
pub struct Sql {
    /// One statement that reads, or - for stdin
    #[arg(value_name = "SELECT …")]
    pub query: String,
    /// Data directory
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
    /// File that holds the access token of the server that has the directory (or RIVERRUN_TOKEN, the token itself)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

const VIEWS: &str = "Views: runs, steps, journal, keys, schedules, definitions, labels; `SELECT * FROM runs LIMIT 1` shows the columns. \
Times are UTC; inputs, outputs, labels and details are JSON, as in `input ->> 'order'`. See docs/guides/operations.md.";

/// `riverrun store verify`.
#[derive(Debug, Args)]
pub struct StoreVerify {
    /// Data directory
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
}

/// `riverrun store repair`.
#[derive(Debug, Args)]
pub struct StoreRepair {
    /// Data directory
    #[arg(long, env = "RIVERRUN_DATA", value_name = "DIR", default_value = ".riverrun")]
    pub data: PathBuf,
    /// Cut the log off before its first damage: what was acknowledged after that is gone
    #[arg(long)]
    pub accept_loss: bool,
}
