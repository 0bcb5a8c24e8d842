//! What all requests share.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use riverrun_engine::{Engine, EngineError, Watch};
use riverrun_kernel::{RunId, RunView, Wall};
use riverrun_wire::http::Code;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ServerConfig;
use crate::logbook::LogBook;
use crate::metrics::Counters;
use crate::problem::Refused;
use crate::queue_metrics::QueueMetrics;
use crate::read_once::ReadOnce;

/// The shared state, as handlers get it.
pub(crate) type Shared = Arc<App>;

/// The shared state.
pub(crate) struct App {
    /// The engine.
    pub engine: Engine,
    /// Settings.
    pub config: ServerConfig,
    /// The listener is on a loopback address.
    pub loopback: bool,
    /// The port it listens on.
    pub port: u16,
    /// The server stops: nothing new is begun, waits end.
    pub stopping: CancellationToken,
    /// Every task that the server started.
    pub tasks: TaskTracker,
    /// Places for workers.
    pub workers: Arc<Semaphore>,
    /// Room for large bodies that come in.
    pub bodies: crate::room::Room,
    /// Output of attempts.
    pub logs: LogBook,
    /// How far histories were read.
    pub histories: crate::history::Histories,
    /// What the Serverless Workflow RPC API remembers.
    pub fnf: crate::fnf::Memory,
    /// Outcomes that go because they were read.
    pub read_once: ReadOnce,
    /// For `/metrics`.
    pub counters: Counters,
    /// Which queues `/metrics` tells apart.
    pub queue_metrics: QueueMetrics,
}

impl App {
    /// Waits until the run is closed, at most so long; less when the server stops.
    pub async fn wait(&self, run: RunId, limit: Duration) -> Result<RunView, EngineError> {
        tokio::select! {
            view = self.engine.wait(run, limit) => view,
            () = self.stopping.cancelled() => self.engine.run(run).await,
        }
    }

    /// The same for a run that was seen already.
    pub async fn wait_on(
        &self,
        view: RunView,
        watch: Watch,
        limit: Duration,
    ) -> Result<RunView, EngineError> {
        let run = view.summary.id;
        tokio::select! {
            view = self.engine.wait_on(view, watch, limit) => view,
            () = self.stopping.cancelled() => self.engine.run(run).await,
        }
    }

    /// Checks a client's `wait` against the limit.
    pub fn wait_limit(
        &self,
        asked: Option<riverrun_wire::http::Duration>,
    ) -> Result<Option<Duration>, Refused> {
        let limit = self.config.limits.max_wait;
        match asked.map(riverrun_wire::http::Duration::to_std) {
            Some(asked) if asked > limit => Err(Refused::new(
                Code::OverLimit,
                format!(
                    "wait is {}s, and the limit max_wait {}s: ask again when the answer comes, or raise max_wait (riverrun server --max-wait)",
                    asked.as_secs_f64(),
                    limit.as_secs_f64()
                ),
            )
            .with("limit", "max_wait")),
            asked => Ok(asked),
        }
    }
}

/// The namespace that a request names, or `default`.
pub(crate) fn namespace(asked: Option<String>) -> String {
    asked.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned())
}

/// Wall time: what keys expire by, and what output is stamped with.
pub(crate) fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
