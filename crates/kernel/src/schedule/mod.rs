//! When a schedule fires: cron lines, intervals and dates, in the civil time of a zone.
//!
//! Pure, and the same on every machine: the zones are those of the database that is compiled in. Planned times are dates, so they live on
//! the wall clock. What follows from them is in `partition/schedules/`. Main type: [`When`].
//!
//! What daylight saving does to a cron line is decided by its hour field. A line whose hours begin with `*` means an interval: it goes by
//! the time that passes, so that `*/15 * * * *` fires every fifteen minutes through every change, and skipped or repeated hours are simply
//! not there or there twice. A line that names hours means times of a day: one that is skipped fires right after the gap (several of
//! them once), one that occurs twice fires at the first.

mod cron;
mod entry;
mod error;
mod fields;
mod row;
mod when;
mod zone;

pub use cron::Cron;
pub use entry::{PutMode, ScheduleCommand, ScheduleEntry};
pub use error::WhenError;
pub use row::{
    Fired, FiredBy, Late, Missed, MissedPolicy, Origin, Overlap, Planned, Schedule, ScheduleId, ScheduleRow,
    ScheduleSpec, ScheduleStub, Target,
};
pub use when::{Kind, When};
