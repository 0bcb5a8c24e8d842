//! Whether further children come up, and so how many attempts the server may offer. An attempt's time limit runs at the server from the
//! offer on, so none is kept waiting for a child that takes long to start, or that never does: it is given back, and as long as that
//! lasts the server is told of no more slots than there are children that are up. It offers no other attempt in the given one's place
//! then, so nothing goes back and forth, and other workers execute it meanwhile. Pure: time comes in as an argument.

use std::time::Duration;

use riverrun_wire::worker::FromWorker;
use tokio::time::Instant;

/// After so many failed starts in a row nothing waits for a child any longer.
const FAILURES: u32 = 3;
const MAX_DELAY: Duration = Duration::from_secs(10);
const SLOW: &str = "its child processes take long to start: the functions' files import slowly, or the machine is overloaded";

/// How the starts of children go.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// How many failed in a row.
    failures: u32,
    not_before: Option<Instant>,
    /// Why slots are counted only as far as children are up.
    short: Option<String>,
    /// What the server was told of that on this connection; at first it counts every slot.
    told: Option<(u32, String)>,
}

impl Starts {
    /// A child is up.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// A start failed. True if it is no use to wait for the next one.
    pub fn failed(&mut self, why: &str, now: Instant) -> bool {
        self.failures += 1;
        let delay = Duration::from_millis(100) * 2_u32.saturating_pow(self.failures.min(10));
        self.not_before = Some(now + delay.min(MAX_DELAY));
        let hopeless = self.failures >= FAILURES;
        if hopeless {
            self.short = Some(format!("its child processes do not start: {why}"));
        }
        if self.failures == FAILURES {
            tracing::error!(
                "no child starts: this worker takes nothing that needs a further one until one is up again, and gives back what waits \
                 for it. It keeps trying. {why}"
            );
        } else {
            tracing::warn!(failures = self.failures, "a child did not start: {why}");
        }
        hopeless
    }

    /// Something waited too long for a child.
    pub fn are_slow(&mut self) {
        if self.short.is_none() {
            tracing::warn!("children take long to start; what waited for one is given back");
            self.short = Some(SLOW.to_owned());
        }
    }

    /// So many children are starting. What is short is over when the last one is up.
    pub fn going_on(&mut self, starting: usize) {
        if starting == 0 && self.failures == 0 {
            self.short = None;
        }
    }

    /// Whether one may be started now.
    pub fn may(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether one is to be tried even if nothing waits for it, to find out whether they start again.
    pub fn must(&self) -> bool {
        self.failures > 0
    }

    /// When the next one may be started, if not now.
    pub fn due(&self) -> Option<Instant> {
        self.not_before
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.not_before.take_if(|moment| *moment <= now);
    }

    /// How many attempts can be taken, where so many children are up.
    pub fn usable(&self, slots: usize, up: usize) -> usize {
        if self.short.is_some() { up.min(slots) } else { slots }
    }

    /// A new connection: the server counts every slot.
    pub fn forget_told(&mut self) {
        self.told = None;
    }

    /// What the server is to be told anew.
    pub fn news(&mut self, slots: usize, up: usize) -> Option<FromWorker> {
        let usable = u32::try_from(self.usable(slots, up)).unwrap_or(u32::MAX);
        let now = self.short.clone().map(|why| (usable, why));
        if now == self.told {
            return None;
        }
        self.told.clone_from(&now);
        Some(FromWorker::Slots { slots: usable, why: now.map(|(_, why)| why) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(news: Option<FromWorker>) -> Option<u32> {
        news.map(|news| match news {
            FromWorker::Slots { slots, .. } => slots,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn slow_starts_count_only_children_that_are_up_until_none_is_starting() {
        let mut starts = Starts::default();
        assert_eq!(told(starts.news(4, 1)), None);
        starts.are_slow();
        assert_eq!(told(starts.news(4, 1)), Some(1));
        starts.succeeded();
        starts.going_on(2);
        assert_eq!(told(starts.news(4, 2)), Some(2));
        assert_eq!(told(starts.news(4, 2)), None);
        starts.forget_told();
        assert_eq!(told(starts.news(4, 2)), Some(2));
        starts.going_on(0);
        assert_eq!(told(starts.news(4, 3)), Some(4));
    }

    #[test]
    fn failed_starts_are_tried_again_later_and_leave_no_slot_until_one_succeeds() {
        let mut starts = Starts::default();
        let now = Instant::now();
        assert!(!starts.failed("x", now) && !starts.failed("x", now));
        assert_eq!(told(starts.news(2, 0)), None);
        assert!(starts.failed("x", now) && starts.must() && !starts.may(now));
        starts.going_on(0);
        assert_eq!(told(starts.news(2, 0)), Some(0));
        starts.tick(now + MAX_DELAY);
        assert!(starts.may(now));
        starts.succeeded();
        starts.going_on(0);
        assert_eq!(told(starts.news(2, 1)), Some(2));
        assert!(!starts.must());
    }
}
