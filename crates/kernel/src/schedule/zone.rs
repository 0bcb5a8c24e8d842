//! Zones, from the database that is compiled in.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::error::WhenError;

/// A cache of what never changes: the same on every machine, whatever its own zone files say.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of a name; UTC for none.
pub(super) fn find(name: &str) -> Result<TimeZone, WhenError> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    ZONES.get(name).map_err(|_| {
        let advice = match nearest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "zones have IANA names, such as `Europe/Berlin` or `UTC`".to_owned(),
        };
        WhenError::whole(name, "there is no such time zone", advice)
    })
}

/// The name that differs least. A city may be named without its continent.
fn nearest(name: &str) -> Option<String> {
    let plain = |text: &str| text.to_ascii_lowercase().replace([' ', '_', '-'], "");
    let wanted = plain(name);
    let scored = ZONES.available().map(|known| {
        let known = known.to_string();
        let whole = plain(&known);
        let city = whole.rsplit('/').next().unwrap_or_default();
        (distance(&wanted, &whole).min(distance(&wanted, city)), known)
    });
    let (score, known) = scored.min()?;
    (score <= (wanted.len() / 4).clamp(1, 3)).then_some(known)
}

fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in other.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// What a civil time is in a zone.
pub(super) enum Moment {
    /// This moment.
    One(Timestamp),
    /// It is skipped: the moment right after the gap.
    Skipped(Timestamp),
    /// It occurs twice.
    Twice(Timestamp, Timestamp),
}

impl Moment {
    pub(super) fn of(zone: &TimeZone, time: DateTime) -> Option<Self> {
        let ambiguous = zone.to_ambiguous_timestamp(time);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => Some(Moment::One(offset.to_timestamp(time).ok()?)),
            AmbiguousOffset::Gap { after, .. } => {
                let before_gap = after.to_timestamp(time).ok()?;
                let mut changes = zone.following(before_gap);
                let end = changes.find(|change| change.offset() == after)?;
                Some(Moment::Skipped(end.timestamp()))
            }
            AmbiguousOffset::Fold { before, after } => {
                Some(Moment::Twice(before.to_timestamp(time).ok()?, after.to_timestamp(time).ok()?))
            }
        }
    }

    /// The moment at which what is planned for the time happens: right after a gap, and at the first of two.
    pub(super) fn planned(&self) -> Timestamp {
        match *self {
            Moment::One(at) | Moment::Skipped(at) | Moment::Twice(at, _) => at,
        }
    }
}
