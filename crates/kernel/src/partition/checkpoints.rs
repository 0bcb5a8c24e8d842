//! From memory to rows: what is dirty is written in slices, and what rests leaves memory.

use super::rest::Edges;
use super::{Partition, index};
use crate::ids::RunId;
use crate::keys::KeyId;
use crate::rows::{KeyRow, Rows, RunRow, Stub};
use crate::time::Now;

/// A run that did nothing for so long is not expected to go on soon.
const SETTLED_MS: u64 = 1_000;

/// The slice of rows that is being written.
#[derive(Debug, Default)]
pub(super) struct Flush {
    runs: Vec<RunId>,
    keys: Vec<KeyId>,
    deleted: Vec<(RunId, u64)>,
    definitions: usize,
}

impl Partition {
    /// Rows of at most `limit` runs that changed since their row was written, oldest change first, with the other things that are dirty.
    ///
    /// The slice holds everything decided so far: the caller writes it only once all of that is durable in the log, and then
    /// calls [`Partition::checkpointed`]. A slice that was not written is simply asked for again.
    pub fn checkpoint_slice(&mut self, limit: usize) -> Rows {
        let mut rows = Rows::default();
        let mut flush = Flush::default();
        let (now, graces) = (self.now, self.config.graces());
        let runs: Vec<RunId> = self.dirty.iter().take(limit).map(|(_, run)| *run).collect();
        for run in &runs {
            let Some(summary) = self.summary(*run) else {
                continue;
            };
            let Some(slot) = self.runs.get_mut(run) else {
                continue;
            };
            slot.dirty_again = None;
            slot.flushing = slot.tail.len();
            rows.journal.extend(slot.tail.iter().cloned());
            let stub = index::stub(&slot.state, now, graces);
            rows.runs.push(RunRow { summary, stub, state: slot.state.clone(), last: slot.last });
        }
        let keys: Vec<KeyId> =
            self.dirty_keys.iter().take(limit.saturating_mul(2)).map(|(_, id)| id.clone()).collect();
        for id in &keys {
            let Some(slot) = self.keys.get_mut(id) else {
                continue;
            };
            slot.dirty_again = None;
            match &slot.key {
                Some(key) => rows.keys.push(KeyRow { key: key.clone(), last: slot.last }),
                None => rows.deleted_keys.push(id.clone()),
            }
        }
        self.schedules.slice(limit, &mut rows);
        rows.deleted_runs = self.deleted.keys().copied().collect();
        rows.definitions = self.definitions.iter().map(|(_, definition)| definition.clone()).collect();
        // The row also keeps the number that the next record gets, for a log that was trimmed empty.
        let mut lines = self.lines.clone();
        lines.last = self.next - 1;
        lines.limiters = self.index.lines.rows();
        rows.partition = Some(lines);
        flush.runs = runs;
        flush.keys = keys;
        flush.deleted = self.deleted.iter().map(|(run, number)| (*run, *number)).collect();
        flush.definitions = self.definitions.len();
        self.lines_again = None;
        self.flush = Some(flush);
        rows
    }

    /// The slice that [`Partition::checkpoint_slice`] gave last is durable: its rows are clean unless they changed again meanwhile. Of a run
    /// that rests, at this moment and since a while, only a stub is kept, and of a call whose turn is far.
    pub fn checkpointed(&mut self, now: Now) {
        let Some(flush) = self.flush.take() else { return };
        let (graces, mut edges) = (self.config.graces(), Edges::default());
        for run in flush.runs {
            let Some(slot) = self.runs.get_mut(&run) else {
                continue;
            };
            let settled = slot.tail.last().is_none_or(|line| line.at.plus(SETTLED_MS) <= now.wall);
            slot.tail.drain(..slot.flushing);
            slot.tail.shrink_to_fit();
            slot.flushing = 0;
            if let Some(since) = slot.dirty_since {
                self.dirty.remove(&(since, run));
            }
            slot.dirty_since = slot.dirty_again;
            match slot.dirty_since {
                Some(since) => {
                    self.dirty.insert((since, run));
                }
                None if slot.state.is_settled() => {
                    self.index.whole(&slot.state, self.now, graces, false);
                    self.drop_run(run);
                }
                None => {
                    let lines = &self.index.lines;
                    let stub = index::stub(&slot.state, now, graces).filter(|stub| {
                        settled && index::is_at_rest(stub, now) || edges.is_far(stub, lines, now)
                    });
                    if let Some(stub) = stub {
                        self.unload(run, Some(stub));
                    }
                }
            }
        }
        for id in flush.keys {
            let Some(slot) = self.keys.get_mut(&id) else {
                continue;
            };
            if let Some(since) = slot.dirty_since {
                self.dirty_keys.remove(&(since, id.clone()));
            }
            slot.dirty_since = slot.dirty_again;
            if let Some(since) = slot.dirty_since {
                self.dirty_keys.insert((since, id));
            } else if !self.key_runs.contains_key(&id) {
                self.keys.remove(&id);
            }
        }
        for (run, number) in flush.deleted {
            if self.deleted.get(&run) == Some(&number) {
                self.deleted.remove(&run);
            }
        }
        self.schedules.written();
        self.lines_dirty = self.lines_again;
        self.index.lines.prune();
        self.definitions.drain(..flush.definitions);
    }

    /// The smallest record number that a dirty row still needs: the log may be trimmed below it.
    pub fn trim_point(&self) -> u64 {
        let runs = self.dirty.first().map(|(number, _)| *number);
        let keys = self.dirty_keys.first().map(|(number, _)| *number);
        let deleted = self.deleted.values().min().copied();
        let definitions = self.definitions.first().map(|(number, _)| *number);
        let schedules = self.schedules.oldest_change();
        [runs, keys, deleted, schedules, definitions, self.lines_dirty]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.next)
    }

    /// Records that the log must keep: those not yet folded into rows, and what lies between them.
    pub fn dirty_records(&self) -> u64 {
        self.next - self.trim_point()
    }

    /// Drops clean runs that only wait, and clean keys, from memory; stubs stay. At most `limit`.
    pub fn evict(&mut self, limit: usize) -> usize {
        let (now, graces) = (self.now, self.config.graces());
        let idle: Vec<(RunId, Option<Stub>)> = self
            .runs
            .iter()
            .filter(|(_, slot)| slot.dirty_since.is_none() && slot.flushing == 0)
            .map(|(run, slot)| (*run, index::stub(&slot.state, now, graces)))
            .filter(|(_, stub)| stub.as_ref().is_none_or(|stub| !stub.active && !index::is_near(stub, now)))
            .take(limit)
            .collect();
        let count = idle.len();
        for (run, stub) in idle {
            self.unload(run, stub);
        }
        // Those that were looked for and belong to no run in memory.
        let used = &self.key_runs;
        self.keys.retain(|id, slot| slot.dirty_since.is_some() || used.contains_key(id));
        count
    }

    fn unload(&mut self, run: RunId, stub: Option<Stub>) {
        let Some(slot) = self.drop_run(run) else { return };
        self.index.whole(&slot.state, self.now, self.config.graces(), false);
        if let Some(created) = &slot.state.created.key {
            let id = &created.key.id;
            let clean = self.keys.get(id).is_some_and(|slot| slot.dirty_since.is_none());
            if clean && !self.key_runs.contains_key(id) {
                self.keys.remove(id);
            }
        }
        if let Some(stub) = stub {
            self.recover_stub(stub);
        }
    }

    /// How many runs that changed since their row was written only wait: a checkpoint frees their memory.
    pub fn waiting_dirty(&self) -> usize {
        self.dirty.iter().filter_map(|(_, run)| self.state(*run)).filter(|state| state.only_waits()).count()
    }

    /// How many runs are loaded, and how many more are stubs.
    pub fn loaded(&self) -> (usize, usize) {
        (self.runs.len(), self.stubs.len())
    }
}
