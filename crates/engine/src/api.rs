//! The engine's public face.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use riverrun_kernel::{
    AttemptId, Claims, Definition, DefinitionKind, Failure, JournalRow, Json, Key, KeyId, Labels, Offer,
    OnFailure, OnInput, OnRunning, OnSuccess, Refusal, Reply, Report, RunId, RunOptions, RunSummary, RunView,
    StartKind, State, Token, Ttl, WorkerId, WorkerSpec, WorkerView,
};
use riverrun_store::{Count, Cursor, KeyFilter, Page, RunFilter, Store, StoreError};

/// Settings of a node; each has the design's default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to call this node.
    pub node: String,
    /// Partitions; fixed for the life of a deployment.
    pub partitions: u16,
    /// See [`riverrun_kernel::Config`].
    pub lease_ms: u64,
    /// See [`riverrun_kernel::Config`].
    pub reconnect_grace_ms: u64,
    /// See [`riverrun_kernel::Config`].
    pub cancel_grace_ms: u64,
    /// Closed runs are removed after so long; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Commands that may wait per partition; more are refused with [`EngineError::Busy`].
    pub max_waiting: usize,
    /// Bytes of input that may wait per partition.
    pub max_waiting_bytes: usize,
    /// Records in the log that start a checkpoint.
    pub checkpoint_records: u64,
    /// Runs kept loaded in memory before clean, waiting ones are evicted.
    pub max_loaded: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            node: "node".to_owned(),
            partitions: 1,
            lease_ms: 30_000,
            reconnect_grace_ms: 3_000,
            cancel_grace_ms: 300_000,
            retention: Some(Duration::from_hours(30 * 24)),
            max_waiting: 65_536,
            max_waiting_bytes: 256 << 20,
            checkpoint_records: 100_000,
            max_loaded: 100_000,
        }
    }
}

/// Why an engine did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A deployed definition no longer parses: its runs could not go on.
    #[error("{0}")]
    Definition(String),
}

/// Why a request was not done. Nothing was changed, except where `Unavailable` says that it is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The kernel refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No definition of that name (or version). The text names near ones.
    #[error("{0}")]
    UnknownDefinition(String),
    /// Too much waits already. Try again after a while.
    #[error("the server has more work waiting than it takes in (limit {limit}); try again in a second")]
    Busy {
        /// The name of the limit.
        limit: &'static str,
    },
    /// The store cannot be written or read now; the text says why. Try again: starts carry an id or a key, so nothing is done twice.
    #[error("{0}")]
    Unavailable(String),
}

/// A start, as a client asks for it.
#[derive(Debug, Clone)]
pub struct Start {
    /// Namespace.
    pub namespace: String,
    /// Definition name.
    pub definition: String,
    /// Which kind, where a flow and a task have the same name. `Some(Task)` also starts a task that no worker has announced yet.
    pub kind: Option<DefinitionKind>,
    /// Which version; the newest by default.
    pub version: Option<String>,
    /// Input; a flow wants an object.
    pub input: Json,
    /// The client's own id: the same id again returns that run. Not with a key.
    pub run: Option<RunId>,
    /// The key.
    pub key: Option<StartKey>,
    /// The rest.
    pub options: RunOptions,
}

/// The key of a start: see `riverrun_kernel::KeyOptions`.
#[derive(Debug, Clone)]
pub struct StartKey {
    /// 1 to 255 bytes.
    pub continue_id: String,
    /// The key is only for the definition's version.
    pub scope_version: bool,
    /// JSON pointers (RFC 6901) into the input that the fingerprint is made of; `None`: all of it.
    pub fingerprint_paths: Option<Vec<String>>,
    /// See `KeyOptions`.
    pub on_success: OnSuccess,
    /// See `KeyOptions`.
    pub on_failure: Option<OnFailure>,
    /// See `KeyOptions`.
    pub on_running: OnRunning,
    /// See `KeyOptions`.
    pub on_input: OnInput,
    /// See `KeyOptions`.
    pub allow_new_input: bool,
    /// See `KeyOptions`.
    pub rerun_purged: bool,
    /// See `KeyOptions`.
    pub force: bool,
    /// See `KeyOptions`.
    pub ttl: Ttl,
    /// See `KeyOptions`.
    pub max_generations: u32,
}

/// A start's answer.
#[derive(Debug, Clone)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// How it was found or made.
    pub kind: StartKind,
    /// The key's generation.
    pub generation: u32,
}

/// A deployment's answer.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The definition.
    pub definition: Definition,
    /// Whether this version is new; else it was deployed before and nothing changed.
    pub created: bool,
    /// What is legal and surely wrong.
    pub warnings: Vec<riverrun_plan::Diagnostic>,
}

/// Whether the node serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Serving,
    /// Reads are served, writes are refused until the store takes them again: the reason.
    ReadOnly(String),
    /// It is shutting down.
    Stopping,
    /// The storage failed in a way that only a new start can repair: the process must exit.
    Broken(String),
}

/// Part of a journal.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The lines.
    pub rows: Vec<JournalRow>,
    /// Whether the run is closed and these are its last lines.
    pub complete: bool,
}

/// Tells when a run's journal has grown.
#[derive(Debug)]
pub struct Watch {}

impl Watch {
    /// Waits until the run changed since the last call (or since the watch was made).
    pub async fn changed(&mut self) {
        todo!()
    }
}

/// What a worker's connection is to be told.
#[derive(Debug, Clone)]
pub enum ToWorker {
    /// Execute this.
    Offer(Box<Offer>),
    /// Stop that.
    Stop {
        /// Which.
        attempt: AttemptId,
        /// How long it may clean up.
        grace_ms: u64,
    },
    /// It was silent for too long, or the node stops: the connection ends.
    Close,
}

/// One worker's connection to the engine. Dropping it without [`WorkerLink::goodbye`] is a lost connection.
#[derive(Debug)]
pub struct WorkerLink {}

impl WorkerLink {
    /// The connection's id.
    pub fn id(&self) -> WorkerId {
        todo!()
    }
    /// What became of the attempts that it claimed.
    pub fn claims(&self) -> &Claims {
        todo!()
    }
    /// The lease.
    pub fn lease_ms(&self) -> u64 {
        todo!()
    }
    /// The next thing to tell the worker; cancel-safe. `None` after [`ToWorker::Close`].
    pub async fn next(&mut self) -> Option<ToWorker> {
        todo!()
    }
    /// Everything more that is at hand, without waiting: for one frame.
    pub fn ready(&mut self) -> Vec<ToWorker> {
        todo!()
    }
    /// Hands in a report. The future resolves when it is durable, so that many can be in flight.
    pub fn report(
        &self,
        attempt: AttemptId,
        token: Token,
        report: Report,
    ) -> impl Future<Output = Result<Reply, EngineError>> + Send + 'static {
        let _ = (attempt, token, report);
        async { todo!() }
    }
    /// A sign of life.
    pub fn heartbeat(&self) {
        todo!()
    }
    /// No further offers.
    pub fn drain(&self) {
        todo!()
    }
    /// The worker leaves.
    pub async fn goodbye(self) {
        todo!()
    }
}

/// The engine of one node. Cheap to clone.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Acquires the store's partitions, recovers them and starts the engine's threads.
    pub fn open(store: Arc<dyn Store>, settings: Settings) -> Result<Engine, OpenError> {
        let _ = (store, settings);
        todo!()
    }

    /// Checks and keeps a flow. The same source again changes nothing.
    pub async fn deploy(&self, namespace: &str, name: &str, source: &str) -> Result<Deployed, DeployError> {
        let _ = (namespace, name, source);
        todo!()
    }
    /// A definition, the newest version by default.
    pub fn definition(&self, namespace: &str, name: &str, version: Option<&str>) -> Option<Definition> {
        let _ = (namespace, name, version);
        todo!()
    }
    /// All definitions of a namespace, newest version of each name.
    pub fn definitions(&self, namespace: &str) -> Vec<Definition> {
        let _ = namespace;
        todo!()
    }

    /// Starts a run, or finds the one that its key or id stands for.
    pub async fn start(&self, start: Start) -> Result<Started, EngineError> {
        let _ = start;
        todo!()
    }
    /// A run as it durably stands.
    pub async fn run(&self, run: RunId) -> Result<RunView, EngineError> {
        let _ = run;
        todo!()
    }
    /// Waits until the run is closed, at most so long; then the run as it stands.
    pub async fn wait(&self, run: RunId, limit: Duration) -> Result<RunView, EngineError> {
        let _ = (run, limit);
        todo!()
    }
    /// Lines of its journal with `seq > after`.
    pub async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Journal, EngineError> {
        let _ = (run, after, limit);
        todo!()
    }
    /// Watches a run.
    pub fn watch(&self, run: RunId) -> Watch {
        let _ = run;
        todo!()
    }
    /// A page of runs, newest first.
    pub async fn list(
        &self,
        filter: RunFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<RunSummary>, EngineError> {
        let _ = (filter, after, limit);
        todo!()
    }
    /// How many runs.
    pub async fn count(&self, filter: RunFilter, cap: u64) -> Result<Count, EngineError> {
        let _ = (filter, cap);
        todo!()
    }

    /// Sends a signal.
    pub async fn signal(
        &self,
        run: RunId,
        name: String,
        payload: Json,
        id: Option<String>,
    ) -> Result<(), EngineError> {
        let _ = (run, name, payload, id);
        todo!()
    }
    /// Asks a run to stop.
    pub async fn cancel(&self, run: RunId, reason: String) -> Result<State, EngineError> {
        let _ = (run, reason);
        todo!()
    }
    /// Lets it begin nothing new.
    pub async fn pause(&self, run: RunId) -> Result<State, EngineError> {
        let _ = run;
        todo!()
    }
    /// Lets it go on; reopens a failed or timed-out one.
    pub async fn resume(&self, run: RunId) -> Result<State, EngineError> {
        let _ = run;
        todo!()
    }
    /// Removes a closed run.
    pub async fn delete(&self, run: RunId) -> Result<(), EngineError> {
        let _ = run;
        todo!()
    }
    /// Replaces its labels.
    pub async fn set_labels(&self, run: RunId, labels: Labels) -> Result<(), EngineError> {
        let _ = (run, labels);
        todo!()
    }
    /// Completes a step by its callback token.
    pub async fn complete_callback(
        &self,
        token: &str,
        outcome: Result<Json, Failure>,
    ) -> Result<(), EngineError> {
        let _ = (token, outcome);
        todo!()
    }

    /// A key.
    pub async fn key(&self, key: KeyId) -> Result<Option<Key>, EngineError> {
        let _ = key;
        todo!()
    }
    /// A page of keys.
    pub async fn keys(
        &self,
        filter: KeyFilter,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<Key>, EngineError> {
        let _ = (filter, after, limit);
        todo!()
    }
    /// Forgets a key.
    pub async fn delete_key(&self, key: KeyId, cancel: bool) -> Result<(), EngineError> {
        let _ = (key, cancel);
        todo!()
    }

    /// Connects a worker. Its functions become known as tasks.
    pub async fn connect_worker(
        &self,
        spec: WorkerSpec,
        claims: Vec<(AttemptId, Token)>,
    ) -> Result<WorkerLink, EngineError> {
        let _ = (spec, claims);
        todo!()
    }
    /// The connected workers.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, EngineError> {
        todo!()
    }
    /// Calls that wait for a worker: (namespace, queue, function, how many).
    pub async fn queue_depths(&self) -> Result<Vec<(Arc<str>, Arc<str>, Arc<str>, usize)>, EngineError> {
        todo!()
    }

    /// Whether the node serves.
    pub fn health(&self) -> Health {
        todo!()
    }
    /// Waits until `health` becomes `Broken`; the text is why.
    pub async fn broken(&self) -> String {
        todo!()
    }
    /// Counters and gauges for `/metrics`: (name, help, is it a counter, value).
    pub fn metrics(&self) -> Vec<(&'static str, &'static str, bool, f64)> {
        todo!()
    }
    /// Takes no new work, writes a checkpoint, gives the partitions up. Workers are told to connect again later.
    pub async fn shutdown(&self) {
        todo!()
    }
}

/// Why a definition was not deployed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeployError {
    /// It has mistakes: all of them.
    #[error("the flow has {} mistakes", .0.len())]
    Invalid(Vec<riverrun_plan::Diagnostic>),
    /// The engine could not keep it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

#[allow(unused)]
type Unused = BTreeSet<Arc<str>>;
