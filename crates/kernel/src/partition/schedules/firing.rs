//! Planned times: when they are due, which of them fire, and the runs that they start.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{MAX_FIRINGS, ScheduleSlot, times};
use crate::command::{RunOptions, StartRun};
use crate::driver::Drivers;
use crate::effect::Effect;
use crate::ids::RunId;
use crate::message::Message;
use crate::partition::Partition;
use crate::schedule::{
    FiredBy, Missed, MissedPolicy, Origin, Overlap, Planned, ScheduleEntry, ScheduleId, ScheduleSpec,
};
use crate::time::Wall;

/// Planned times that are counted one by one; what lies beyond is only said to be more.
const MAX_COUNTED: usize = 10_000;
/// Firings that may wait behind a run.
const MAX_WAITING: usize = 1_000;
/// The label that tells a schedule's runs in lists.
const LABEL: &str = "schedule";

impl Partition {
    /// When a planned time fires: put off by a part of the jitter that depends on nothing but the schedule and the time.
    pub(super) fn planned(&self, id: &ScheduleId, number: u64, jitter_ms: u64, at: Wall) -> Planned {
        let share = if jitter_ms == 0 {
            0
        } else {
            self.schedule_hash(b"jitter", id, number, at, 0) % (jitter_ms + 1)
        };
        Planned { at, due: at.plus(share) }
    }

    fn schedule_hash(&self, purpose: &[u8], id: &ScheduleId, number: u64, at: Wall, count: u64) -> u64 {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.config.secret).expect("HMAC takes a key of any length");
        mac.update(purpose);
        for text in [&id.namespace, &id.name] {
            mac.update(&(text.len() as u64).to_be_bytes());
            mac.update(text.as_bytes());
        }
        mac.update(&number.to_be_bytes());
        mac.update(&at.0.to_be_bytes());
        mac.update(&count.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }

    /// Settles the planned times that have come, and starts what may start now.
    pub(in crate::partition) fn fire_schedule(&mut self, id: &ScheduleId, drivers: &dyn Drivers) {
        let Some(slot) = self.schedules.loaded.get(id) else {
            if self.schedules.places.contains_key(id) && self.schedules.loading.insert(id.clone()) {
                self.effect(Effect::LoadSchedule { id: id.clone() });
            }
            return;
        };
        if slot.schedule.paused.is_some() {
            return;
        }
        if let Some(next) = slot.schedule.next.filter(|next| next.due <= self.now.wall) {
            let entry = self.come_due(id, slot);
            let unreadable = slot
                .when
                .is_none()
                .then(|| times(&slot.schedule.spec, slot.schedule.created).err())
                .flatten();
            self.note(id, entry);
            if let Some(error) = unreadable {
                let reason = format!(
                    "its times cannot be read any more, so nothing of it fires: {error}; write it again"
                );
                self.note(id, ScheduleEntry::NotStarted { planned: next.at, reason });
            }
        }
        self.start_waiting(id, drivers);
    }

    /// What becomes of the planned times that have come.
    fn come_due(&self, id: &ScheduleId, slot: &ScheduleSlot) -> ScheduleEntry {
        let (schedule, now) = (&slot.schedule, self.now.wall);
        let spec = &schedule.spec;
        let planned = |at| self.planned(id, schedule.number, spec.jitter_ms, at);
        let mut times: Vec<Planned> = Vec::new();
        let mut next = schedule.next;
        while let Some(time) = next.filter(|time| time.due <= now && times.len() < MAX_COUNTED) {
            times.push(time);
            next = slot.following(time.at).map(planned);
        }
        // Too many to go through: the newest, and how many were counted before them.
        let more = next.is_some_and(|next| next.due <= now);
        if let (true, Some(when)) = (more, &slot.when) {
            let until = spec.until.map_or(now, |until| now.min(Wall(until.0.saturating_sub(1))));
            let counted = times.last().map_or(schedule.cursor, |time| time.at);
            let newest = when.newest(counted, until, MAX_FIRINGS as usize);
            // One that is put off beyond now is the next one, and is left for later with all that follow it.
            let newest: Vec<Planned> =
                newest.into_iter().map(planned).take_while(|time| time.due <= now).collect();
            next = newest.last().or(times.last()).and_then(|last| slot.following(last.at)).map(planned);
            times.extend(newest);
        }
        let cursor = times.last().map_or(schedule.cursor, |time| time.at);
        let (fire, dropped) = choose(&times, spec, now);
        let missed = dropped.first().zip(dropped.last()).map(|(first, last)| Missed {
            first: *first,
            last: *last,
            count: dropped.len() as u64,
            more,
        });
        ScheduleEntry::Due { cursor, next, fire, missed }
    }

    /// Starts the firings that wait, as far as the runs before them allow.
    fn start_waiting(&mut self, id: &ScheduleId, drivers: &dyn Drivers) {
        while let Some(schedule) = self.schedule(id) {
            let Some(first) = schedule.waiting.front().copied() else { return };
            let open: Vec<RunId> = schedule.open.iter().filter(|run| !self.is_over(**run)).copied().collect();
            let free = open.is_empty() || schedule.spec.overlap == Overlap::Allow;
            let left_out: Vec<Wall> = match schedule.spec.overlap {
                Overlap::Skip if !free => schedule.waiting.iter().copied().collect(),
                Overlap::CancelOther => schedule.waiting.iter().rev().skip(1).rev().copied().collect(),
                Overlap::Queue => schedule.waiting.iter().skip(MAX_WAITING).copied().collect(),
                _ => Vec::new(),
            };
            let overlap = schedule.spec.overlap;
            if !left_out.is_empty() {
                self.note(id, ScheduleEntry::Skipped { times: left_out });
            } else if free {
                if let Err(reason) = self.start_scheduled(id, first, FiredBy::Plan, None, drivers) {
                    self.note(id, ScheduleEntry::NotStarted { planned: first, reason });
                }
            } else {
                if overlap == Overlap::CancelOther {
                    for run in open {
                        let reason = format!("the next run of schedule `{}` is due", id.name);
                        self.post(Message::CancelRun { run, reason });
                    }
                }
                return;
            }
        }
    }

    /// Starts a run in the schedule's partition. The error says why it cannot be.
    pub(super) fn start_scheduled(
        &mut self,
        id: &ScheduleId,
        planned: Wall,
        by: FiredBy,
        request: Option<String>,
        drivers: &dyn Drivers,
    ) -> Result<RunId, String> {
        let Some(schedule) = self.schedule(id) else { return Err("the schedule is gone".to_owned()) };
        let target = &schedule.spec.target;
        let wanted = &target.definition;
        let found = drivers.resolve(wanted).ok_or_else(|| {
            let version = if wanted.version.is_empty() {
                String::new()
            } else {
                format!(", version `{}`", wanted.version)
            };
            format!("there is no {} `{}`{version}; deploy it again", wanted.kind, wanted.name)
        })?;
        let entropy = self.schedule_hash(b"run", id, schedule.number, planned, schedule.started);
        let run = RunId::new(self.now.wall.0.max(0) as u64, id.slot(), entropy);
        let mut options = RunOptions {
            timeout_ms: target.options.timeout_ms.or(found.timeout_ms),
            origin: Some(Origin { schedule: id.name.clone(), planned, by }),
            ..target.options.clone()
        };
        options.labels.entry(LABEL.to_owned()).or_insert_with(|| id.name.to_string());
        if let Some(defaults) = &found.defaults {
            options.fill(&found.definition.name, defaults);
        }
        let input = target.input_for(planned);
        let over = schedule.open.iter().filter(|run| self.is_over(**run)).copied().collect();
        let start = StartRun {
            run,
            client_id: false,
            definition: found.definition,
            input,
            key: None,
            parent: None,
            options,
        };
        self.note(id, ScheduleEntry::Started { planned, run, by, request, over });
        self.create(start, None, None);
        Ok(run)
    }
}

/// Which of the times that have come fire, and which are left out.
fn choose(times: &[Planned], spec: &ScheduleSpec, now: Wall) -> (Vec<Wall>, Vec<Wall>) {
    let all: Vec<Wall> = times.iter().map(|time| time.at).collect();
    let late = |time: &&Planned| time.due.plus(spec.missed_after_ms) < now;
    let missed = times.iter().filter(late).count();
    let fresh = all.len() - missed;
    let wanted = match spec.missed {
        MissedPolicy::Skip => fresh,
        MissedPolicy::One => fresh.max(1),
        MissedPolicy::All { max } => fresh + missed.min(max as usize),
    };
    let kept = wanted.min(MAX_FIRINGS as usize).min(all.len());
    let (dropped, fire) = all.split_at(all.len() - kept);
    (fire.to_vec(), dropped.to_vec())
}
