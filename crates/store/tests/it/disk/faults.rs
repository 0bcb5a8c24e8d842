//! Writes and syncs that fail while the store works: what it says, and what the next process finds.

use super::crashes::{Span, check, images, seed};
use super::platter::Dice;
use super::story::{self, Deed};
use super::trace::{self, Event};
use super::watched::Watched;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A short story of one process.
fn deeds() -> Vec<Deed> {
    let mut deeds = story::story()[..20].to_vec();
    deeds.push(Deed::Close);
    deeds
}

/// How many writes and syncs the story takes when nothing fails. The threads of a process make it a little more or less.
fn calls(deeds: &[Deed]) -> (u64, u64) {
    let watched = Watched::new();
    watched.whole_story(deeds);
    let events = trace::read(&watched.trace());
    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count() as u64;
    (
        count(|event| matches!(event, Event::Written { .. })),
        count(|event| matches!(event, Event::Synced { .. })),
    )
}

/// About how many of the last calls are made by what is done with the store.
const LATE: u64 = 400;

/// Lets calls fail, and asks `fits` about what the process said. Then the next process must find everything.
fn fail(call: &str, of: u64, errno: i32, tries: u64, fits: impl Fn(&str) -> bool) {
    let deeds = deeds();
    let expected = story::expected(&deeds);
    for seed in seed()..seed() + tries {
        let mut dice = Dice::new(seed);
        // Most calls only give the log its length; what is done with the store comes last.
        let first = if dice.below(4) == 0 { 1 + dice.below(of) } else { of - dice.below(of.min(LATE)) };
        let fault = format!("{call}:{first}:{}:{errno}", 1 + dice.below(4));
        let watched = Watched::new();
        let said = watched.process(&deeds, 0, Some(&fault));
        assert!(fits(&said), "{fault} (seed {seed}): {said}");
        let span = Span::of(&deeds, &watched.data());
        if let Err(error) = check(&watched.data(), &deeds, &expected, span) {
            panic!("{fault} (seed {seed}): {said}, and after it {error}");
        }
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_is_refused_and_tried_again() {
    let (writes, _) = calls(&deeds());
    for call in ["write", "torn"] {
        fail(call, writes, ENOSPC, images(8), |said| {
            said == "done" || said.starts_with("not opened: Unavailable")
        });
    }
}

#[test]
fn a_write_that_fails_breaks_the_store_until_the_next_start() {
    let (writes, _) = calls(&deeds());
    for call in ["write", "torn"] {
        fail(call, writes, EIO, images(8), |said| {
            // A note of what was acknowledged may lag, and closing may leave its work to the next start.
            said == "done"
                || said.contains("Broken")
                || said.starts_with("not opened: Unavailable(\"cannot write")
        });
    }
}

#[test]
fn a_sync_that_fails_breaks_the_store_until_the_next_start() {
    let (_, syncs) = calls(&deeds());
    fail("sync", syncs, EIO, images(12), |said| {
        said == "done" || said.contains("Broken") || said.starts_with("not opened: Unavailable(\"cannot ")
    });
}
