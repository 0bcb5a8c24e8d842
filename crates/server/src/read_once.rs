//! Outcomes that go when they have been read: `result_ttl` or `failure_ttl` 0.
//!
//! Such a run is deleted a while after its outcome was first asked for, so that everybody who waited for it gets it, and so does a client whose
//! connection broke under the answer. What was read is known in memory only: after a restart it is read again, or goes with what nobody
//! has read.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use riverrun_kernel::{RunId, RunView};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::app::Shared;

/// Runs whose outcome was read, until they go.
pub(crate) struct ReadOnce {
    grace: Duration,
    read: Mutex<Read>,
    has_first: Notify,
}

#[derive(Default)]
struct Read {
    /// In the order of their first reads, which is the order in which they go.
    order: VecDeque<(Instant, RunId)>,
    known: HashSet<RunId>,
}

impl ReadOnce {
    /// Each is kept for so long after the first read.
    pub fn new(grace: Duration) -> Self {
        ReadOnce { grace, read: Mutex::default(), has_first: Notify::new() }
    }

    /// A run is on its way to who asked for it.
    pub fn seen(&self, view: &RunView) {
        if !view.summary.read_once || !view.summary.state.is_closed() {
            return;
        }
        let mut read = self.read();
        if read.known.insert(view.summary.id) {
            read.order.push_back((Instant::now() + self.grace, view.summary.id));
            if read.order.len() == 1 {
                self.has_first.notify_one();
            }
        }
    }

    /// The next one that goes, once its time has come.
    async fn next(&self) -> RunId {
        loop {
            let first = self.read().order.front().copied();
            let Some((at, run)) = first else {
                self.has_first.notified().await;
                continue;
            };
            tokio::time::sleep_until(at).await;
            let mut read = self.read();
            read.order.pop_front();
            read.known.remove(&run);
            return run;
        }
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes what was read, until the server stops.
pub(crate) async fn sweep(app: Shared) {
    loop {
        let run = tokio::select! {
            run = app.read_once.next() => run,
            () = app.stopping.cancelled() => return,
        };
        // One that was reopened meanwhile stays. What cannot be removed now is removed by a sweep.
        let _ = app.engine.delete(run).await;
    }
}
