//! Rows: what a checkpoint writes and a load reads. The log holds everything newer.

use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::entry::Entry;
use crate::ids::{PartitionId, RunId, StepId};
use crate::keys::{Key, KeyId};
use crate::limits::{CallLimit, LimiterRow};
use crate::message::Message;
use crate::partition::RunState;
use crate::run::RunSummary;
use crate::schedule::{ScheduleId, ScheduleRow};
use crate::time::{Due, Wall};

/// A run's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// What lists show and filter by.
    pub summary: RunSummary,
    /// For a run that is open or has attempts that may still be executing: what stays in memory when the rest does not.
    pub stub: Option<Stub>,
    /// Everything about it but its journal.
    pub state: RunState,
    /// The number of the last record folded into the row.
    pub last: u64,
}

/// A key's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key.
    pub key: Key,
    /// The number of the last record folded into the row.
    pub last: u64,
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalRow {
    /// The run.
    pub run: RunId,
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// When it was recorded.
    pub at: Wall,
    /// What happened.
    pub entry: Entry,
}

/// What is kept in memory of an open run that is not loaded: under 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stub {
    /// The run.
    pub run: RunId,
    /// When it must be loaded on the partition's clock, and on the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_ticks: Option<Due>,
    /// The same for dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_wall: Option<Due>,
    /// Its places in queues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<QueuePlace>,
    /// It has attempts out, wakes its driver has not seen, or a predecessor: recovery loads it at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub active: bool,
}

/// A step's place in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlace {
    /// The step.
    pub step: StepId,
    /// The namespace, queue and function.
    pub namespace: std::sync::Arc<str>,
    /// The queue.
    pub queue: std::sync::Arc<str>,
    /// The function.
    pub function: std::sync::Arc<str>,
    /// 0 to 9; higher first.
    pub priority: u8,
    /// First in, first out within one priority.
    pub order: u64,
    /// Its own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<std::sync::Arc<CallLimit>>,
}

/// Facts of the partition that belong to no run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartitionRow {
    /// The last record folded into this row.
    pub last: u64,
    /// The last number used in each line of messages.
    pub sent: Vec<(PartitionId, u64)>,
    /// Messages not yet acknowledged.
    pub outbox: Vec<(PartitionId, u64, Message)>,
    /// The last number that took effect of each line.
    pub received: Vec<(PartitionId, u64)>,
    /// Queues and concurrency keys of which something is set, or whose buckets are not full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limiters: Vec<LimiterRow>,
}

/// What one checkpoint slice writes; rows and trim point move together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Runs to insert or replace.
    pub runs: Vec<RunRow>,
    /// Journal lines to add.
    pub journal: Vec<JournalRow>,
    /// Runs to remove, with their journals and blobs.
    pub deleted_runs: Vec<RunId>,
    /// Keys to insert or replace.
    pub keys: Vec<KeyRow>,
    /// Keys to remove.
    pub deleted_keys: Vec<KeyId>,
    /// Schedules to insert or replace.
    pub schedules: Vec<ScheduleRow>,
    /// Schedules to remove.
    pub deleted_schedules: Vec<ScheduleId>,
    /// Definitions to add.
    pub definitions: Vec<Definition>,
    /// The partition's own facts.
    pub partition: Option<PartitionRow>,
}

/// What a load found: `None` for what has no row.
///
/// A run never comes without its key: whoever loads a run also loads [`LoadedRows::keys_of_runs`], so that no change of a
/// run can pass its key by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadedRows {
    /// Runs.
    pub runs: Vec<(RunId, Option<RunRow>)>,
    /// Keys.
    pub keys: Vec<(KeyId, Option<KeyRow>)>,
    /// Schedules.
    pub schedules: Vec<(ScheduleId, Option<ScheduleRow>)>,
}

impl LoadedRows {
    /// The keys of the loaded runs that are not among the loaded keys.
    pub fn keys_of_runs(&self) -> Vec<KeyId> {
        let mut keys: Vec<KeyId> = Vec::new();
        let rows = self.runs.iter().filter_map(|(_, row)| row.as_ref());
        for key in rows.filter_map(|row| row.summary.key.as_ref()) {
            if !keys.contains(&key.id) && !self.keys.iter().any(|(known, _)| *known == key.id) {
                keys.push(key.id.clone());
            }
        }
        keys
    }
}
