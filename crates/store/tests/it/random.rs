//! Random operations: every store must give the answers that the one in memory gives.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use riverrun_kernel::{Entry, Json, Needs, PartitionId, Record, Rows};
use riverrun_store::{
    AppendError, BatchId, Checkpoint, Cursor, Epoch, KeyFilter, MemoryStore, Store, StoreError,
};
use sha2::Digest;

use crate::samples::{self, batch, key_id, look, now, recovered, run_id};
use crate::{Home, conformance, in_directory};

#[derive(Debug, Clone)]
enum Op {
    Acquire(u16),
    Append {
        partition: u16,
        numbers: Vec<u64>,
        stale: bool,
        skip: u64,
    },
    Checkpoint {
        partition: u16,
        runs: Vec<u64>,
        lines: Vec<(u64, u64)>,
        deleted: Vec<u64>,
        keys: Vec<u64>,
        back: u64,
        stale: bool,
    },
    List {
        filter: usize,
        limit: usize,
    },
    Load(Vec<u64>),
    Journal {
        run: u64,
        after: u64,
        limit: usize,
    },
    Keys {
        after: Option<u64>,
        limit: usize,
    },
    Blob {
        run: u64,
        number: u64,
    },
    Recover(u16),
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let partition = 0..2_u16;
    let few = |max: u64| prop::collection::vec(0..max, 0..5);
    let op = prop_oneof![
        1 => partition.clone().prop_map(Op::Acquire),
        6 => (partition.clone(), few(200), prop::bool::weighted(0.1), prop_oneof![9 => Just(0_u64), 1 => 1..3_u64])
            .prop_map(|(partition, numbers, stale, skip)| Op::Append { partition, numbers, stale, skip }),
        4 => (partition.clone(), few(60), prop::collection::vec((0..6_u64, 1..12_u64), 0..8), few(6), few(6), 0..12_u64, prop::bool::weighted(0.1))
            .prop_map(|(partition, runs, lines, deleted, keys, back, stale)| Op::Checkpoint { partition, runs, lines, deleted, keys, back, stale }),
        2 => (0..conformance::filters().len(), 0..6_usize).prop_map(|(filter, limit)| Op::List { filter, limit }),
        1 => few(8).prop_map(Op::Load),
        1 => (0..6_u64, 0..12_u64, 0..9_usize).prop_map(|(run, after, limit)| Op::Journal { run, after, limit }),
        1 => (prop::option::of(0..6_u64), 0..5_usize).prop_map(|(after, limit)| Op::Keys { after, limit }),
        1 => (0..6_u64, 0..6_u64).prop_map(|(run, number)| Op::Blob { run, number }),
        2 => partition.prop_map(Op::Recover),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..40)
}

/// What an operation answered; the text of a refusal is a store's own.
fn kind(answer: Result<(), AppendError>) -> Result<(), AppendError> {
    answer.map_err(|error| match error {
        AppendError::Refused(_) => AppendError::Refused(String::new()),
        other => other,
    })
}

/// Where the partitions stand, so that operations make sense.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    epoch: u64,
    batch: u64,
    next: u64,
}

fn answer(store: &dyn Store, op: &Op, places: &[Place; 2]) -> String {
    match op {
        Op::Acquire(partition) => format!("{:?}", store.acquire(PartitionId(*partition), "n")),
        Op::Append { partition, numbers, stale, skip } => {
            let place = places[usize::from(*partition)];
            let records: Vec<Record> =
                numbers.iter().map(|n| samples::record_of(PartitionId(*partition), *n)).collect();
            let epoch = Epoch(place.epoch - u64::from(*stale && place.epoch > 0));
            let one = batch(PartitionId(*partition), epoch, place.batch + 1 + skip, place.next + 1, records);
            let has = store.has_batch(one.partition, epoch, BatchId(place.batch));
            format!("{:?} {has:?}", kind(store.append(&[one])))
        }
        Op::Checkpoint { partition, runs, lines, deleted, keys, back, stale } => {
            let place = places[usize::from(*partition)];
            let home = |n: &u64| n % 2 == u64::from(*partition);
            let rows = Rows {
                runs: runs.iter().filter(|n| home(n)).map(|n| samples::row(n % 6, *n, look(*n))).collect(),
                journal: lines
                    .iter()
                    .filter(|(n, _)| home(n))
                    .map(|(n, seq)| samples::line(*n, *seq))
                    .collect(),
                deleted_runs: deleted.iter().filter(|n| home(n)).map(|n| run_id(*n)).collect(),
                keys: keys.iter().map(|n| samples::key(n % 2, n % 3, *n)).collect(),
                deleted_keys: keys.iter().skip(1).map(|n| key_id(n % 2, (n + 1) % 3)).collect(),
                // A name has one home.
                schedules: keys.iter().filter(|n| home(n)).map(|n| samples::schedule(*n, *back)).collect(),
                deleted_schedules: runs
                    .iter()
                    .filter(|n| home(n))
                    .map(|n| samples::schedule_id(n % 6))
                    .collect(),
                definitions: keys.iter().map(|n| samples::definition(*n)).collect(),
                partition: keys.first().map(|n| samples::partition_row(*n)),
            };
            let one =
                Checkpoint { rows, now: now(*back), trim_below: (place.next + 1).saturating_sub(*back) };
            let epoch = Epoch(place.epoch - u64::from(*stale && place.epoch > 0));
            format!("{:?}", store.checkpoint(PartitionId(*partition), epoch, &one))
        }
        Op::List { filter, limit } => {
            let filter = &conformance::filters()[*filter];
            let without = HashSet::from([run_id(3)]);
            let mut after: Option<Cursor> = None;
            let mut text = format!("{:?}", store.count(filter, 3));
            for _ in 0..3 {
                let page = store.list(filter, after, *limit, &without);
                write!(text, "{page:?}").expect("a String takes everything");
                after = page.ok().and_then(|page| page.next);
            }
            text
        }
        Op::Load(runs) => {
            let ids: Vec<_> = runs.iter().map(|n| run_id(*n)).collect();
            let keys: Vec<_> = runs.iter().map(|n| key_id(n % 2, n % 3)).collect();
            let schedules: Vec<_> = runs.iter().map(|n| samples::schedule_id(*n)).collect();
            format!("{:?}", store.load(PartitionId(0), &Needs { runs: ids, keys, schedules }))
        }
        Op::Journal { run, after, limit } => format!("{:?}", store.journal(run_id(*run), *after, *limit)),
        Op::Keys { after, limit } => {
            let filter = KeyFilter { namespace: "default".into(), definition: None };
            let after = after.map(|n| key_id(0, n));
            format!("{:?}", store.keys(&filter, after.as_ref(), *limit))
        }
        Op::Blob { run, number } => {
            let hash = sha2::Sha256::digest(samples::large(*number).get()).into();
            let found: Result<Option<Json>, StoreError> = store.blob(run_id(*run), hash);
            format!("{:?}", found.map(|value| value.is_some()))
        }
        Op::Recover(partition) => format!("{:?}", recovered(store, PartitionId(*partition))),
        Op::Reopen => format!("{:?}", store.verify()),
    }
}

/// Keeps the places up to date with what succeeded.
fn follow(places: &mut [Place; 2], op: &Op, text: &str) {
    match op {
        Op::Acquire(partition) => places[usize::from(*partition)].epoch += 1,
        Op::Append { partition, numbers, .. } if text.starts_with("Ok") => {
            let place = &mut places[usize::from(*partition)];
            place.batch += 1;
            place.next += numbers.len() as u64;
        }
        _ => {}
    }
}

fn agree(home: &dyn Home, ops: &[Op]) -> Result<(), TestCaseError> {
    let oracle = MemoryStore::new(2, [0; 32]);
    let mut store: Option<Arc<dyn Store>> = Some(home.open());
    let mut places = [Place::default(); 2];
    for op in ops {
        let current = store.as_ref().expect("a store is open");
        let expected = answer(&oracle, op, &places);
        prop_assert_eq!(answer(&**current, op, &places), expected.as_str(), "{:?}", op);
        follow(&mut places, op, &expected);
        if matches!(op, Op::Reopen) {
            drop(store.take());
            let opened = home.open();
            // A store that was closed has no owners.
            for (partition, place) in places.iter_mut().enumerate() {
                let partition = PartitionId(partition as u16);
                let epoch = opened.acquire(partition, "n").expect("acquired");
                prop_assert_eq!(epoch, oracle.acquire(partition, "n").expect("acquired"));
                place.epoch = epoch.0;
            }
            store = Some(opened);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_agrees_with_memory(ops in ops()) {
        agree(&in_directory(), &ops)?;
    }
}

#[test]
fn texts_that_are_not_json_stay_in_their_place() {
    let home = in_directory();
    let store = home.open();
    let epoch = store.acquire(samples::P0, "a").expect("acquired");
    let reason = "x".repeat(100_000);
    let entry = Entry::RunSuspended { reason: reason.clone() };
    let one = batch(samples::P0, epoch, 1, 1, vec![Record::Run(run_id(0), entry)]);
    store.append(std::slice::from_ref(&one)).expect("appended");
    assert_eq!(samples::batches(&*store, samples::P0), [one]);
    assert_eq!(store.verify().expect("in order").blobs, 0);
}
