//! The bridge as a whole: what belongs to it, its start and its stop.

use std::sync::Arc;
use std::time::Duration;

use riverrun_engine::{Engine, Metric};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counters::Counters;
use crate::link::Link;
use crate::settings::{InvalidSettings, Settings};
use crate::take::Queue;

/// How long the steps that have begun may take to end when the bridge stops. What does not end in time is done at the next start.
const STOP: Duration = Duration::from_secs(3);

/// What all parts of a bridge use.
pub(crate) struct Shared {
    pub engine: Engine,
    pub link: Link,
    pub settings: Settings,
    pub counters: Arc<Counters>,
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
}

/// A Redis that is being served. Dropping it without [`Bridge::stop`] leaves everything where the next start finds it.
pub struct Bridge {
    shared: Arc<Shared>,
}

impl Bridge {
    /// Serves a Redis from now on, also one that cannot be reached yet. Call it within a tokio runtime.
    pub fn start(engine: Engine, settings: Settings) -> Result<Bridge, InvalidSettings> {
        let (client, address) = settings.client()?;
        let counters = Arc::new(Counters::default());
        let stopping = CancellationToken::new();
        let link = Link::new(client, address, counters.clone(), stopping.clone());
        let shared =
            Arc::new(Shared { engine, link, settings, counters, stopping, tasks: TaskTracker::new() });
        let keeper = shared.clone();
        shared.tasks.spawn(async move { keeper.link.keep().await });
        for name in &shared.settings.queues {
            let queue = Arc::new(Queue::new(shared.clone(), name));
            shared.tasks.spawn(queue.clone().take());
            shared.tasks.spawn(queue.refresh());
        }
        Ok(Bridge { shared })
    }

    /// Counters and gauges for `/metrics`.
    pub fn metrics(&self) -> impl Fn() -> Vec<Metric> + Send + Sync + 'static {
        let counters = self.shared.counters.clone();
        move || counters.metrics()
    }

    /// Takes no further message, and lets what is being written be written. Runs go on in the engine; what becomes of them is written at the
    /// next start.
    pub async fn stop(self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(STOP, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                "the bridge to Redis stops in the middle of a write; the next start does it again"
            );
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}
