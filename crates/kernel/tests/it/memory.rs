//! Rows against memory: recovery gives the same partition, sleeping runs cost a stub, the log is trimmed.

use riverrun_kernel::*;

use crate::world::{Op, World, call, flow, task};

#[test]
fn recovery_from_the_log_alone_gives_the_same_partition() {
    let mut world = World::new(&[("f", vec![Op::Sleep(10), Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    for _ in 0..5 {
        world.start(flow("f"));
    }
    world.pass(10);
    let offer = world.offer();
    world.succeed(&offer);
    let before = world.partition.fingerprint();
    world.crash();
    assert_eq!(world.partition.fingerprint(), before);
}

#[test]
fn a_sleeping_run_costs_a_stub_and_wakes_in_time() {
    let mut world = World::new(&[("f", vec![Op::Sleep(60_000)])]);
    let runs: Vec<RunId> = (0..100).map(|_| world.start(flow("f"))).collect();
    world.evict();
    assert_eq!(world.partition.loaded(), (0, 100));
    world.crash();
    assert_eq!(world.partition.loaded(), (0, 100), "recovery loads nothing that only sleeps");
    world.pass(59_000);
    assert_eq!(world.partition.loaded(), (100, 0), "they are loaded before they are due");
    world.evict();
    assert_eq!(world.partition.loaded(), (100, 0), "and stay");
    assert!(runs.iter().all(|run| world.state(*run) == State::Suspended));
    world.pass(1_000);
    for run in runs {
        assert_eq!(world.state(run), State::Succeeded);
    }
    assert_eq!(world.partition.loaded().1, 0);
}

#[test]
fn a_checkpoint_leaves_a_stub_of_a_run_that_rests() {
    let mut world = World::new(&[("far", vec![Op::Sleep(60_000)]), ("near", vec![Op::Sleep(3_000)])]);
    world.start(flow("far"));
    world.start(flow("near"));
    world.checkpoint(10);
    assert_eq!(world.partition.loaded(), (2, 0), "both have just done something");
    world.start(flow("far"));
    world.start(flow("near"));
    world.pass(1_000);
    assert_eq!(world.partition.waiting_dirty(), 2);
    world.checkpoint(10);
    assert_eq!(world.partition.loaded(), (3, 1));
    assert_eq!(world.partition.waiting_dirty(), 0);
}

#[test]
fn a_checkpoint_frees_the_log_and_closed_runs() {
    let mut world = World::new(&[("f", vec![]), ("s", vec![Op::Sleep(1_000)])]);
    for _ in 0..10 {
        world.start(flow("f"));
        world.start(flow("s"));
    }
    assert!(world.partition.dirty_records() > 50);
    world.checkpoint(7);
    assert!(world.partition.trim_point() > 1, "the oldest changes go first");
    world.checkpoint(100);
    assert_eq!(world.partition.dirty_records(), 0);
    assert_eq!(world.partition.loaded(), (10, 0), "closed runs are rows only");
    assert_eq!(world.table.runs.len(), 20);
    world.log.clear();
    let next = world.partition.next_record();
    world.crash();
    assert_eq!(world.partition.next_record(), next, "numbers go on without a log");
}

#[test]
fn what_changes_while_a_slice_is_written_stays_dirty() {
    let mut world = World::new(&[("f", vec![Op::Signal("go", None)])]);
    let run = world.start(flow("f"));
    let rows = world.partition.checkpoint_slice(10);
    assert_eq!(rows.runs.len(), 1);
    let number = world.partition.next_record();
    world.send(Command::Signal { run, name: "go".into(), payload: Json::null(), id: None }).expect("sent");
    world.partition.checkpointed(world.now);
    assert_eq!(world.partition.trim_point(), number);
    let tail: Vec<u64> = world.partition.journal_tail(run, 0).iter().map(|line| line.seq).collect();
    assert_eq!(
        tail.first(),
        Some(&(rows.journal.len() as u64 + 1)),
        "the lines that were written are gone from memory"
    );
}

#[test]
fn a_million_timers_tick_without_scanning() {
    let mut world = World::new(&[]);
    for number in 0..1_000_000_u64 {
        world.partition.recover_stub(Stub {
            run: RunId::new(number, Slot(0), number),
            wake_ticks: Some(Due::Ticks(Ticks(3_000 + number))),
            wake_wall: None,
            queued: vec![],
            active: false,
        });
    }
    assert_eq!(world.partition.next_due().0, Some(Due::Ticks(Ticks(1_000))));
    world.now.ticks = Ticks(1_009);
    world.partition.apply(world.now, Command::Tick { limit: 100 }, &world.library).expect("a tick");
    let loads = world.partition.take_decided().effects;
    assert_eq!(loads.len(), 10, "only what is due is asked for");
}

#[test]
fn a_long_line_is_stubs_that_are_read_before_their_turn() {
    let mut world = World::new(&[]);
    let runs: Vec<RunId> = (0..4_000).map(|_| world.start(task("t"))).collect();
    world.checkpoint(usize::MAX);
    let (loaded, stubs) = world.partition.loaded();
    assert_eq!(loaded + stubs, 4_000);
    assert!((1_000..1_100).contains(&loaded), "those that come first stay in memory, not {loaded}");
    world.crash();
    assert_eq!(world.partition.loaded(), (0, 4_000), "recovery loads nothing that only stands in a line");
    world.worker(1, &["t"], 4);
    for run in &runs {
        let offer = world.offer();
        assert_eq!(offer.attempt.run, *run, "first in, first out");
        world.succeed(&offer);
        if world.partition.loaded().0 > 1_000 {
            world.checkpoint(usize::MAX);
        }
        assert!(world.partition.loaded().0 < 1_100, "{:?} in memory", world.partition.loaded());
    }
    assert_eq!(world.partition.loaded().1, 0);
}

#[test]
fn what_comes_first_is_given_out_before_what_was_read_ahead() {
    let mut world = World::new(&[]);
    for _ in 0..3_000 {
        world.start(task("t"));
    }
    world.evict();
    world.worker(1, &["t"], 1);
    let offer = world.offer();
    let mut urgent = world.request(task("t"));
    urgent.options.task = Some(TaskOptions { priority: Some(9), ..TaskOptions::default() });
    let (urgent, ..) = world.start_run(urgent).expect("a start");
    world.evict();
    world.succeed(&offer);
    assert_eq!(world.offer().attempt.run, urgent);
}

#[test]
fn a_stub_is_small() {
    assert!(size_of::<Stub>() <= 200, "{} bytes", size_of::<Stub>());
}

#[test]
fn records_survive_their_encoding() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Sleep(5)])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.succeed(&offer);
    world.start(task("a"));
    for batch in &world.log {
        let bytes = rmp_serde::to_vec_named(&batch.records).expect("encodes");
        let back: Vec<Record> = rmp_serde::from_slice(&bytes).expect("decodes");
        assert_eq!(back, batch.records);
    }
    world.checkpoint(10);
    let row = &world.table.runs[&run];
    let bytes = rmp_serde::to_vec_named(row).expect("encodes");
    assert_eq!(&rmp_serde::from_slice::<RunRow>(&bytes).expect("decodes"), row);
}

#[test]
fn a_run_whose_id_was_used_before_survives_recovery() {
    let mut world = World::new(&[("f", vec![]), ("g", vec![Op::Signal("x", None)])]);
    let mut request = world.request(flow("f"));
    request.client_id = true;
    let (run, ..) = world.start_run(request.clone()).expect("a start");
    world.send(Command::Delete { run }).expect("deleted");
    request.definition = flow("g");
    assert_eq!(world.start_run(request).map(|found| found.1), Ok(StartKind::Created));
    world.crash();
    assert_eq!(world.state(run), State::Suspended, "from the log");
    world.checkpoint(10);
    world.table.trimmed_below = 0;
    world.crash();
    assert_eq!(world.state(run), State::Suspended, "from a row that is newer than the deletion");
}

#[test]
fn a_slice_that_was_not_written_leaves_the_lines_dirty() {
    let mut world = World::new(&[]);
    let message = Message::CancelRun { run: RunId::new(1, Slot(0), 1), reason: String::new() };
    world.send(Command::Receive { from: PartitionId(0), seq: 1, message }).expect("received");
    let before = world.partition.trim_point();
    let not_written = world.partition.checkpoint_slice(10);
    assert!(not_written.partition.is_some());
    assert_eq!(world.partition.trim_point(), before);
    world.checkpoint(10);
    assert_eq!(world.partition.trim_point(), world.partition.next_record());
}
