//! What the engine counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Engine;
use crate::error::Health;
use crate::hub::{Counters, Gate, Hub};
use crate::sequencer::Tally;

/// Name, help, whether it is a counter (else a gauge), value.
pub type Metric = (&'static str, &'static str, bool, f64);

/// What the values are made of.
struct Seen<'a> {
    hub: &'a Hub,
    tallies: Vec<Tally>,
}

impl Seen<'_> {
    fn sum(&self, count: fn(&Tally) -> u64) -> f64 {
        self.tallies.iter().map(count).sum::<u64>() as f64
    }

    fn counted(&self, counter: fn(&Counters) -> &AtomicU64) -> f64 {
        counter(&self.hub.counters).load(Ordering::Relaxed) as f64
    }

    fn lateness_ms(&self) -> f64 {
        self.tallies.iter().map(|tally| tally.timer_lateness_ms).max().unwrap_or_default() as f64
    }
}

/// A metric: name, help, what it is, and its value.
struct Row(&'static str, &'static str, Kind, fn(&Seen<'_>) -> f64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}
use Kind::{Counter, Gauge};

const ROWS: &[Row] = &[
    Row("riverrun_keys_reused_total", "Starts answered by a run that had ended", Counter, |seen| {
        seen.counted(|counters| &counters.keys_reused)
    }),
    Row("riverrun_keys_attached_total", "Starts answered by a run in flight", Counter, |seen| {
        seen.counted(|counters| &counters.keys_attached)
    }),
    Row(
        "riverrun_keys_mismatched_total",
        "Starts refused because the key stands for another input",
        Counter,
        |seen| seen.counted(|counters| &counters.keys_mismatched),
    ),
    Row("riverrun_runs_started_total", "Runs created", Counter, |seen| seen.sum(|tally| tally.runs_started)),
    Row("riverrun_runs_succeeded_total", "Runs that succeeded", Counter, |seen| {
        seen.sum(|tally| tally.runs_closed[0])
    }),
    Row("riverrun_runs_failed_total", "Runs that failed", Counter, |seen| {
        seen.sum(|tally| tally.runs_closed[1])
    }),
    Row("riverrun_runs_timed_out_total", "Runs that timed out", Counter, |seen| {
        seen.sum(|tally| tally.runs_closed[2])
    }),
    Row("riverrun_runs_cancelled_total", "Runs that were cancelled", Counter, |seen| {
        seen.sum(|tally| tally.runs_closed[3])
    }),
    Row("riverrun_runs_expired_total", "Runs not started within their time to live", Counter, |seen| {
        seen.sum(|tally| tally.runs_closed[4])
    }),
    Row("riverrun_runs_loaded", "Runs in memory", Gauge, |seen| seen.sum(|tally| tally.loaded_runs)),
    Row("riverrun_runs_sleeping", "Open runs of which only a stub is in memory", Gauge, |seen| {
        seen.sum(|tally| tally.sleeping_runs)
    }),
    Row("riverrun_schedules", "Schedules", Gauge, |seen| seen.sum(|tally| tally.schedules)),
    Row("riverrun_schedules_fired_total", "Runs started because their planned time came", Counter, |seen| {
        seen.sum(|tally| tally.schedules_fired)
    }),
    Row(
        "riverrun_schedules_skipped_total",
        "Planned times left out because a run of the schedule was open",
        Counter,
        |seen| seen.sum(|tally| tally.schedules_skipped),
    ),
    Row(
        "riverrun_schedules_missed_total",
        "Planned times that came too late and were not made up for",
        Counter,
        |seen| seen.sum(|tally| tally.schedules_missed),
    ),
    Row("riverrun_schedules_failed_total", "Planned times whose run could not be started", Counter, |seen| {
        seen.sum(|tally| tally.schedules_failed)
    }),
    Row("riverrun_commands_total", "Commands decided", Counter, |seen| seen.sum(|tally| tally.commands)),
    Row("riverrun_commands_refused_total", "Commands refused", Counter, |seen| {
        seen.sum(|tally| tally.refused)
    }),
    Row("riverrun_commands_busy_total", "Requests refused because too much waited", Counter, |seen| {
        seen.counted(|counters| &counters.refused_busy)
    }),
    Row("riverrun_commands_waiting", "Requests not yet answered", Gauge, |seen| {
        seen.hub.gates.iter().map(Gate::waiting).sum::<usize>() as f64
    }),
    Row("riverrun_batches_total", "Batches made durable", Counter, |seen| seen.sum(|tally| tally.batches)),
    Row("riverrun_records_total", "Records made durable", Counter, |seen| seen.sum(|tally| tally.records)),
    Row("riverrun_appends_total", "Writes to the log", Counter, |seen| {
        seen.counted(|counters| &counters.appends)
    }),
    Row("riverrun_append_seconds_total", "Time spent in writes to the log", Counter, |seen| {
        seen.counted(|counters| &counters.append_micros) / 1e6
    }),
    Row("riverrun_checkpoint_slices_total", "Slices of rows written", Counter, |seen| {
        seen.sum(|tally| tally.checkpoints)
    }),
    Row("riverrun_dirty_records", "Records that no row has yet", Gauge, |seen| {
        seen.sum(|tally| tally.dirty_records)
    }),
    Row("riverrun_loads_total", "Rows read for commands and timers", Counter, |seen| {
        seen.sum(|tally| tally.loads)
    }),
    Row(
        "riverrun_reloads_total",
        "Times that memory was read again after a refused write",
        Counter,
        |seen| seen.sum(|tally| tally.reloads),
    ),
    Row("riverrun_timer_lateness_seconds", "How late the last timer was fired", Gauge, |seen| {
        seen.lateness_ms() / 1e3
    }),
    Row("riverrun_workers", "Connected workers", Gauge, |seen| seen.hub.links.count() as f64),
    Row("riverrun_serving", "Whether requests are taken in: 1 or 0", Gauge, |seen| {
        f64::from(u8::from(seen.hub.health() == Health::Serving))
    }),
];

impl Engine {
    /// Counters and gauges for `/metrics`: (name, help, is it a counter, value).
    pub fn metrics(&self) -> Vec<Metric> {
        let hub = &self.node.hub;
        let seen = Seen { hub, tallies: hub.tallies() };
        let metric = |Row(name, help, kind, value): &Row| (*name, *help, *kind == Counter, value(&seen));
        ROWS.iter().map(metric).collect()
    }
}
