//! `continue_id`: the table of what a second start finds.

use riverrun_kernel::*;

use crate::world::{Op, World, call, flow};

fn world() -> World {
    let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 4);
    world
}

fn request(world: &mut World, input: &str) -> StartRun {
    let mut request = world.request(flow("f"));
    request.input = Json::trusted(input);
    let id = KeyId {
        namespace: "default".into(),
        definition: "f".into(),
        version: "".into(),
        continue_id: "nightly".into(),
    };
    request.key = Some(KeyOptions::new(id, Fingerprint::of(input).expect("valid")));
    request
}

fn start(
    world: &mut World,
    change: impl FnOnce(&mut KeyOptions),
) -> Result<(RunId, StartKind, u32), Refusal> {
    let mut request = request(world, "{}");
    change(request.key.as_mut().expect("a key"));
    world.start_run(request)
}

fn key_id(world: &mut World) -> KeyId {
    request(world, "{}").key.expect("a key").id
}

fn finish(world: &mut World, succeed: bool) {
    let offer = world.offer();
    if succeed {
        world.succeed(&offer);
    } else {
        world.fail(&offer, "Down");
    }
}

#[test]
fn in_flight_it_is_joined_rejected_or_restarted() {
    let mut world = world();
    let (run, kind, generation) = start(&mut world, |_| {}).expect("the first call ever works");
    assert_eq!((kind, generation), (StartKind::Created, 1));
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Attached, 1)));
    let rejected = start(&mut world, |key| key.on_running = OnRunning::Reject);
    assert!(matches!(rejected, Err(Refusal::KeyRejected { state: State::Running, .. })));
    let (second, kind, generation) =
        start(&mut world, |key| key.on_running = OnRunning::Restart).expect("restarted");
    assert_eq!((kind, generation), (StartKind::Created, 2));
    assert_eq!(world.state(run), State::Cancelling);
    assert_eq!(world.waiting(second), Some(WaitKind::Predecessor));
    let old = world.offer();
    assert!(world.offers.is_empty(), "two generations never run side by side");
    let (third, ..) = start(&mut world, |key| key.force = true).expect("forced");
    assert_eq!(world.state(second), State::Cancelled);
    assert_eq!(world.waiting(third), Some(WaitKind::Predecessor), "the first's attempt still executes");
    world.report(&old, Report::Stopped).expect("stopped");
    assert_eq!(world.state(run), State::Cancelled);
    assert_eq!(world.offer().attempt.run, third);
}

#[test]
fn a_success_is_reused_rerun_or_rejected() {
    let mut world = world();
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    finish(&mut world, true);
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Reused, 1)));
    world.evict();
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Reused, 1)), "also from rows");
    assert!(matches!(
        start(&mut world, |key| key.on_success = OnSuccess::Reject),
        Err(Refusal::KeyRejected { .. })
    ));
    let (again, kind, generation) =
        start(&mut world, |key| key.on_success = OnSuccess::Rerun).expect("rerun");
    assert_eq!((kind, generation), (StartKind::Created, 2));
    assert_ne!(again, run);
    let key = key_id(&mut world);
    assert_eq!(world.partition.key(&key).flatten().expect("known").hits, 2);
    assert_eq!(start(&mut world, |_| {}), Ok((again, StartKind::Attached, 2)));
    assert!(world.partition.dirty_records() > 0, "a hit alone is worth a row");
    world.checkpoint(10);
    assert_eq!(world.table.keys[&key].key.hits, 3);
}

#[test]
fn another_input_is_refused_unless_the_key_alone_counts() {
    let mut world = world();
    start(&mut world, |_| {}).expect("started");
    let other = request(&mut world, r#"{"a":1}"#);
    assert!(matches!(world.start_run(other), Err(Refusal::KeyMismatch { .. })));
    let mut other = request(&mut world, r#"{"a":1}"#);
    other.key.as_mut().expect("a key").on_input = OnInput::Ignore;
    assert!(matches!(world.start_run(other), Ok((_, StartKind::Attached, 1))));
    finish(&mut world, false);
    let mut other = request(&mut world, r#"{"a":1}"#);
    other.key.as_mut().expect("a key").allow_new_input = true;
    assert!(matches!(world.start_run(other), Ok((_, StartKind::Created, 2))));
    finish(&mut world, true);
    assert!(
        matches!(start(&mut world, |_| {}), Err(Refusal::KeyMismatch { .. })),
        "the new input is the key's now"
    );
    let mut forced = request(&mut world, "{}");
    forced.key.as_mut().expect("a key").force = true;
    assert!(matches!(world.start_run(forced), Ok((_, StartKind::Created, 3))));
}

#[test]
fn a_failure_is_rerun_resumed_or_returned() {
    let mut world = world();
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    finish(&mut world, false);
    assert_eq!(
        start(&mut world, |key| key.on_failure = Some(OnFailure::Return)),
        Ok((run, StartKind::Reused, 1))
    );
    assert_eq!(
        start(&mut world, |key| key.on_failure = Some(OnFailure::Resume)),
        Ok((run, StartKind::Resumed, 1))
    );
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Attached, 1)));
    finish(&mut world, false);
    assert!(matches!(start(&mut world, |_| {}), Ok((_, StartKind::Created, 2))));
}

#[test]
fn a_cancelled_run_is_returned_by_default() {
    let mut world = world();
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    let offer = world.offer();
    world.send(Command::Cancel { run, reason: String::new() }).expect("cancelling");
    world.report(&offer, Report::Stopped).expect("stopped");
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Reused, 1)));
    assert!(matches!(
        start(&mut world, |key| key.on_failure = Some(OnFailure::Resume)),
        Err(Refusal::WrongState { state: State::Cancelled, .. })
    ));
    let rerun = start(&mut world, |key| key.on_failure = Some(OnFailure::Rerun));
    assert!(matches!(rerun, Ok((_, StartKind::Created, 2))));
}

#[test]
fn after_too_many_failures_in_a_row_only_force_starts_another() {
    let mut world = world();
    for generation in 1..=3 {
        assert_eq!(start(&mut world, |key| key.max_generations = 3).map(|found| found.2), Ok(generation));
        finish(&mut world, false);
    }
    let refused = start(&mut world, |key| key.max_generations = 3);
    assert!(matches!(refused, Err(Refusal::TooManyGenerations { failures: 3, .. })));
    assert!(start(&mut world, |key| key.force = true).is_ok());
}

#[test]
fn the_time_to_live_counts_from_the_end_and_is_exact() {
    let mut world = world();
    let day = 24 * 3600 * 1000;
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    for _ in 0..20 {
        world.pass(day / 10);
        if !world.offers.is_empty() {
            break;
        }
    }
    world.worker(1, &["a"], 4);
    world.pass(1);
    assert_eq!(
        start(&mut world, |_| {}).map(|found| found.1),
        Ok(StartKind::Attached),
        "in flight it never expires"
    );
    world.offers.drain(..world.offers.len() - 1);
    finish(&mut world, true);
    world.pass(day - 1);
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Reused, 1)));
    world.pass(1);
    assert!(matches!(start(&mut world, |_| {}), Ok((_, StartKind::Created, 1))), "an expired key runs again");
}

#[test]
fn without_a_time_to_live_only_callers_in_flight_join() {
    let mut world = world();
    let (run, ..) = start(&mut world, |key| key.ttl = Ttl::Ms(0)).expect("started");
    assert_eq!(start(&mut world, |key| key.ttl = Ttl::Ms(0)), Ok((run, StartKind::Attached, 1)));
    finish(&mut world, true);
    assert!(matches!(start(&mut world, |key| key.ttl = Ttl::Ms(0)), Ok((_, StartKind::Created, 1))));
}

#[test]
fn a_deleted_result_is_said_to_be_gone() {
    let mut world = world();
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    finish(&mut world, true);
    world.evict();
    world.send(Command::Delete { run }).expect("deleted");
    world.evict();
    let key = key_id(&mut world);
    assert_eq!(start(&mut world, |_| {}), Err(Refusal::KeyPurged { key: key.clone(), run }));
    assert!(matches!(start(&mut world, |key| key.rerun_purged = true), Ok((_, StartKind::Created, 2))));
}

#[test]
fn a_key_is_forgotten_on_request_but_not_in_flight() {
    let mut world = world();
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    let key = key_id(&mut world);
    let delete = |cancel| Command::DeleteKey { key: key.clone(), cancel };
    assert_eq!(world.send(delete(false)), Err(Refusal::KeyInFlight { key: key.clone(), run }));
    world.send(delete(true)).expect("cancelled and forgotten");
    assert_eq!(world.state(run), State::Cancelling);
    assert_eq!(world.send(delete(false)), Err(Refusal::UnknownKey(key.clone())));
    assert!(matches!(start(&mut world, |_| {}), Ok((_, StartKind::Created, 1))));
}

#[test]
fn a_clients_own_run_id_finds_its_run_again() {
    let mut world = world();
    let mut request = world.request(flow("f"));
    request.client_id = true;
    let run = request.run;
    assert_eq!(world.start_run(request.clone()), Ok((run, StartKind::Created, 1)));
    assert_eq!(world.start_run(request.clone()), Ok((run, StartKind::Attached, 1)));
    finish(&mut world, true);
    world.evict();
    assert_eq!(world.start_run(request.clone()), Ok((run, StartKind::Reused, 1)));
    request.input = Json::trusted("[]");
    assert_eq!(world.start_run(request), Err(Refusal::RunIdTaken(run)));
}

#[test]
fn keys_survive_crashes_at_every_point() {
    let mut world = world();
    let (run, ..) = start(&mut world, |_| {}).expect("started");
    world.crash();
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Attached, 1)));
    world.checkpoint(10);
    world.crash();
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Attached, 1)));
    let offer = world.offer();
    world.reconnect(2, &["a"], 1, vec![(offer.attempt, offer.token)]);
    world.succeed(&offer);
    world.crash();
    assert_eq!(start(&mut world, |_| {}), Ok((run, StartKind::Reused, 1)));
}

#[test]
fn an_expired_key_is_swept_and_no_other() {
    let mut world = world();
    start(&mut world, |key| key.ttl = Ttl::Ms(1_000)).expect("started");
    finish(&mut world, true);
    world.evict();
    let key = key_id(&mut world);
    world.send(Command::SweepKey { key: key.clone() }).expect("left alone");
    world.evict();
    assert!(world.table.keys.contains_key(&key));
    world.pass(1_000);
    world.send(Command::SweepKey { key: key.clone() }).expect("swept");
    world.evict();
    assert!(world.table.keys.is_empty());
}

fn keyed(world: &mut World, name: &str, change: impl FnOnce(&mut KeyOptions)) -> (RunId, StartKind, u32) {
    let mut request = world.request(flow(name));
    let id = KeyId {
        namespace: "default".into(),
        definition: name.into(),
        version: "".into(),
        continue_id: "k".into(),
    };
    let mut options = KeyOptions::new(id, Fingerprint::of("{}").expect("valid"));
    change(&mut options);
    request.key = Some(options);
    world.start_run(request).expect("a start")
}

#[test]
fn the_end_of_a_run_that_was_loaded_after_a_restart_settles_its_key() {
    let mut world = World::new(&[("f", vec![Op::Sleep(1_000), Op::Fail])]);
    let (run, ..) = keyed(&mut world, "f", |_| {});
    world.evict();
    world.log.clear();
    world.crash();
    world.pass(1_000);
    assert_eq!(world.state(run), State::Failed);
    let (second, kind, generation) = keyed(&mut world, "f", |_| {});
    assert_eq!((kind, generation), (StartKind::Created, 2), "a failed run is rerun by default");
    assert_ne!(run, second);
}

#[test]
fn an_old_generation_is_not_resumed_beside_a_newer_one_also_after_a_restart() {
    let mut world = World::new(&[("f", vec![Op::Signal("go", None), Op::Fail])]);
    let (first, ..) = keyed(&mut world, "f", |_| {});
    let go = Command::Signal { run: first, name: "go".into(), payload: Json::null(), id: None };
    world.send(go).expect("sent");
    let (second, ..) = keyed(&mut world, "f", |_| {});
    assert_ne!(first, second);
    for _ in 0..2 {
        assert!(matches!(world.send(Command::Resume { run: first }), Err(Refusal::WrongState { .. })));
        world.evict();
        world.log.clear();
        world.crash();
    }
}

#[test]
fn resuming_a_run_puts_its_key_in_flight_also_when_the_key_was_a_row_only() {
    let mut world = World::new(&[("f", vec![Op::Signal("go", None), Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let (first, ..) = keyed(&mut world, "f", |_| {});
    let go = Command::Signal { run: first, name: "go".into(), payload: Json::null(), id: None };
    world.send(go).expect("sent");
    let offer = world.offer();
    world.fail(&offer, "Down");
    world.checkpoint(10);
    world.send(Command::Resume { run: first }).expect("reopened");
    assert_eq!(keyed(&mut world, "f", |_| {}), (first, StartKind::Attached, 1));
}

#[test]
fn a_resumed_run_takes_its_forgotten_key_again() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let (run, ..) = keyed(&mut world, "f", |key| key.ttl = Ttl::Ms(0));
    let offer = world.offer();
    world.fail(&offer, "Down");
    world.evict();
    world.send(Command::Resume { run }).expect("reopened");
    assert_eq!(keyed(&mut world, "f", |_| {}), (run, StartKind::Attached, 1));
}

#[test]
fn no_two_runs_of_a_forgotten_key_execute_side_by_side() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 4);
    let (first, ..) = keyed(&mut world, "f", |_| {});
    let old = world.offer();
    let key = world.view(first).summary.key.expect("a key").id;
    world.send(Command::DeleteKey { key, cancel: true }).expect("forgotten");
    let (second, kind, generation) = keyed(&mut world, "f", |_| {});
    assert_eq!((kind, generation), (StartKind::Created, 1));
    assert_eq!(world.waiting(second), Some(WaitKind::Predecessor));
    world.evict();
    world.crash();
    world.worker(2, &["a"], 4);
    assert!(world.offers.is_empty(), "the first's attempt may still be executing");
    world.reconnect(3, &["a"], 4, vec![(old.attempt, old.token)]);
    world.report(&old, Report::Stopped).expect("stopped");
    assert_eq!(world.offer().attempt.run, second);
}

#[test]
fn a_key_without_a_time_to_live_waits_for_an_attempt_that_drains() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 4);
    let mut request = world.request(flow("f"));
    request.options.timeout_ms = Some(100);
    let options = |world: &mut World| {
        let mut options = start_options(world);
        options.ttl = Ttl::Ms(0);
        Some(options)
    };
    request.key = options(&mut world);
    let (first, ..) = world.start_run(request).expect("a start");
    let old = world.offer();
    world.pass(100);
    assert_eq!(world.state(first), State::TimedOut);
    let mut request = world.request(flow("f"));
    request.key = options(&mut world);
    world.start_run(request).expect("a start");
    assert!(world.offers.is_empty());
    world.report(&old, Report::Stopped).expect("stopped");
    assert_eq!(world.offers.len(), 1);
}

fn start_options(world: &mut World) -> KeyOptions {
    request(world, "{}").key.expect("a key")
}
