//! Waiting for a run to change.

use std::sync::Arc;

use riverrun_kernel::RunId;
use tokio::sync::watch;

use crate::hub::{Hub, Seen};

/// Tells when a run's journal has grown.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    run: RunId,
    seen: watch::Receiver<Seen>,
}

impl Watch {
    pub(crate) fn new(hub: Arc<Hub>, run: RunId) -> Self {
        let seen = hub.watches.subscribe(run);
        Watch { hub, run, seen }
    }

    /// Waits until the run changed since the last call (or since the watch was made). Also returns when the node's health
    /// changes, so that whoever watches asks again and learns of it.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the run is seen to be closed, or the node's health changed.
    pub(crate) async fn closed(&mut self) {
        let woken = self.seen.borrow().woken;
        if self.seen.wait_for(|seen| seen.closed || seen.woken != woken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.watches.unsubscribe(self.run);
    }
}
