//! An address is told how a run has ended: by a task that its end starts.

use riverrun_kernel::callback::{CALLBACK, Delivery, LABEL, QUEUE};
use riverrun_kernel::*;

use crate::world::{Op, World, call, flow, task};

const URL: &str = "https://example.com/hook?key=1";

fn start(world: &mut World, definition: DefinitionRef, change: impl FnOnce(&mut RunOptions)) -> RunId {
    let mut request = world.request(definition);
    request.options.callback_url = Some(URL.into());
    change(&mut request.options);
    world.start_run(request).expect("a start").0
}

/// What was started to tell how a run has ended, as far as memory knows.
fn deliveries(world: &World, run: RunId) -> Vec<RunId> {
    let told = |summary: &RunSummary| summary.labels.get(LABEL).is_some_and(|of| *of == run.to_string());
    let all = world.partition.dirty_runs(world.now).into_iter();
    let mut found: Vec<RunId> = all.filter_map(|(id, summary)| summary.filter(told).map(|_| id)).collect();
    found.sort_unstable();
    found
}

fn told(offer: &Offer) -> Delivery {
    assert_eq!((offer.call.function.as_str(), offer.call.queue.as_str()), (CALLBACK, QUEUE));
    serde_json::from_str(offer.call.input.get()).expect("a delivery")
}

/// What ends a run.
type End = fn(&mut World, RunId);

/// Lets time pass while a worker is heard of.
fn beat(world: &mut World, worker: u64, ms: u64) {
    world.pass(ms);
    world.send(Command::Heartbeat { worker: WorkerId(worker) }).expect("heard");
}

#[test]
fn every_way_to_end_is_told_in_its_own_commit() {
    let ends: [(State, End); 5] = [
        (State::Succeeded, |world, _| {
            let offer = world.offer();
            world.succeed(&offer);
        }),
        (State::Failed, |world, _| {
            let offer = world.offer();
            world.fail(&offer, "Bad");
        }),
        (State::TimedOut, |world, _| {
            world.pass(60_000);
        }),
        (State::Cancelled, |world, run| {
            world.send(Command::Cancel { run, reason: String::new() }).expect("cancelled");
            let offer = world.offer();
            world.report(&offer, Report::Stopped).expect("stopped");
        }),
        (State::Expired, |world, _| world.pass(5_000)),
    ];
    for (state, end) in ends {
        let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
        let run = start(&mut world, if state == State::Expired { task("a") } else { flow("f") }, |options| {
            options.timeout_ms = (state == State::TimedOut).then_some(50_000);
            options.queue_ttl_ms = (state == State::Expired).then_some(1_000);
        });
        if state != State::Expired {
            world.worker(1, &["a"], 1);
        }
        end(&mut world, run);
        assert_eq!(world.state(run), state);
        let begun = |record: &Record| matches!(record, Record::Run(_, Entry::RunCreated(created)) if &*created.definition.name == CALLBACK);
        let batch = world.log.iter().find(|batch| batch.records.iter().any(begun)).expect("a delivery");
        let closed = |record: &Record| matches!(record, Record::Run(of, entry) if *of == run && entry.name().starts_with("Run"));
        assert!(batch.records.iter().any(closed), "{state}: the end and its delivery are one commit");
        world.worker(2, &[CALLBACK], 1);
        let offer = world.offers.pop_back().expect("an offer").1;
        let delivery = told(&offer);
        assert_eq!((&*delivery.url, delivery.run.summary.state), (URL, state));
        assert_eq!(delivery.run, world.view(run));
        assert_eq!(deliveries(&world, run).len(), 1, "{state}");
    }
}

#[test]
fn an_end_is_told_once_wherever_the_process_dies() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Sleep(5_000)])]);
    world.worker(1, &["a"], 1);
    let run = start(&mut world, flow("f"), |_| {});
    let offer = world.offer();
    world.succeed(&offer);
    world.pass(5_000);
    world.worker(2, &[CALLBACK], 1);
    let offer = world.offer();
    world.fail(&offer, "CallbackFailed");
    world.pass(10_000);
    let offer = world.offer();
    world.succeed(&offer);
    let (whole, now) = (world.log.clone(), world.now);
    for kept in 1..=whole.len() {
        let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Sleep(5_000)])]);
        world.log = whole[..kept].to_vec();
        world.now = now;
        world.crash();
        // Who was executing something does not come back.
        world.pass(60_000);
        world.worker(3, &["a", CALLBACK], 4);
        for _ in 0..20 {
            while let Some((_, offer)) = world.offers.pop_front() {
                world.succeed(&offer);
            }
            beat(&mut world, 3, 10_000);
        }
        assert_eq!(world.state(run), State::Succeeded, "after {kept} batches");
        let found = deliveries(&world, run);
        assert_eq!(found.len(), 1, "after {kept} batches");
        assert_eq!(world.state(found[0]), State::Succeeded, "after {kept} batches");
    }
}

#[test]
fn a_run_that_is_reopened_tells_each_end() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 1);
    let run = start(&mut world, task("a"), |_| {});
    let offer = world.offer();
    world.fail(&offer, "Bad");
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(deliveries(&world, run).len(), 2);
    world.worker(2, &[CALLBACK], 2);
    let states = [world.offer(), world.offer()].map(|offer| told(&offer).run.summary.state);
    assert_eq!(states, [State::Failed, State::Succeeded]);
}

#[test]
fn an_address_that_refuses_is_tried_for_a_day_and_then_the_task_has_failed() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 1);
    let run = start(&mut world, task("a"), |_| {});
    let offer = world.offer();
    world.succeed(&offer);
    world.worker(2, &[CALLBACK], 1);
    let (begun, mut tries) = (world.now.ticks.0, 0);
    let delivery = deliveries(&world, run)[0];
    let mut last = begun;
    while world.state(delivery) != State::Failed {
        let Some((_, offer)) = world.offers.pop_front() else {
            beat(&mut world, 2, 5_000);
            continue;
        };
        (tries, last) = (tries + 1, world.now.ticks.0);
        world.fail(&offer, "CallbackFailed");
    }
    assert_eq!(tries, 33);
    assert!(last - begun < 24 * 3_600_000, "after {} ms", last - begun);
    assert_eq!(world.view(delivery).summary.error.as_deref(), Some("CallbackFailed"));
}

#[test]
fn one_host_gets_eight_calls_at_once_and_the_others_are_not_held_up() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 1);
    for host in ["slow", "quick"] {
        for _ in 0..20 {
            start(&mut world, task("a"), |options| {
                options.callback_url = Some(format!("https://{host}.example/").into());
            });
            let offer = world.offer();
            world.succeed(&offer);
        }
    }
    world.worker(2, &[CALLBACK], 64);
    let hosts: Vec<_> = world.offers.iter().map(|(_, offer)| told(offer).url).collect();
    let count = |host: &str| hosts.iter().filter(|url| url.contains(host)).count();
    assert_eq!((count("slow"), count("quick")), (8, 8));
}
