//! A worker: functions of this process, offered to a server.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempts::{Attempts, Limits};
use super::context::Ctx;
use super::error::Error;
use super::registry::{Entry, Registry, erase};
use super::task::TaskCtx;
use crate::config::Service;
use crate::connection::Address;
use crate::error::WorkerError;
use crate::supervisor::{EVENTS, serve};

/// Executes workflows and tasks that are functions of this process.
pub struct Worker {
    address: Address,
    service: Service,
    registry: Registry,
    limits: Limits,
}

/// The settings of a [`Worker`], and its functions.
pub struct Builder {
    server: String,
    service: Service,
    registry: Registry,
    limits: Limits,
    max_result_bytes: usize,
    twice: Option<String>,
}

impl Worker {
    /// A worker for the server at `http://HOST:PORT`.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder {
            server: server.into(),
            service: Service {
                token: None,
                name: None,
                namespace: "default".to_owned(),
                queues: Vec::new(),
                slots: 100,
                in_process: false,
                drain_timeout: Duration::from_secs(25),
                settle_timeout: Duration::from_secs(3),
            },
            registry: Registry::default(),
            limits: Limits {
                slots: 0,
                park_after: Duration::from_millis(100),
                timeout_grace: Duration::from_secs(2),
                max_output_bytes: 1 << 20,
            },
            max_result_bytes: 32 << 20,
            twice: None,
        }
    }

    /// Runs until `shutdown` is cancelled, and what was executing has ended, was given back or was dropped after `drain_timeout`.
    ///
    /// A server that cannot be reached is tried again for ever; only what will not pass by itself is an error. Must be called
    /// within a tokio runtime, which executes the functions.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let (events, received) = mpsc::channel(EVENTS);
        let limits = Limits { slots: self.service.slots, ..self.limits };
        let attempts = Attempts::new(self.registry, limits, events);
        serve(self.service, self.address, attempts, received, shutdown).await
    }

    /// Runs until the process is told to end, by SIGTERM or SIGINT.
    pub async fn run_until_signal(self) -> Result<(), WorkerError> {
        let shutdown = CancellationToken::new();
        let mut running = std::pin::pin!(self.run(shutdown.clone()));
        tokio::select! {
            result = &mut running => return result,
            () = told_to_end() => shutdown.cancel(),
        }
        running.await
    }
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupted => {}
        },
        Err(_) => {
            let _ = interrupted.await;
        }
    }
}

impl Builder {
    /// A workflow: durable code. See [`Ctx`].
    #[must_use]
    pub fn workflow<I, O, E, F, Fut>(mut self, name: impl Into<String>, code: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        E: Into<Error>,
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let code = erase(code, self.max_result_bytes);
        self.add(name.into(), Entry::Workflow(code));
        self
    }

    /// A task: a function of which each call is one attempt.
    #[must_use]
    pub fn task<I, O, E, F, Fut>(mut self, name: impl Into<String>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        E: Into<Error>,
        F: Fn(TaskCtx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let function = erase(function, self.max_result_bytes);
        self.add(name.into(), Entry::Task(function));
        self
    }

    fn add(&mut self, name: String, entry: Entry) {
        if !self.registry.add(name.clone(), entry) {
            self.twice.get_or_insert(name);
        }
    }

    /// The server's access token, if it wants one.
    #[must_use]
    pub fn token(mut self, token: impl Into<Option<String>>) -> Self {
        self.service.token = token.into();
        self
    }

    /// What to call the worker; `host:pid` unless given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.service.name = Some(name.into());
        self
    }

    /// The namespace it serves; `default` unless given.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.service.namespace = namespace.into();
        self
    }

    /// Queues it takes from; all unless given.
    #[must_use]
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.service.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// Attempts at once; 100 unless given. A workflow that waits for long takes no slot.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.service.slots = slots.max(1);
        self
    }

    /// How long a workflow that waits is kept in memory before it is let go and later replayed; 100 ms unless given. A tenth of that
    /// when all slots are taken.
    #[must_use]
    pub fn park_after(mut self, duration: Duration) -> Self {
        self.limits.park_after = duration;
        self
    }

    /// How much of what one attempt logs is kept; 1 MiB unless given.
    #[must_use]
    pub fn max_output_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_output_bytes = bytes;
        self
    }

    /// How long a task may clean up after its time limit before it is dropped; 2 s unless given.
    #[must_use]
    pub fn timeout_grace(mut self, duration: Duration) -> Self {
        self.limits.timeout_grace = duration;
        self
    }

    /// How long attempts may go on after the worker was told to shut down; 25 s unless given.
    #[must_use]
    pub fn drain_timeout(mut self, duration: Duration) -> Self {
        self.service.drain_timeout = duration;
        self
    }

    /// How long after that the server's acknowledgements are waited for; 3 s unless given.
    #[must_use]
    pub fn settle_timeout(mut self, duration: Duration) -> Self {
        self.service.settle_timeout = duration;
        self
    }

    /// Checks the settings. Nothing is started yet.
    pub fn build(self) -> Result<Worker, WorkerError> {
        if let Some(name) = self.twice {
            return Err(WorkerError::Twice(name));
        }
        if self.registry.functions().is_empty() {
            return Err(WorkerError::NoWork);
        }
        let address = Address::parse(&self.server)?;
        Ok(Worker { address, service: self.service, registry: self.registry, limits: self.limits })
    }
}

impl fmt::Debug for Worker {
    /// Without the access token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("server", &self.address.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    /// Without the access token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("server", &self.server).finish_non_exhaustive()
    }
}
