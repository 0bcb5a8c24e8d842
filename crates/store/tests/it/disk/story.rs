//! What a process does to a store while its disk is watched, and what the store must say after each of its deeds.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};

use riverrun_kernel::{Entry, Record, Rows};
use riverrun_store::{AppendError, Batch, Checkpoint, Epoch, MemoryStore, RunFilter, Store, StoreError};

use super::platter::Dice;
use crate::samples::{self, P0, batch, key_id, look, needs, now, recovered, run_id};

/// Runs that the story is about.
const RUNS: u64 = 12;

/// One deed. Each is atomic, and all but checkpoints are durable when they return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A process opens the store and takes its partition.
    Open,
    /// The batch with this number.
    Append(u64),
    /// Rows, and the log cut before the batch with this number. Durable with the next append.
    Checkpoint(u64),
    /// Nothing, until the store has moved its write-ahead log into the database.
    Settle,
    /// The process closes the store.
    Close,
    /// The process ends without a word.
    Die,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Open => f.write_str("open"),
            Deed::Append(id) => write!(f, "append{id}"),
            Deed::Checkpoint(id) => write!(f, "checkpoint{id}"),
            Deed::Settle => f.write_str("settle"),
            Deed::Close => f.write_str("close"),
            Deed::Die => f.write_str("die"),
        }
    }
}

impl Deed {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Deed {
        let number = |text: &str| text.parse().expect("a number");
        match text {
            "open" => Deed::Open,
            "settle" => Deed::Settle,
            "close" => Deed::Close,
            "die" => Deed::Die,
            _ => match (text.strip_prefix("append"), text.strip_prefix("checkpoint")) {
                (Some(id), _) => Deed::Append(number(id)),
                (_, Some(id)) => Deed::Checkpoint(number(id)),
                _ => panic!("no deed is called {text}"),
            },
        }
    }

    /// Whether it is durable when it returns.
    pub fn is_durable(self) -> bool {
        matches!(self, Deed::Open | Deed::Append(_) | Deed::Close)
    }
}

/// A story of three processes, one after another.
pub fn story() -> Vec<Deed> {
    let mut deeds = Vec::new();
    let mut batch = 0;
    let mut append = |deeds: &mut Vec<Deed>, count: u64| {
        for _ in 0..count {
            batch += 1;
            deeds.push(Deed::Append(batch));
            if batch % 6 == 0 {
                deeds.push(Deed::Checkpoint(batch - 2));
            }
        }
        if batch % 6 == 2 {
            deeds.push(Deed::Append(batch + 1));
            batch += 1;
        }
    };
    deeds.push(Deed::Open);
    append(&mut deeds, 40);
    deeds.push(Deed::Die);
    deeds.push(Deed::Open);
    append(&mut deeds, 70);
    deeds.push(Deed::Settle);
    append(&mut deeds, 20);
    deeds.push(Deed::Close);
    deeds.push(Deed::Open);
    append(&mut deeds, 12);
    deeds.push(Deed::Close);
    deeds
}

/// The batch with this number. Every third is large and cannot be compressed much.
pub fn numbered(epoch: Epoch, id: u64) -> Batch {
    let mut records: Vec<Record> =
        (0..3).map(|n| Record::Run(run_id(id % RUNS * 2), samples::entry(id + n))).collect();
    if id.is_multiple_of(3) {
        let mut dice = Dice::new(id);
        let letter = |_| char::from(b' ' + dice.below(90) as u8);
        let reason = (0..200_000).map(letter).collect();
        records[2] = Record::Run(run_id(0), Entry::RunSuspended { reason });
    }
    batch(P0, epoch, id, 3 * id - 2, records)
}

/// The checkpoint that leaves the log to begin with this batch.
fn checkpoint(id: u64) -> Checkpoint {
    let runs = (0..4).map(|n| (id + n) % RUNS);
    Checkpoint {
        rows: Rows {
            runs: runs.clone().map(|n| samples::row(2 * n, id, look(n + id))).collect(),
            journal: runs.clone().map(|n| samples::line(2 * n, id)).collect(),
            keys: runs.map(|n| samples::key(0, n, id)).collect(),
            deleted_runs: vec![run_id(id % RUNS * 2)],
            definitions: vec![samples::definition(id)],
            partition: Some(samples::partition_row(id)),
            ..Rows::default()
        },
        now: now(id),
        trim_below: 3 * id - 2,
    }
}

/// Why a deed failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Append(AppendError),
    Other(StoreError),
}

/// Does what concerns the store. `epoch` is that of the process.
pub fn act(store: &dyn Store, epoch: &mut Epoch, deed: Deed) -> Result<(), Failure> {
    match deed {
        Deed::Open => store.acquire(P0, "story").map(|given| *epoch = given).map_err(Failure::Other),
        Deed::Append(id) => store.append(&[numbered(*epoch, id)]).map_err(Failure::Append),
        Deed::Checkpoint(id) => store.checkpoint(P0, *epoch, &checkpoint(id)).map_err(Failure::Other),
        Deed::Settle | Deed::Close | Deed::Die => Ok(()),
    }
}

/// What the store has to say after the first 0, 1, 2, … deeds, as digests.
pub fn expected(deeds: &[Deed]) -> Vec<u64> {
    let store = MemoryStore::new(1, [0; 32]);
    let mut epoch = Epoch(0);
    let mut digests = vec![digest(&store).expect("memory answers")];
    for deed in deeds {
        act(&store, &mut epoch, *deed).expect("memory does everything");
        digests.push(digest(&store).expect("memory answers"));
    }
    digests
}

/// Everything that a store says, in one number.
pub fn digest(store: &dyn Store) -> Result<u64, StoreError> {
    let mut hasher = DefaultHasher::new();
    let mut hash = |text: String| text.hash(&mut hasher);
    store.recover(P0, &mut |piece| {
        hash(format!("{piece:?}"));
        Ok(())
    })?;
    let runs: Vec<_> = (0..RUNS).map(|n| run_id(2 * n)).collect();
    let keys: Vec<_> = (0..RUNS).map(|n| key_id(0, n)).collect();
    hash(format!("{:?}", store.load(P0, &needs(&runs, &keys))?));
    for run in runs {
        hash(format!("{:?}", store.journal(run, 0, 1000)?));
    }
    let filter = RunFilter { namespace: "default".into(), ..RunFilter::default() };
    hash(format!("{:?}", store.list(&filter, None, 100, &std::collections::HashSet::new())?));
    hash(format!("{:?}", store.count(&filter, 100)?));
    Ok(hasher.finish())
}

/// How a store stands, for a message: its batches.
pub fn describe(store: &dyn Store) -> String {
    let pieces = recovered(store, P0);
    let batches: Vec<u64> = pieces
        .iter()
        .filter_map(|piece| match piece {
            riverrun_store::Recovered::Batch(batch) => Some(batch.id.0),
            _ => None,
        })
        .collect();
    format!("{} pieces, batches {:?} to {:?}", pieces.len(), batches.first(), batches.last())
}
