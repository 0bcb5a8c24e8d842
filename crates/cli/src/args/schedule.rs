//! `riverrun schedule`, as clap reads it.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::Target;
use crate::values::{duration, kind, label};

/// `riverrun schedule`.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// Write a schedule: create it, or replace the one of this name
    #[command(alias = "put")]
    Create(Box<ScheduleCreate>),
    /// List schedules and when each fires next
    #[command(alias = "ls")]
    List(ScheduleList),
    /// Show a schedule: its next times, its last runs, what was skipped and missed
    Show(OneSchedule),
    /// Show when a line would fire; needs no server
    Next(ScheduleNext),
    /// Let nothing of a schedule fire
    Pause(SchedulePause),
    /// Let a schedule fire again; what was planned meanwhile is left out
    Resume(OneSchedule),
    /// Start a run of a schedule now
    Trigger(OneSchedule),
    /// Start runs for planned times of a while that have none
    Backfill(ScheduleBackfill),
    /// Forget a schedule; its runs go on
    #[command(alias = "rm")]
    Delete(OneSchedule),
}

/// What to do with a firing while a run of the schedule is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlap {
    /// Leave it out.
    Skip,
    /// Start it when that run has ended.
    Queue,
    /// Cancel that run first.
    CancelOther,
    /// Start it beside.
    Allow,
}

impl From<Overlap> for riverrun_kernel::schedule::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Queue => Self::Queue,
            Overlap::CancelOther => Self::CancelOther,
            Overlap::Allow => Self::Allow,
        }
    }
}

/// What to do with planned times that passed while nothing could fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Missed {
    /// Leave them out.
    Skip,
    /// One run for all of them.
    One,
    /// A run for each.
    All,
}

impl From<Missed> for riverrun_wire::http::MissedWord {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Skip => Self::Skip,
            Missed::One => Self::One,
            Missed::All => Self::All,
        }
    }
}

/// `riverrun schedule create`.
#[derive(Debug, Args)]
#[command(after_help = WHENS)]
pub struct ScheduleCreate {
    /// Name of the schedule
    #[arg(value_name = "NAME")]
    pub name: String,
    /// When it fires: a cron line, an interval or a date
    #[arg(value_name = "WHEN")]
    pub when: String,
    /// Flow, task or workflow to start
    #[arg(long, value_name = "DEFINITION")]
    pub run: String,
    /// Its kind, where a flow and a task have the same name; `task` also takes one that no worker has announced yet
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Option<riverrun_kernel::DefinitionKind>,
    /// Bind it to this version; else each firing starts the newest
    #[arg(long = "definition-version", value_name = "VERSION")]
    pub definition_version: Option<String>,
    /// Input of the runs: JSON, @FILE or - for stdin
    #[arg(long, short, value_name = "JSON")]
    pub input: Option<String>,
    /// Zone of its times, by its IANA name; UTC unless given
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// While a run of it is open [default: skip]
    #[arg(long, value_name = "POLICY")]
    pub overlap: Option<Overlap>,
    /// After a downtime [default: one]
    #[arg(long, value_name = "POLICY")]
    pub missed: Option<Missed>,
    /// With `--missed all`: make up for so many at most [default: 100]
    #[arg(long, value_name = "N")]
    pub missed_max: Option<u32>,
    /// A firing that comes so much too late counts as missed [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub missed_after: Option<Duration>,
    /// Put each firing off by a part of this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub jitter: Option<Duration>,
    /// Nothing is planned before this date
    #[arg(long, value_name = "DATE")]
    pub from: Option<String>,
    /// Nothing is planned from this date on
    #[arg(long, value_name = "DATE")]
    pub until: Option<String>,
    /// Put the planned time into the input under this name
    #[arg(long, value_name = "NAME")]
    pub planned_as: Option<String>,
    /// Hang a label on its runs
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Time limit: of each attempt for a task, of the whole run for anything else
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// For a task: the queue it stands in
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// For a task: 0 to 9, higher first
    #[arg(long, value_name = "N", value_parser = value_parser!(u8).range(0..=9))]
    pub priority: Option<u8>,
    /// For a task: how often a failed attempt is tried again
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Write it paused
    #[arg(long)]
    pub paused: bool,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

const WHENS: &str = "WHEN is a cron line of five fields (minute, hour, day of the month, month, day of the week) or six with the second first; \
@hourly, @daily, @weekly, @monthly, @yearly; an interval, `@every 90s`; or one date, 2027-03-01T08:00. \
`riverrun schedule next WHEN` shows its times. See docs/guides/schedules.md.";

/// `riverrun schedule list`.
#[derive(Debug, Args)]
pub struct ScheduleList {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// How many at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Go on after an earlier page: the cursor that it printed
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// A command on one schedule.
#[derive(Debug, Args)]
pub struct OneSchedule {
    /// Name of the schedule
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which server.
    #[command(flatten)]
    pub target: Target,
}

/// `riverrun schedule pause`.
#[derive(Debug, Args)]
pub struct SchedulePause {
    /// Why: shown with the schedule
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which schedule.
    #[command(flatten)]
    pub one: OneSchedule,
}

/// `riverrun schedule backfill`.
#[derive(Debug, Args)]
pub struct ScheduleBackfill {
    /// Which schedule.
    #[command(flatten)]
    pub one: OneSchedule,
    /// The first moment whose planned time is wanted (RFC 3339)
    #[arg(long, value_name = "DATE")]
    pub from: String,
    /// The last one; now unless given
    #[arg(long, value_name = "DATE")]
    pub to: Option<String>,
    /// Start nothing, and show what would be started
    #[arg(long)]
    pub dry_run: bool,
}

/// `riverrun schedule next`.
#[derive(Debug, Args)]
#[command(after_help = WHENS)]
pub struct ScheduleNext {
    /// The line: a cron line, an interval or a date
    #[arg(value_name = "WHEN")]
    pub when: String,
    /// Zone of its times, by its IANA name; UTC unless given
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// How many times
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    pub count: usize,
    /// From this date on; now unless given
    #[arg(long, value_name = "DATE")]
    pub after: Option<String>,
}
