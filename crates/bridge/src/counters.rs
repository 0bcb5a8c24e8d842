//! What the bridge counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use riverrun_engine::Metric;

/// Counters and gauges.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connected: AtomicU64,
    pub outages: AtomicU64,
    pub taken: AtomicU64,
    pub open: AtomicU64,
    pub finished: AtomicU64,
    pub failed: AtomicU64,
    pub gone: AtomicU64,
    pub refused: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a message until its id has left the bridge's own list.
    pub fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Relaxed);
        Open(&self.open)
    }

    pub fn metrics(&self) -> Vec<Metric> {
        let counted = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        vec![
            (
                "riverrun_bridge_redis_connected",
                "Whether the bridge's Redis answers: 1 or 0",
                false,
                counted(&self.connected),
            ),
            (
                "riverrun_bridge_redis_outages_total",
                "Times that the connection to the bridge's Redis was lost",
                true,
                counted(&self.outages),
            ),
            (
                "riverrun_bridge_messages_taken_total",
                "Messages taken from Redis, once for each time",
                true,
                counted(&self.taken),
            ),
            (
                "riverrun_bridge_messages_open",
                "Messages taken from Redis whose outcome is not written there yet",
                false,
                counted(&self.open),
            ),
            (
                "riverrun_bridge_messages_finished_total",
                "Messages written back as finished",
                true,
                counted(&self.finished),
            ),
            (
                "riverrun_bridge_messages_failed_total",
                "Messages written back as failed",
                true,
                counted(&self.failed),
            ),
            (
                "riverrun_bridge_messages_gone_total",
                "Messages that somebody had deleted",
                true,
                counted(&self.gone),
            ),
            (
                "riverrun_bridge_messages_refused_total",
                "Ids set aside because their key holds no message",
                true,
                counted(&self.refused),
            ),
        ]
    }
}

/// Counts something while it is there.
pub(crate) struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
