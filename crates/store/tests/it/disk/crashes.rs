//! Power failures: every image that one may leave opens as a store that holds what was acknowledged.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use riverrun_store::{EmbeddedStore, Epoch, Store, StoreError};

use super::platter::{Dice, Kept, Platter};
use super::story::{self, Deed};
use super::trace::{self, Event};
use super::watched::{MARKS, Watched, folder};

/// The deeds of a story that an image must and may contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// So many are acknowledged and durable.
    least: usize,
    /// So many were begun.
    most: usize,
}

impl Span {
    /// Reads what a process marked.
    fn follow(&mut self, deeds: &[Deed], marks: &[u8]) {
        for line in String::from_utf8_lossy(marks).lines() {
            match line.split_once(' ') {
                Some(("begun", place)) => self.most = place.parse::<usize>().expect("a place") + 1,
                Some(("done", place)) => {
                    let done = place.parse::<usize>().expect("a place") + 1;
                    if deeds[done - 1].is_durable() {
                        self.least = done;
                    }
                }
                _ => panic!("a mark is not {line:?}"),
            }
        }
    }

    /// What a whole file of marks says.
    pub fn of(deeds: &[Deed], dir: &Path) -> Span {
        let mut span = Span::default();
        span.follow(deeds, &std::fs::read(dir.join(MARKS)).unwrap_or_default());
        span
    }
}

/// Checks that the store in `dir` holds so many of the deeds and answers with how many. It takes two more batches.
pub fn check(dir: &Path, deeds: &[Deed], expected: &[u64], span: Span) -> Result<usize, String> {
    let store = open(dir)?;
    let found = story::digest(&store).map_err(|error| format!("reading: {error:?}"))?;
    store.verify().map_err(|error| format!("verify: {error:?}"))?;
    let described = story::describe(&store);
    let mut epoch = Epoch(0);
    let mut act = |store: &EmbeddedStore, deed| {
        story::act(store, &mut epoch, deed).map(|()| epoch.0).map_err(|error| format!("{deed}: {error:?}"))
    };
    let owners = act(&store, Deed::Open)? - 1;
    let opens = |place: usize| deeds[..place].iter().filter(|deed| **deed == Deed::Open).count() as u64;
    let most = span.most.min(deeds.len());
    let is_there = |place: &usize| expected[*place] == found && opens(*place) == owners;
    let Some(place) = (span.least..=most).rev().find(is_there) else {
        let elsewhere = (0..=deeds.len()).find(is_there);
        return Err(format!("{described} and {owners} owners: what the first {elsewhere:?} deeds leave"));
    };
    let last = deeds[..place].iter().rev().find_map(|deed| match deed {
        Deed::Append(id) => Some(*id),
        _ => None,
    });
    let next = last.unwrap_or(0) + 1;
    act(&store, Deed::Append(next))?;
    act(&store, Deed::Append(next + 1))?;
    drop(store);
    let store = open(dir)?;
    store.verify().map_err(|error| format!("verify after two more batches: {error:?}"))?;
    Ok(place)
}

fn open(dir: &Path) -> Result<EmbeddedStore, String> {
    EmbeddedStore::open(dir).map_err(|error: StoreError| format!("opening: {error:?}"))
}

/// A power failure to try.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// After so many events.
    after: usize,
    kept: Kept,
    seed: u64,
}

/// So many failures within a part of the events. Every fifth is right after a sync and takes all that was not synced.
fn failures(events: &[Event], part: RangeInclusive<usize>, count: u64) -> Vec<Failure> {
    let at = |seed| part.start() + Dice::new(seed).below((part.end() - part.start() + 1) as u64) as usize;
    let choose = |seed| {
        let kept = Kept::ALL[seed as usize % 5];
        let mut after = at(seed);
        if kept == Kept::None {
            let is_sync = |event: &Event| matches!(event, Event::Synced { .. });
            after = events[..after].iter().rposition(is_sync).map_or(0, |place| place + 1).max(*part.start());
        }
        Failure { after, kept, seed }
    };
    (seed()..seed() + count).map(choose).collect()
}

/// Lets the power fail so, and checks each image. How often an image held so many deeds.
pub fn fail(
    watched: &Watched,
    deeds: &[Deed],
    failures: impl Fn(&[Event]) -> Vec<Failure>,
) -> BTreeMap<usize, usize> {
    let expected = story::expected(deeds);
    let events = trace::read(&watched.trace());
    let mut failures = failures(&events);
    failures.sort_by_key(|failure| failure.after);
    let mut platter = Platter::default();
    let (mut span, mut followed) = (Span::default(), 0);
    let mut found = BTreeMap::new();
    for failure in failures {
        for event in &events[followed..failure.after] {
            match event {
                Event::Written { name, data, .. } if name == MARKS => span.follow(deeds, data),
                _ => platter.follow(event),
            }
        }
        followed = failure.after;
        let image = folder();
        fail_into(image.path(), &platter, failure);
        match check(image.path(), deeds, &expected, span) {
            Ok(place) => *found.entry(place).or_default() += 1,
            Err(error) => {
                // The image as it was, for whoever has to find out: the store has worked on the other one.
                let image = folder().keep();
                fail_into(&image, &platter, failure);
                let image = image.display();
                panic!("{failure:?} of {} events, {span:?}: {error}\nimage: {image}", events.len());
            }
        }
    }
    found
}

/// Writes the image of a failure.
fn fail_into(dir: &Path, platter: &Platter, failure: Failure) {
    let mut dice = Dice::new(failure.seed);
    platter.image(dir, failure.kept, &mut dice);
    if dice.below(4) == 0 {
        // The index of the write-ahead log is never synced: whatever is there must not be believed.
        let garbage: Vec<u8> = (0..32_768).map(|_| dice.below(256) as u8).collect();
        std::fs::write(dir.join("riverrun.db-shm"), garbage).expect("a file");
    }
}

pub fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).expect("a directory") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

/// How many images are tried: `RIVERRUN_DISK_IMAGES` asks for more than a test run can afford.
pub fn images(usual: u64) -> u64 {
    std::env::var("RIVERRUN_DISK_IMAGES").map_or(usual, |text| text.parse().expect("a number of images"))
}

/// The first seed: `RIVERRUN_DISK_SEED` repeats what a longer run has found.
pub fn seed() -> u64 {
    std::env::var("RIVERRUN_DISK_SEED").map_or(1, |text| text.parse().expect("a seed"))
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_any_moment() {
    let deeds = story::story();
    let watched = Watched::new();
    watched.whole_story(&deeds);
    let found = fail(&watched, &deeds, |events| failures(events, 0..=events.len(), images(60)));
    assert!(found.len() > 15, "the images differ: {found:?}");
}

#[test]
fn a_loss_of_power_after_a_failed_sync_takes_nothing_that_was_acknowledged() {
    let deeds = story::story();
    let expected = story::expected(&deeds);
    // The syncs of appends, of which every sixth makes a checkpoint durable too.
    for n in [16, 19, 27] {
        let watched = Watched::new();
        let fault = format!("sync:{n}:1:5");
        let said = watched.process(&deeds[..41], 0, Some(&fault));
        assert!(said.contains("Broken"), "{fault}: {said}");
        let events = trace::read(&watched.trace());
        let broke = events.iter().position(|event| matches!(event, Event::SyncFailed { .. }));
        let (broke, ended) = (broke.expect("it failed"), events.len());
        fail(&watched, &deeds, |events| failures(events, broke..=ended, images(16)));

        // Another process goes on where the first one stopped.
        let copied = folder();
        copy(&watched.data(), copied.path());
        let span = Span::of(&deeds, &watched.data());
        let place = check(copied.path(), &deeds, &expected, span).expect("it opens");
        let after = [&[Deed::Open][..], &deeds[place..place + 6], &[Deed::Close]].concat();
        assert_eq!(watched.process(&after, place, None), "done");
        let told = [&deeds[..place], &after].concat();
        fail(&watched, &told, |events| failures(events, ended + 10..=events.len(), images(16)));
    }
}
