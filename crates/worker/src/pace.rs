//! How many attempts wait here for a child. While each takes milliseconds, the next one is at hand when a child falls free, instead of a
//! round trip to the server away. Pure: time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// For so much time of a child there may be work that waits for it.
const AHEAD: Duration = Duration::from_millis(20);
/// So many attempts may wait for each child at most.
const MOST: u32 = 32;
/// So many of them wait in a child rather than here, where attempts are so short that waking a process costs as much as executing one.
const PIPED: u32 = 8;
/// What has waited for so long waits behind something that takes unusually long, and is given back.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// How long attempts take, and what follows from it.
#[derive(Debug)]
pub(crate) struct Pace {
    /// A moving average.
    usual: Duration,
    told: u32,
    told_at: Option<Instant>,
}

impl Default for Pace {
    /// Nothing is known yet, so nothing is taken ahead.
    fn default() -> Self {
        Pace { usual: 2 * AHEAD, told: 0, told_at: None }
    }
}

impl Pace {
    /// An attempt took so long.
    pub fn took(&mut self, time: Duration) {
        self.usual = (self.usual * 7 + time.min(8 * AHEAD)) / 8;
    }

    /// Something has waited for too long.
    pub fn slow(&mut self) {
        self.usual = self.usual.max(2 * AHEAD);
    }

    /// A new connection: the server knows nothing.
    pub fn forget_told(&mut self) {
        (self.told, self.told_at) = (0, None);
    }

    /// How many attempts to ask for beyond the slots, where that is to be told anew: less at once, more now and then.
    pub fn news(&mut self, slots: u32, now: Instant) -> Option<u32> {
        let ahead = self.ahead().saturating_mul(slots);
        let due = self.told_at.is_none_or(|told| now >= told + PATIENCE);
        if ahead == self.told || ahead > self.told && !due {
            return None;
        }
        (self.told, self.told_at) = (ahead, Some(now));
        Some(ahead)
    }

    /// How many attempts to send to a child beyond the one that it executes.
    pub fn piped(&self) -> usize {
        if self.ahead() >= PIPED { PIPED as usize } else { 0 }
    }

    /// For each child, a power of two or none, so that it does not change all the time.
    fn ahead(&self) -> u32 {
        let fit = AHEAD.as_micros() / self.usual.as_micros().max(1);
        let fit = u32::try_from(fit).unwrap_or(MOST).min(MOST);
        fit.checked_ilog2().map_or(0, |bits| 1 << bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(attempts: u32, each: Duration) -> Pace {
        let mut pace = Pace::default();
        (0..attempts).for_each(|_| pace.took(each));
        pace
    }

    #[test]
    fn short_attempts_are_asked_for_ahead_and_long_ones_are_not() {
        let now = Instant::now();
        assert_eq!(Pace::default().news(4, now), None);
        assert_eq!(after(100, Duration::from_micros(100)).news(4, now), Some(4 * MOST));
        assert_eq!(after(100, Duration::from_millis(5)).news(4, now), Some(4 * 4));
        assert_eq!(after(100, Duration::from_millis(50)).news(4, now), None);
    }

    #[test]
    fn one_long_attempt_among_short_ones_takes_less_ahead_and_a_wait_that_was_too_long_none() {
        let now = Instant::now();
        let mut pace = after(100, Duration::from_millis(1));
        assert_eq!(pace.news(1, now), Some(16));
        pace.took(Duration::from_millis(100));
        assert_eq!(pace.news(1, now), Some(1));
        pace.slow();
        assert_eq!(pace.news(1, now), Some(0));
    }

    #[test]
    fn more_is_asked_for_now_and_then_only() {
        let now = Instant::now();
        let mut pace = after(100, Duration::from_millis(5));
        assert_eq!(pace.news(1, now), Some(4));
        (0..100).for_each(|_| pace.took(Duration::from_millis(1)));
        assert_eq!(pace.news(1, now), None);
        assert_eq!(pace.news(1, now + PATIENCE), Some(16));
        pace.forget_told();
        assert_eq!(pace.news(1, now + PATIENCE), Some(16));
    }
}
