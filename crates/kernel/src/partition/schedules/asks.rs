//! What people ask of a schedule: write, pause, resume, trigger, delete.

use super::{MAX_FIRINGS, ScheduleSlot, times};
use crate::command::{Refusal, Reply, StartKind};
use crate::driver::Drivers;
use crate::partition::Partition;
use crate::schedule::{
    Fired, FiredBy, Kind, MissedPolicy, Planned, PutMode, ScheduleCommand, ScheduleEntry, ScheduleId,
    ScheduleSpec, When,
};
use crate::time::Wall;

/// The longest jitter.
const MAX_JITTER_MS: u64 = 24 * 3_600_000;

impl Partition {
    pub(in crate::partition) fn change_schedule(
        &mut self,
        id: ScheduleId,
        command: ScheduleCommand,
        drivers: &dyn Drivers,
    ) -> Result<Reply, Refusal> {
        if let ScheduleCommand::Put { spec, mode, paused } = command {
            return self.put_schedule(&id, spec, mode, paused);
        }
        let Some(slot) = self.schedules.loaded.get(&id) else {
            return Err(Refusal::UnknownSchedule(id));
        };
        let paused = slot.schedule.paused.is_some();
        match command {
            ScheduleCommand::Pause { reason } if !paused => self.note(&id, ScheduleEntry::Paused { reason }),
            ScheduleCommand::Resume if paused => self.resume_schedule(&id),
            ScheduleCommand::Trigger { request } => return self.trigger(&id, request, drivers),
            ScheduleCommand::Delete => self.note(&id, ScheduleEntry::Deleted),
            ScheduleCommand::Pause { .. } | ScheduleCommand::Resume | ScheduleCommand::Put { .. } => {}
        }
        Ok(Reply::Done)
    }

    fn resume_schedule(&mut self, id: &ScheduleId) {
        let Some(slot) = self.schedules.loaded.get(id) else { return };
        // What was planned during the pause was not wanted.
        let next = slot.following(slot.schedule.cursor.max(self.now.wall));
        let next = next.map(|at| self.planned(id, slot.schedule.number, slot.schedule.spec.jitter_ms, at));
        self.note(id, ScheduleEntry::Resumed { next });
        self.schedules.to_fire.push_back(id.clone());
    }

    fn put_schedule(
        &mut self,
        id: &ScheduleId,
        spec: Box<ScheduleSpec>,
        mode: PutMode,
        paused: Option<bool>,
    ) -> Result<Reply, Refusal> {
        let existing = self.schedules.loaded.get(id);
        match (existing.is_some(), mode) {
            (true, PutMode::Create) => return Err(Refusal::ScheduleExists(id.clone())),
            (false, PutMode::Update) => return Err(Refusal::UnknownSchedule(id.clone())),
            (false, _) if self.schedules.places.len() >= self.config.max_schedules => {
                return Err(Refusal::TooManySchedules { limit: self.config.max_schedules });
            }
            _ => {}
        }
        let was_paused = existing.is_some_and(|slot| slot.schedule.paused.is_some());
        let created = existing.is_none();
        let same = existing.is_some_and(|slot| slot.schedule.spec == *spec);
        if !same {
            let next = self.next_of(existing, id, &spec)?;
            self.note(id, ScheduleEntry::Set { spec, next });
            self.schedules.to_fire.push_back(id.clone());
        }
        match paused {
            Some(true) if !was_paused => self.note(id, ScheduleEntry::Paused { reason: String::new() }),
            Some(false) if was_paused => self.resume_schedule(id),
            _ => {}
        }
        let changed = !same || paused.is_some_and(|paused| paused != was_paused);
        Ok(Reply::Scheduled { created, changed })
    }

    /// Checks what was written, and says when it fires first. A time that was planned already stays, if the times are the same.
    fn next_of(
        &self,
        existing: Option<&ScheduleSlot>,
        id: &ScheduleId,
        spec: &ScheduleSpec,
    ) -> Result<Option<Planned>, Refusal> {
        check(spec)?;
        let now = self.now.wall;
        let (number, created, cursor) = existing.map_or((self.next, now, now), |slot| {
            (slot.schedule.number, slot.schedule.created, slot.schedule.cursor)
        });
        let when = times(spec, created)?;
        let kept = existing.map(|slot| &slot.schedule).filter(|schedule| {
            let old = &schedule.spec;
            (&old.when, &old.zone, old.from, old.until) == (&spec.when, &spec.zone, spec.from, spec.until)
        });
        let next = match kept {
            Some(schedule) => schedule.next.map(|next| next.at),
            None => Some(spec.following(&when, cursor.max(now)).ok_or_else(|| never(&when, spec, now))?),
        };
        Ok(next.map(|at| self.planned(id, number, spec.jitter_ms, at)))
    }

    fn trigger(
        &mut self,
        id: &ScheduleId,
        request: Option<String>,
        drivers: &dyn Drivers,
    ) -> Result<Reply, Refusal> {
        let recent = self.schedule(id).map(|schedule| &schedule.recent);
        let again = |fired: &&Fired| request.is_some() && fired.request == request;
        if let Some(fired) = recent.and_then(|recent| recent.iter().find(again)) {
            return Ok(Reply::Started { run: fired.run, kind: StartKind::Attached, generation: 1 });
        }
        match self.start_scheduled(id, self.now.wall, FiredBy::Trigger, request, drivers) {
            Ok(run) => Ok(Reply::Started { run, kind: StartKind::Created, generation: 1 }),
            Err(reason) => Err(Refusal::InvalidSchedule(reason)),
        }
    }
}

fn check(spec: &ScheduleSpec) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::InvalidSchedule(text));
    if spec.jitter_ms > MAX_JITTER_MS {
        return invalid(format!("jitter is {} ms, and at most {MAX_JITTER_MS} ms (24h)", spec.jitter_ms));
    }
    if let MissedPolicy::All { max } = spec.missed
        && !(1..=MAX_FIRINGS).contains(&max)
    {
        return invalid(format!(
            "missed `all` makes up for {max} firings, and it must be from 1 to {MAX_FIRINGS}"
        ));
    }
    if let (Some(from), Some(until)) = (spec.from, spec.until)
        && until <= from
    {
        return invalid("until is not after from, so it would never fire".to_owned());
    }
    let target = &spec.target;
    if let Some(name) = &target.planned_as {
        let Ok(serde_json::Value::Object(input)) = target.input.to_value() else {
            return invalid(format!(
                "planned_as puts `{name}` into the input, which must be a JSON object for that"
            ));
        };
        if input.contains_key(name) {
            return invalid(format!("planned_as puts `{name}` into the input, which has that already"));
        }
    }
    if target.options.run_at.is_some() {
        return invalid("run_at has no place in a schedule: that is what `when` says".to_owned());
    }
    Ok(())
}

fn never(when: &When, spec: &ScheduleSpec, now: Wall) -> Refusal {
    let text = match when.kind() {
        Kind::Date(_) if spec.until.is_none() => "this date has passed; name one to come".to_owned(),
        _ if spec.until.is_some_and(|until| until <= now) => {
            "until has passed, so it would never fire".to_owned()
        }
        _ => "it would never fire between from and until".to_owned(),
    };
    Refusal::InvalidSchedule(format!("`{}`: {text}", spec.when))
}
