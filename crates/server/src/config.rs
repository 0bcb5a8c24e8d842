//! Settings of the HTTP interface, and why it does not start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use riverrun_engine::Metric;

/// The header of `/healthz` that tells which server answers.
pub const INSTANCE_HEADER: &str = "riverrun-instance";

/// Gives counters and gauges whenever `/metrics` is asked for.
pub type MetricSource = Arc<dyn Fn() -> Vec<Metric> + Send + Sync>;

/// Settings of the HTTP interface.
#[derive(Clone, Default)]
pub struct ServerConfig {
    /// Access tokens, any of which opens the API. None may be set only on a loopback address.
    pub tokens: Vec<String>,
    /// Names, beside those of the loopback, by which this server may be addressed when it listens on the loopback: what a
    /// proxy in front of it sends as `Host`. Without a port.
    pub allowed_hosts: Vec<String>,
    /// What `/healthz` tells in the header [`INSTANCE_HEADER`], so that a client can make sure whom it talks to before it shows a
    /// token. Nothing is told when it is empty.
    pub instance: String,
    /// The Serverless Workflow RPC API.
    pub fnf: FnfConfig,
    /// Functions that have an address.
    pub calls: CallConfig,
    /// Addresses that are told how runs have ended.
    pub callbacks: CallbackConfig,
    /// What `/metrics` tells beside what the engine and the HTTP interface count.
    pub metrics: Vec<MetricSource>,
    /// Limits.
    pub limits: Limits,
}

/// Settings of the Serverless Workflow RPC API.
#[derive(Debug, Clone)]
pub struct FnfConfig {
    /// Access keys, with any of which a request may be signed. Without one, requests are taken unsigned on a loopback address.
    pub access_keys: Vec<AccessKey>,
    /// Nonces of signed requests that are remembered, so that none is taken twice.
    pub max_nonces: usize,
}

impl Default for FnfConfig {
    fn default() -> Self {
        FnfConfig { access_keys: Vec::new(), max_nonces: 1_000_000 }
    }
}

/// A pair that requests are signed with.
#[derive(Clone)]
pub struct AccessKey {
    /// Its name, which requests carry.
    pub id: String,
    /// Its secret, which they do not.
    pub secret: String,
}

impl AccessKey {
    /// Whether clients can send the id, and nobody can guess the secret.
    pub fn is_strong(&self) -> bool {
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        !self.id.is_empty() && visible(&self.id) && self.secret.len() >= 12 && visible(&self.secret)
    }
}

impl std::fmt::Debug for AccessKey {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How the server calls addresses.
#[derive(Debug, Clone)]
pub struct CallConfig {
    /// Functions with an address, by name. One whose name is an address says how that address is called.
    pub functions: BTreeMap<String, Address>,
    /// Hosts that may be called, such as `api.example.com` and `*.example.com`; every host, where none is named.
    pub allowed_hosts: Vec<String>,
    /// Calls at once.
    pub max_calls: u32,
    /// The longest time that a call may take, where its step has no limit of its own.
    pub timeout: Duration,
    /// Bytes of an answer.
    pub max_answer: usize,
    /// Certificates of authorities that are trusted beside the machine's: PEM, one after another.
    pub authorities: Option<String>,
}

impl Default for CallConfig {
    fn default() -> Self {
        CallConfig {
            functions: BTreeMap::new(),
            allowed_hosts: Vec::new(),
            max_calls: 64,
            timeout: Duration::from_mins(10),
            max_answer: 16 << 20,
            authorities: None,
        }
    }
}

impl CallConfig {
    /// Makes sure that every function can be called as it is configured.
    pub fn check(&self) -> Result<(), ServeError> {
        crate::calls::Caller::new(self).map(drop)
    }
}

/// How addresses are told how runs have ended. Which hosts may be is [`CallConfig::allowed_hosts`].
#[derive(Debug, Clone)]
pub struct CallbackConfig {
    /// What is sent is signed with each of these: more than one while a secret is being replaced. Without one, no run can have a
    /// `callback_url`.
    pub secrets: Vec<CallbackSecret>,
    /// How long an address may take to answer.
    pub timeout: Duration,
    /// Addresses that are told at once.
    pub max_deliveries: u32,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        CallbackConfig { secrets: Vec::new(), timeout: Duration::from_secs(20), max_deliveries: 64 }
    }
}

/// A secret that callbacks are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackSecret(pub(crate) Vec<u8>);

impl std::fmt::Debug for CallbackSecret {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallbackSecret(…)")
    }
}

/// Where a function is, and what it wants to be shown.
#[derive(Clone, Default)]
pub struct Address {
    /// Its address.
    pub url: String,
    /// Headers that are sent with every call. Their values may be secrets.
    pub headers: Vec<(String, String)>,
    /// In place of [`CallConfig::timeout`].
    pub timeout: Option<Duration>,
}

impl std::fmt::Debug for Address {
    /// Without the values of headers, and without the query of the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let url = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("Address").field("url", &url).field("headers", &names).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerConfig {
    /// Without the tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("tokens", &self.tokens.len())
            .field("allowed_hosts", &self.allowed_hosts)
            .field("instance", &self.instance)
            .field("fnf", &self.fnf)
            .field("calls", &self.calls)
            .field("callbacks", &self.callbacks)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Limits of the HTTP interface; each has its name in the errors that it leads to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Bytes of large bodies that come in at once, over all connections.
    pub max_body_memory: usize,
    /// The longest `wait`.
    pub max_wait: Duration,
    /// Bytes of a frame to or from a worker. What is sent has 64 MiB at most: no worker reads more.
    pub max_frame: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Workers connected at once.
    pub max_workers: usize,
    /// How long a request's head may take to come in; also how long a connection may stay idle.
    pub header_timeout: Duration,
    /// How long a request's body may take to come in.
    pub body_timeout: Duration,
    /// How long a request may take, beside what it asked to wait.
    pub request_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// How often a silent event stream shows that it is alive.
    pub keep_alive: Duration,
    /// How long an outcome that goes when it is read stays after the first read.
    pub read_grace: Duration,
    /// How long open requests may take to end when the server stops.
    pub shutdown_grace: Duration,
    /// Starts in one batch.
    pub max_batch: usize,
    /// Bytes of output kept of one run.
    pub max_run_log: usize,
    /// Bytes of output kept of all runs.
    pub max_log_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_body: 16 << 20,
            max_body_memory: 256 << 20,
            max_wait: Duration::from_mins(1),
            max_frame: riverrun_wire::frame::MAX_FRAME,
            max_connections: 10_000,
            max_workers: 1_000,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            read_grace: Duration::from_mins(1),
            shutdown_grace: Duration::from_secs(5),
            max_batch: 10_000,
            max_run_log: 256 << 10,
            max_log_memory: 32 << 20,
        }
    }
}

/// Whether clients can send an access token, and nobody can guess it.
pub fn is_strong_token(token: &str) -> bool {
    token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Beyond loopback nothing listens without an access token.
    #[error(
        "{address} can be reached from other machines, and no access token is set: set one (RIVERRUN_TOKEN, or --token-file), or listen on 127.0.0.1"
    )]
    NoToken {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// A token that no client could send, or that anybody could guess.
    #[error("an access token must have at least 16 characters, all of them visible ASCII")]
    WeakToken,
    /// An access key that no client could use, or whose secret anybody could guess.
    #[error(
        "the access key `{id}` is of no use: an id must be visible ASCII, a secret must have at least 12 characters, all of them visible ASCII"
    )]
    WeakAccessKey {
        /// Which.
        id: String,
    },
    /// A function whose address or headers nobody could send.
    #[error("the function `{name}` cannot be called: {problem}")]
    Function {
        /// Which.
        name: String,
        /// Why.
        problem: String,
    },
    /// Certificates of authorities that cannot be read.
    #[error("ca_file of `[http]` {0}")]
    Authorities(String),
    /// The socket.
    #[error("cannot accept connections: {0}")]
    Io(#[from] std::io::Error),
}
