//! What a person writes as the time of a schedule, and the planned times that it means.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::cron::Cron;
use super::error::WhenError;
use super::zone::{self, Moment};
use crate::time::Wall;

/// The shortest interval.
const MIN_EVERY_MS: u64 = 1_000;
/// The longest: a century.
const MAX_EVERY_MS: u64 = 100 * 366 * 86_400_000;
/// Changes of a zone's offset that are looked through for the next time: about a century.
const MAX_CHANGES: usize = 400;
/// Planned times of the same hour that may be passed over when an hour occurs twice: each of its seconds.
const MAX_REPEATED: usize = 90_000;

/// The times at which a schedule fires.
#[derive(Debug, Clone)]
pub struct When {
    kind: Kind,
    zone: TimeZone,
}

/// What kind of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A cron line.
    Cron(Box<Cron>),
    /// So many milliseconds apart, counted from a moment.
    Every {
        /// The interval.
        ms: u64,
        /// The moment from which it is counted, which is no planned time itself.
        from: Wall,
    },
    /// One date.
    Date(Wall),
}

impl When {
    /// Reads a cron line, `@every` with a duration, or a date; `zone` is an IANA name, empty for UTC. Intervals are counted from `from`.
    pub fn parse(text: &str, zone: &str, from: Wall) -> Result<Self, WhenError> {
        let zone = zone::find(zone)?;
        let trimmed = text.trim();
        let kind = if let Some(rest) = strip_every(trimmed) {
            Kind::Every { ms: duration(text, rest)?, from }
        } else if let Some(date) = date(text, trimmed, &zone)? {
            Kind::Date(date)
        } else {
            Kind::Cron(Box::new(Cron::parse(text)?))
        };
        Ok(When { kind, zone })
    }

    /// What kind of times.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The zone's name, as the database writes it.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// A moment as a clock in the zone shows it, with the offset.
    pub fn local(&self, at: Wall) -> Option<String> {
        let zoned = Timestamp::from_millisecond(at.0).ok()?.to_zoned(self.zone.clone());
        Some(zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }

    /// The first planned time after `after`.
    pub fn next(&self, after: Wall) -> Option<Wall> {
        match &self.kind {
            Kind::Date(at) => (*at > after).then_some(*at),
            Kind::Every { ms, from } => {
                let ms = i64::try_from(*ms).ok()?;
                let passed = after.0.saturating_sub(from.0).max(0) / ms;
                from.0.checked_add(ms.checked_mul(passed + 1)?).map(Wall)
            }
            Kind::Cron(cron) => {
                let after = Timestamp::from_millisecond(after.0).ok()?;
                let next =
                    if cron.is_interval() { self.interval(cron, after) } else { self.times(cron, after) };
                next.map(|at| Wall(at.as_millisecond()))
            }
        }
    }

    /// The next `count` planned times after `after`.
    pub fn upcoming(&self, after: Wall, count: usize) -> Vec<Wall> {
        let mut last = after;
        std::iter::from_fn(|| {
            last = self.next(last)?;
            Some(last)
        })
        .take(count)
        .collect()
    }

    /// The newest `count` planned times after `after` and not after `until`, oldest first. It does not walk through all of them.
    pub fn newest(&self, after: Wall, until: Wall, count: usize) -> Vec<Wall> {
        let mut span = 1_000_i64;
        loop {
            let from = Wall(until.0.saturating_sub(span)).max(after);
            let mut times: Vec<Wall> = Vec::new();
            let mut at = from;
            while let Some(next) = self.next(at).filter(|next| *next <= until) {
                times.push(next);
                at = next;
            }
            if times.len() >= count || from == after {
                return times.split_off(times.len().saturating_sub(count));
            }
            span = span.saturating_mul(2);
        }
    }

    /// Lines that mean an interval: the zone's clock as it runs, in each stretch of one offset.
    fn interval(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        for _ in 0..MAX_CHANGES {
            let offset = self.zone.to_offset(from);
            let found = cron.next(offset.to_datetime(from), inclusive)?;
            let found = offset.to_timestamp(found).ok()?;
            match self.zone.following(from).next() {
                Some(change) if found >= change.timestamp() => {
                    (from, inclusive) = (change.timestamp(), true);
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Lines that name times of a day: each happens once.
    fn times(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let mut civil = self.zone.to_datetime(after);
        for _ in 0..MAX_REPEATED {
            civil = cron.next(civil, false)?;
            let at = Moment::of(&self.zone, civil)?.planned();
            if at > after {
                return Some(at);
            }
        }
        None
    }
}

fn strip_every(text: &str) -> Option<&str> {
    let start = text.get(..6)?;
    start.eq_ignore_ascii_case("@every").then(|| text[6..].trim())
}

/// `90s`, `1h30m`.
fn duration(line: &str, text: &str) -> Result<u64, WhenError> {
    let wrong = |problem: String| {
        let at = line.chars().count() - line.trim_start().chars().count();
        let start = line.chars().count().saturating_sub(text.chars().count()).max(at);
        let span = if text.is_empty() { 0..0 } else { start..start + text.chars().count() };
        WhenError::new(
            line,
            span,
            problem,
            "write it as `90s`, `15m`, `6h`, `1d` or `1h30m`; the shortest is 1s",
        )
    };
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let scale = match &rest[digits..digits + unit] {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong(format!("`{text}` is no duration"))),
        };
        let number: u64 = rest[..digits].parse().map_err(|_| wrong(format!("`{text}` is no duration")))?;
        total = number.checked_mul(scale).and_then(|ms| total.checked_add(ms)).unwrap_or(u64::MAX);
        rest = rest[digits + unit..].trim_start();
    }
    match total {
        MIN_EVERY_MS..=MAX_EVERY_MS => Ok(total),
        0 if text.is_empty() => Err(wrong("the duration is missing".to_owned())),
        0..MIN_EVERY_MS => Err(wrong(format!("`{text}` is shorter than a second"))),
        _ => Err(wrong(format!("`{text}` is longer than a century"))),
    }
}

/// A date with its own offset, or one in the zone. `None` for what does not look like one.
fn date(line: &str, text: &str, zone: &TimeZone) -> Result<Option<Wall>, WhenError> {
    let looks = text.len() >= 10
        && text.as_bytes()[4] == b'-'
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
    if !looks {
        return Ok(None);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(Wall(at.as_millisecond())));
    }
    let civil: DateTime = text.parse().map_err(|_| {
        let advice =
            "write it as `2027-03-01T08:00`, with the zone beside it, or as `2027-03-01T08:00:00+01:00`";
        WhenError::whole(line, "this is no date", advice)
    })?;
    let beyond = || WhenError::whole(line, "this date is out of range", "the last year is 9998");
    let name = zone.iana_name().unwrap_or("UTC");
    let show = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    match Moment::of(zone, civil).ok_or_else(beyond)? {
        Moment::One(at) => Ok(Some(Wall(at.as_millisecond()))),
        Moment::Skipped(end) => {
            let problem = format!("the clocks of {name} skip this time: they are put forward then");
            Err(WhenError::whole(line, problem, format!("the moment after that is `{}`", show(end))))
        }
        Moment::Twice(first, second) => {
            let problem = format!("the clocks of {name} show this time twice: they are put back then");
            Err(WhenError::whole(line, problem, format!("write `{}` or `{}`", show(first), show(second))))
        }
    }
}
