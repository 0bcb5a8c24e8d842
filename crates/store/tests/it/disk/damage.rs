//! Damage to the files of a store that is closed, and to the write-ahead log that a killed process leaves: it is refused,
//! or it changes nothing that can be read.

use std::fs;
use std::path::Path;

use riverrun_store::{Batch, EmbeddedStore, Recovered, Store, StoreError};

use super::crashes::{copy, images, seed};
use super::platter::Dice;
use super::story::{self, Deed};
use super::watched::{MARKS, Watched, folder};
use crate::samples::P0;

/// Spoils a file in one of the ways that disks and people know. Says how.
fn spoil(path: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(path).expect("a file");
    let size = bytes.len() as u64;
    let sector = |dice: &mut Dice| (dice.below(size.div_ceil(512)) * 512) as usize;
    let end = |at: usize| (at + 512).min(size as usize);
    let how = match dice.below(6) {
        0..=2 => {
            let (at, bit) = (dice.below(size) as usize, dice.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} is flipped")
        }
        3 => {
            let at = sector(dice);
            bytes[at..end(at)].fill(0);
            format!("the sector at {at} is empty")
        }
        4 => {
            let (from, to) = (sector(dice), sector(dice));
            let moved = bytes[from..end(from)].to_vec();
            let length = moved.len().min(end(to) - to);
            bytes[to..to + length].copy_from_slice(&moved[..length]);
            format!("the sector at {to} is the one at {from}")
        }
        _ => {
            let length = dice.below(size) as usize;
            bytes.truncate(length);
            format!("it ends at {length}")
        }
    };
    fs::write(path, bytes).expect("written");
    how
}

/// Whether everything that can be read is as it was; `None` when it is refused as damaged.
fn read(dir: &Path, places: &[u64]) -> Result<Option<bool>, StoreError> {
    let refused = |error: StoreError| match error {
        StoreError::Corrupt(_) | StoreError::NewerVersion(_) => Ok(None),
        other => Err(other),
    };
    let store = match EmbeddedStore::open(dir) {
        Ok(store) => store,
        Err(error) => return refused(error),
    };
    let found = story::digest(&store);
    let verified = store.verify();
    match (found, verified) {
        (Ok(found), _) if !places.contains(&found) => Ok(Some(false)),
        (Ok(_), Ok(_)) => Ok(Some(true)),
        // What a read refuses, a verification must find.
        (Err(StoreError::Corrupt(_)), Ok(_)) => Ok(Some(false)),
        (Ok(_), Err(error)) | (Err(error), _) => refused(error),
    }
}

/// The batches that can be read; none when they are refused.
fn batches(dir: &Path) -> Vec<Batch> {
    let mut all = Vec::new();
    let store = EmbeddedStore::open(dir);
    let read = store.and_then(|store| {
        store.recover(P0, &mut |piece| {
            if let Recovered::Batch(batch) = piece {
                all.push(batch);
            }
            Ok(())
        })
    });
    if read.is_ok() { all } else { Vec::new() }
}

/// Spoils a file of `dir` in many ways and reads. `expected` are the digests of the story's places; those from `least` on may
/// be read. Answers with how often the store was refused.
fn try_all(dir: &Path, file: &str, expected: &[u64], least: usize, tries: u64) -> u64 {
    let places = &expected[least..];
    let mut refusals = 0;
    for seed in seed()..seed() + tries {
        let spoiled = folder();
        copy(dir, spoiled.path());
        let how = spoil(&spoiled.path().join(file), &mut Dice::new(seed));
        let about = |what: &str| format!("seed {seed}, {file}: {how}: {what}");
        match read(spoiled.path(), places) {
            Ok(Some(true)) => continue,
            Ok(None) => refusals += 1,
            other => panic!("{}", about(&format!("{other:?}"))),
        }
        // Looking changes nothing. Accepting the loss leaves batches as they were, or a refusal where rows are damaged.
        let looked = EmbeddedStore::repair(spoiled.path(), false);
        assert!(matches!(read(spoiled.path(), places), Ok(None)), "{}", about("repair changed it"));
        if looked.is_ok() && EmbeddedStore::repair(spoiled.path(), true).is_ok() {
            let left = batches(spoiled.path());
            // What may have been touched by the loss is suspended in one more batch.
            let kept = &left[..left.len().saturating_sub(1)];
            let is_whole = |batch: &Batch| batch.records == story::numbered(batch.epoch, batch.id.0).records;
            assert!(kept.iter().all(is_whole), "{}", about("repair left something else"));
        }
    }
    refusals
}

/// What the story's first process does before it dies.
fn first_process() -> Vec<Deed> {
    let story = story::story();
    let length = story.iter().position(|deed| *deed == Deed::Die).expect("it dies") + 1;
    story[..length].to_vec()
}

fn told(deeds: &[Deed]) -> (Watched, Vec<u64>) {
    let watched = Watched::new();
    watched.whole_story(deeds);
    fs::remove_file(watched.data().join(MARKS)).expect("removed");
    (watched, story::expected(deeds))
}

#[test]
fn damage_to_a_closed_store_is_found() {
    let (watched, expected) = told(&story::story());
    let refusals = try_all(&watched.data(), "riverrun.db", &expected, expected.len() - 1, images(40));
    assert!(refusals > 0, "some of it matters");
}

#[test]
fn damage_to_the_note_of_what_was_acknowledged_loses_nothing() {
    let (watched, expected) = told(&first_process());
    let refusals = try_all(&watched.data(), "acknowledged", &expected, expected.len() - 1, images(8));
    assert_eq!(refusals, 0, "a note may lag");
}

#[test]
fn damage_to_the_tail_that_a_killed_process_leaves_is_found() {
    let deeds = first_process();
    let (watched, expected) = told(&deeds);
    // A checkpoint that nothing followed need not be durable.
    let least = deeds.iter().rposition(|deed| deed.is_durable()).expect("an append") + 1;
    let refusals = try_all(&watched.data(), "riverrun.db-wal", &expected, least, images(20));
    assert!(refusals > 0, "some of it matters");
}
