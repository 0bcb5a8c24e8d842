//! Durations as people write them: `30s`, `1h30m`, `24h`, `forever`, or a number of seconds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units, longest first, with their milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// What a duration looks like, for errors.
const EXPECTED: &str =
    "expected a text such as \"30s\", \"500ms\", \"1h30m\" or \"7d\", or a number of seconds";

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: {EXPECTED}")]
pub struct InvalidDuration {
    /// What was given.
    pub text: String,
}

/// A length of time, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Duration {
    /// Milliseconds.
    pub ms: u64,
}

impl Duration {
    /// So many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Duration { ms }
    }

    /// The same for the standard library.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms)
    }

    /// From a number of seconds.
    fn from_seconds(seconds: f64) -> Result<Self, InvalidDuration> {
        let ms = seconds * 1_000.0;
        // Beyond 2^53 milliseconds (285,000 years) a double no longer counts exactly.
        if ms.is_finite() && (0.0..=9_007_199_254_740_992.0).contains(&ms) {
            Ok(Duration { ms: ms.round() as u64 })
        } else {
            Err(InvalidDuration { text: seconds.to_string() })
        }
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration { text: text.chars().take(64).collect() };
        let mut rest = text.trim();
        if rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Duration::from_seconds(rest.parse().map_err(|_| invalid())?).map_err(|_| invalid());
        }
        let mut total: u64 = 0;
        let mut largest = u64::MAX;
        while !rest.is_empty() {
            let is_number = |c: char| c.is_ascii_digit() || c == '.';
            let digits = rest.find(|c| !is_number(c)).filter(|&at| at > 0).ok_or_else(invalid)?;
            let count = &rest[..digits];
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit = UNITS.iter().find(|(name, _)| *name == &rest[..letters]);
            let (_, ms) = unit.filter(|(_, ms)| *ms < largest).ok_or_else(invalid)?;
            // Each unit once, from the largest down: "1m1h" is more likely a slip than a wish.
            largest = *ms;
            total = times(count, *ms).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
            rest = &rest[letters..];
        }
        if text.trim().is_empty() {
            return Err(invalid());
        }
        Ok(Duration { ms: total })
    }
}

/// So many milliseconds so often; a count may be a decimal fraction.
fn times(count: &str, ms: u64) -> Option<u64> {
    if !count.contains('.') {
        return count.parse::<u64>().ok()?.checked_mul(ms);
    }
    let seconds = count.parse::<f64>().ok()? * ms as f64 / 1_000.0;
    Duration::from_seconds(seconds).ok().map(|duration| duration.ms)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        // Weeks are understood but not written: "28d" reads better than "4w".
        for (name, ms) in &UNITS[1..] {
            if rest >= *ms {
                write!(f, "{}{name}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration: a text such as \"30s\" or \"24h\", or a number of seconds")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        self.visit_f64(seconds as f64)
    }
    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        self.visit_f64(seconds as f64)
    }
    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
        Duration::from_seconds(seconds).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: a text such as `500ms`, `30s`, `1h30m` or `7d`, or a number of seconds.",
            "type": ["string", "number"],
            "examples": ["30s", "24h", 90],
        })
    }
}

/// How long a key is remembered after its run ended: a [`Duration`] or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTtl {
    /// So long; 0 forgets at completion.
    For(Duration),
    /// Until it is deleted.
    Forever,
}

impl KeyTtl {
    /// How the kernel says it.
    pub fn to_kernel(self) -> riverrun_kernel::Ttl {
        match self {
            KeyTtl::For(duration) => riverrun_kernel::Ttl::Ms(duration.ms),
            KeyTtl::Forever => riverrun_kernel::Ttl::Forever,
        }
    }
}

impl From<riverrun_kernel::Ttl> for KeyTtl {
    fn from(ttl: riverrun_kernel::Ttl) -> Self {
        match ttl {
            riverrun_kernel::Ttl::Ms(ms) => KeyTtl::For(Duration::from_ms(ms)),
            riverrun_kernel::Ttl::Forever => KeyTtl::Forever,
        }
    }
}

impl FromStr for KeyTtl {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        match text.trim() {
            "forever" => Ok(KeyTtl::Forever),
            other => other.parse().map(KeyTtl::For),
        }
    }
}

impl fmt::Display for KeyTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyTtl::For(duration) => duration.fmt(f),
            KeyTtl::Forever => f.write_str("forever"),
        }
    }
}

impl Serialize for KeyTtl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyTtl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TtlVisitor;
        impl Visitor<'_> for TtlVisitor {
            type Value = KeyTtl;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"24h\", a number of seconds, or \"forever\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyTtl, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<KeyTtl, E> {
                DurationVisitor.visit_u64(seconds).map(KeyTtl::For)
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<KeyTtl, E> {
                DurationVisitor.visit_i64(seconds).map(KeyTtl::For)
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<KeyTtl, E> {
                DurationVisitor.visit_f64(seconds).map(KeyTtl::For)
            }
        }
        deserializer.deserialize_any(TtlVisitor)
    }
}

impl JsonSchema for KeyTtl {
    fn schema_name() -> Cow<'static, str> {
        "KeyTtl".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How long a key is remembered after its run ended: a duration (`0` forgets at completion) or `forever`.",
            "type": ["string", "number"],
            "examples": ["24h", "forever", 0],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;

    #[test]
    fn a_length_of_time_is_a_sum_of_units_or_a_fraction_of_one() {
        for (text, ms) in
            [("90", 90_000), ("1.5s", 1_500), ("200ms", 200), ("1h30m", 5_400_000), ("0.5d", 43_200_000)]
        {
            assert_eq!(text.parse::<Duration>().map(|duration| duration.ms), Ok(ms), "{text}");
        }
        for text in ["", "s", "1x", "1m1h", "1.2.3s", "-1s", ".s", "1e400"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
