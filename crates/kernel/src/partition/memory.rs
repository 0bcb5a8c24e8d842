//! Memory against rows: folding records, loading and evicting runs, recovery, checkpoints.
//!
//! A row carries the number of the last record folded into it. What is in memory and newer than its row is *dirty*; the log is
//! needed from the first record that some dirty row lacks.

use super::index;
use super::state::RunState;
use super::{Partition, Slot};
use crate::effect::{Effect, Needs};
use crate::entry::{Entry, Record};
use crate::ids::RunId;
use crate::keys::{Key, KeyId, KeyStatus, Ttl};
use crate::rows::{JournalRow, KeyRow, LoadedRows, PartitionRow, Rows, RunRow, Stub};
use crate::time::Now;

/// A run that did nothing for so long is not expected to go on soon.
const SETTLED_MS: u64 = 1_000;
/// How many absences are remembered before they are forgotten together.
const MAX_ABSENT: usize = 100_000;

/// A key in memory; `key` is `None` when it is known not to be there.
#[derive(Debug, Default)]
pub(super) struct KeySlot {
    pub(super) key: Option<Key>,
    last: u64,
    dirty_since: Option<u64>,
    dirty_again: Option<u64>,
}

/// The slice of rows that is being written.
#[derive(Debug, Default)]
pub(super) struct Flush {
    runs: Vec<RunId>,
    keys: Vec<KeyId>,
    deleted: Vec<(RunId, u64)>,
    definitions: usize,
}

impl Partition {
    // ---- folding

    /// Applies one record to the state: live, and at recovery.
    pub(super) fn fold(&mut self, number: u64, record: &Record) {
        match record {
            Record::Run(run, entry) => self.fold_entry(number, *run, entry),
            Record::RunDeleted(run) => {
                let Some(slot) = self.drop_run(*run) else { return };
                self.dirty.remove(&(slot.dirty_since.unwrap_or(0), *run));
                // Until its row is gone the log tells how it came to its end: no part of that without the rest.
                self.deleted.insert(*run, slot.dirty_since.unwrap_or(number));
                if let Some(key) = &slot.state.created.key {
                    self.fold_key(number, &key.key.id, |key| {
                        key.purged |= key.run == *run;
                        true
                    });
                }
            }
            Record::KeyDeleted(key) => self.fold_key(number, key, |_| false),
            Record::Schedule(id, entry) => self.fold_schedule(number, id, entry),
            Record::DefinitionDeployed(definition) => self.definitions.push((number, definition.clone())),
            Record::LimitSet { limiter, settings } => {
                self.index.lines.set(limiter, *settings);
                self.touch_lines(number);
            }
            Record::MessageSent { to, seq, message } => {
                self.lines.outbox.push((*to, *seq, message.clone()));
                set_line(&mut self.lines.sent, *to, *seq);
                self.touch_lines(number);
            }
            Record::MessagesAcknowledged { to, seq } => {
                self.lines.outbox.retain(|(line, number, _)| *line != *to || *number > *seq);
                self.touch_lines(number);
            }
            Record::MessageReceived { from, seq } => {
                set_line(&mut self.lines.received, *from, *seq);
                self.touch_lines(number);
            }
        }
    }

    fn touch_lines(&mut self, number: u64) {
        self.lines.last = number;
        self.lines_dirty.get_or_insert(number);
        self.lines_again.get_or_insert(number);
    }

    fn fold_entry(&mut self, number: u64, run: RunId, entry: &Entry) {
        let (now, graces) = (self.now, self.config.graces());
        if let Entry::RunCreated(created) = entry {
            let state = RunState::create(run, number, now, created);
            self.absent.remove(&run);
            self.keep_run(Slot::new(state, 0));
        } else {
            let Some(slot) = self.runs.get_mut(&run) else {
                return;
            };
            if let Some((step, failed)) = ended_step(entry)
                && let Some(call) = slot.state.steps.get(&step).and_then(|step| step.call())
            {
                self.index.lines.ended(&slot.state.created.definition.namespace, &call.queue, failed);
            }
            // What the code of a workflow began concerns its body, too.
            let body = slot.state.body();
            match touched_step(entry) {
                Some(step) => {
                    let touched = [Some(step), body.filter(|body| *body != step)];
                    for step in touched.into_iter().flatten() {
                        self.index.step(&slot.state, step, now, graces, false);
                    }
                    slot.state.fold(number, now, entry);
                    for step in touched.into_iter().flatten() {
                        self.index.step(&slot.state, step, now, graces, true);
                    }
                }
                None if changes_index(entry) => {
                    self.index.whole(&slot.state, now, graces, false);
                    slot.state.fold(number, now, entry);
                    self.index.whole(&slot.state, now, graces, true);
                }
                None => slot.state.fold(number, now, entry),
            }
        }
        let Some(slot) = self.runs.get_mut(&run) else {
            return;
        };
        if matches!(entry, Entry::RunCreated(_)) {
            self.index.whole(&slot.state, now, graces, true);
        }
        let mut charged = false;
        if let Entry::AttemptStarted { step, .. } = entry
            && let Some(call) = slot.state.steps.get(step).and_then(|step| step.call())
        {
            let namespace = &slot.state.created.definition.namespace;
            let known = number <= self.charged_to;
            charged = self.index.lines.started(number, namespace, &call.queue, call.limit.as_deref(), known);
        }
        slot.last = number;
        if slot.tail.len() == slot.tail.capacity() {
            // Most journals are short, and there are many.
            slot.tail.reserve_exact(2.max(slot.tail.len() / 2));
        }
        slot.tail.push(JournalRow { run, seq: slot.state.entries, at: now.wall, entry: entry.clone() });
        if slot.dirty_since.is_none() {
            slot.dirty_since = Some(number);
            self.dirty.insert((number, run));
        }
        slot.dirty_again.get_or_insert(number);
        self.fold_entry_key(number, run, entry);
        if charged {
            self.touch_lines(number);
        }
    }

    /// What an entry means for the key of its run.
    fn fold_entry_key(&mut self, number: u64, run: RunId, entry: &Entry) {
        let status = match entry {
            Entry::RunCreated(_) | Entry::RunReopened => KeyStatus::InFlight,
            Entry::RunSucceeded { .. } => KeyStatus::Succeeded,
            Entry::RunFailed { .. } | Entry::RunTimedOut => KeyStatus::Failed,
            Entry::RunCancelled | Entry::RunExpired => KeyStatus::Cancelled,
            _ => return,
        };
        let Some(created) = self.state(run).and_then(|state| state.created.key.clone()) else {
            return;
        };
        let wall = self.now.wall;
        let slot = self.keys.entry(created.key.id.clone()).or_default();
        // A run that is reopened after its key was forgotten takes it again.
        let rebinds = slot.key.is_none() && matches!(entry, Entry::RunReopened);
        if rebinds || matches!(entry, Entry::RunCreated(_)) {
            if slot.last >= number {
                return;
            }
            let earlier = slot.key.take();
            slot.key = Some(Key {
                id: created.key.id.clone(),
                fingerprint: created.fingerprint,
                run,
                generation: created.key.generation,
                status,
                completed: None,
                ttl: created.ttl,
                failures_in_row: match &earlier {
                    Some(key) if created.key.generation > 1 => key.failures_in_row,
                    _ => 0,
                },
                hits: earlier.map_or(0, |key| key.hits),
                purged: false,
            });
            slot.last = number;
            self.touch_key(number, &created.key.id);
            return;
        }
        self.fold_key(number, &created.key.id, |key| {
            if key.run != run {
                return true;
            }
            key.status = status;
            key.completed = (status != KeyStatus::InFlight).then_some(wall);
            match status {
                KeyStatus::Failed => key.failures_in_row += 1,
                KeyStatus::Succeeded => key.failures_in_row = 0,
                KeyStatus::InFlight | KeyStatus::Cancelled => {}
            }
            // A key without a time to live is forgotten with its run's end.
            status == KeyStatus::InFlight || key.ttl != Ttl::Ms(0)
        });
    }

    /// Changes a key unless its row is newer; `change` says whether it is kept.
    fn fold_key(&mut self, number: u64, id: &KeyId, change: impl FnOnce(&mut Key) -> bool) {
        let Some(slot) = self.keys.get_mut(id) else { return };
        if slot.last >= number {
            return;
        }
        if let Some(key) = &mut slot.key
            && !change(key)
        {
            slot.key = None;
        }
        slot.last = number;
        self.touch_key(number, id);
    }

    /// Marks a key as newer than its row, since record `number`.
    pub(super) fn touch_key(&mut self, number: u64, id: &KeyId) {
        let Some(slot) = self.keys.get_mut(id) else { return };
        if slot.dirty_since.is_none() {
            slot.dirty_since = Some(number);
            self.dirty_keys.insert((number, id.clone()));
        }
        slot.dirty_again.get_or_insert(number);
    }

    // ---- loading

    /// Takes in rows, unless memory has what they say or newer.
    pub(super) fn install(&mut self, rows: LoadedRows) {
        if self.absent.len() > MAX_ABSENT {
            self.absent.clear();
        }
        let (now, graces) = (self.now, self.config.graces());
        for (run, row) in rows.runs {
            self.index.loading.remove(&run);
            self.recovering.remove(&run);
            if self.runs.contains_key(&run) || self.deleted.contains_key(&run) {
                continue;
            }
            let Some(row) = row else {
                self.absent.insert(run);
                continue;
            };
            if let Some(stub) = self.stubs.remove(&run) {
                self.index.stub(&stub, false);
            }
            self.index.whole(&row.state, now, graces, true);
            self.keep_run(Slot::new(row.state, row.last));
            // A run with attempts out is never evicted: this is its first load since a start, and nobody is known to execute them.
            self.orphan_attempts(run);
            self.to_advance.push_back(run);
        }
        self.index.lines.holding = !self.recovering.is_empty();
        for (id, row) in rows.keys {
            let slot = match row {
                Some(row) => KeySlot { key: Some(row.key), last: row.last, ..KeySlot::default() },
                None => KeySlot::default(),
            };
            self.keys.entry(id).or_insert(slot);
        }
        self.schedules.install(rows.schedules);
    }

    /// Puts a run into memory. Its key stays there as long as it does.
    fn keep_run(&mut self, slot: Slot) {
        let run = slot.state.id;
        if let Some(created) = &slot.state.created.key {
            self.key_runs.entry(created.key.id.clone()).or_default().insert(run);
        }
        self.runs.insert(run, Box::new(slot));
    }

    fn drop_run(&mut self, run: RunId) -> Option<Box<Slot>> {
        let slot = self.runs.remove(&run)?;
        if let Some(created) = &slot.state.created.key
            && let Some(runs) = self.key_runs.get_mut(&created.key.id)
        {
            runs.remove(&run);
            if runs.is_empty() {
                self.key_runs.remove(&created.key.id);
            }
        }
        Some(slot)
    }

    /// Asks for the row of a run that is only a stub, once.
    pub(super) fn ask_for(&mut self, run: RunId) {
        if self.index.loading.insert(run) {
            self.effect(Effect::Load { run });
        }
    }

    // ---- recovery

    /// Takes in the stub of a run that is open or has attempts out. Before any record is replayed.
    pub fn recover_stub(&mut self, stub: Stub) {
        self.index.stub(&stub, true);
        self.stubs.insert(stub.run, stub);
    }

    /// Takes in the partition's own row. Before any record is replayed.
    pub fn recover_partition(&mut self, row: PartitionRow) {
        self.next = self.next.max(row.last + 1);
        self.charged_to = row.last;
        self.index.lines.recover(&row.limiters);
        self.lines = PartitionRow { limiters: Vec::new(), ..row };
    }

    /// Takes in the rows that [`Partition::replay_needs`] named. Unlike [`crate::Command::Loaded`] it decides nothing: the log still has to tell
    /// what these runs did next.
    pub fn recover_rows(&mut self, now: Now, rows: LoadedRows) {
        self.set_now(now);
        self.install(rows);
        self.to_advance.clear();
        self.schedules.to_fire.clear();
        // Leases begin when recovery ends.
        self.orphans.clear();
    }

    /// What replaying these records needs in memory first. Asked again after each load, until nothing is needed.
    pub fn replay_needs(&self, records: &[Record]) -> Needs {
        let mut needs = Needs::default();
        for record in records {
            match record {
                Record::Run(run, entry) => {
                    self.run_needs(*run, &mut needs);
                    if let Entry::RunCreated(created) = entry
                        && let Some(key) = &created.key
                    {
                        self.replay_needs_key(&key.key.id, &mut needs);
                    }
                    self.replay_needs_key_of(*run, &mut needs);
                }
                Record::RunDeleted(run) => {
                    self.run_needs(*run, &mut needs);
                    self.replay_needs_key_of(*run, &mut needs);
                }
                Record::KeyDeleted(key) => self.replay_needs_key(key, &mut needs),
                Record::Schedule(id, _) => self.schedule_needs(id, &mut needs),
                _ => {}
            }
        }
        needs
    }

    fn replay_needs_key_of(&self, run: RunId, needs: &mut Needs) {
        if let Some(key) = self.state(run).and_then(|state| state.created.key.as_ref()) {
            self.replay_needs_key(&key.key.id, needs);
        }
    }

    fn replay_needs_key(&self, key: &KeyId, needs: &mut Needs) {
        if !self.keys.contains_key(key) && !needs.keys.contains(key) {
            needs.keys.push(key.clone());
        }
    }

    /// Folds the records of one logged batch, the first of which has number `first`. Records that a loaded row already contains are
    /// skipped.
    pub fn replay(&mut self, now: Now, first: u64, records: &[Record]) {
        self.set_now(now);
        for (number, record) in (first..).zip(records) {
            let known = match record {
                Record::Run(run, entry) => match self.runs.get(run) {
                    Some(slot) => slot.last >= number,
                    // The row was removed by a later record.
                    None => !matches!(entry, Entry::RunCreated(_)),
                },
                Record::LimitSet { .. }
                | Record::MessageSent { .. }
                | Record::MessagesAcknowledged { .. }
                | Record::MessageReceived { .. } => self.lines.last >= number,
                // The id was used again, and its row is that of the later run.
                Record::RunDeleted(run) => self.runs.get(run).is_some_and(|slot| slot.last >= number),
                Record::Schedule(id, entry) => self.schedules.knows(id, number, entry),
                Record::KeyDeleted(_) | Record::DefinitionDeployed(_) => false,
            };
            if !known {
                self.fold(number, record);
            } else if let Record::Run(run, entry) = record {
                // The run's row is newer than its key's may be.
                self.fold_entry_key(number, *run, entry);
            }
            self.next = self.next.max(number + 1);
        }
    }

    /// Ends recovery at `now`: every open attempt gets a fresh lease. Returns the runs to load, whose stubs are `active`,
    /// and appends the effects that were cut off: messages to send again, runs to continue.
    pub fn recovered(&mut self, now: Now) -> Vec<RunId> {
        self.set_now(now);
        self.to_advance.clear();
        let mut runs: Vec<RunId> = self.runs.keys().copied().collect();
        runs.sort_unstable();
        for run in runs {
            self.orphan_attempts(run);
            let (graces, now) = (self.config.graces(), self.now);
            let Some(state) = self.state(run) else { continue };
            if index::stub(state, now, graces).is_some_and(|stub| stub.active) {
                self.effect(Effect::Continue { run });
            }
        }
        for (to, seq, message) in self.lines.outbox.clone() {
            self.effect(Effect::Send { to, seq, message });
        }
        self.wake_schedules();
        let mut active: Vec<RunId> =
            self.stubs.values().filter(|stub| stub.active).map(|stub| stub.run).collect();
        active.sort_unstable();
        self.index.loading.extend(active.iter().copied());
        self.recovering.extend(active.iter().copied());
        self.index.lines.holding = !self.recovering.is_empty();
        active
    }

    // ---- checkpoints

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
    /// that rests, at this moment and since a while, only a stub is kept.
    pub fn checkpointed(&mut self, now: Now) {
        let Some(flush) = self.flush.take() else { return };
        let graces = self.config.graces();
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
                None if settled => {
                    let stub =
                        index::stub(&slot.state, now, graces).filter(|stub| index::is_at_rest(stub, now));
                    if let Some(stub) = stub {
                        self.unload(run, Some(stub));
                    }
                }
                None => {}
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

    /// Everything durable, in a form that two partitions can be compared by: for tests.
    pub fn fingerprint(&self) -> String {
        let mut runs: Vec<_> = self.runs.values().map(|slot| (slot.state.id, &slot.state)).collect();
        runs.sort_by_key(|(id, _)| *id);
        let mut keys: Vec<_> = self.keys.values().filter_map(|slot| slot.key.as_ref()).collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        let schedules = self.schedules.loaded();
        format!("{runs:#?}\n{keys:#?}\n{schedules:#?}\n{:?} {:?}", self.lines, self.next)
    }
}

impl Slot {
    fn new(state: RunState, last: u64) -> Self {
        Slot { state, tail: Vec::new(), last, dirty_since: None, dirty_again: None, flushing: 0 }
    }
}

/// The one step whose place in the indexes an entry can change; `None` for entries that concern the run as a whole or nothing.
fn touched_step(entry: &Entry) -> Option<crate::ids::StepId> {
    match entry {
        Entry::StepBegun { step, .. }
        | Entry::AttemptStarted { step, .. }
        | Entry::AttemptFailed { step, .. }
        | Entry::AttemptLost { step, .. }
        | Entry::AttemptParked { step, .. }
        | Entry::AttemptStopped { step, .. }
        | Entry::CallReturned { step, .. }
        | Entry::StepSucceeded { step, .. }
        | Entry::StepFailed { step, .. }
        | Entry::StepCancelled { step } => Some(*step),
        _ => None,
    }
}

/// The step that an entry ends by the outcome of an attempt, and whether it failed.
fn ended_step(entry: &Entry) -> Option<(crate::ids::StepId, bool)> {
    match entry {
        Entry::StepSucceeded { step, attempt: 1.., .. } => Some((*step, false)),
        Entry::StepFailed { step, attempt: 1.., .. } => Some((*step, true)),
        _ => None,
    }
}

/// Whether an entry can change where the whole run stands in the indexes.
fn changes_index(entry: &Entry) -> bool {
    !matches!(
        entry,
        Entry::Noted(_)
            | Entry::ChildStarted { .. }
            | Entry::ChildEnded { .. }
            | Entry::SignalReceived { .. }
            // They are reported by a body that is executing.
            | Entry::StepRan { .. }
            | Entry::StepStarting { .. }
            | Entry::LabelsSet { .. }
            | Entry::StatusPublished { .. }
    )
}

fn set_line(lines: &mut Vec<(crate::ids::PartitionId, u64)>, partition: crate::ids::PartitionId, seq: u64) {
    match lines.iter_mut().find(|(line, _)| *line == partition) {
        Some((_, last)) => *last = seq,
        None => lines.push((partition, seq)),
    }
}
