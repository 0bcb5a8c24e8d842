//! Schedules: each planned time has one run or a reason, whatever the process, the clock and the runs before it do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, RngAlgorithm, TestRng, TestRunner};
use riverrun_kernel::schedule::*;
use riverrun_kernel::*;

use crate::world::{Op, World, call, flow, task};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn id(name: &str) -> ScheduleId {
    ScheduleId { namespace: "default".into(), name: name.into() }
}

/// An hourly schedule of what sleeps for `nap_ms` and ends.
fn world(nap_ms: u64) -> World {
    World::new(&[("nap", vec![Op::Sleep(nap_ms)]), ("ask", vec![Op::Call(call("a"))])])
}

fn spec(when: &str, definition: DefinitionRef) -> ScheduleSpec {
    ScheduleSpec {
        when: when.into(),
        zone: "".into(),
        target: Target {
            definition,
            input: Json::trusted("{}"),
            options: RunOptions::default(),
            planned_as: None,
        },
        overlap: Overlap::Skip,
        missed: MissedPolicy::One,
        missed_after_ms: MINUTE,
        jitter_ms: 0,
        from: None,
        until: None,
        description: String::new(),
    }
}

fn put(world: &mut World, name: &str, spec: ScheduleSpec) -> Result<Reply, Refusal> {
    let put = ScheduleCommand::Put { spec: Box::new(spec), mode: PutMode::Put, paused: None };
    world.send(Command::Schedule(id(name), put))
}

fn change(world: &mut World, name: &str, command: ScheduleCommand) -> Reply {
    world.send(Command::Schedule(id(name), command)).expect("a change")
}

fn schedule(world: &mut World, name: &str) -> Schedule {
    // As the engine: a query loads what it needs.
    if world.partition.schedule(&id(name)).is_none() {
        change(world, name, ScheduleCommand::Resume);
    }
    world.partition.schedule(&id(name)).expect("a schedule").clone()
}

/// The runs of a schedule as the log has them: planned time and run.
fn runs(world: &World, name: &str) -> Vec<(Wall, RunId)> {
    let mut found = Vec::new();
    for record in world.log.iter().flat_map(|batch| &batch.records) {
        if let Record::Run(run, Entry::RunCreated(created)) = record
            && let Some(origin) = &created.options.origin
            && &*origin.schedule == name
        {
            found.push((origin.planned, *run));
        }
    }
    found
}

fn hours(world: &World, name: &str) -> Vec<i64> {
    // The world begins at 22:13:20; its first full hour is number 1.
    runs(world, name).iter().map(|(at, _)| (at.0 - 1_699_999_200_000) / HOUR as i64).collect()
}

#[test]
fn each_planned_time_has_one_run_with_its_origin() {
    let mut world = world(MINUTE);
    assert_eq!(
        put(&mut world, "tidy", spec("@hourly", flow("nap"))),
        Ok(Reply::Scheduled { created: true, changed: true })
    );
    world.pass(3 * HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 2, 3]);
    let run = runs(&world, "tidy")[0].1;
    let summary = world.view(run).summary;
    assert_eq!(summary.state, State::Succeeded);
    assert_eq!(summary.labels.get("schedule").map(String::as_str), Some("tidy"));
    let origin = summary.origin.expect("an origin");
    assert_eq!((&*origin.schedule, origin.planned.0, origin.by), ("tidy", 1_700_002_800_000, FiredBy::Plan));
    assert_eq!(run.slot(), id("tidy").slot());
}

#[test]
fn the_cursor_and_the_run_are_one_batch() {
    let mut world = world(MINUTE);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    world.pass(HOUR);
    let batch = world.log.iter().find(|batch| {
        batch.records.iter().any(|record| matches!(record, Record::Run(_, Entry::RunCreated(_))))
    });
    let moved = |record: &Record| match record {
        Record::Schedule(_, entry) => matches!(**entry, ScheduleEntry::Due { .. }),
        _ => false,
    };
    assert!(batch.expect("a run").records.iter().any(moved));
}

#[test]
fn a_crash_at_any_batch_fires_nothing_twice_and_forgets_nothing() {
    for cut in 1..12 {
        let mut world = world(MINUTE);
        put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
        world.pass(2 * HOUR);
        world.log.truncate(cut);
        if world.log.is_empty() {
            continue;
        }
        let last = world.log.last().expect("a batch").now;
        world.now = last;
        world.crash();
        world.pass(3 * HOUR);
        let hours = hours(&world, "tidy");
        assert_eq!(hours, (1..=hours.len() as i64).collect::<Vec<_>>(), "after batch {cut}");
        assert!(hours.len() >= 3);
    }
}

#[test]
fn rows_and_eviction_make_no_difference() {
    let mut world = world(MINUTE);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    for _ in 0..4 {
        world.pass(HOUR);
        world.checkpoint(usize::MAX);
        world.crash();
        assert!(world.partition.schedule(&id("tidy")).is_none(), "recovery loads no schedule that is clean");
        assert_eq!(world.partition.schedule_count(), 1);
    }
    assert_eq!(hours(&world, "tidy"), [1, 2, 3, 4]);
}

#[test]
fn an_open_run_makes_skip_leave_the_next_firing_out() {
    let mut world = world(90 * MINUTE);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    world.pass(4 * HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 3]);
    let kept = schedule(&mut world, "tidy");
    assert_eq!((kept.started, kept.skipped), (2, 2));
    assert_eq!(kept.last_skipped.expect("one").times.count, 1);
}

#[test]
fn queue_starts_the_next_when_the_one_before_has_ended_also_over_a_crash() {
    let mut world = world(90 * MINUTE);
    put(&mut world, "tidy", ScheduleSpec { overlap: Overlap::Queue, ..spec("@hourly", flow("nap")) })
        .expect("it is put");
    world.pass(2 * HOUR);
    assert_eq!(hours(&world, "tidy"), [1]);
    assert_eq!(schedule(&mut world, "tidy").waiting.len(), 1);
    world.checkpoint(usize::MAX);
    world.crash();
    world.pass(HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 2], "the second began when the first ended");
    world.pass(2 * HOUR);
    let [first, second] = [0, 1].map(|n| runs(&world, "tidy")[n].1);
    let (ended, began) = (world.view(first).summary.ended, world.view(second).summary.created);
    assert_eq!(ended, Some(began));
}

#[test]
fn cancel_other_stops_the_open_run_and_then_starts_the_newest() {
    let mut world = world(3 * HOUR);
    put(&mut world, "tidy", ScheduleSpec { overlap: Overlap::CancelOther, ..spec("@hourly", flow("nap")) })
        .expect("it is put");
    world.pass(3 * HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 2, 3]);
    let states: Vec<State> = runs(&world, "tidy").iter().map(|(_, run)| world.state(*run)).collect();
    assert_eq!(states, [State::Cancelled, State::Cancelled, State::Suspended]);
}

#[test]
fn cancel_other_waits_for_what_cleans_up() {
    let mut world = world(0);
    world.worker(1, &["a"], 5);
    put(
        &mut world,
        "tidy",
        ScheduleSpec { overlap: Overlap::CancelOther, ..spec("*/10 * * * * *", flow("ask")) },
    )
    .expect("it is put");
    world.pass(11_000);
    let offer = world.offer();
    world.pass(10_000);
    assert_eq!(runs(&world, "tidy").len(), 1, "the attempt has not stopped yet");
    world.report(&offer, Report::Stopped).expect("it stopped");
    assert_eq!(runs(&world, "tidy").len(), 2);
}

#[test]
fn allow_starts_beside() {
    let mut world = world(10 * HOUR);
    put(&mut world, "tidy", ScheduleSpec { overlap: Overlap::Allow, ..spec("@hourly", flow("nap")) })
        .expect("it is put");
    world.pass(3 * HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 2, 3]);
}

/// What fires when the process was away from 0:20 to 5:30 hours.
fn after_downtime(missed: MissedPolicy, overlap: Overlap) -> (Vec<i64>, Schedule) {
    let mut world = world(MINUTE);
    put(&mut world, "tidy", ScheduleSpec { missed, overlap, ..spec("@hourly", flow("nap")) })
        .expect("it is put");
    world.now.wall = world.now.wall.plus(5 * HOUR + 30 * MINUTE);
    world.now.ticks = world.now.ticks.plus(5 * HOUR + 30 * MINUTE);
    world.crash();
    world.pass(10 * MINUTE);
    let kept = schedule(&mut world, "tidy");
    (hours(&world, "tidy"), kept)
}

#[test]
fn missed_times_are_left_out_made_up_for_once_or_all() {
    let (hours, kept) = after_downtime(MissedPolicy::Skip, Overlap::Skip);
    assert_eq!((hours, kept.missed), (vec![], 5));
    let (hours, kept) = after_downtime(MissedPolicy::One, Overlap::Skip);
    assert_eq!((hours, kept.missed), (vec![5], 4));
    let late = kept.last_missed.expect("it is said").times;
    assert_eq!((late.first.0, late.last.0, late.count), (1_700_002_800_000, 1_700_013_600_000, 4));
    let (hours, kept) = after_downtime(MissedPolicy::All { max: 3 }, Overlap::Queue);
    assert_eq!((hours, kept.missed), (vec![3, 4, 5], 2));
    let (hours, kept) = after_downtime(MissedPolicy::All { max: 100 }, Overlap::Allow);
    assert_eq!((hours, kept.missed), (vec![1, 2, 3, 4, 5], 0));
}

#[test]
fn a_year_of_missed_seconds_is_not_walked_through() {
    let mut world = world(0);
    put(&mut world, "tick", spec("@every 1s", flow("nap"))).expect("it is put");
    put(
        &mut world,
        "tock",
        ScheduleSpec {
            missed: MissedPolicy::All { max: 5 },
            overlap: Overlap::Allow,
            ..spec("* * * * * *", flow("nap"))
        },
    )
    .expect("it is put");
    world.now.wall = world.now.wall.plus(366 * 24 * HOUR);
    world.send(Command::Tick { limit: 10 }).expect("a tick");
    let kept = schedule(&mut world, "tick");
    assert!(kept.last_missed.expect("it is said").times.more);
    assert_eq!(kept.cursor, world.now.wall);
    assert!(runs(&world, "tick")[0].0.plus(MINUTE) >= world.now.wall, "it is for one of the newest");
    assert_eq!(schedule(&mut world, "tock").cursor, world.now.wall);
    // The last minute counts as on time.
    assert!(runs(&world, "tock").len() >= 5);
}

#[test]
fn a_clock_that_goes_back_fires_nothing_again() {
    let mut world = world(0);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    world.pass(3 * HOUR);
    world.now.wall = Wall(world.now.wall.0 - 2 * HOUR as i64);
    world.pass(2 * HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 2, 3]);
    world.pass(HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 2, 3, 4]);
    // An edit does not make it go back either.
    world.now.wall = Wall(world.now.wall.0 - 2 * HOUR as i64);
    put(&mut world, "tidy", spec("*/30 * * * *", flow("nap"))).expect("it is put");
    world.pass(2 * HOUR);
    assert_eq!(runs(&world, "tidy").len(), 4);
}

#[test]
fn an_edit_keeps_what_is_settled_and_starts_nothing_of_the_past() {
    let mut world = world(0);
    put(&mut world, "tidy", spec("0 */6 * * *", flow("nap"))).expect("it is put");
    world.pass(3 * HOUR);
    assert_eq!(hours(&world, "tidy"), [2]);
    assert_eq!(
        put(&mut world, "tidy", spec("@hourly", flow("nap"))),
        Ok(Reply::Scheduled { created: false, changed: true })
    );
    world.pass(HOUR);
    assert_eq!(hours(&world, "tidy"), [2, 4], "hour 3 was not planned when it passed");
    let again = put(&mut world, "tidy", spec("@hourly", flow("nap")));
    assert_eq!(again, Ok(Reply::Scheduled { created: false, changed: false }));
    // Other changes leave the planned time alone.
    let other = ScheduleSpec { description: "other".to_owned(), ..spec("@hourly", flow("nap")) };
    let next = schedule(&mut world, "tidy").next;
    put(&mut world, "tidy", other).expect("it is put");
    assert_eq!(schedule(&mut world, "tidy").next, next);
}

#[test]
fn a_pause_leaves_out_what_is_planned_meanwhile() {
    let mut world = world(0);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    change(&mut world, "tidy", ScheduleCommand::Pause { reason: "holiday".to_owned() });
    world.pass(5 * HOUR);
    assert_eq!(hours(&world, "tidy"), [] as [i64; 0]);
    change(&mut world, "tidy", ScheduleCommand::Resume);
    world.pass(HOUR);
    assert_eq!(hours(&world, "tidy"), [6]);
}

#[test]
fn a_trigger_starts_now_and_its_repetition_finds_the_same_run() {
    let mut world = world(10 * HOUR);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    let trigger = || ScheduleCommand::Trigger { request: Some("r1".to_owned()) };
    let Reply::Started { run, kind, .. } = change(&mut world, "tidy", trigger()) else { panic!("no run") };
    assert_eq!(kind, StartKind::Created);
    world.crash();
    let Reply::Started { run: again, kind, .. } = change(&mut world, "tidy", trigger()) else {
        panic!("no run")
    };
    assert_eq!((again, kind), (run, StartKind::Attached));
    assert_eq!(world.view(run).summary.origin.expect("an origin").by, FiredBy::Trigger);
    world.pass(HOUR);
    assert_eq!(runs(&world, "tidy").len(), 1, "the trigger's run is open, so the next firing is skipped");
}

#[test]
fn a_date_fires_once_and_stays_to_be_seen() {
    let mut world = world(0);
    put(&mut world, "once", spec("2023-11-15T00:00", flow("nap"))).expect("it is put");
    world.pass(5 * HOUR);
    assert_eq!(runs(&world, "once").len(), 1);
    assert_eq!(schedule(&mut world, "once").next, None);
    let refused = put(&mut world, "late", spec("2023-11-14T00:00", flow("nap"))).expect_err("it has passed");
    assert!(refused.to_string().contains("has passed"), "{refused}");
}

#[test]
fn jitter_puts_off_within_its_bounds_and_always_the_same() {
    let mut world = world(0);
    let spec = ScheduleSpec { jitter_ms: 10 * MINUTE, ..spec("@hourly", flow("nap")) };
    for n in 0..20 {
        put(&mut world, &format!("s{n:02}"), spec.clone()).expect("it is put");
    }
    let due = |world: &mut World| -> Vec<i64> {
        (0..20).map(|n| schedule(world, &format!("s{n:02}")).next.expect("a time").due.0).collect()
    };
    let before = due(&mut world);
    world.crash();
    assert_eq!(due(&mut world), before);
    assert!(before.iter().collect::<BTreeSet<_>>().len() > 15, "they are spread");
    world.pass(HOUR + 10 * MINUTE);
    for n in 0..20 {
        let (planned, run) = runs(&world, &format!("s{n:02}"))[0];
        let late = world.view(run).summary.created.0 - planned.0;
        assert!((0..=10 * MINUTE as i64).contains(&late));
    }
}

#[test]
fn the_planned_time_can_be_put_into_the_input() {
    let mut world = world(0);
    let mut stamped = spec("@hourly", flow("nap"));
    stamped.target.input = Json::trusted("{ \"n\": 1.50 }");
    stamped.target.planned_as = Some("at".to_owned());
    put(&mut world, "tidy", stamped.clone()).expect("it is put");
    stamped.target.input = Json::trusted("{}");
    put(&mut world, "bare", stamped.clone()).expect("it is put");
    world.pass(HOUR);
    let input = |world: &mut World, name| {
        let run = runs(world, name)[0].1;
        world.view(run).input.get().to_owned()
    };
    assert_eq!(input(&mut world, "tidy"), r#"{"at":"2023-11-14T23:00:00Z","n": 1.50 }"#);
    assert_eq!(input(&mut world, "bare"), r#"{"at":"2023-11-14T23:00:00Z"}"#);
    stamped.target.input = Json::trusted(r#"{"at": 1}"#);
    let refused = put(&mut world, "tidy", stamped).expect_err("the name is taken");
    assert!(refused.to_string().contains("has that already"), "{refused}");
}

#[test]
fn what_cannot_be_started_is_said_and_the_schedule_goes_on() {
    let mut world = world(0);
    put(&mut world, "tidy", spec("@hourly", flow("gone"))).expect("it is put");
    world.pass(2 * HOUR);
    let kept = schedule(&mut world, "tidy");
    assert_eq!((kept.started, kept.failed), (0, 2));
    assert!(kept.last_failure.expect("a reason").1.contains("there is no flow `gone`"));
}

#[test]
fn a_deleted_schedule_is_another_one_when_it_comes_again() {
    let mut world = world(5 * HOUR);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    world.pass(HOUR);
    change(&mut world, "tidy", ScheduleCommand::Delete);
    assert_eq!(
        world.send(Command::Schedule(id("tidy"), ScheduleCommand::Resume)),
        Err(Refusal::UnknownSchedule(id("tidy")))
    );
    let run = runs(&world, "tidy")[0].1;
    assert_eq!(world.state(run), State::Suspended, "its run goes on");
    world.pass(HOUR);
    world.checkpoint(usize::MAX);
    world.crash();
    assert_eq!(world.partition.schedule_count(), 0);
    put(&mut world, "tidy", spec("@hourly", flow("nap"))).expect("it is put");
    world.checkpoint(usize::MAX);
    world.crash();
    world.pass(HOUR);
    assert_eq!(hours(&world, "tidy"), [1, 3]);
}

#[test]
fn limits_and_mistakes_change_nothing() {
    let mut world = world(0).with_max_schedules(1);
    let refuse = |world: &mut World, spec| put(world, "bad", spec).expect_err("it is refused").to_string();
    let base = || spec("@hourly", flow("nap"));
    assert!(refuse(&mut world, spec("0 0 30 2 *", flow("nap"))).contains("never fire"));
    assert!(
        refuse(&mut world, ScheduleSpec { zone: "Nowhere".into(), ..base() }).contains("no such time zone")
    );
    assert!(refuse(&mut world, ScheduleSpec { jitter_ms: 25 * HOUR, ..base() }).contains("24h"));
    assert!(
        refuse(&mut world, ScheduleSpec { missed: MissedPolicy::All { max: 0 }, ..base() })
            .contains("1 to 1000")
    );
    let ended = ScheduleSpec { until: Some(Wall(5)), ..base() };
    assert!(refuse(&mut world, ended).contains("until has passed"));
    put(&mut world, "one", base()).expect("there is room for one");
    assert!(refuse(&mut world, base()).contains("max_schedules"));
    let create = ScheduleCommand::Put { spec: Box::new(base()), mode: PutMode::Create, paused: None };
    assert_eq!(world.send(Command::Schedule(id("one"), create)), Err(Refusal::ScheduleExists(id("one"))));
    let update = ScheduleCommand::Put { spec: Box::new(base()), mode: PutMode::Update, paused: None };
    assert_eq!(world.send(Command::Schedule(id("two"), update)), Err(Refusal::UnknownSchedule(id("two"))));
}

#[test]
fn names_are_listed_in_order_and_in_pages() {
    let mut world = world(0);
    for name in ["b", "a/2", "a/1", "c"] {
        put(&mut world, name, spec("@hourly", flow("nap"))).expect("it is put");
    }
    let names = |prefix, after, limit| -> Vec<String> {
        let ids = world.partition.schedule_ids("default", prefix, after, limit);
        ids.iter().map(|id| id.name.to_string()).collect()
    };
    assert_eq!(names("", None, 2), ["a/1", "a/2"]);
    assert_eq!(names("", Some("a/2"), 5), ["b", "c"]);
    assert_eq!(names("a/", Some("a/1"), 5), ["a/2"]);
    assert_eq!(names("x", None, 5), [] as [&str; 0]);
}

#[test]
fn many_schedules_at_the_full_hour_all_fire() {
    let mut world = world(0);
    for n in 0..1_000 {
        put(&mut world, &format!("s{n:05}"), spec("@hourly", task("a"))).expect("it is put");
    }
    world.checkpoint(usize::MAX);
    world.crash();
    world.pass(HOUR);
    assert_eq!(
        world
            .log
            .iter()
            .flat_map(|batch| &batch.records)
            .filter(|record| { matches!(record, Record::Run(_, Entry::RunCreated(_))) })
            .count(),
        1_000
    );
}

// ---- random histories

#[derive(Debug, Clone)]
enum Move {
    Pass(u64),
    Jump(i64),
    Crash,
    Checkpoint(usize),
    Evict,
    Edit(u8, u8, u8, u8),
    Pause(u8),
    Resume(u8),
    Trigger(u8),
    Delete(u8),
    Finish,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (1_u64..40).prop_map(|minutes| Move::Pass(minutes * MINUTE / 2)),
        1 => (-300_i64..300).prop_map(|minutes| Move::Jump(minutes * MINUTE as i64)),
        2 => Just(Move::Crash),
        2 => (1_usize..4).prop_map(Move::Checkpoint),
        1 => Just(Move::Evict),
        3 => (0_u8..3, 0_u8..4, 0_u8..3, 0_u8..4).prop_map(|(name, when, missed, overlap)| Move::Edit(name, when, missed, overlap)),
        1 => (0_u8..3).prop_map(Move::Pause),
        2 => (0_u8..3).prop_map(Move::Resume),
        1 => (0_u8..3).prop_map(Move::Trigger),
        1 => (0_u8..3).prop_map(Move::Delete),
        3 => Just(Move::Finish),
    ]
}

fn play(world: &mut World, step: &Move) {
    let name = |number: &u8| format!("s{number}");
    match step {
        Move::Pass(ms) => world.pass(*ms),
        Move::Jump(ms) => world.now.wall = Wall(world.now.wall.0 + ms),
        Move::Crash => {
            // Time passes, and whoever executed something is gone.
            world.offers.clear();
            world.crash();
            world.worker(1, &["a"], 3);
        }
        Move::Checkpoint(limit) => world.checkpoint(*limit),
        Move::Evict => world.evict(),
        Move::Edit(number, when, missed, overlap) => {
            let when = ["@every 7m", "*/10 * * * *", "0 * * * *", "30 2,14 * * *"][usize::from(*when)];
            let mut spec = spec(when, if number % 2 == 0 { flow("nap") } else { flow("ask") });
            spec.zone = "Europe/Berlin".into();
            spec.jitter_ms = u64::from(*missed) * MINUTE;
            spec.missed =
                [MissedPolicy::Skip, MissedPolicy::One, MissedPolicy::All { max: 4 }][usize::from(*missed)];
            spec.overlap =
                [Overlap::Skip, Overlap::Queue, Overlap::CancelOther, Overlap::Allow][usize::from(*overlap)];
            put(world, &name(number), spec).expect("it is put");
        }
        Move::Pause(number) => ask(world, &name(number), ScheduleCommand::Pause { reason: String::new() }),
        Move::Resume(number) => ask(world, &name(number), ScheduleCommand::Resume),
        Move::Trigger(number) => ask(world, &name(number), ScheduleCommand::Trigger { request: None }),
        Move::Delete(number) => ask(world, &name(number), ScheduleCommand::Delete),
        Move::Finish => {
            if let Some((_, offer)) = world.offers.pop_front() {
                // It may have been cancelled, or given to somebody else.
                let _ = world.report(&offer, Report::Succeeded(Json::null()));
            }
        }
    }
}

fn ask(world: &mut World, name: &str, command: ScheduleCommand) {
    let known =
        matches!(world.send(Command::Schedule(id(name), command)), Ok(_) | Err(Refusal::UnknownSchedule(_)));
    assert!(known);
}

/// What the log says of one schedule between its creation and its end.
#[derive(Debug, Default)]
struct Told {
    cursor: Option<Wall>,
    settled: BTreeSet<Wall>,
    waiting: BTreeSet<Wall>,
    missed: u64,
    counted: u64,
}

/// Goes through the log: no planned time is settled twice, none has two runs, the cursor only rises, and the sums are right.
fn keeps_its_promises(world: &World) {
    let mut all: BTreeMap<ScheduleId, Told> = BTreeMap::new();
    for record in world.log.iter().flat_map(|batch| &batch.records) {
        let Record::Schedule(id, entry) = record else { continue };
        let told = all.entry(id.clone()).or_default();
        match &**entry {
            ScheduleEntry::Due { cursor, next, fire, missed } => {
                assert!(told.cursor.is_none_or(|before| before < *cursor), "the cursor of {id:?} went back");
                assert!(next.is_none_or(|next| next.at > *cursor));
                told.cursor = Some(*cursor);
                for time in fire {
                    assert!(told.settled.insert(*time), "{time:?} of {id:?} came due twice");
                    told.waiting.insert(*time);
                }
                told.missed += missed.map_or(0, |missed| missed.count);
            }
            ScheduleEntry::Skipped { times } => {
                assert!(times.iter().all(|time| told.waiting.remove(time)));
            }
            ScheduleEntry::Started { planned, by: FiredBy::Plan, .. } => {
                assert!(told.waiting.remove(planned), "{planned:?} of {id:?} has a run twice");
                told.counted += 1;
            }
            ScheduleEntry::NotStarted { planned, .. } => assert!(told.waiting.remove(planned)),
            ScheduleEntry::Deleted => *told = Told { cursor: None, ..Told::default() },
            _ => {}
        }
    }
    for (id, told) in &all {
        if let Some(kept) = world.partition.schedule(id) {
            assert_eq!(kept.waiting.iter().copied().collect::<BTreeSet<_>>(), told.waiting);
            assert_eq!(kept.missed, told.missed);
            if kept.spec.overlap != Overlap::Allow && kept.paused.is_none() && !kept.waiting.is_empty() {
                assert!(!kept.open.is_empty(), "{id:?} waits for nothing");
            }
        }
    }
}

#[test]
fn random_histories_fire_each_planned_time_once() {
    let more = std::env::var("RIVERRUN_KERNEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let config =
        ProptestConfig { cases: more.unwrap_or(400), failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = match more {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let played = runner.run(&prop::collection::vec(a_move(), 1..60), |steps| {
        let mut world = world(25 * MINUTE);
        world.worker(1, &["a"], 3);
        for step in &steps {
            play(&mut world, step);
            keeps_its_promises(&world);
        }
        let before = world.partition.fingerprint();
        world.checkpoint(0);
        let replayed = {
            world.crash();
            world.partition.schedule_ids("default", "", None, 9)
        };
        assert_eq!(replayed.len(), world.partition.schedule_count(), "{before}");
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

#[test]
fn of_many_schedules_only_those_are_asked_for_that_are_due() {
    let mut world = world(0);
    let count = 100_000;
    for n in 0..count {
        let due = Some(world.now.wall.plus(1_000 + n * 86));
        let id = id(&format!("customer-{n:07}/report"));
        world.partition.recover_schedule(ScheduleStub { id, due, behind: Vec::new() });
    }
    world.now.wall = world.now.wall.plus(1_000 + 999 * 86);
    let mut asked = BTreeSet::new();
    loop {
        world.partition.apply(world.now, Command::Tick { limit: 256 }, &world.library).expect("a tick");
        let effects = world.partition.take_decided().effects;
        if effects.is_empty() {
            break;
        }
        assert!(effects.len() <= 256, "a tick has an end");
        asked.extend(effects.into_iter().map(|effect| match effect {
            Effect::LoadSchedule { id } => id.name,
            other => panic!("{other:?}"),
        }));
    }
    let due: BTreeSet<_> = (0..1_000).map(|n| format!("customer-{n:07}/report").into()).collect();
    assert_eq!(asked, due);
    assert_eq!(world.partition.schedule_count() as u64, count);
}
