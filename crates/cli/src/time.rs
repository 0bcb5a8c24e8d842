//! Times and durations as a person reads them, and as JSON has them.

use std::time::Duration;

use jiff::Timestamp;
use riverrun_kernel::Wall;

/// This moment.
pub fn now() -> Wall {
    Wall(Timestamp::now().as_millisecond())
}

/// A moment as the API writes it: RFC 3339.
pub fn parse(text: &str) -> Option<Wall> {
    text.parse::<Timestamp>().ok().map(|time| Wall(time.as_millisecond()))
}

/// `3m ago`, `in 20s`, `now`.
pub fn relative(at: Wall, now: Wall) -> String {
    let ms = now.0.saturating_sub(at.0);
    match ms {
        -999..=999 => "now".to_owned(),
        1_000.. => format!("{} ago", short(Duration::from_millis(ms.unsigned_abs()))),
        _ => format!("in {}", short(Duration::from_millis(ms.unsigned_abs()))),
    }
}

/// The two largest units that matter: `350ms`, `4.2s`, `3m 20s`, `5h 10m`, `12d`.
pub fn short(duration: Duration) -> String {
    let (seconds, ms) = (duration.as_secs(), duration.subsec_millis());
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit} {small}{small_unit}"),
    };
    match seconds {
        0 => format!("{ms}ms"),
        1..10 if ms >= 100 => format!("{seconds}.{}s", ms / 100),
        1..60 => format!("{seconds}s"),
        60..3600 => pair(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds / 60 % 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}
