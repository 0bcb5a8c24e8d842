//! `[flows]`: what flows may ask for.

use std::num::{NonZeroU32, NonZeroU64};

use riverrun_plan::Limits;
use serde::Deserialize;

use crate::args::FlowLimits;

/// A profile by its name, and what is to differ from it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flows {
    limits: Option<FlowLimits>,
    foreach_concurrency: Option<NonZeroU32>,
    payload_bytes: Option<NonZeroU64>,
    events: Option<NonZeroU64>,
    wait_seconds: Option<NonZeroU64>,
    branches: Option<NonZeroU64>,
    retry_interval_seconds: Option<NonZeroU64>,
    run_seconds: Option<NonZeroU64>,
}

impl Flows {
    /// The limits that this makes; a profile named on the command line takes the place of the one that is named here.
    pub fn limits(&self, named: Option<FlowLimits>) -> Limits {
        let profile = Limits::from(named.or(self.limits).unwrap_or(FlowLimits::Standard));
        let pick = |own: Option<NonZeroU64>, profile: Option<u64>| own.map(NonZeroU64::get).or(profile);
        Limits {
            foreach_concurrency: self
                .foreach_concurrency
                .map_or(profile.foreach_concurrency, NonZeroU32::get),
            payload_bytes: pick(self.payload_bytes, profile.payload_bytes),
            events: pick(self.events, profile.events),
            wait_seconds: pick(self.wait_seconds, profile.wait_seconds),
            branches: pick(self.branches, profile.branches),
            retry_interval_seconds: pick(self.retry_interval_seconds, profile.retry_interval_seconds),
            run_seconds: pick(self.run_seconds, profile.run_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str, named: Option<FlowLimits>) -> Limits {
        toml::from_str::<Flows>(text).expect("valid").limits(named)
    }

    #[test]
    fn a_profile_is_named_and_changed_in_part() {
        assert_eq!(limits("", None), Limits::default());
        assert_eq!(limits("limits = \"fnf\"", None), Limits::FNF);
        assert_eq!(limits("limits = \"fnf\"", Some(FlowLimits::Standard)), Limits::default());
        let own = limits("wait_seconds = 60\nforeach_concurrency = 7", Some(FlowLimits::Fnf));
        assert_eq!(own, Limits { wait_seconds: Some(60), foreach_concurrency: 7, ..Limits::FNF });
        for wrong in ["limits = \"fnv\"", "foreach_concurrency = 0", "foreach = 7", "events = -1"] {
            assert!(toml::from_str::<Flows>(wrong).is_err(), "{wrong}");
        }
    }
}
