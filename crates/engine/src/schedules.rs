//! Schedules: written, shown, paused, triggered, forgotten. When they fire is the kernel's to decide.

use riverrun_kernel::schedule::{
    MissedPolicy, Overlap, PutMode, Schedule, ScheduleCommand, ScheduleId, ScheduleSpec, Target,
};
use riverrun_kernel::{Command, Refusal, Reply, Wall};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::{mismatch, reply, wall};
use crate::sequencer::{Answer, Ask, Query};
use crate::start::{Start, Started, check, check_name};

/// The longest input of a schedule, in bytes: it is kept with the schedule and read each time that it fires.
const MAX_INPUT: usize = 256 << 10;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 4 << 10;

/// A schedule as a client writes it.
#[derive(Debug, Clone)]
pub struct PutSchedule {
    /// Its name, in the namespace of what it starts.
    pub name: String,
    /// A cron line, an interval or a date.
    pub when: String,
    /// The zone of its times; empty for UTC.
    pub zone: String,
    /// What it starts. Without a version the newest at each firing.
    pub start: Start,
    /// The planned time is put into the input under this name.
    pub planned_as: Option<String>,
    /// While a run of it is open.
    pub overlap: Overlap,
    /// After a downtime.
    pub missed: MissedPolicy,
    /// A firing that comes so much too late counts as missed.
    pub missed_after_ms: u64,
    /// Each firing is put off by a part of this.
    pub jitter_ms: u64,
    /// Nothing is planned before this.
    pub from: Option<Wall>,
    /// Nothing is planned from this on.
    pub until: Option<Wall>,
    /// What it is for.
    pub description: String,
    /// Pause it, or let it go on; `None` leaves that as it is.
    pub paused: Option<bool>,
    /// Whether it may or must be there already.
    pub mode: PutMode,
}

/// A schedule that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The schedule.
    pub schedule: Schedule,
    /// Whether there was none of the name before.
    pub created: bool,
    /// Whether anything is different from before.
    pub changed: bool,
}

impl Engine {
    /// Writes a schedule. What has been settled stays settled.
    pub async fn put_schedule(&self, put: PutSchedule) -> Result<Written, EngineError> {
        let (id, spec) = self.read_schedule(&put)?;
        let bytes = spec.target.input.get().len();
        let command = ScheduleCommand::Put { spec: Box::new(spec), mode: put.mode, paused: put.paused };
        match self.ask_schedule(id.clone(), command, bytes).await? {
            Reply::Scheduled { created, changed } => {
                Ok(Written { schedule: self.schedule(id).await?, created, changed })
            }
            other => Err(mismatch(&Answer::Reply(other))),
        }
    }

    fn read_schedule(&self, put: &PutSchedule) -> Result<(ScheduleId, ScheduleSpec), EngineError> {
        check_name("name of a schedule", &put.name)?;
        let start = &put.start;
        let definitions = &self.node.hub.definitions;
        let version = start.version.as_deref();
        let mut definition = definitions.resolve(&start.namespace, &start.definition, start.kind, version)?;
        check(start, &definition)?;
        if version.is_none() {
            definition.version = "".into();
        }
        let input = start.input.get().len();
        if input > MAX_INPUT {
            return Err(EngineError::Invalid(format!(
                "the input has {input} bytes, over the limit max_schedule_input of {MAX_INPUT}: keep large data elsewhere and pass where it is"
            )));
        }
        if put.description.len() > MAX_DESCRIPTION {
            return Err(EngineError::Invalid(format!(
                "the description has {} bytes, over the limit of {MAX_DESCRIPTION}",
                put.description.len()
            )));
        }
        let target = Target {
            definition: definition.clone(),
            input: start.input.clone(),
            options: start.options.clone(),
            planned_as: put.planned_as.clone(),
        };
        // As for any start: what a task does not take is found out now, and not in the middle of a night.
        let accept_unknown = self.node.settings.accept_unknown_tasks;
        definitions.admit(&definition, target.input_for(wall()).get(), accept_unknown)?;
        let id = ScheduleId { namespace: start.namespace.as_str().into(), name: put.name.as_str().into() };
        let spec = ScheduleSpec {
            when: put.when.trim().into(),
            zone: put.zone.trim().into(),
            target,
            overlap: put.overlap,
            missed: put.missed,
            missed_after_ms: put.missed_after_ms,
            jitter_ms: put.jitter_ms,
            from: put.from,
            until: put.until,
            description: put.description.clone(),
        };
        Ok((id, spec))
    }

    async fn ask_schedule(
        &self,
        id: ScheduleId,
        command: ScheduleCommand,
        bytes: usize,
    ) -> Result<Reply, EngineError> {
        let partition = self.node.partition_of(id.slot());
        reply(self.node.ask(partition, Ask::Command(Command::Schedule(id, command)), bytes).await?)
    }

    /// A schedule as it durably stands.
    pub async fn schedule(&self, id: ScheduleId) -> Result<Schedule, EngineError> {
        let partition = self.node.partition_of(id.slot());
        match self.node.ask(partition, Ask::Query(Query::Schedule(id.clone())), 0).await? {
            Answer::Schedules(mut found) => {
                found.pop().ok_or(EngineError::Refused(Refusal::UnknownSchedule(id)))
            }
            other => Err(mismatch(&other)),
        }
    }

    /// Schedules of a namespace whose names begin with `prefix`, in the order of their names, after `after`.
    pub async fn schedules(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Schedule>, EngineError> {
        let ask = || {
            Ask::Query(Query::Schedules {
                namespace: namespace.to_owned(),
                prefix: prefix.to_owned(),
                after: after.map(str::to_owned),
                limit,
            })
        };
        let mut all: Vec<Schedule> = Vec::new();
        for answer in self.node.ask_all_freely(&ask) {
            match answer.await? {
                Answer::Schedules(found) => all.extend(found),
                other => return Err(mismatch(&other)),
            }
        }
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.truncate(limit);
        Ok(all)
    }

    /// Lets nothing of it fire.
    pub async fn pause_schedule(&self, id: ScheduleId, reason: String) -> Result<(), EngineError> {
        self.ask_schedule(id, ScheduleCommand::Pause { reason }, 0).await.map(drop)
    }

    /// Lets it fire again; what was planned meanwhile is left out.
    pub async fn resume_schedule(&self, id: ScheduleId) -> Result<(), EngineError> {
        self.ask_schedule(id, ScheduleCommand::Resume, 0).await.map(drop)
    }

    /// Forgets it. Its runs go on.
    pub async fn delete_schedule(&self, id: ScheduleId) -> Result<(), EngineError> {
        self.ask_schedule(id, ScheduleCommand::Delete, 0).await.map(drop)
    }

    /// Starts a run of it now; the same `request` again finds that run.
    pub async fn trigger_schedule(
        &self,
        id: ScheduleId,
        request: Option<String>,
    ) -> Result<Started, EngineError> {
        match self.ask_schedule(id, ScheduleCommand::Trigger { request }, 0).await? {
            Reply::Started { run, kind, generation } => Ok(Started { run, kind, generation }),
            other => Err(mismatch(&Answer::Reply(other))),
        }
    }
}
