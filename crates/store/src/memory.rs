//! The store in memory: the readable specification that every other backend is compared with.
//!
//! Everything is typed and in a `BTreeMap`, every rule is written once and in the plainest way. It keeps nothing beyond
//! the process. Main type: [`MemoryStore`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use riverrun_kernel::schedule::{ScheduleId, ScheduleRow};
use riverrun_kernel::{
    Definition, DefinitionRef, JournalRow, Json, Key, KeyId, KeyRow, LoadedRows, Needs, Now, PartitionId,
    PartitionRow, Record, RunId, RunRow, RunSummary,
};

use crate::codec;
use crate::{
    AppendError, Batch, BatchId, Checkpoint, Count, Cursor, Epoch, KeyFilter, Page, Recovered, RunFilter,
    Store, StoreError, Verified,
};

/// A store in memory. Clones are handles to the same store, so that the successor of a crashed owner finds what was kept.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    secret: [u8; 32],
    partitions: u16,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    logs: BTreeMap<PartitionId, Log>,
    rows: BTreeMap<PartitionId, (Option<PartitionRow>, Now)>,
    definitions: BTreeMap<DefinitionRef, Definition>,
    runs: BTreeMap<RunId, (PartitionId, RunRow)>,
    journal: BTreeMap<(RunId, u64), JournalRow>,
    keys: BTreeMap<KeyId, (PartitionId, KeyRow)>,
    schedules: BTreeMap<ScheduleId, (PartitionId, ScheduleRow)>,
    blobs: BTreeMap<(RunId, [u8; 32]), Json>,
}

/// The log of one partition, and who may write it.
#[derive(Debug, Default)]
struct Log {
    epoch: u64,
    owned: bool,
    last: u64,
    next_record: u64,
    batches: BTreeMap<BatchId, Batch>,
}

impl MemoryStore {
    /// An empty store of so many partitions (at least one), with the deployment's secret.
    pub fn new(partitions: u16, secret: [u8; 32]) -> Self {
        MemoryStore { secret, partitions: partitions.max(1), kept: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, partition: PartitionId) -> Result<(), StoreError> {
        if partition.0 < self.partitions {
            return Ok(());
        }
        Err(StoreError::Unavailable(no_such_partition(partition, self.partitions)))
    }
}

impl Default for MemoryStore {
    /// One partition, and a secret of zeros: for tests.
    fn default() -> Self {
        MemoryStore::new(1, [0; 32])
    }
}

pub(crate) fn no_such_partition(partition: PartitionId, count: u16) -> String {
    format!("there is no partition {}: this store has {count}, counted from 0", partition.0)
}

impl Log {
    fn is_owner(&self, epoch: Epoch) -> bool {
        self.owned && self.epoch == epoch.0
    }
}

impl Kept {
    fn log(&mut self, partition: PartitionId) -> &mut Log {
        self.logs.entry(partition).or_insert_with(|| Log { next_record: 1, ..Log::default() })
    }

    fn owned(&mut self, partition: PartitionId, epoch: Epoch) -> Result<&mut Log, StoreError> {
        let log = self.log(partition);
        if log.is_owner(epoch) { Ok(log) } else { Err(StoreError::Fenced) }
    }

    /// Checks all batches before the first is written, so that all or none are.
    fn check_batches(&mut self, batches: &[Batch]) -> Result<(), AppendError> {
        let mut heads = BTreeMap::new();
        for batch in batches {
            let log = self.log(batch.partition);
            if !log.is_owner(batch.epoch) {
                return Err(AppendError::Fenced);
            }
            let (last, next) = heads.entry(batch.partition).or_insert((log.last, log.next_record));
            follows(batch, *last, *next)?;
            *last += 1;
            *next += batch.records.len() as u64;
        }
        Ok(())
    }

    fn keep_large(&mut self, run: RunId, value: &impl serde::Serialize) {
        for (run, hash, value) in codec::large_values(run, value) {
            self.blobs.insert((run, hash), value);
        }
    }

    fn delete_run(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.journal.retain(|(of, _), _| *of != run);
        self.blobs.retain(|(of, _), _| *of != run);
    }
}

/// Whether a batch continues a log that ends with batch `last` and whose next record is `next`.
pub(crate) fn follows(batch: &Batch, last: u64, next: u64) -> Result<(), AppendError> {
    if batch.id.0 != last + 1 {
        return Err(AppendError::Refused(format!(
            "batch {} of partition {} does not follow batch {last}",
            batch.id.0, batch.partition.0
        )));
    }
    if batch.first != next {
        return Err(AppendError::Refused(format!(
            "batch {} of partition {} begins with record {}, and the next one is {next}",
            batch.id.0, batch.partition.0, batch.first
        )));
    }
    Ok(())
}

impl Store for MemoryStore {
    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn acquire(&self, partition: PartitionId, _node: &str) -> Result<Epoch, StoreError> {
        self.check(partition)?;
        let mut kept = self.kept();
        let log = kept.log(partition);
        log.epoch += 1;
        log.owned = true;
        Ok(Epoch(log.epoch))
    }

    fn renew(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        self.check(partition)?;
        self.kept().owned(partition, epoch).map(|_| ())
    }

    fn release(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        self.check(partition)?;
        self.kept().owned(partition, epoch)?.owned = false;
        Ok(())
    }

    fn append(&self, batches: &[Batch]) -> Result<(), AppendError> {
        let mut kept = self.kept();
        kept.check_batches(batches)?;
        for batch in batches {
            for record in &batch.records {
                if let Record::Run(run, entry) = record {
                    kept.keep_large(*run, entry);
                }
            }
            let log = kept.log(batch.partition);
            log.last = batch.id.0;
            log.next_record += batch.records.len() as u64;
            log.batches.insert(batch.id, batch.clone());
        }
        Ok(())
    }

    fn has_batch(&self, partition: PartitionId, epoch: Epoch, batch: BatchId) -> Result<bool, StoreError> {
        self.check(partition)?;
        let mut kept = self.kept();
        let log = kept.log(partition);
        Ok(match log.batches.get(&batch) {
            Some(found) => found.epoch == epoch,
            // A number that was used and is gone has been trimmed, so its records are in rows.
            None => batch.0 >= 1 && batch.0 <= log.last,
        })
    }

    fn checkpoint(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        checkpoint: &Checkpoint,
    ) -> Result<(), StoreError> {
        self.check(partition)?;
        let mut kept = self.kept();
        kept.owned(partition, epoch)?;
        let rows = &checkpoint.rows;
        for run in &rows.deleted_runs {
            kept.delete_run(*run);
        }
        for row in &rows.runs {
            kept.keep_large(row.summary.id, &row.state);
            kept.runs.insert(row.summary.id, (partition, row.clone()));
        }
        for line in &rows.journal {
            kept.keep_large(line.run, &line.entry);
            kept.journal.insert((line.run, line.seq), line.clone());
        }
        for key in &rows.deleted_keys {
            kept.keys.remove(key);
        }
        for row in &rows.keys {
            kept.keys.insert(row.key.id.clone(), (partition, row.clone()));
        }
        for id in &rows.deleted_schedules {
            kept.schedules.remove(id);
        }
        for row in &rows.schedules {
            kept.schedules.insert(row.schedule.id.clone(), (partition, row.clone()));
        }
        for definition in &rows.definitions {
            kept.definitions.insert(definition.reference.clone(), definition.clone());
        }
        let own = kept.rows.entry(partition).or_default();
        own.1 = checkpoint.now;
        if rows.partition.is_some() {
            own.0.clone_from(&rows.partition);
        }
        kept.log(partition)
            .batches
            .retain(|_, batch| batch.first + batch.records.len() as u64 > checkpoint.trim_below);
        Ok(())
    }

    fn recover(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(Recovered) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check(partition)?;
        let pieces: Vec<Recovered> = {
            let mut kept = self.kept();
            let batches: Vec<Batch> = kept.log(partition).batches.values().cloned().collect();
            let (row, now) = kept.rows.get(&partition).cloned().unwrap_or_default();
            let stubs = kept
                .runs
                .values()
                .filter(|(home, _)| *home == partition)
                .filter_map(|(_, row)| row.stub.clone());
            let schedules = kept
                .schedules
                .values()
                .filter(|(home, _)| *home == partition)
                .map(|(_, row)| row.stub.clone());
            let definitions = kept.definitions.values().cloned();
            definitions
                .map(Recovered::Definition)
                .chain([Recovered::Partition(row, now)])
                .chain(stubs.map(Recovered::Stub))
                .chain(schedules.map(Recovered::Schedule))
                .chain(batches.into_iter().map(Recovered::Batch))
                .collect()
        };
        pieces.into_iter().try_for_each(each)
    }

    fn load(&self, partition: PartitionId, needs: &Needs) -> Result<LoadedRows, StoreError> {
        self.check(partition)?;
        let kept = self.kept();
        let run = |id: &RunId| (*id, kept.runs.get(id).map(|(_, row)| row.clone()));
        let key = |id: &KeyId| (id.clone(), kept.keys.get(id).map(|(_, row)| row.clone()));
        let schedule = |id: &ScheduleId| (id.clone(), kept.schedules.get(id).map(|(_, row)| row.clone()));
        let mut rows = LoadedRows {
            runs: needs.runs.iter().map(run).collect(),
            keys: needs.keys.iter().map(key).collect(),
            schedules: needs.schedules.iter().map(schedule).collect(),
        };
        let more: Vec<_> = rows.keys_of_runs().iter().map(key).collect();
        rows.keys.extend(more);
        Ok(rows)
    }

    fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<JournalRow>, StoreError> {
        Ok(self
            .kept()
            .journal
            .range((run, 0)..=(run, u64::MAX))
            .filter(|((_, seq), _)| *seq > after)
            .take(limit)
            .map(|(_, line)| line.clone())
            .collect())
    }

    fn list(
        &self,
        filter: &RunFilter,
        after: Option<Cursor>,
        limit: usize,
        without: &HashSet<RunId>,
    ) -> Result<Page<RunSummary>, StoreError> {
        let kept = self.kept();
        let mut found: Vec<&RunSummary> = kept
            .runs
            .values()
            .map(|(_, row)| &row.summary)
            .filter(|run| filter.matches(run) && !without.contains(&run.id))
            .filter(|run| after.is_none_or(|seen| (run.created, run.id) < (seen.created, seen.id)))
            .collect();
        found.sort_by_key(|run| std::cmp::Reverse((run.created, run.id)));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|run| Cursor { created: run.created, id: run.id });
        Ok(Page { items: found.into_iter().cloned().collect(), next: last.filter(|_| more) })
    }

    fn count(&self, filter: &RunFilter, cap: u64) -> Result<Count, StoreError> {
        let kept = self.kept();
        let runs = kept.runs.values();
        let count = runs.filter(|(_, row)| filter.matches(&row.summary)).count() as u64;
        Ok(Count { count: count.min(cap), capped: count > cap })
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        let kept = self.kept();
        let runs = kept.runs.values().map(|(_, row)| &row.summary.definition.namespace);
        let keys = kept.keys.values().map(|(_, row)| &row.key.id.namespace);
        let names: BTreeSet<String> = runs.chain(keys).map(ToString::to_string).collect();
        Ok(names.into_iter().collect())
    }

    fn keys(&self, filter: &KeyFilter, after: Option<&KeyId>, limit: usize) -> Result<Vec<Key>, StoreError> {
        let kept = self.kept();
        Ok(kept
            .keys
            .values()
            .map(|(_, row)| &row.key)
            .filter(|key| filter.matches(key) && after.is_none_or(|seen| key.id > *seen))
            .take(limit)
            .cloned()
            .collect())
    }

    fn blob(&self, run: RunId, hash: [u8; 32]) -> Result<Option<Json>, StoreError> {
        Ok(self.kept().blobs.get(&(run, hash)).cloned())
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        let kept = self.kept();
        Ok(Verified {
            batches: kept.logs.values().map(|log| log.batches.len() as u64).sum(),
            runs: kept.runs.len() as u64,
            journal: kept.journal.len() as u64,
            keys: kept.keys.len() as u64,
            schedules: kept.schedules.len() as u64,
            blobs: kept.blobs.len() as u64,
        })
    }
}
