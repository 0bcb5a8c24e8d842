//! From rows and the records behind them to memory again, after a start.

use super::rest::Rest;
use super::{Partition, index};
use crate::effect::{Effect, Needs};
use crate::entry::{Entry, Record};
use crate::ids::RunId;
use crate::keys::KeyId;
use crate::rows::{LoadedRows, PartitionRow, Stub};
use crate::time::Now;

impl Partition {
    /// Takes in the stub of a run that is open or has attempts out. Before any record is replayed.
    pub fn recover_stub(&mut self, stub: Stub) {
        self.index.stub(&stub, true);
        self.stubs.insert(stub.run, Rest::new(stub, &self.index.lines));
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
            self.stubs.iter().filter(|(_, rest)| rest.is_active()).map(|(run, _)| *run).collect();
        active.sort_unstable();
        self.index.loading.extend(active.iter().copied());
        self.recovering.extend(active.iter().copied());
        self.index.lines.holding = !self.recovering.is_empty();
        active
    }
}
