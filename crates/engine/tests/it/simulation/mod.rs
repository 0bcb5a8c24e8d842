//! The whole engine under a seed: three partitions, simulated clocks, store, network, workers and clients.
//!
//! The sequencers are the ones that the real engine drives; everything around them is simulated, so that a seed repeats every crash and every
//! delay. What must hold is checked as it happens, in `ledger` and `world`.

mod clients;
mod ledger;
mod script;
mod workers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// Seeds that a plain test run goes through.
const SEEDS: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn simulation() {
    if let Some(seed) = number("RIVERRUN_SIM_SEED") {
        return World::new(seed).live();
    }
    let first = number("RIVERRUN_SIM_FIRST").unwrap_or(1);
    let seeds = number("RIVERRUN_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in first..first + seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| World::new(seed).live())) {
            let command =
                format!("RIVERRUN_SIM_SEED={seed} cargo test -p riverrun-engine --test it simulation");
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            panic!("seed {seed} failed; repeat it with\n    {command}\n{}", said.unwrap_or_default());
        }
    }
}
