//! Batches and rows to store. Everything is made from small numbers, so that the same numbers give the same values.

use std::collections::BTreeMap;
use std::sync::Arc;

use riverrun_kernel::schedule::{
    MissedPolicy, Overlap, Planned, Schedule, ScheduleEntry, ScheduleId, ScheduleRow, ScheduleSpec,
    ScheduleStub, Target,
};
use riverrun_kernel::{
    Command, Config, Definition, DefinitionKind, DefinitionRef, Driver, Drivers, Due, Entry, Fingerprint,
    JournalRow, Json, Key, KeyId, KeyRow, KeyStatus, KeyUse, Message, Needs, Now, Parent, Partition,
    PartitionId, PartitionRow, Record, RunId, RunOptions, RunRow, RunState, RunSummary, Slot, StartRun,
    State, StepId, Stub, Ticks, Ttl, WaitKind, Waiting, Wall, task::TaskDriver,
};
use riverrun_store::{Batch, BatchId, Epoch, Recovered, Store};

pub const P0: PartitionId = PartitionId(0);
pub const P1: PartitionId = PartitionId(1);

/// The `n`th run: even ones live in the first of two partitions, odd ones in the second.
pub fn run_id(n: u64) -> RunId {
    let slot = if n.is_multiple_of(2) { 1 } else { 40_000 };
    RunId::new(1_000 + n, Slot(slot), n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

pub fn now(n: u64) -> Now {
    Now { wall: Wall(5_000 + n as i64), ticks: Ticks(n) }
}

/// A JSON text of more than 64 KiB.
pub fn large(n: u64) -> Json {
    Json::trusted(format!("{{\"n\": {n}, \"text\": \"{}\"}}", "x".repeat(70_000)))
}

pub fn small(n: u64) -> Json {
    Json::trusted(format!("{{\"n\": {n}}}"))
}

/// A record of a run's journal; every seventh carries a large value.
pub fn entry(n: u64) -> Entry {
    match n % 7 {
        0 => Entry::StepSucceeded { step: StepId(n as u32), attempt: 1, output: large(n % 3) },
        1 => Entry::RunStarted,
        2 => Entry::RunSuspended { reason: "x".repeat(70_000) },
        3 => Entry::Advanced {
            cells: vec![(1, Some("[1, 2]".into())), (2, None)],
            transitions: 3,
            unfinished: false,
        },
        4 => Entry::StatusPublished { status: small(n) },
        5 => Entry::AttemptStarted {
            step: StepId(n as u32),
            attempt: 2,
            worker: "w1".into(),
            in_process: false,
            incarnation: None,
        },
        _ => Entry::SignalReceived { name: "go".into(), payload: small(n), id: None },
    }
}

/// A batch that follows what the caller says.
pub fn batch(partition: PartitionId, epoch: Epoch, id: u64, first: u64, records: Vec<Record>) -> Batch {
    Batch { partition, epoch, id: BatchId(id), now: now(id), first, records }
}

/// One record of the first partition, of the kind that `n` says.
pub fn record(n: u64) -> Record {
    record_of(P0, n)
}

/// One record of a partition, of the kind that `n` says.
pub fn record_of(partition: PartitionId, n: u64) -> Record {
    let run = run_id(n % 3 * 2 + u64::from(partition.0));
    match n % 11 {
        _ if n % 23 == 22 => {
            let next = Some(Planned { at: Wall(n as i64), due: Wall(n as i64 + 1) });
            let set = ScheduleEntry::Set { spec: Box::new(spec(n)), next };
            Record::Schedule(schedule_id(n % 3), Box::new(set))
        }
        8 => Record::MessageSent {
            to: P1,
            seq: n,
            message: Message::Signal {
                run: run_id(n),
                name: "go".into(),
                payload: small(n),
                id: Some("a".into()),
            },
        },
        9 => Record::RunDeleted(run),
        10 => Record::DefinitionDeployed(definition(n % 3)),
        _ => Record::Run(run, entry(n)),
    }
}

pub fn definition(n: u64) -> Definition {
    Definition {
        reference: DefinitionRef {
            namespace: "default".into(),
            kind: DefinitionKind::Flow,
            name: format!("flow{n}").into(),
            version: "1".into(),
        },
        source: "steps: []".into(),
        deployed: Wall(n as i64),
        created: (n > 0).then_some(Wall(1)),
        facts: [("description".to_owned(), "what it is for".to_owned())].into(),
        deleted: n == 2,
        options: None,
    }
}

struct Tasks;

impl Drivers for Tasks {
    fn driver(&self, _: &DefinitionRef) -> Option<Arc<dyn Driver>> {
        Some(Arc::new(TaskDriver))
    }
}

/// A run's state as the kernel makes it, for a run with this input.
pub fn state(run: RunId, input: Json) -> RunState {
    let mut partition = Partition::new(Config::new(P0, 1, [0; 32]));
    let start = StartRun {
        run,
        client_id: false,
        definition: DefinitionRef {
            namespace: "default".into(),
            kind: DefinitionKind::Task,
            name: "work".into(),
            version: "".into(),
        },
        input,
        key: None,
        parent: None,
        options: RunOptions::default(),
    };
    partition.apply(now(1), Command::Start(Box::new(start)), &Tasks).expect("a task starts");
    partition.take_decided();
    partition.checkpoint_slice(1).runs.remove(0).state
}

/// How a run's row looks; each number picks one of a few values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    pub namespace: u64,
    pub definition: u64,
    pub kind: u64,
    pub state: u64,
    pub created: u64,
    pub labels: u64,
    pub key: u64,
    pub parent: u64,
    pub large: bool,
}

/// A look that varies in everything with `n`.
pub fn look(n: u64) -> Look {
    let pick = |salt: u64| n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(salt) >> 7;
    Look {
        namespace: u64::from(pick(1) % 5 == 0),
        definition: pick(2) % 3,
        kind: pick(3) % 2,
        state: pick(5) % 9,
        created: pick(7) % 20,
        labels: pick(11) % 4,
        key: pick(13) % 3,
        parent: pick(17) % 3,
        large: pick(19) % 8 == 0,
    }
}

pub fn namespace(n: u64) -> &'static str {
    ["default", "other"][n as usize]
}

pub fn key_id(namespace_of: u64, n: u64) -> KeyId {
    KeyId {
        namespace: namespace(namespace_of).into(),
        definition: format!("flow{}", n % 2).into(),
        version: "".into(),
        continue_id: format!("key{n}").into(),
    }
}

pub fn summary(n: u64, look: Look) -> RunSummary {
    let state = State::ALL[look.state as usize];
    let kinds = [WaitKind::Timer, WaitKind::Signal, WaitKind::Predecessor];
    let waiting = (state == State::Suspended).then(|| Waiting {
        kind: kinds[look.definition as usize],
        since: Wall(1),
        until: None,
        name: "x".into(),
    });
    let mut labels = BTreeMap::new();
    if look.labels & 1 > 0 {
        labels.insert("team".to_owned(), "red".to_owned());
    }
    if look.labels & 2 > 0 {
        labels.insert("host".to_owned(), format!("h{}", look.definition));
    }
    RunSummary {
        id: run_id(n),
        definition: DefinitionRef {
            namespace: namespace(look.namespace).into(),
            kind: [DefinitionKind::Flow, DefinitionKind::Task][look.kind as usize],
            name: format!("flow{}", look.definition).into(),
            version: "1".into(),
        },
        state,
        waiting,
        created: Wall(look.created as i64),
        started: None,
        ended: state.is_closed().then_some(Wall(look.created as i64 + 3)),
        labels,
        key: (look.key > 0).then(|| KeyUse { id: key_id(look.namespace, look.key), generation: 1 }),
        parent: (look.parent > 0).then(|| Parent { run: run_id(look.parent), step: StepId(1), waits: true }),
        error: None,
        origin: None,
        queue: None,
        expires: (look.labels == 3).then_some(Wall(look.created as i64 + 5)),
        read_once: false,
        attempts: 0,
    }
}

/// The row of the `n`th run.
pub fn row(n: u64, last: u64, look: Look) -> RunRow {
    let summary = summary(n, look);
    let input = if look.large { large(n) } else { small(n) };
    row_with(summary, last, state(run_id(n), input))
}

/// A row with a state that was made before.
pub fn row_with(summary: RunSummary, last: u64, state: RunState) -> RunRow {
    let stub = (!summary.state.is_closed()).then(|| Stub {
        run: summary.id,
        wake_ticks: Some(Due::Ticks(Ticks(last))),
        wake_wall: None,
        queued: Vec::new(),
        active: true,
    });
    RunRow { summary, stub, state, last }
}

pub fn line(n: u64, seq: u64) -> JournalRow {
    JournalRow { run: run_id(n), seq, at: Wall(seq as i64), entry: entry(n + seq) }
}

pub fn key(namespace_of: u64, n: u64, last: u64) -> KeyRow {
    KeyRow {
        key: Key {
            id: key_id(namespace_of, n),
            fingerprint: Fingerprint([n as u8; 32]),
            run: run_id(n),
            generation: 1,
            status: KeyStatus::InFlight,
            completed: None,
            ttl: Ttl::DEFAULT,
            failures_in_row: 0,
            hits: last,
            purged: false,
        },
        last,
    }
}

pub fn partition_row(n: u64) -> PartitionRow {
    PartitionRow { last: n, sent: vec![(P1, n)], received: vec![(P1, n)], ..PartitionRow::default() }
}

/// Everything that a recovery streams.
pub fn recovered(store: &dyn Store, partition: PartitionId) -> Vec<Recovered> {
    let mut all = Vec::new();
    store
        .recover(partition, &mut |piece| {
            all.push(piece);
            Ok(())
        })
        .expect("the partition recovers");
    all
}

/// The batches of a recovery.
pub fn batches(store: &dyn Store, partition: PartitionId) -> Vec<Batch> {
    let pieces = recovered(store, partition).into_iter();
    pieces
        .filter_map(|piece| match piece {
            Recovered::Batch(batch) => Some(batch),
            _ => None,
        })
        .collect()
}

/// What to load.
pub fn needs(runs: &[RunId], keys: &[KeyId]) -> Needs {
    Needs { runs: runs.to_vec(), keys: keys.to_vec(), schedules: Vec::new() }
}

pub fn schedule_id(n: u64) -> ScheduleId {
    ScheduleId { namespace: namespace(n % 2).into(), name: format!("sched/{n}").into() }
}

fn spec(n: u64) -> ScheduleSpec {
    let definition = definition(n).reference;
    ScheduleSpec {
        when: format!("@every {}s", n + 1).into(),
        zone: "Europe/Berlin".into(),
        // What is large stays in the row: it belongs to no run.
        target: Target {
            definition,
            input: if n.is_multiple_of(5) { large(n) } else { small(n) },
            options: RunOptions::default(),
            planned_as: Some("at".to_owned()),
        },
        overlap: Overlap::CancelOther,
        missed: MissedPolicy::All { max: 3 },
        missed_after_ms: n,
        jitter_ms: 0,
        from: None,
        until: Some(Wall(n as i64)),
        description: String::new(),
    }
}

/// The row of the `n`th schedule.
pub fn schedule(n: u64, last: u64) -> ScheduleRow {
    let due = Wall(last as i64 + 7);
    let schedule = Schedule {
        id: schedule_id(n),
        spec: spec(n),
        number: n,
        revision: 1,
        created: Wall(1),
        updated: Wall(2),
        cursor: Wall(last as i64),
        next: Some(Planned { at: due, due }),
        paused: (n % 3 == 2).then(|| (Wall(3), "a pause".to_owned())),
        waiting: [Wall(4)].into(),
        open: [run_id(2 * n)].into(),
        recent: [].into(),
        started: last,
        skipped: 0,
        last_skipped: None,
        missed: 0,
        last_missed: None,
        failed: 0,
        last_failure: None,
    };
    let stub = ScheduleStub { id: schedule_id(n), due: Some(due), behind: vec![run_id(2 * n)] };
    ScheduleRow { schedule, stub, last }
}
