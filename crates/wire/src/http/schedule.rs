//! Schedules: written, shown, listed, steered.

use riverrun_kernel::schedule::{FiredBy, Late, MissedPolicy, Origin, Overlap, Schedule, When};
use riverrun_kernel::{DefinitionKind, Json, Labels, RunId, State, Wall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::{KindSchema, time};
use super::{Duration, Start};

/// A schedule to write: `PUT /v1/schedules`. One of the same name is replaced; what it has settled stays settled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSchedule {
    /// Its name, unique in the namespace of what it starts.
    pub name: String,
    /// A cron line of five fields, or six with the seconds first; `@daily` and the like; an interval, `@every 90s`; or one date.
    pub when: String,
    /// The IANA name of the zone of its times; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What it starts, as in `POST /v1/runs`: without `run_id`, `continue_id`, `run_at` and `wait`. Without a version the newest is
    /// started each time.
    pub start: Start,
    /// The planned time is put into the input under this name, as RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_as: Option<String>,
    /// While a run of it is open: `skip` (default) the firing, `queue` it behind, `cancel_other`, or `allow` both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OverlapSchema>")]
    pub overlap: Option<Overlap>,
    /// Planned times that passed while nothing could fire: `skip` them, make up for `one` (default), or for `all`, of the newest
    /// `missed_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedWord>,
    /// With `missed: all`: for so many at most; 100 unless given, 1,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u32>,
    /// A firing that comes so much too late counts as missed; `1m` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_after: Option<Duration>,
    /// Each firing is put off by a part of this, always the same part for the same planned time; `24h` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// Nothing is planned before this date (RFC 3339). An interval is counted from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Nothing is planned from this date on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it is for, in your words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Pause it, or let it go on; left as it is unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// What to do with missed planned times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedWord {
    /// Leave them out.
    Skip,
    /// One run for all of them, for the newest.
    #[default]
    One,
    /// A run for each of the newest.
    All,
}

/// Which schedules: `GET /v1/schedules`. With `name` one, else a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleQuery {
    /// The namespace; `default` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The schedule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For a list: names begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// For a list: how many at most; 100 unless given, 1,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// For a list: `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which schedule: `DELETE /v1/schedules`, and the body of `/resume`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneSchedule {
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The schedule's name.
    pub name: String,
}

/// `POST /v1/schedules/pause`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseSchedule {
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The schedule's name.
    pub name: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/schedules/trigger`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerSchedule {
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The schedule's name.
    pub name: String,
    /// Makes it repeatable: the same again finds the run that it started, as long as that is among the schedule's recent runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// `POST /v1/schedules/backfill`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillSchedule {
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The schedule's name.
    pub name: String,
    /// The first moment whose planned time is wanted (RFC 3339).
    pub from: String,
    /// The last one; now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Start nothing, and say what would be started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The planned times of a while, and their runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backfilled {
    /// One for each planned time, the oldest first.
    pub items: Vec<BackfilledTime>,
}

/// A planned time, and its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackfilledTime {
    /// The planned time.
    pub planned_at: String,
    /// Its run. None in a dry run where there was none, and where its run is gone or has yet to begin behind another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_id: Option<RunId>,
    /// The run is new; in a dry run, it would be.
    pub created: bool,
}

/// When a line would fire: `GET /v1/schedules/next`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextQuery {
    /// A cron line, an interval or a date.
    pub when: String,
    /// The zone's IANA name; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// After this date (RFC 3339); now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many; 10 unless given, 1,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// The answer to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextTimes {
    /// The zone.
    pub zone: String,
    /// The planned times.
    pub next: Vec<PlannedTime>,
}

/// A planned time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedTime {
    /// The moment, in UTC.
    pub at: String,
    /// What the clocks of the zone show then, with their offset.
    pub local: String,
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    /// The namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it fires, as it was written.
    pub when: String,
    /// The zone of its times.
    pub zone: String,
    /// What it starts.
    pub definition: String,
    /// Its kind.
    #[schemars(with = "KindSchema")]
    pub kind: DefinitionKind,
    /// The version, if it is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// With what.
    #[schemars(with = "Value")]
    pub input: Json,
    /// The name under which the planned time is put into the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_as: Option<String>,
    /// Labels of its runs, beside `schedule`.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// While a run of it is open.
    #[schemars(with = "OverlapSchema")]
    pub overlap: Overlap,
    /// After a downtime.
    pub missed: MissedWord,
    /// With `missed: all`: for so many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u32>,
    /// A firing that comes so many milliseconds too late counts as missed.
    pub missed_after_ms: u64,
    /// Each firing is put off by a part of so many milliseconds.
    pub jitter_ms: u64,
    /// Nothing is planned before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Nothing is planned from this on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<String>,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_reason: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When it was written last.
    pub updated_at: String,
    /// Planned times up to here are settled.
    pub settled_until: String,
    /// The next planned times; none when it is paused or has ended. In a list only the first.
    pub next: Vec<PlannedTime>,
    /// Firings that wait for an earlier run's end, by their planned times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// Its last runs, newest first. Not in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<FiredView>,
    /// Runs started.
    pub runs_started: u64,
    /// Firings left out because a run was open.
    pub runs_skipped: u64,
    /// Planned times that passed while nothing could fire, and were not made up for.
    pub runs_missed: u64,
    /// Starts that could not be made.
    pub runs_failed: u64,
    /// The last that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skipped: Option<LateView>,
    /// The last that were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_missed: Option<LateView>,
    /// Why the last start could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// A run of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FiredView {
    /// The planned time that it stands for.
    pub planned_at: String,
    /// When it was started.
    pub started_at: String,
    /// The run.
    #[schemars(with = "String")]
    pub run_id: RunId,
    /// Its state, where one schedule is shown; absent if the run was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<super::run::StateSchema>")]
    pub state: Option<State>,
    /// `plan`, `trigger` if somebody asked for it, or `backfill`.
    #[schemars(with = "FiredBySchema")]
    pub by: FiredBy,
}

/// Planned times that have no run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LateView {
    /// When that was decided.
    pub at: String,
    /// The first of them.
    pub first: String,
    /// The last of them.
    pub last: String,
    /// How many.
    pub count: u64,
    /// There are more than were counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A page of schedules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Schedules {
    /// The schedules, in the order of their names.
    pub items: Vec<ScheduleView>,
    /// Where the next page starts; null at the end.
    pub next_cursor: Option<String>,
}

/// The schedule that a run comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OriginView {
    /// Its name, in the run's namespace.
    pub name: String,
    /// The planned time that the run stands for.
    pub planned_at: String,
    /// `plan`, `trigger` if somebody asked for it, or `backfill`.
    #[schemars(with = "FiredBySchema")]
    pub by: FiredBy,
}

impl From<&Origin> for OriginView {
    fn from(origin: &Origin) -> Self {
        OriginView { name: origin.schedule.to_string(), planned_at: time(origin.planned), by: origin.by }
    }
}

impl From<Late> for LateView {
    fn from(late: Late) -> Self {
        LateView {
            at: time(late.decided),
            first: time(late.times.first),
            last: time(late.times.last),
            count: late.times.count,
            more: late.times.more,
        }
    }
}

/// A planned time as it is shown.
pub fn planned_time(when: &When, at: Wall) -> PlannedTime {
    PlannedTime { at: time(at), local: when.local(at).unwrap_or_default() }
}

impl ScheduleView {
    /// The schedule with its next `count` planned times, and its recent runs if `whole`.
    pub fn new(schedule: &Schedule, count: usize, whole: bool) -> Self {
        let spec = &schedule.spec;
        let when = spec.times(schedule.created).ok();
        let upcoming = if schedule.paused.is_some() { Vec::new() } else { schedule.upcoming(count) };
        let next =
            when.iter().flat_map(|when| upcoming.iter().map(move |at| planned_time(when, *at))).collect();
        let recent = schedule.recent.iter().rev().filter(|_| whole).map(|fired| FiredView {
            planned_at: time(fired.planned),
            started_at: time(fired.at),
            run_id: fired.run,
            state: None,
            by: fired.by,
        });
        let (missed, missed_max) = match spec.missed {
            MissedPolicy::Skip => (MissedWord::Skip, None),
            MissedPolicy::One => (MissedWord::One, None),
            MissedPolicy::All { max } => (MissedWord::All, Some(max)),
        };
        let definition = &spec.target.definition;
        ScheduleView {
            namespace: schedule.id.namespace.to_string(),
            name: schedule.id.name.to_string(),
            when: spec.when.to_string(),
            zone: when.map_or_else(|| spec.zone.to_string(), |when| when.zone_name().to_owned()),
            definition: definition.name.to_string(),
            kind: definition.kind,
            version: Some(definition.version.to_string()).filter(|version| !version.is_empty()),
            input: spec.target.input.clone(),
            planned_as: spec.target.planned_as.clone(),
            labels: spec.target.options.labels.clone(),
            overlap: spec.overlap,
            missed,
            missed_max,
            missed_after_ms: spec.missed_after_ms,
            jitter_ms: spec.jitter_ms,
            from: spec.from.map(time),
            until: spec.until.map(time),
            description: spec.description.clone(),
            paused_at: schedule.paused.as_ref().map(|(since, _)| time(*since)),
            pause_reason: schedule
                .paused
                .as_ref()
                .map(|(_, reason)| reason.clone())
                .filter(|reason| !reason.is_empty()),
            created_at: time(schedule.created),
            updated_at: time(schedule.updated),
            settled_until: time(schedule.cursor),
            next,
            waiting: schedule.waiting.iter().map(|at| time(*at)).collect(),
            recent: recent.collect(),
            runs_started: schedule.started,
            runs_skipped: schedule.skipped,
            runs_missed: schedule.missed,
            runs_failed: schedule.failed,
            last_skipped: schedule.last_skipped.map(LateView::from),
            last_missed: schedule.last_missed.map(LateView::from),
            last_failure: schedule.last_failure.as_ref().map(|(_, reason)| reason.clone()),
        }
    }
}

/// The words of `overlap`.
#[derive(JsonSchema)]
#[schemars(rename = "Overlap", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum OverlapSchema {
    Skip,
    Queue,
    CancelOther,
    Allow,
}

/// The words of `by`.
#[derive(JsonSchema)]
#[schemars(rename = "FiredBy", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum FiredBySchema {
    Plan,
    Trigger,
    Backfill,
}
