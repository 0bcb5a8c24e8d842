//! Schedules in memory, and their rows. What is asked of them is in `asks`, what their times lead to in `firing`.
//!
//! Memory has a stub of every schedule: when it is due, and behind which runs it waits. A schedule is loaded to fire. That its planned times
//! are settled and that their runs exist is one batch, so that each has exactly one run, whenever the process is killed.

mod asks;
mod firing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::Partition;
use crate::command::Refusal;
use crate::effect::{Effect, Needs};
use crate::entry::Record;
use crate::ids::RunId;
use crate::rows::Rows;
use crate::schedule::{Schedule, ScheduleEntry, ScheduleId, ScheduleRow, ScheduleSpec, ScheduleStub, When};
use crate::time::Wall;

/// The most firings of one schedule at a time, and the most of `all`.
const MAX_FIRINGS: u32 = 1_000;
/// Clean schedules that stay in memory.
const KEPT: usize = 10_000;

/// A schedule in memory.
#[derive(Debug)]
pub(super) struct ScheduleSlot {
    schedule: Schedule,
    /// Its times; `None` when this version cannot read them any more.
    when: Option<When>,
    last: u64,
    dirty_since: Option<u64>,
    dirty_again: Option<u64>,
}

/// What memory keeps of a schedule, loaded or not.
#[derive(Debug, Default, PartialEq)]
struct Place {
    due: Option<Wall>,
    behind: Vec<RunId>,
}

/// All schedules of a partition.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    loaded: HashMap<ScheduleId, ScheduleSlot>,
    /// Every schedule there is.
    places: BTreeMap<ScheduleId, Place>,
    due: BTreeSet<(Wall, ScheduleId)>,
    /// Which schedule waits for the end of a run.
    behind: HashMap<RunId, ScheduleId>,
    loading: HashSet<ScheduleId>,
    dirty: BTreeSet<(u64, ScheduleId)>,
    /// Schedules whose rows may still be there, with the number of the record that removed them.
    deleted: BTreeMap<ScheduleId, u64>,
    flush: (Vec<ScheduleId>, Vec<(ScheduleId, u64)>),
    /// Within one command: schedules to look at.
    pub(super) to_fire: VecDeque<ScheduleId>,
}

impl ScheduleSlot {
    fn new(schedule: Schedule, last: u64) -> Self {
        let when = times(&schedule.spec, schedule.created).ok();
        ScheduleSlot { schedule, when, last, dirty_since: None, dirty_again: None }
    }

    /// The first planned time after `after`, within the schedule's bounds.
    fn following(&self, after: Wall) -> Option<Wall> {
        self.schedule.spec.following(self.when.as_ref()?, after)
    }
}

fn times(spec: &ScheduleSpec, created: Wall) -> Result<When, Refusal> {
    spec.times(created).map_err(|error| Refusal::InvalidSchedule(error.to_string()))
}

impl Schedules {
    // ---- places

    fn set_place(&mut self, id: &ScheduleId, place: Option<Place>) {
        let before = match place {
            Some(place) => {
                if let Some(due) = place.due {
                    self.due.insert((due, id.clone()));
                }
                self.behind.extend(place.behind.iter().map(|run| (*run, id.clone())));
                let due = place.due;
                self.places
                    .insert(id.clone(), place)
                    .filter(|before| before.due != due || !before.behind.is_empty())
            }
            None => self.places.remove(id),
        };
        let Some(before) = before else { return };
        let now = self.places.get(id);
        if let Some(due) = before.due.filter(|due| now.is_none_or(|now| now.due != Some(*due))) {
            self.due.remove(&(due, id.clone()));
        }
        for run in before.behind {
            if now.is_none_or(|now| !now.behind.contains(&run)) {
                self.behind.remove(&run);
            }
        }
    }

    /// Takes in the stub of a schedule. Before any record is replayed.
    pub(super) fn recover(&mut self, stub: ScheduleStub) {
        // Most schedules share a namespace, and so its text.
        let mut id = stub.id;
        if let Some((last, _)) =
            self.places.last_key_value().filter(|(last, _)| last.namespace == id.namespace)
        {
            id.namespace = last.namespace.clone();
        }
        self.set_place(&id, Some(Place { due: stub.due, behind: stub.behind }));
    }

    /// When the next schedule is due.
    pub(super) fn next_due(&self) -> Option<Wall> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next schedule whose time has come, to be looked at within this command.
    pub(super) fn take_due(&mut self, now: Wall) -> bool {
        if self.next_due().is_none_or(|due| due > now) {
            return false;
        }
        let Some((_, id)) = self.due.pop_first() else { return false };
        self.to_fire.push_back(id);
        true
    }

    /// A run has ended: whoever waits behind it is looked at.
    pub(super) fn wake_behind(&mut self, run: RunId) {
        if let Some(id) = self.behind.get(&run) {
            self.to_fire.push_back(id.clone());
        }
    }

    // ---- rows

    /// Takes in rows, unless memory has what they say or newer.
    pub(super) fn install(&mut self, rows: Vec<(ScheduleId, Option<ScheduleRow>)>) {
        if self.loaded.len() > KEPT {
            self.loaded.retain(|_, slot| slot.dirty_since.is_some());
        }
        for (id, row) in rows {
            self.loading.remove(&id);
            match row {
                Some(row) if self.places.contains_key(&id) && !self.loaded.contains_key(&id) => {
                    self.loaded.insert(id.clone(), ScheduleSlot::new(row.schedule, row.last));
                }
                _ => {}
            }
            self.refresh(&id);
            self.to_fire.push_back(id);
        }
    }

    /// Puts a loaded schedule's place in order.
    fn refresh(&mut self, id: &ScheduleId) {
        let Some(slot) = self.loaded.get(id) else { return };
        let stub = slot.schedule.stub();
        // A due moment that was taken out of the index comes back.
        self.set_place(id, Some(Place { due: stub.due, behind: stub.behind }));
    }

    /// Whether a record is older than what memory has.
    pub(super) fn knows(&self, id: &ScheduleId, number: u64, entry: &ScheduleEntry) -> bool {
        match self.loaded.get(id) {
            Some(slot) => slot.last >= number,
            // The row was removed by a later record.
            None => !matches!(entry, ScheduleEntry::Set { .. }),
        }
    }

    /// Adds rows of at most `limit` schedules that changed, oldest change first.
    pub(super) fn slice(&mut self, limit: usize, rows: &mut Rows) {
        let ids: Vec<ScheduleId> = self.dirty.iter().take(limit).map(|(_, id)| id.clone()).collect();
        for id in &ids {
            let Some(slot) = self.loaded.get_mut(id) else { continue };
            slot.dirty_again = None;
            let (schedule, last) = (slot.schedule.clone(), slot.last);
            rows.schedules.push(ScheduleRow { stub: schedule.stub(), schedule, last });
        }
        rows.deleted_schedules = self.deleted.keys().cloned().collect();
        self.flush = (ids, self.deleted.iter().map(|(id, number)| (id.clone(), *number)).collect());
    }

    /// The rows of the last slice are durable.
    pub(super) fn written(&mut self) {
        let (ids, deleted) = std::mem::take(&mut self.flush);
        for id in ids {
            let Some(slot) = self.loaded.get_mut(&id) else { continue };
            if let Some(since) = slot.dirty_since {
                self.dirty.remove(&(since, id.clone()));
            }
            slot.dirty_since = slot.dirty_again;
            if let Some(since) = slot.dirty_since {
                self.dirty.insert((since, id));
            } else if self.loaded.len() > KEPT {
                self.loaded.remove(&id);
            }
        }
        for (id, number) in deleted {
            if self.deleted.get(&id) == Some(&number) {
                self.deleted.remove(&id);
            }
        }
    }

    /// The number of the oldest record that a row still lacks.
    pub(super) fn oldest_change(&self) -> Option<u64> {
        let changed = self.dirty.first().map(|(number, _)| *number);
        changed.into_iter().chain(self.deleted.values().copied()).min()
    }

    /// The schedules in memory, in order.
    pub(super) fn loaded(&self) -> Vec<&Schedule> {
        let mut all: Vec<&Schedule> = self.loaded.values().map(|slot| &slot.schedule).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }
}

impl Partition {
    // ---- looking

    /// A schedule, if it is in memory.
    pub fn schedule(&self, id: &ScheduleId) -> Option<&Schedule> {
        self.schedules.loaded.get(id).map(|slot| &slot.schedule)
    }

    /// Whether there is such a schedule, in memory or not.
    pub fn has_schedule(&self, id: &ScheduleId) -> bool {
        self.schedules.places.contains_key(id)
    }

    /// Schedules of a namespace whose name begins with `prefix`, in the order of their names, after `after`.
    pub fn schedule_ids(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<ScheduleId> {
        let from = after.filter(|after| *after >= prefix).unwrap_or(prefix);
        let start = ScheduleId { namespace: namespace.into(), name: from.into() };
        let matches = |id: &&ScheduleId| *id.namespace == *namespace && id.name.starts_with(prefix);
        let ids = self.schedules.places.range(start..).map(|(id, _)| id).take_while(matches);
        ids.filter(|id| after.is_none_or(|after| &*id.name > after)).take(limit).cloned().collect()
    }

    /// How many schedules there are.
    pub fn schedule_count(&self) -> usize {
        self.schedules.places.len()
    }

    /// Takes in the stub of a schedule. Before any record is replayed.
    pub fn recover_schedule(&mut self, stub: ScheduleStub) {
        self.schedules.recover(stub);
    }

    pub(super) fn schedule_needs(&self, id: &ScheduleId, needs: &mut Needs) {
        let there = self.schedules.places.contains_key(id) && !self.schedules.loaded.contains_key(id);
        if there && !needs.schedules.contains(id) {
            needs.schedules.push(id.clone());
        }
    }

    /// What must be loaded to look at these schedules.
    pub fn needs_of_schedules(&self, ids: &[ScheduleId]) -> Needs {
        let mut needs = Needs::default();
        for id in ids {
            self.schedule_needs(id, &mut needs);
        }
        needs
    }

    // ---- folding

    pub(super) fn fold_schedule(&mut self, number: u64, id: &ScheduleId, entry: &ScheduleEntry) {
        let now = self.now.wall;
        if matches!(entry, ScheduleEntry::Deleted) {
            if let Some(slot) = self.schedules.loaded.remove(id) {
                self.schedules.dirty.remove(&(slot.dirty_since.unwrap_or(0), id.clone()));
            }
            self.schedules.set_place(id, None);
            self.schedules.deleted.insert(id.clone(), number);
            return;
        }
        if let ScheduleEntry::Set { spec, .. } = entry
            && !self.schedules.loaded.contains_key(id)
        {
            let schedule = Schedule::new(id.clone(), (**spec).clone(), number, now);
            self.schedules.loaded.insert(id.clone(), ScheduleSlot::new(schedule, 0));
        }
        let Some(slot) = self.schedules.loaded.get_mut(id) else { return };
        slot.schedule.fold(now, entry);
        if matches!(entry, ScheduleEntry::Set { .. }) {
            slot.when = times(&slot.schedule.spec, slot.schedule.created).ok();
        }
        slot.last = number;
        if slot.dirty_since.is_none() {
            slot.dirty_since = Some(number);
            self.schedules.dirty.insert((number, id.clone()));
        }
        slot.dirty_again.get_or_insert(number);
        self.schedules.refresh(id);
    }

    fn note(&mut self, id: &ScheduleId, entry: ScheduleEntry) {
        self.record(Record::Schedule(id.clone(), Box::new(entry)));
    }

    /// After recovery: schedules whose run ended, and that were not looked at before the end.
    pub(super) fn wake_schedules(&mut self) {
        let mut ended: Vec<ScheduleId> = Vec::new();
        for (run, id) in &self.schedules.behind {
            if self.is_over(*run) && !ended.contains(id) {
                ended.push(id.clone());
            }
        }
        ended.sort_unstable();
        for id in ended {
            self.effect(Effect::LoadSchedule { id });
        }
    }
}

impl Schedule {
    /// A schedule that has settled nothing yet.
    fn new(id: ScheduleId, spec: ScheduleSpec, number: u64, now: Wall) -> Self {
        Schedule {
            id,
            spec,
            number,
            revision: 0,
            created: now,
            updated: now,
            cursor: now,
            next: None,
            paused: None,
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            recent: VecDeque::new(),
            started: 0,
            skipped: 0,
            last_skipped: None,
            missed: 0,
            last_missed: None,
            failed: 0,
            last_failure: None,
        }
    }
}
