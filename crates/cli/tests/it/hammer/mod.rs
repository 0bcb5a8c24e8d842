//! The hammer: many runs at once, while the server, its workers and their children are killed at random; then a checker
//! goes over what the clients saw, what the functions did, and what the journals say.
//!
//! `RIVERRUN_HAMMER_SECONDS` lets it go on for longer than a test run can afford (`make hammer`), and
//! `RIVERRUN_HAMMER_SEED` chooses the kills. Their order repeats; what they hit does not.

mod chaos;
mod checker;
mod clients;
mod code;
mod history;
pub mod http;

use std::time::{Duration, Instant};

use self::chaos::Chaos;
use self::clients::Clients;
use self::history::History;
use crate::support::House;

/// Three calls of one function, which notes what it does and tells from its input what it was given.
const FLOW: &str = "\
version: v1
type: flow
steps:
  - {type: task, name: First, resourceArn: hammer/step}
  - {type: task, name: Second, resourceArn: hammer/step}
  - {type: task, name: Third, resourceArn: hammer/step}
";

/// Numbers that look random and follow from their seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A number from the environment.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn house() -> House {
    let house = House::new();
    house.write("flow.yaml", FLOW);
    let history = house.path("history");
    house.write(
        "functions/hammer/step.py",
        &format!(
            "import json, os, time\n\nHISTORY = os.open({:?}, os.O_APPEND | os.O_WRONLY | os.O_CREAT)\n\n\n\
             def note(what, context):\n    \
                 line = f'{{what}} {{context.request_id}} {{time.time_ns()}}\\n'\n    \
                 os.write(HISTORY, line.encode())\n\n\n\
             def handler(event, context):\n    \
                 event = json.loads(event)\n    \
                 note('begin', context)\n    \
                 time.sleep(event['n'] % 5 / 1000)\n    \
                 note('end', context)\n    \
                 return {{f'after{{len(event)}}': event['n'] * 10 + len(event)}}\n",
            history.to_str().expect("text")
        ),
    );
    house
}

#[test]
fn kills_lose_no_run_and_repeat_no_recorded_step() {
    let seconds = setting("RIVERRUN_HAMMER_SECONDS", 8);
    let seed = setting("RIVERRUN_HAMMER_SEED", u64::from(std::process::id()));
    let house = house();
    let history = History::open(&house.path("history"));
    let mut chaos = Chaos::begin(&house, &history, Dice(seed));
    house.run(&["deploy", "flow.yaml", "--name", "hammered", "--server", &chaos.url()]).expect(0);
    let clients = Clients::begin(&chaos.url(), if seconds > 60 { 64 } else { 16 });
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        chaos.strike();
        clients.expect_well();
    }
    let seen = clients.finish(Duration::from_mins(2));
    let kills = chaos.end();
    let report = checker::check(&seen, &history.read());
    house.run(&["store", "verify"]).expect(0);
    if !report.violations.is_empty() {
        let some = report.violations[..report.violations.len().min(20)].join("\n");
        let count = report.violations.len();
        panic!("seed {seed}: {count} violations in {}\n{some}", house.keep().display());
    }
    assert!(report.runs > 0 && kills > 0, "{report}");
    history::say(&format!("hammer, seed {seed}: {kills} kills, {report}"));
}
