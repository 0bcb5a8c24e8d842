//! Runs of code: acts in, events out, parking, replay, cancellation, resumption.

use riverrun_kernel::driver::{Child, OnParentEnd, Sleep, Work};
use riverrun_kernel::workflow::{Act, Event, Fact};
use riverrun_kernel::*;

use crate::world::{Op, World, call, flow, workflow};

fn ran(tag: u64, path: &str) -> Act {
    Act::Ran { tag, path: path.to_owned(), outcome: Ok(Json::trusted(tag.to_string())) }
}

fn ran_badly(tag: u64, path: &str) -> Act {
    Act::Ran { tag, path: path.to_owned(), outcome: Err(Failure::new("Boom", "no")) }
}

fn begin(tag: u64, path: &str, work: Work) -> Act {
    Act::Begin { tag, path: path.to_owned(), work }
}

fn sleep(tag: u64, ms: u64) -> Act {
    begin(tag, &format!("sleep{tag}"), Work::Sleep(Sleep::For(ms)))
}

fn signal(tag: u64, name: &str) -> Act {
    begin(tag, name, Work::Signal { name: name.to_owned(), timeout_ms: None })
}

fn facts(events: &[Event]) -> Vec<Fact> {
    events.iter().map(|event| event.fact.clone()).collect()
}

/// A world with one run of code that a worker has.
fn begun() -> (World, RunId, Offer) {
    let mut world = World::new(&[("child", vec![Op::Sleep(5)])]);
    world.worker(1, &["workflow:order", "pack"], 4);
    let run = world.start(workflow("order"));
    let offer = world.offer();
    (world, run, offer)
}

fn told(world: &mut World) -> Vec<Fact> {
    std::mem::take(&mut world.told).into_iter().map(|(_, event)| event.fact).collect()
}

fn seen(world: &World) -> u64 {
    world.told.iter().map(|(_, event)| event.at).max().unwrap_or(0)
}

/// Says that the code waits, after `acts` counted acts.
fn park(world: &mut World, offer: &Offer, seen: u64, acts: u64) -> Result<Reply, Refusal> {
    let report = Report::Parked { seen };
    world.send(Command::Report { attempt: offer.attempt, token: offer.token, report, acts })
}

fn done(world: &mut World, offer: &Offer) {
    world.succeed(offer);
}

#[test]
fn code_records_steps_of_its_own_and_ends_with_its_outcome() {
    let (mut world, run, offer) = begun();
    assert!(offer.body.is_some_and(|body| body.fresh));
    assert_eq!(world.state(run), State::Running);
    world.progress(&offer, 1, vec![ran(0, "reserve")]).expect("an act");
    world.progress(&offer, 2, vec![ran(1, "charge")]).expect("an act");
    assert_eq!(told(&mut world), [Fact::Recorded(0), Fact::Recorded(1)]);
    done(&mut world, &offer);
    assert_eq!(world.state(run), State::Succeeded);
    assert_eq!(
        world.journal(run),
        [
            "RunCreated",
            "StepBegun",
            "RunStarted",
            "AttemptStarted",
            "StepRan",
            "StepRan",
            "StepSucceeded",
            "RunSucceeded"
        ]
    );
}

#[test]
fn a_task_of_the_same_name_is_not_taken_for_the_code() {
    let mut world = World::new(&[]);
    world.worker(1, &["order"], 4);
    let run = world.start(workflow("order"));
    assert!(world.offers.is_empty());
    assert_eq!(world.waiting(run), Some(WaitKind::Worker));
}

#[test]
fn a_report_sent_again_takes_no_act_twice_and_a_gap_is_refused() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![ran(0, "a"), sleep(1, 100)]).expect("acts");
    world.progress(&offer, 1, vec![ran(0, "a"), sleep(1, 100), ran(2, "b")]).expect("acts");
    assert_eq!(world.journal(run).iter().filter(|name| **name == "StepRan").count(), 2);
    assert_eq!(world.view(run).steps.len(), 2, "the body and one sleep");
    let gap = world.progress(&offer, 5, vec![ran(9, "z")]);
    assert_eq!(gap, Err(Refusal::OutOfOrder { got: 5, expected: 4 }));
    let none = world.progress(&offer, 0, vec![ran(9, "z")]);
    assert_eq!(none, Err(Refusal::OutOfOrder { got: 0, expected: 4 }), "numbers begin at 1");
    assert_eq!(park(&mut world, &offer, 99, 4), Err(Refusal::OutOfOrder { got: 5, expected: 4 }));
    assert_eq!(park(&mut world, &offer, 99, 3), Ok(Reply::Done));
}

#[test]
fn parked_code_costs_a_stub_and_is_offered_again_when_its_timer_fires() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![ran(0, "a"), sleep(1, 10_000)]).expect("acts");
    let last = seen(&world);
    park(&mut world, &offer, last, 2).expect("a park");
    assert_eq!((world.state(run), world.waiting(run)), (State::Suspended, Some(WaitKind::Timer)));
    world.evict();
    assert_eq!(world.partition.loaded(), (0, 1));
    world.pass(9_999);
    assert!(world.offers.is_empty());
    world.pass(1);
    let again = world.offer();
    assert_eq!(again.attempt.attempt, 2);
    assert!(again.body.is_some_and(|body| !body.fresh));
    let history = facts(&world.history(run));
    assert_eq!(
        history,
        [
            Fact::Ran(0, "a".to_owned(), Ok(Json::trusted("0"))),
            Fact::Begun(1, "sleep1".to_owned()),
            Fact::Ended(1, Ok(Json::null()))
        ]
    );
    // A new attempt counts from 1 again.
    world.progress(&again, 1, vec![ran(2, "b")]).expect("an act");
    done(&mut world, &again);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn what_happened_while_the_code_was_let_go_brings_it_back_at_once() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![signal(0, "paid")]).expect("an act");
    let last = seen(&world);
    world
        .send(Command::Signal { run, name: "paid".into(), payload: Json::trusted("7"), id: None })
        .expect("a signal");
    assert_eq!(told(&mut world), [Fact::Ended(0, Ok(Json::trusted("7")))]);
    park(&mut world, &offer, last, 1).expect("a park");
    assert_eq!(world.offer().attempt.attempt, 2);
}

#[test]
fn steps_that_code_begins_end_in_the_order_of_the_journal() {
    let (mut world, run, offer) = begun();
    let child = Child {
        definition: flow("child"),
        input: Json::trusted("{}"),
        continue_id: None,
        is_name: false,
        wait: true,
        callback: None,
        on_parent_end: OnParentEnd::Cancel,
        options: Box::default(),
    };
    let acts = vec![begin(0, "pack", Work::Call(call("pack"))), begin(1, "child", Work::Child(child))];
    world.progress(&offer, 1, acts).expect("acts");
    let pack = world.offer();
    world.pass(5);
    world.succeed(&pack);
    let ended: Vec<u64> = told(&mut world)
        .iter()
        .filter_map(|fact| match fact {
            Fact::Ended(tag, Ok(_)) => Some(*tag),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [1, 0]);
    assert_eq!(world.state(run), State::Running);
}

#[test]
fn a_dead_worker_costs_nothing_that_was_recorded() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![ran(0, "a")]).expect("an act");
    world.crash();
    world.pass(30_000);
    world.worker(2, &["workflow:order"], 1);
    let again = world.offer();
    assert_eq!(facts(&world.history(run)), [Fact::Ran(0, "a".to_owned(), Ok(Json::trusted("0")))]);
    assert_eq!(world.progress(&offer, 2, vec![ran(1, "b")]), Err(Refusal::LeaseLost(offer.attempt)));
    done(&mut world, &again);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_worker_that_comes_back_keeps_its_code_and_reports_again() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![ran(0, "a")]).expect("an act");
    world.crash();
    let claims = world.reconnect(2, &["workflow:order"], 1, vec![(offer.attempt, offer.token)]);
    assert_eq!(claims.keep, [offer.attempt]);
    world.progress(&offer, 1, vec![ran(0, "a"), ran(1, "b")]).expect("acts");
    assert_eq!(world.journal(run).iter().filter(|name| **name == "StepRan").count(), 2);
}

#[test]
fn code_that_kills_its_worker_again_and_again_is_held_for_a_person() {
    let mut world = World::new(&[]);
    world.worker(1, &["workflow:order"], 4);
    let run = world.start(workflow("order"));
    for _ in 0..3 {
        let offer = world.offer();
        world.report(&offer, Report::Lost(Lost::Crashed)).expect("a report");
    }
    assert_eq!((world.state(run), world.waiting(run)), (State::Suspended, Some(WaitKind::Repair)));
    world.send(Command::Resume { run }).expect("a resume");
    let offer = world.offer();
    // Progress forgives.
    world.progress(&offer, 1, vec![ran(0, "a")]).expect("an act");
    world.report(&offer, Report::Lost(Lost::Crashed)).expect("a report");
    assert_eq!(world.state(run), State::Running);
}

#[test]
fn code_that_cannot_be_replayed_is_held_and_tried_again_on_resume() {
    let (mut world, run, offer) = begun();
    world
        .report(&offer, Report::Unreplayable("step 3 was `charge`, and is `refund`".into()))
        .expect("a report");
    let view = world.view(run).summary;
    assert_eq!(view.state, State::Suspended);
    assert!(
        view.waiting
            .is_some_and(|waiting| waiting.kind == WaitKind::Repair && waiting.name.contains("refund"))
    );
    world.send(Command::Resume { run }).expect("a resume");
    let offer = world.offer();
    done(&mut world, &offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn code_that_waits_for_nothing_is_held() {
    let (mut world, run, offer) = begun();
    park(&mut world, &offer, 0, 0).expect("a park");
    assert_eq!(world.waiting(run), Some(WaitKind::Repair));
}

#[test]
fn cancelled_code_cleans_up_durably_and_then_the_run_is_cancelled() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![sleep(0, 60_000)]).expect("an act");
    let last = seen(&world);
    park(&mut world, &offer, last, 1).expect("a park");
    world.send(Command::Cancel { run, reason: String::new() }).expect("a cancel");
    assert_eq!(world.state(run), State::Cancelling);
    let cleaning = world.offer();
    assert_eq!(
        facts(&world.history(run)),
        [Fact::Begun(0, "sleep0".to_owned()), Fact::CancelRequested, Fact::Aborted(0)]
    );
    let acts = vec![ran(1, "refund"), begin(2, "pack", Work::Call(call("pack")))];
    world.progress(&cleaning, 1, acts).expect("acts");
    let pack = world.offer();
    world.fail(&pack, "Full");
    assert!(told(&mut world).iter().any(|fact| matches!(fact, Fact::Ended(2, Err(_)))));
    done(&mut world, &cleaning);
    assert_eq!(world.state(run), State::Cancelled);
}

#[test]
fn code_that_does_not_stop_in_time_is_left_to_drain() {
    let (mut world, run, offer) = begun();
    world.send(Command::Cancel { run, reason: String::new() }).expect("a cancel");
    assert_eq!(world.stops, [offer.attempt]);
    assert_eq!(told(&mut world), [Fact::CancelRequested]);
    world.pass(400_000);
    assert_eq!(world.state(run), State::Cancelled);
    assert_eq!(world.progress(&offer, 1, vec![ran(0, "a")]), Err(Refusal::RunClosed(run)));
}

#[test]
fn code_that_never_began_is_cancelled_at_once() {
    let mut world = World::new(&[]);
    let run = world.start(workflow("order"));
    world.send(Command::Cancel { run, reason: String::new() }).expect("a cancel");
    assert_eq!(world.state(run), State::Cancelled);
}

#[test]
fn a_resumed_run_keeps_what_succeeded_and_does_the_failed_step_again() {
    let (mut world, run, offer) = begun();
    let acts = vec![ran(0, "a"), sleep(1, 60_000), ran_badly(2, "b")];
    world.progress(&offer, 1, acts).expect("acts");
    world.fail(&offer, "Boom");
    assert_eq!(world.state(run), State::Failed);
    world.send(Command::Resume { run }).expect("a resume");
    let again = world.offer();
    assert!(again.body.is_some_and(|body| !body.fresh));
    let history = facts(&world.history(run));
    assert_eq!(history.last(), Some(&Fact::Reopened(vec![2, 1])));
    assert!(history.contains(&Fact::Ran(0, "a".to_owned(), Ok(Json::trusted("0")))));
    world.progress(&again, 1, vec![sleep(1, 10), ran(2, "b")]).expect("acts");
    world.pass(10);
    done(&mut world, &again);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_paused_run_is_let_go_and_offered_to_nobody_until_it_goes_on() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![ran(0, "a"), sleep(1, 10)]).expect("acts");
    let last = seen(&world);
    world.send(Command::Pause { run }).expect("a pause");
    assert_eq!(world.parks, [offer.attempt]);
    park(&mut world, &offer, last, 2).expect("a park");
    world.pass(10);
    assert!(world.offers.is_empty());
    world.send(Command::Resume { run }).expect("a resume");
    assert_eq!(world.offer().attempt.attempt, 2);
}

#[test]
fn a_pause_reaches_a_worker_that_was_away() {
    let (mut world, run, offer) = begun();
    world.send(Command::DisconnectWorker { worker: WorkerId(1), goodbye: false }).expect("a disconnect");
    world.send(Command::Pause { run }).expect("a pause");
    assert_eq!(world.parks, []);
    world.reconnect(2, &["workflow:order"], 1, vec![(offer.attempt, offer.token)]);
    assert_eq!(world.parks, [offer.attempt]);
}

#[test]
fn recovery_at_any_point_gives_the_same_partition() {
    let (mut world, run, offer) = begun();
    world.progress(&offer, 1, vec![ran(0, "a"), signal(1, "go"), sleep(2, 50)]).expect("acts");
    world.checkpoint(100);
    let last = seen(&world);
    park(&mut world, &offer, last, 3).expect("a park");
    world.pass(50);
    let offer = world.offer();
    let before = world.view(run);
    world.crash();
    assert_eq!(world.view(run), before);
    let claims = world.reconnect(3, &["workflow:order"], 1, vec![(offer.attempt, offer.token)]);
    assert_eq!(claims.keep, [offer.attempt]);
    done(&mut world, &offer);
    assert_eq!(world.state(run), State::Succeeded);
}
