//! What can be asked of a schedule, what is recorded of it, and how each record changes it.

use serde::{Deserialize, Serialize};

use super::row::{Fired, FiredBy, Late, Missed, Planned, Schedule, ScheduleSpec};
use crate::ids::RunId;
use crate::time::Wall;

/// Runs that are remembered for showing.
const RECENT: usize = 20;
/// Open runs that are kept track of. Beyond that only `allow` goes.
const OPEN: usize = 100;

/// Whether a schedule may or must be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PutMode {
    /// It is created or replaced.
    #[default]
    Put,
    /// It must not be there.
    Create,
    /// It must be there.
    Update,
}

/// A request about one schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleCommand {
    /// Write it. What has been settled stays settled. Reply: [`crate::Reply::Scheduled`].
    Put {
        /// What is written.
        spec: Box<ScheduleSpec>,
        /// Whether it may be there already.
        mode: PutMode,
        /// Pause it, or let it go on; `None` leaves that as it is.
        paused: Option<bool>,
    },
    /// Let nothing fire. Reply: [`crate::Reply::Done`].
    Pause {
        /// Why.
        reason: String,
    },
    /// Let it fire again; what was planned meanwhile is left out. Reply: [`crate::Reply::Done`].
    Resume,
    /// Start a run now, whatever else runs. Reply: [`crate::Reply::Started`].
    Trigger {
        /// Makes it repeatable.
        request: Option<String>,
    },
    /// Forget it. Its runs go on. Reply: [`crate::Reply::Done`].
    Delete,
}

/// One fact about a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScheduleEntry {
    /// It was written.
    Set {
        /// What was written.
        spec: Box<ScheduleSpec>,
        /// The next planned time.
        next: Option<Planned>,
    },
    /// It was paused.
    Paused {
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// It goes on.
    Resumed {
        /// The next planned time.
        next: Option<Planned>,
    },
    /// Planned times have come.
    Due {
        /// They are settled up to here.
        cursor: Wall,
        /// The next one.
        next: Option<Planned>,
        /// Those that fire.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fire: Vec<Wall>,
        /// Those that were missed and are left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missed: Option<Missed>,
    },
    /// Firings were left out because a run is open.
    Skipped {
        /// Their planned times.
        times: Vec<Wall>,
    },
    /// A run was started; it is in the same batch.
    Started {
        /// The planned time that it stands for.
        planned: Wall,
        /// The run.
        run: RunId,
        /// Why.
        #[serde(default)]
        by: FiredBy,
        /// What makes a trigger repeatable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        /// Earlier runs that have ended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        over: Vec<RunId>,
    },
    /// A run could not be started.
    NotStarted {
        /// The planned time.
        planned: Wall,
        /// Why.
        reason: String,
    },
    /// It is gone.
    Deleted,
}

impl Schedule {
    /// Changes the schedule by one fact, recorded at `now`.
    pub(crate) fn fold(&mut self, now: Wall, entry: &ScheduleEntry) {
        match entry {
            ScheduleEntry::Set { spec, next } => {
                self.spec = (**spec).clone();
                self.next = *next;
                self.revision += 1;
                self.updated = now;
            }
            ScheduleEntry::Paused { reason } => self.paused = Some((now, reason.clone())),
            ScheduleEntry::Resumed { next } => {
                self.paused = None;
                self.next = *next;
            }
            ScheduleEntry::Due { cursor, next, fire, missed } => {
                self.cursor = self.cursor.max(*cursor);
                self.next = *next;
                self.waiting.extend(fire);
                if let Some(missed) = missed {
                    self.missed += missed.count;
                    self.last_missed = Some(Late { decided: now, times: *missed });
                }
            }
            ScheduleEntry::Skipped { times } => {
                self.waiting.retain(|time| !times.contains(time));
                self.skipped += times.len() as u64;
                if let (Some(first), Some(last)) = (times.first(), times.last()) {
                    let count = times.len() as u64;
                    let times = Missed { first: *first, last: *last, count, more: false };
                    self.last_skipped = Some(Late { decided: now, times });
                }
            }
            ScheduleEntry::Started { planned, run, by, request, over } => {
                if *by == FiredBy::Plan {
                    self.waiting.retain(|time| time != planned);
                }
                self.open.retain(|run| !over.contains(run));
                keep(&mut self.open, *run, OPEN);
                let fired =
                    Fired { planned: *planned, at: now, run: *run, by: *by, request: request.clone() };
                keep(&mut self.recent, fired, RECENT);
                self.started += 1;
            }
            ScheduleEntry::NotStarted { planned, reason } => {
                self.waiting.retain(|time| time != planned);
                self.failed += 1;
                self.last_failure = Some((now, reason.clone()));
            }
            ScheduleEntry::Deleted => {}
        }
    }
}

fn keep<T>(list: &mut std::collections::VecDeque<T>, item: T, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}
