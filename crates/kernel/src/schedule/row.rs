//! A schedule as it is kept: what a person wrote, and how far it has come.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::WhenError;
use super::when::When;
use crate::command::RunOptions;
use crate::definition::DefinitionRef;
use crate::ids::{RunId, Slot};
use crate::json::Json;
use crate::time::Wall;

/// Identity of a schedule. Texts are compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduleId {
    /// Namespace.
    pub namespace: Arc<str>,
    /// What its owner calls it.
    pub name: Arc<str>,
}

impl ScheduleId {
    /// The slot where the schedule and the runs that it starts live.
    pub fn slot(&self) -> Slot {
        let mut hash = Sha256::new();
        hash.update(b"schedule");
        for part in [&self.namespace, &self.name] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        Slot(u16::from_be_bytes([digest[0], digest[1]]))
    }
}

/// What to do with a firing while a run of the schedule is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Leave it out.
    #[default]
    Skip,
    /// Start it when that run has ended, one after another.
    Queue,
    /// Cancel that run, and start it when that has ended.
    CancelOther,
    /// Start it beside.
    Allow,
}

/// What to do with planned times that passed while nothing could fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedPolicy {
    /// Leave them out.
    Skip,
    /// One run for all of them, for the newest.
    #[default]
    One,
    /// A run for each, for so many of the newest at most.
    All {
        /// How many.
        max: u32,
    },
}

/// What a schedule starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// What to run; without a version the newest at each start.
    pub definition: DefinitionRef,
    /// With what.
    pub input: Json,
    /// How.
    #[serde(default)]
    pub options: RunOptions,
    /// The planned time is put into the input under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_as: Option<String>,
}

impl Target {
    /// The input of the run of a planned time. What was written stays as it is, byte by byte.
    pub fn input_for(&self, planned: Wall) -> Json {
        let Some(name) = &self.planned_as else { return self.input.clone() };
        let Ok(at) = jiff::Timestamp::from_millisecond(planned.0) else { return self.input.clone() };
        let text = self.input.get().trim();
        let rest = text.strip_prefix('{').unwrap_or("}").trim_start();
        let comma = if rest.starts_with('}') { "" } else { "," };
        let name = serde_json::Value::String(name.clone());
        Json::trusted(format!("{{{name}:\"{at}\"{comma}{rest}"))
    }
}

/// What a person wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// A cron line, an interval or a date: see [`super::When`].
    pub when: Arc<str>,
    /// The zone of its times, by its IANA name.
    #[serde(default)]
    pub zone: Arc<str>,
    /// What is started.
    pub target: Target,
    /// While a run of it is open.
    #[serde(default)]
    pub overlap: Overlap,
    /// After a downtime.
    #[serde(default)]
    pub missed: MissedPolicy,
    /// A firing that comes so much too late counts as missed.
    pub missed_after_ms: u64,
    /// Each firing is put off by a part of this.
    #[serde(default)]
    pub jitter_ms: u64,
    /// Nothing is planned before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Wall>,
    /// Nothing is planned from this on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// What it is for, in its owner's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl ScheduleSpec {
    /// The times that it means, for a schedule that was created then: intervals are counted from its beginning.
    pub fn times(&self, created: Wall) -> Result<When, WhenError> {
        When::parse(&self.when, &self.zone, self.from.unwrap_or(created))
    }

    /// The first planned time after `after`, within its bounds.
    pub fn following(&self, when: &When, after: Wall) -> Option<Wall> {
        let first = self.from.map_or(after, |from| after.max(Wall(from.0.saturating_sub(1))));
        when.next(first).filter(|next| self.until.is_none_or(|until| *next < until))
    }
}

/// A planned time, and when it fires: later by its jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The planned time.
    pub at: Wall,
    /// When it fires.
    pub due: Wall,
}

/// Planned times for which no run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The first of them.
    pub first: Wall,
    /// The last.
    pub last: Wall,
    /// How many.
    pub count: u64,
    /// There are more: they were not counted one by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Planned times for which no run was started, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// When that was decided.
    pub decided: Wall,
    /// Which.
    pub times: Missed,
}

/// What made a run start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiredBy {
    /// Its time came.
    #[default]
    Plan,
    /// Somebody asked for it.
    Trigger,
    /// Somebody asked for the planned times of a while that had no run.
    Backfill,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// For which planned time; for a trigger the moment of it.
    pub planned: Wall,
    /// When it was started.
    pub at: Wall,
    /// The run.
    pub run: RunId,
    /// Why.
    #[serde(default)]
    pub by: FiredBy,
    /// What makes the trigger repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// Which schedule a run comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The schedule's name, in the run's namespace.
    pub schedule: Arc<str>,
    /// The planned time that it stands for; for a trigger the moment of it.
    pub planned: Wall,
    /// Why it was started.
    #[serde(default)]
    pub by: FiredBy,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Which.
    pub id: ScheduleId,
    /// What was written.
    pub spec: ScheduleSpec,
    /// The number of the record that created it: a schedule of the same name that was deleted is another one.
    pub number: u64,
    /// How often it was written, from 1.
    pub revision: u32,
    /// When it was created.
    pub created: Wall,
    /// When it was written last.
    pub updated: Wall,
    /// Planned times up to here are settled. It never goes back.
    pub cursor: Wall,
    /// The next planned time; kept while paused, but does not fire then.
    #[serde(default)]
    pub next: Option<Planned>,
    /// Since when it is paused, and why.
    #[serde(default)]
    pub paused: Option<(Wall, String)>,
    /// Firings that wait for an earlier run's end.
    #[serde(default)]
    pub waiting: VecDeque<Wall>,
    /// Runs that were open when last looked at.
    #[serde(default)]
    pub open: VecDeque<RunId>,
    /// The last runs, newest last.
    #[serde(default)]
    pub recent: VecDeque<Fired>,
    /// Runs started.
    #[serde(default)]
    pub started: u64,
    /// Planned times left out because a run was open, and the last of them.
    #[serde(default)]
    pub skipped: u64,
    /// The last that was left out because a run was open.
    #[serde(default)]
    pub last_skipped: Option<Late>,
    /// Planned times that were missed, and not made up for.
    #[serde(default)]
    pub missed: u64,
    /// The last of them.
    #[serde(default)]
    pub last_missed: Option<Late>,
    /// Starts that could not be made.
    #[serde(default)]
    pub failed: u64,
    /// Why the last could not be made.
    #[serde(default)]
    pub last_failure: Option<(Wall, String)>,
}

impl Schedule {
    /// The next planned times, at most so many.
    pub fn upcoming(&self, count: usize) -> Vec<Wall> {
        let Ok(when) = self.spec.times(self.created) else { return Vec::new() };
        let mut next = self.next.map(|next| next.at);
        let mut times = Vec::new();
        while let Some(at) = next.filter(|_| times.len() < count) {
            times.push(at);
            next = self.spec.following(&when, at);
        }
        times
    }

    /// What memory keeps of it when the rest is not loaded.
    pub(crate) fn stub(&self) -> ScheduleStub {
        ScheduleStub {
            id: self.id.clone(),
            due: self.next.filter(|_| self.paused.is_none()).map(|next| next.due),
            behind: if self.waiting.is_empty() || self.paused.is_some() {
                Vec::new()
            } else {
                self.open.iter().copied().collect()
            },
        }
    }
}

/// A schedule's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleRow {
    /// The schedule.
    pub schedule: Schedule,
    /// What stays in memory.
    pub stub: ScheduleStub,
    /// The number of the last record folded into the row.
    pub last: u64,
}

/// What is kept in memory of a schedule that is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStub {
    /// Which.
    pub id: ScheduleId,
    /// When it fires next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Wall>,
    /// Runs whose end it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<RunId>,
}
