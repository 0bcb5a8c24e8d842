//! A server in this process: the one place that picks a store.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use riverrun_bridge::Bridge;
use riverrun_engine::{Engine, OpenError, Settings};
use riverrun_server::{Limits, MetricSource, ServeError, ServerConfig};
use riverrun_store::{EmbeddedStore, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args;
use crate::config::Config;
use crate::data_dir::{self, Announced, ServerFile};
use crate::error::CliError;
use crate::token;
use crate::values::Retention;

/// How to serve a data directory.
pub struct Setup<'a> {
    /// Which.
    pub data: &'a Path,
    /// Where to listen.
    pub listen: &'a str,
    /// What callers must show.
    pub token: Option<String>,
    /// Where it stands, for the announcement.
    pub token_file: Option<PathBuf>,
    /// Whether it serves for one command only. Its token is written into the data directory then, for other commands of the same
    /// user.
    pub is_passing: bool,
    /// Names that callers may use, beside loopback ones.
    pub allow_hosts: Vec<String>,
    /// What a configuration file says.
    pub config: Config,
    /// Whether tasks can be started that no worker has announced.
    pub accept_unknown_tasks: bool,
    /// The rest.
    pub node: args::Node,
    /// How much it takes on.
    pub limits: args::Limits,
}

/// Why a node did not start.
#[derive(Debug)]
pub enum NodeError {
    /// Somebody else has the directory.
    Locked(String),
    /// Anything else.
    Other(CliError),
}

impl From<CliError> for NodeError {
    fn from(error: CliError) -> Self {
        NodeError::Other(error)
    }
}

impl NodeError {
    /// The error as a command ends with it.
    pub fn into_cli(self) -> CliError {
        match self {
            NodeError::Locked(text) => CliError::failed(
                text,
                "talk to the server that holds it (every command does so with the same --data), or give another directory",
            ),
            NodeError::Other(error) => error,
        }
    }
}

/// A data directory, served by this process.
pub struct Node {
    url: String,
    engine: Engine,
    bridge: Option<Bridge>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
    /// Why the HTTP interface ended, once it has.
    ended: watch::Receiver<Option<Result<(), ServeError>>>,
    announced: Announced,
    shared_token: Option<PathBuf>,
}

impl Node {
    /// Opens the store, recovers its runs, and serves them.
    pub async fn start(setup: Setup<'_>) -> Result<Node, NodeError> {
        // The lock comes first: who has it may replace what the directory says about a server.
        let store = open_store(setup.data)?;
        ServerFile::clear(setup.data);
        let instance = token::make()?;
        let listener = listen(setup.listen).await?;
        let address = listener.local_addr().map_err(|error| cannot_listen(setup.listen, &error))?;
        if !address.ip().is_loopback() && setup.token.is_none() {
            return Err(CliError::usage(
                format!("{address} can be reached from other machines, and no access token is set"),
                "give one with --token-file or RIVERRUN_TOKEN, or listen on 127.0.0.1",
            )
            .into());
        }
        raise_open_files(setup.limits.max_connections);
        let settings = Settings {
            accept_unknown_tasks: setup.accept_unknown_tasks,
            flow_limits: setup.config.flows.limits(setup.node.flow_limits),
            ..settings(&setup.node, &setup.limits)
        };
        let engine = tokio::task::spawn_blocking(move || Engine::open(Arc::new(store), settings))
            .await
            .map_err(|error| CliError::failed(format!("the engine did not start: {error}"), "report this"))?
            .map_err(open_error)?;
        // Who serves for one command takes no tasks that it would leave undone.
        let redis = setup.config.redis.as_ref().filter(|_| !setup.is_passing);
        let bridge = start_bridge(&engine, redis, address.port())?;
        let config = ServerConfig {
            tokens: setup.token.iter().cloned().collect(),
            allowed_hosts: setup.allow_hosts.clone(),
            instance: instance.clone(),
            fnf: setup.config.fnf.clone(),
            calls: setup.config.calls.clone(),
            callbacks: setup.config.callbacks.clone(),
            metrics: bridge.iter().map(|bridge| Arc::new(bridge.metrics()) as MetricSource).collect(),
            limits: limits(&setup.node, &setup.limits),
        };
        let shutdown = CancellationToken::new();
        let (tell, ended) = watch::channel(None);
        let serving = riverrun_server::serve(engine.clone(), listener, config, shutdown.clone());
        let server = tokio::spawn(async move {
            let end = serving.await;
            // Nobody listens any more only when the node is gone.
            let _ = tell.send(Some(end));
        });
        let shared_token = share_token(&setup)?;
        let url = url(address);
        let announced = ServerFile {
            url: url.clone(),
            pid: std::process::id(),
            token_file: shared_token.clone().or(setup.token_file.clone()).map(absolute),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance,
            passing: setup.is_passing,
        }
        .announce(setup.data)?;
        Ok(Node { url, engine, bridge, shutdown, server, ended, announced, shared_token })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Completes when the storage failed or nobody serves any more, so that the process must end.
    pub async fn broken(&self) -> CliError {
        tokio::select! {
            why = self.engine.broken() => CliError::broken(format!("the storage is broken: {why}")),
            error = self.unserved() => error,
        }
    }

    /// Completes when the HTTP interface ended though nobody asked for that.
    async fn unserved(&self) -> CliError {
        let mut ended = self.ended.clone();
        let why = match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(error))) => error.to_string(),
            _ => "its task ended".to_owned(),
        };
        if self.shutdown.is_cancelled() {
            return std::future::pending().await;
        }
        CliError::failed(
            format!("the HTTP interface at {} has ended: {why}", self.url),
            "mend the cause, then start again",
        )
    }

    /// Takes no new work, answers what is open, writes a checkpoint, lets go of the directory.
    pub async fn stop(self) {
        let Node { engine, bridge, shutdown, server, ended, announced, shared_token, .. } = self;
        drop(announced);
        if let Some(path) = shared_token {
            let _ = std::fs::remove_file(path);
        }
        shutdown.cancel();
        if let Some(bridge) = bridge {
            bridge.stop().await;
        }
        let _ = server.await;
        if let Some(Err(error)) = &*ended.borrow() {
            tracing::error!(%error, "the HTTP interface ended with an error");
        }
        engine.shutdown().await;
    }
}

/// Serves a Redis, where the configuration names one.
fn start_bridge(
    engine: &Engine,
    settings: Option<&riverrun_bridge::Settings>,
    port: u16,
) -> Result<Option<Bridge>, CliError> {
    let Some(settings) = settings else { return Ok(None) };
    let settings = riverrun_bridge::Settings { port, ..settings.clone() };
    let bridge = Bridge::start(engine.clone(), settings).map_err(|error| {
        CliError::usage(
            format!("[bridge.redis]: {error}"),
            "mend the configuration; docs/guides/baichuan.md describes it",
        )
    })?;
    Ok(Some(bridge))
}

/// Opens the embedded store: here and nowhere else a store is picked.
pub fn open_store(data: &Path) -> Result<EmbeddedStore, NodeError> {
    EmbeddedStore::open(data).map_err(|error| match error {
        StoreError::Corrupt(_) => {
            let data = if data == Path::new(".riverrun") {
                String::new()
            } else {
                format!(" --data {}", data.display())
            };
            damaged(&error, &data).into()
        }
        _ => store_error(error),
    })
}

/// A store that is not as it was written. `data` is the option that leads to it.
fn damaged(error: &StoreError, data: &str) -> CliError {
    CliError::failed(
        error.to_string(),
        format!(
            "`riverrun store repair{data}` tells what is missing; nothing was changed, and nothing is served from it until then"
        ),
    )
}

/// A store's error as a command ends with it.
pub fn store_error(error: StoreError) -> NodeError {
    match error {
        // What to do about it is said by the command, which knows the way.
        StoreError::Locked(text) => {
            NodeError::Locked(text.split(": talk to").next().unwrap_or_default().to_owned())
        }
        StoreError::NewerVersion(text) => {
            CliError::failed(text, "use that version of riverrun, or another directory with --data").into()
        }
        StoreError::Corrupt(_) => damaged(&error, "").into(),
        StoreError::Occupied(text) => CliError::usage(text, "nothing was changed").into(),
        StoreError::Broken(text) => CliError::broken(format!("the storage is broken: {text}")).into(),
        StoreError::Fenced | StoreError::Unavailable(_) => {
            CliError::unavailable(error.to_string(), "mend the cause, then start again").into()
        }
    }
}

fn open_error(error: OpenError) -> NodeError {
    let text = error.to_string();
    match error {
        OpenError::Store(error) => store_error(error),
        OpenError::Threads(_) => {
            CliError::failed(text, "raise the limits of the system, then try again").into()
        }
    }
}

/// Raises the limit of open files as far as the system lets a process do so itself: most systems allow 1,024 until asked, which
/// is fewer than the connections that the server means to take.
fn raise_open_files(connections: u32) {
    /// For the store, the library and the workers.
    const OTHERS: u64 = 512;
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + OTHERS;
    let (Some(current), most) = (limit.current, limit.maximum.unwrap_or(u64::MAX)) else { return };
    if current >= wanted {
        return;
    }
    let raised = Rlimit { current: Some(wanted.min(most)), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current, "the limit of open files stays as it is");
    } else if most < wanted {
        tracing::info!(
            open_files = most,
            connections,
            "the system's limit of open files is below --max-connections"
        );
    }
}

async fn listen(address: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: &str, error: &std::io::Error) -> CliError {
    let next = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another program listens there: choose another port with --listen, or end that program"
        }
        std::io::ErrorKind::PermissionDenied => "choose a port above 1023 with --listen",
        std::io::ErrorKind::InvalidInput => "write the address as HOST:PORT, such as 127.0.0.1:7733",
        _ => "choose an address of this machine with --listen, such as 127.0.0.1:7733",
    };
    CliError::usage(format!("cannot listen on {address}: {error}"), next)
}

fn limits(node: &args::Node, limits: &args::Limits) -> Limits {
    Limits {
        max_body: node.max_body as usize,
        max_body_memory: limits.max_body_memory as usize,
        max_wait: limits.max_wait,
        max_connections: limits.max_connections as usize,
        max_workers: limits.max_workers as usize,
        ..Limits::default()
    }
}

fn settings(node: &args::Node, limits: &args::Limits) -> Settings {
    Settings {
        node: format!("process {}", std::process::id()),
        lease_ms: ms(node.lease).max(1),
        reconnect_grace_ms: ms(limits.reconnect_grace),
        max_signals: limits.max_signals as usize,
        max_signal_bytes: limits.max_signal_bytes as usize,
        max_entries: limits.max_entries,
        max_schedules: limits.max_schedules as usize,
        retention: match node.retention {
            Retention::For(duration) => Some(duration),
            Retention::Forever => None,
        },
        ..Settings::default()
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes the token where other commands of the same user find it.
fn share_token(setup: &Setup<'_>) -> Result<Option<PathBuf>, CliError> {
    let Some(token) = setup.token.as_ref().filter(|_| setup.is_passing) else {
        return Ok(None);
    };
    let path = setup.data.join("server.token");
    data_dir::write_private(&path, token)?;
    Ok(Some(path))
}

/// A server that listens on every address of the machine is reached over the loopback one.
fn url(address: SocketAddr) -> String {
    match address.ip() {
        ip if !ip.is_unspecified() => format!("http://{address}"),
        ip if ip.is_ipv4() => format!("http://127.0.0.1:{}", address.port()),
        _ => format!("http://[::1]:{}", address.port()),
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
