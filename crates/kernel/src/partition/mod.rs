//! The partition itself.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{Command, Refusal, Reply, WorkerSpec};
use crate::driver::Drivers;
use crate::effect::{Decided, Needs};
use crate::entry::Record;
use crate::ids::{AttemptId, PartitionId, RunId, WorkerId};
use crate::keys::{Key, KeyId};
use crate::rows::{JournalRow, PartitionRow, Rows, Stub};
use crate::run::{RunSummary, RunView};
use crate::time::{Due, Now, Ticks};

/// Settings of a partition. Durations are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// This partition.
    pub id: PartitionId,
    /// How many there are.
    pub partitions: u16,
    /// What tokens are derived from: 256 random bits, the same for the life of the deployment.
    pub secret: [u8; 32],
    /// A worker that is silent for so long loses its attempts.
    pub lease_ms: u64,
    /// A worker whose connection broke has so long to come back before its attempts go to others.
    pub reconnect_grace_ms: u64,
    /// How long a cancelled attempt may clean up before it is killed.
    pub cancel_grace_ms: u64,
    /// How much longer than an attempt's time limit the partition waits for the worker's own verdict.
    pub timeout_slack_ms: u64,
    /// Transitions in one turn of a run.
    pub fuel: u32,
    /// Transitions without a task or a wait after which a run fails.
    pub max_transitions: u32,
}

impl Config {
    /// The defaults, for partition `id` of `partitions`.
    pub fn new(id: PartitionId, partitions: u16, secret: [u8; 32]) -> Self {
        Config {
            id,
            partitions,
            secret,
            lease_ms: 30_000,
            reconnect_grace_ms: 3_000,
            cancel_grace_ms: 300_000,
            timeout_slack_ms: 2_000,
            fuel: 200,
            max_transitions: 10_000,
        }
    }
}

/// Everything durable about a run but its journal. Opaque outside the kernel; stores keep it as a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {}

/// A connected worker, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// The connection.
    pub id: WorkerId,
    /// What it announced.
    pub spec: Arc<WorkerSpec>,
    /// What it is executing.
    pub attempts: Vec<AttemptId>,
    /// Whether its connection is up; a lost one is remembered for the reconnect grace.
    pub connected: bool,
    /// Whether it takes no further attempts.
    pub draining: bool,
    /// When it was last heard of.
    pub last_seen: Ticks,
}

/// One partition's state, and the only way to change it.
#[derive(Debug)]
pub struct Partition {}

impl Partition {
    /// An empty partition.
    pub fn new(config: Config) -> Self {
        let _ = config;
        todo!()
    }

    // ---- deciding

    /// What must be loaded before `command` can be applied: empty when everything is in memory.
    pub fn needs(&self, command: &Command) -> Needs {
        let _ = command;
        todo!()
    }

    /// Decides one command at `now`. Records and effects are appended to what [`Partition::take_decided`] returns.
    ///
    /// `now` must be the same for all commands between two calls of `take_decided`, and never less than before.
    /// A refused command appends no records.
    pub fn apply(&mut self, now: Now, command: Command, drivers: &dyn Drivers) -> Result<Reply, Refusal> {
        let _ = (now, command, drivers);
        todo!()
    }

    /// Takes the records and effects decided since the last call: one batch.
    pub fn take_decided(&mut self) -> Decided {
        todo!()
    }

    /// When the next timer, lease or grace is due on each clock: (partition time, wall time). The engine sends
    /// [`Command::Tick`] then.
    pub fn next_due(&self) -> (Option<Due>, Option<Due>) {
        todo!()
    }

    // ---- recovery

    /// Takes in an open run's stub. Before any record is replayed.
    pub fn recover_stub(&mut self, stub: Stub) {
        let _ = stub;
        todo!()
    }

    /// Takes in the partition's own row. Before any record is replayed.
    pub fn recover_partition(&mut self, row: PartitionRow) {
        let _ = row;
        todo!()
    }

    /// What replaying these records needs in memory first: rows of runs and keys that the records touch and that have stubs or may have rows.
    pub fn replay_needs(&self, records: &[Record]) -> Needs {
        let _ = records;
        todo!()
    }

    /// Folds the records of one logged batch, the first of which has number `first`. Records that a loaded row already contains are skipped.
    pub fn replay(&mut self, now: Now, first: u64, records: &[Record]) {
        let _ = (now, first, records);
        todo!()
    }

    /// Ends recovery at `now`: every open attempt gets a fresh lease. Returns the runs to load (their stubs are `active`),
    /// and appends the effects that were cut off: messages to send again, runs to continue.
    pub fn recovered(&mut self, now: Now) -> Vec<RunId> {
        let _ = now;
        todo!()
    }

    // ---- checkpoints and memory

    /// Rows of at most `limit` runs that changed since their row was written, oldest change first, with everything else that is
    /// dirty in small numbers. The caller writes them and calls [`Partition::checkpointed`].
    pub fn checkpoint_slice(&mut self, limit: usize) -> Rows {
        let _ = limit;
        todo!()
    }

    /// The slice that [`Partition::checkpoint_slice`] gave last is durable: its rows are clean unless they changed again meanwhile.
    pub fn checkpointed(&mut self) {
        todo!()
    }

    /// The smallest record number that a dirty row still needs: the log may be trimmed below it. The next record's number when nothing is dirty.
    pub fn trim_point(&self) -> u64 {
        todo!()
    }

    /// Records not yet folded into rows.
    pub fn dirty_records(&self) -> u64 {
        todo!()
    }

    /// Drops clean runs that wait for something far away, and clean keys, from memory; their stubs stay. At most `limit`.
    pub fn evict(&mut self, limit: usize) -> usize {
        let _ = limit;
        todo!()
    }

    // ---- reading

    /// A run, if it is in memory.
    pub fn run(&self, now: Now, run: RunId) -> Option<RunView> {
        let _ = (now, run);
        todo!()
    }

    /// Whether the run is open (in memory or as a stub). `None` is "not known here": it is closed, or does not exist.
    pub fn is_open(&self, run: RunId) -> bool {
        let _ = run;
        todo!()
    }

    /// The lines of a run's journal that no row has yet, with `seq > after`.
    pub fn journal_tail(&self, run: RunId, after: u64) -> Vec<JournalRow> {
        let _ = (run, after);
        todo!()
    }

    /// Every run that changed since its row was written: what a list must take from memory instead of from rows. Runs
    /// deleted but not yet removed from the rows come with `None`.
    pub fn dirty_runs(&self, now: Now) -> Vec<(RunId, Option<RunSummary>)> {
        let _ = now;
        todo!()
    }

    /// A key, if it is in memory. The inner `None`: known to be absent.
    pub fn key(&self, key: &KeyId) -> Option<Option<Key>> {
        let _ = key;
        todo!()
    }

    /// Keys that changed since their row was written; deleted ones with `None`.
    pub fn dirty_keys(&self) -> Vec<(KeyId, Option<Key>)> {
        todo!()
    }

    /// The workers.
    pub fn workers(&self) -> Vec<WorkerView> {
        todo!()
    }

    /// Steps that wait for a worker, by (namespace, queue, function).
    pub fn queue_depths(&self) -> Vec<(Arc<str>, Arc<str>, Arc<str>, usize)> {
        todo!()
    }

    /// The number the next record gets.
    pub fn next_record(&self) -> u64 {
        todo!()
    }
}
