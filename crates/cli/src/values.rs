//! Values on the command line that are more than a word: lengths of time, labels.

use std::time::Duration;

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// So long.
    For(Duration),
    /// For ever.
    Forever,
}

/// Reads `90`, `1.5s`, `200ms`, `15m`, `24h`, `30d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => {
            return Err(format!("`{unit}` is not a unit of time: write ms, s, m, h or d, as in 90s or 24h"));
        }
    };
    let number: f64 = number.trim().parse().map_err(|_| {
        format!("`{text}` is not a length of time: write a number and a unit, as in 90s or 24h")
    })?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| {
        format!("`{text}` is not a length of time: it must be positive and below 500 billion years")
    })
}

/// Reads a length of time, or `forever`.
pub fn retention(text: &str) -> Result<Retention, String> {
    match text {
        "forever" => Ok(Retention::Forever),
        _ => duration(text).map(Retention::For),
    }
}

/// Reads `NAME=VALUE`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not a label: write NAME=VALUE")),
    }
}
