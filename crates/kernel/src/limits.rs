//! Limits on starts: how many attempts of a queue or a concurrency key may execute at once, and how many may begin in a while.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::Slot;

/// Nanoseconds of a millisecond: what buckets count in.
const NS: u64 = 1_000_000;

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimiterKind {
    /// A queue.
    Queue,
    /// A concurrency key.
    Key,
}

impl fmt::Display for LimiterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimiterKind::Queue => "queue",
            LimiterKind::Key => "key",
        })
    }
}

/// A queue or a concurrency key, as far as it limits anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LimiterId {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Which kind.
    pub kind: LimiterKind,
    /// Its name.
    pub name: Arc<str>,
}

impl LimiterId {
    /// The slot where the runs of a concurrency key live, so that one partition counts them all.
    pub fn slot(&self) -> Slot {
        let mut hash = Sha256::new();
        for part in [&*self.namespace, "limiter", &*self.name] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        Slot(u16::from_be_bytes([digest[0], digest[1]]))
    }
}

/// So many starts in so long, as a token bucket: `count` may begin at once, and they are given back evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how many milliseconds; at least 1.
    pub per_ms: u64,
}

/// The longest time of a rate: a day.
const MAX_PER_MS: u64 = 24 * 3_600_000;

impl Rate {
    /// What one looks like, for errors.
    pub const EXPECTED: &'static str =
        "expected a number of starts and a time, as in `30/s`, `100/m`, `5/h` or `1/10s`; at most a day";

    /// The time from one start to the next when it is used up, for one of `share` partitions.
    fn interval_ns(self, share: u32) -> u64 {
        let per = u128::from(self.per_ms) * u128::from(NS) * u128::from(share.max(1));
        u64::try_from(per / u128::from(self.count.max(1))).unwrap_or(u64::MAX).max(1)
    }

    /// How many may begin at once.
    fn burst(self, share: u32) -> u64 {
        u64::from(self.count / share.max(1)).max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(24 * 3_600_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let (ms, unit) = *units.iter().find(|(ms, _)| self.per_ms.is_multiple_of(*ms)).unwrap_or(&(1, "ms"));
        match self.per_ms / ms {
            1 => write!(f, "{}/{unit}", self.count),
            many => write!(f, "{}/{many}{unit}", self.count),
        }
    }
}

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate: {expected}", expected = Rate::EXPECTED)]
pub struct InvalidRate(pub String);

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.chars().take(64).collect());
        let (count, per) = text.trim().split_once('/').ok_or_else(invalid)?;
        let digits = per.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (many, unit) = per.split_at(digits);
        let many: u64 = if many.is_empty() { 1 } else { many.parse().map_err(|_| invalid())? };
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => MAX_PER_MS,
            _ => return Err(invalid()),
        };
        let per_ms = many.checked_mul(unit).filter(|ms| (1..=MAX_PER_MS).contains(ms)).ok_or_else(invalid)?;
        let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(invalid)?;
        Ok(Rate { count, per_ms })
    }
}

/// What a person has set for a queue or a concurrency key. It goes before what runs say themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimiterSettings {
    /// Nothing begins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// So many attempts at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// So many starts in so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// A change of [`LimiterSettings`]: `None` leaves a thing as it is, `Some(None)` lifts the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimiterChange {
    /// Whether anything begins.
    pub paused: Option<bool>,
    /// How many at once.
    pub max_running: Option<Option<u32>>,
    /// How many starts in so long.
    pub rate: Option<Option<Rate>>,
}

impl LimiterSettings {
    /// With a change.
    #[must_use]
    pub fn changed(self, change: LimiterChange) -> Self {
        LimiterSettings {
            paused: change.paused.unwrap_or(self.paused),
            max_running: change.max_running.unwrap_or(self.max_running),
            rate: change.rate.unwrap_or(self.rate),
        }
    }
}

/// A call's own limit: its concurrency key, and how much of that may execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLimit {
    /// The concurrency key.
    pub key: Arc<str>,
    /// So many attempts of the key at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// So many starts of the key in so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// What is durable about a queue or a concurrency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimiterRow {
    /// Which.
    pub id: LimiterId,
    /// What was set.
    #[serde(default)]
    pub settings: LimiterSettings,
    /// How far its bucket is used up.
    #[serde(default)]
    pub bucket: Bucket,
}

/// A token bucket as one number: the moment at which it is full again, in nanoseconds of partition time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(u64);

impl Bucket {
    /// The first millisecond at which a start is allowed: `now_ms` itself if one is now.
    pub(crate) fn next_ms(self, rate: Rate, share: u32, now_ms: u64) -> u64 {
        let used = (rate.burst(share) - 1).saturating_mul(rate.interval_ns(share));
        self.0.saturating_sub(used).div_ceil(NS).max(now_ms)
    }

    /// With one start more at `now_ms`.
    pub(crate) fn charged(self, rate: Rate, share: u32, now_ms: u64) -> Self {
        Bucket(self.0.max(now_ms.saturating_mul(NS)).saturating_add(rate.interval_ns(share)))
    }

    /// As it stands under another rate: never emptier than empty.
    pub(crate) fn under(self, rate: Option<Rate>, share: u32, now_ms: u64) -> Self {
        let Some(rate) = rate else { return Bucket::default() };
        let most = rate.burst(share).saturating_mul(rate.interval_ns(share));
        Bucket(self.0.min(now_ms.saturating_mul(NS).saturating_add(most)))
    }

    /// Whether it is full: then it need not be remembered.
    pub(crate) fn is_full(self, now_ms: u64) -> bool {
        self.0 <= now_ms.saturating_mul(NS)
    }
}

/// A queue, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub queue: Arc<str>,
    /// What was set.
    pub settings: LimiterSettings,
    /// Calls that wait for a worker, and those that only a limit of their key holds back.
    pub waiting: usize,
    /// The functions that they call, with how many each.
    pub functions: Vec<(Arc<str>, usize)>,
    /// When the run that waits longest was created, in wall milliseconds.
    pub oldest: Option<u64>,
    /// Attempts that execute now.
    pub running: u32,
    /// Attempts begun since the partition was loaded.
    pub started: u64,
    /// Steps ended since then, and how many of them failed.
    pub ended: u64,
    /// Steps that failed since then.
    pub failed: u64,
    /// Steps ended in the last minute.
    pub last_minute: u64,
}

impl QueueView {
    /// A queue that has nothing to tell.
    pub fn idle(namespace: impl Into<Arc<str>>, queue: impl Into<Arc<str>>) -> Self {
        QueueView {
            namespace: namespace.into(),
            queue: queue.into(),
            settings: LimiterSettings::default(),
            waiting: 0,
            functions: Vec::new(),
            oldest: None,
            running: 0,
            started: 0,
            ended: 0,
            failed: 0,
            last_minute: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_shown() {
        for text in ["30/s", "100/m", "5/h", "1/10s", "7/d", "3/250ms"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "30", "0/s", "-1/s", "x/s", "1/0s", "1/", "1/y", "1/25h", "99999999999/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_start_for_each_interval() {
        let rate: Rate = "3/s".parse().unwrap();
        let mut bucket = Bucket::default();
        let mut starts = Vec::new();
        for now in 10_000..13_000 {
            while bucket.next_ms(rate, 1, now) <= now {
                starts.push(now);
                bucket = bucket.charged(rate, 1, now);
            }
        }
        assert_eq!(
            starts,
            [10_000, 10_000, 10_000, 10_334, 10_667, 11_000, 11_334, 11_667, 12_000, 12_334, 12_667]
        );
        assert!(bucket.is_full(20_000));
    }

    #[test]
    fn a_faster_rate_is_not_held_up_by_the_time_of_the_slower_one() {
        let slow: Rate = "1/h".parse().unwrap();
        let bucket = Bucket::default().charged(slow, 1, 1_000);
        assert_eq!(bucket.next_ms(slow, 1, 1_000), 3_601_000);
        let fast: Rate = "10/s".parse().unwrap();
        assert!(bucket.under(Some(fast), 1, 1_000).next_ms(fast, 1, 1_000) <= 1_100);
    }
}
