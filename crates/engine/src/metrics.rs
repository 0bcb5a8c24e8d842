//! What the engine counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Engine;
use crate::error::Health;
use crate::sequencer::Tally;

/// Name, help, whether it is a counter (else a gauge), value.
pub type Metric = (&'static str, &'static str, bool, f64);

impl Engine {
    /// Counters and gauges for `/metrics`: (name, help, is it a counter, value).
    pub fn metrics(&self) -> Vec<Metric> {
        let hub = &self.node.hub;
        let tallies = hub.tallies();
        let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>() as f64;
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let counters = &hub.counters;
        let lateness = tallies.iter().map(|tally| tally.timer_lateness_ms).max().unwrap_or_default();
        let waiting: usize = hub.gates.iter().map(crate::hub::Gate::waiting).sum();
        let serving = f64::from(u8::from(hub.health() == Health::Serving));
        vec![
            (
                "riverrun_keys_reused_total",
                "Starts answered by a run that had ended",
                true,
                counted(&counters.keys_reused),
            ),
            (
                "riverrun_keys_attached_total",
                "Starts answered by a run in flight",
                true,
                counted(&counters.keys_attached),
            ),
            (
                "riverrun_keys_mismatched_total",
                "Starts refused because the key stands for another input",
                true,
                counted(&counters.keys_mismatched),
            ),
            ("riverrun_runs_started_total", "Runs created", true, sum(|tally| tally.runs_started)),
            ("riverrun_runs_succeeded_total", "Runs that succeeded", true, sum(|tally| tally.runs_closed[0])),
            ("riverrun_runs_failed_total", "Runs that failed", true, sum(|tally| tally.runs_closed[1])),
            ("riverrun_runs_timed_out_total", "Runs that timed out", true, sum(|tally| tally.runs_closed[2])),
            (
                "riverrun_runs_cancelled_total",
                "Runs that were cancelled",
                true,
                sum(|tally| tally.runs_closed[3]),
            ),
            (
                "riverrun_runs_expired_total",
                "Runs not started within their time to live",
                true,
                sum(|tally| tally.runs_closed[4]),
            ),
            ("riverrun_runs_loaded", "Runs in memory", false, sum(|tally| tally.loaded_runs)),
            (
                "riverrun_runs_sleeping",
                "Open runs of which only a stub is in memory",
                false,
                sum(|tally| tally.sleeping_runs),
            ),
            ("riverrun_commands_total", "Commands decided", true, sum(|tally| tally.commands)),
            ("riverrun_commands_refused_total", "Commands refused", true, sum(|tally| tally.refused)),
            (
                "riverrun_commands_busy_total",
                "Requests refused because too much waited",
                true,
                counted(&counters.refused_busy),
            ),
            ("riverrun_commands_waiting", "Requests not yet answered", false, waiting as f64),
            ("riverrun_batches_total", "Batches made durable", true, sum(|tally| tally.batches)),
            ("riverrun_records_total", "Records made durable", true, sum(|tally| tally.records)),
            ("riverrun_appends_total", "Writes to the log", true, counted(&counters.appends)),
            (
                "riverrun_append_seconds_total",
                "Time spent in writes to the log",
                true,
                counted(&counters.append_micros) / 1e6,
            ),
            (
                "riverrun_checkpoint_slices_total",
                "Slices of rows written",
                true,
                sum(|tally| tally.checkpoints),
            ),
            (
                "riverrun_dirty_records",
                "Records that no row has yet",
                false,
                sum(|tally| tally.dirty_records),
            ),
            ("riverrun_loads_total", "Rows read for commands and timers", true, sum(|tally| tally.loads)),
            (
                "riverrun_reloads_total",
                "Times that memory was read again after a refused write",
                true,
                sum(|tally| tally.reloads),
            ),
            (
                "riverrun_timer_lateness_seconds",
                "How late the last timer was fired",
                false,
                lateness as f64 / 1e3,
            ),
            ("riverrun_workers", "Connected workers", false, hub.links.count() as f64),
            ("riverrun_serving", "Whether requests are taken in: 1 or 0", false, serving),
        ]
    }
}
