//! What is in memory: records folded into it, and rows loaded.
//!
//! A row carries the number of the last record folded into it. What is in memory and newer than its row is *dirty*; the log is
//! needed from the first record that some dirty row lacks.

use super::state::RunState;
use super::{Partition, Slot};
use crate::effect::Effect;
use crate::entry::{Entry, Record};
use crate::ids::RunId;
use crate::keys::{Key, KeyId, KeyStatus, Ttl};
use crate::rows::{JournalRow, LoadedRows};

/// How many absences are remembered before they are forgotten together.
const MAX_ABSENT: usize = 100_000;

/// A key in memory; `key` is `None` when it is known not to be there.
#[derive(Debug, Default)]
pub(super) struct KeySlot {
    pub(super) key: Option<Key>,
    pub(super) last: u64,
    pub(super) dirty_since: Option<u64>,
    pub(super) dirty_again: Option<u64>,
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
    pub(super) fn fold_entry_key(&mut self, number: u64, run: RunId, entry: &Entry) {
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
            if let Some(rest) = self.stubs.remove(&run) {
                self.index.stub(&rest.stub(run), false);
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

    pub(super) fn drop_run(&mut self, run: RunId) -> Option<Box<Slot>> {
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
