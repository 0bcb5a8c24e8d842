//! Cancel, pause, resume, delete.

use riverrun_kernel::driver::OnParentEnd;
use riverrun_kernel::workflow::{Act, function};
use riverrun_kernel::*;

use crate::world::{Op, World, call, flow, retry, task, workflow};

fn cancel(run: RunId) -> Command {
    Command::Cancel { run, reason: "test".into() }
}

#[test]
fn a_queued_run_is_cancelled_at_once() {
    let mut world = World::new(&[]);
    let run = world.start(task("f"));
    assert_eq!(world.send(cancel(run)), Ok(Reply::State(State::Cancelled)));
    world.worker(1, &["f"], 1);
    assert!(world.offers.is_empty());
    assert_eq!(world.send(cancel(run)), Ok(Reply::State(State::Cancelled)), "again changes nothing");
}

#[test]
fn a_running_attempt_may_end_and_its_outcome_counts() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("f"));
    let offer = world.offer();
    assert_eq!(world.send(cancel(run)), Ok(Reply::State(State::Cancelling)));
    assert_eq!(world.stops, [offer.attempt]);
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Cancelled);
    assert!(world.offers.is_empty(), "nothing new begins");
    assert!(world.journal(run).contains(&"StepSucceeded"));
}

#[test]
fn a_cancelled_attempt_has_a_grace_and_no_more() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("f"));
    world.send(cancel(run)).expect("cancelling");
    for _ in 0..31 {
        world.pass(10_000);
        world.send(Command::Heartbeat { worker: WorkerId(1) }).expect("alive");
    }
    assert_eq!(world.state(run), State::Cancelled);
    let hint = world.send(Command::Delete { run });
    assert!(matches!(hint, Err(Refusal::WrongState { .. })), "its attempt may still be executing: {hint:?}");
}

#[test]
fn a_waiting_run_is_cancelled_at_once() {
    let mut world = World::new(&[("f", vec![Op::Sleep(1_000_000)])]);
    let run = world.start(flow("f"));
    assert_eq!(world.send(cancel(run)), Ok(Reply::State(State::Cancelled)));
    assert_eq!(world.partition.next_due(), (None, None));
}

#[test]
fn a_paused_run_records_outcomes_and_begins_nothing_until_resumed() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Sleep(10), Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.send(Command::Pause { run }).expect("paused");
    world.send(Command::Pause { run }).expect("again changes nothing");
    world.succeed(&offer);
    assert_eq!(world.waiting(run), Some(WaitKind::Pause));
    world.crash();
    world.worker(2, &["a"], 1);
    world.send(Command::Resume { run }).expect("goes on");
    assert_eq!(world.waiting(run), Some(WaitKind::Timer));
    world.send(Command::Pause { run }).expect("paused in its sleep");
    world.pass(10);
    assert!(world.offers.is_empty());
    world.send(Command::Resume { run }).expect("goes on");
    assert_eq!(world.offers.len(), 1, "the timer that fired meanwhile counts");
}

#[test]
fn a_paused_queued_task_is_not_given_out() {
    let mut world = World::new(&[]);
    let run = world.start(task("f"));
    world.send(Command::Pause { run }).expect("paused");
    world.worker(1, &["f"], 1);
    assert!(world.offers.is_empty());
    world.send(Command::Resume { run }).expect("goes on");
    assert_eq!(world.offers.len(), 1);
}

#[test]
fn a_failed_run_is_resumed_at_the_step_that_failed() {
    let steps = vec![Op::Call(call("a")), Op::Call(call("b")), Op::Call(call("c"))];
    let mut world = World::new(&[("f", steps)]);
    world.worker(1, &["a", "b", "c"], 1);
    let run = world.start(flow("f"));
    let first = world.offer();
    world.succeed(&first);
    let failed = world.offer();
    world.fail(&failed, "Down");
    assert_eq!(world.state(run), State::Failed);
    world.evict();
    world.send(Command::Resume { run }).expect("reopened");
    let again = world.offer();
    assert_eq!((&again.path, &again.idempotency_key), (&failed.path, &failed.idempotency_key));
    world.succeed(&again);
    let last = world.offer();
    assert_eq!(last.call.function, "c");
    world.succeed(&last);
    assert_eq!(world.state(run), State::Succeeded);
    let refused = world.send(Command::Resume { run });
    assert!(matches!(refused, Err(Refusal::WrongState { state: State::Succeeded, .. })));
}

#[test]
fn only_closed_runs_are_deleted_and_then_nobody_knows_them() {
    let mut world = World::new(&[("f", vec![Op::Sleep(10)])]);
    let run = world.start(flow("f"));
    assert!(matches!(world.send(Command::Delete { run }), Err(Refusal::WrongState { .. })));
    world.pass(10);
    world.checkpoint(10);
    world.send(Command::Delete { run }).expect("deleted");
    assert_eq!(world.send(Command::Delete { run }), Err(Refusal::UnknownRun(run)));
    world.checkpoint(10);
    assert!(world.table.runs.is_empty() && world.table.journal.is_empty());
    assert_eq!(world.send(Command::Delete { run }), Err(Refusal::UnknownRun(run)));
}

#[test]
fn labels_are_replaced_also_on_a_closed_run() {
    let mut world = World::new(&[("f", vec![])]);
    let run = world.start(flow("f"));
    let labels = Labels::from([("team".to_owned(), "blue".to_owned())]);
    world.send(Command::SetLabels { run, labels: labels.clone() }).expect("set");
    assert_eq!(world.view(run).summary.labels, labels);
}

fn stop(run: RunId) -> Command {
    Command::Stop { run, failure: Failure::new("Enough", "no more") }
}

#[test]
fn a_stopped_run_ends_as_was_said_also_after_a_crash() {
    let flows = [
        ("f", vec![Op::Call(call("a"))]),
        ("parent", vec![Op::Child("f", true, OnParentEnd::Cancel, Some("k"))]),
    ];
    let mut world = World::new(&flows);
    world.worker(1, &["a"], 1);
    let parent = world.start(flow("parent"));
    let offer = world.offer();
    let child = offer.attempt.run;
    assert_eq!(world.send(stop(child)), Ok(Reply::State(State::Cancelling)));
    world.crash();
    world.reconnect(1, &["a"], 1, vec![(offer.attempt, offer.token)]);
    assert_eq!(world.report(&offer, Report::Stopped), Ok(Reply::Done));
    assert_eq!(world.state(child), State::Cancelled);
    let failure = Failure::new("Enough", "no more");
    assert_eq!(world.view(child).outcome, Some(Err(failure.clone())));
    assert_eq!(world.view(parent).outcome, Some(Err(failure)), "who waits for it is told");
    assert_eq!(world.send(stop(child)), Ok(Reply::State(State::Cancelled)), "again changes nothing");
}

#[test]
fn a_run_completes_the_step_that_waits_for_its_end() {
    let flows =
        [("waits", vec![Op::Callback(None)]), ("sleeps", vec![Op::Sleep(100)]), ("fails", vec![Op::Fail])];
    for restart in [World::crash as fn(&mut World), World::evict, |_| {}] {
        let mut world = World::new(&flows);
        let waiting = world.start(flow("waits"));
        let mut request = world.request(flow("sleeps"));
        request.options.report_to = Some(AwaitedStep { run: waiting, step: StepId(1) });
        let (reporting, ..) = world.start_run(request.clone()).expect("started");
        restart(&mut world);
        world.pass(100);
        assert_eq!(world.state(reporting), State::Succeeded);
        assert_eq!(world.state(waiting), State::Succeeded);
        assert_eq!(world.view(waiting).outcome, Some(Ok(Json::trusted(r#"{"did":1}"#))));

        // A failure is one of the step; a step that is over or a run that is gone needs nothing.
        let waiting = world.start(flow("waits"));
        for _ in 0..2 {
            let mut request = world.request(flow("fails"));
            request.options.report_to = Some(AwaitedStep { run: waiting, step: StepId(1) });
            let (failed, ..) = world.start_run(request).expect("started");
            assert_eq!(world.state(failed), State::Failed);
            assert_eq!(world.view(waiting).summary.error.as_deref(), Some("Boom"));
        }
        world.send(Command::Delete { run: waiting }).expect("deleted");
        let mut request = world.request(flow("fails"));
        request.options.report_to = Some(AwaitedStep { run: waiting, step: StepId(1) });
        world.start_run(request).expect("started");
    }
}

#[test]
fn what_of_a_queue_has_not_been_started_is_withdrawn_and_the_rest_goes_on() {
    let mut world = World::new(&[]);
    let start = |world: &mut World, definition: DefinitionRef, change: fn(&mut RunOptions)| {
        let mut request = world.request(definition);
        request.options.task = Some(TaskOptions { queue: "mail".into(), ..TaskOptions::default() });
        change(&mut request.options);
        world.start_run(request).expect("a start").0
    };
    let retried = start(&mut world, task("a"), |options| {
        options.task.as_mut().expect("a task").retry = retry(3, 60_000);
    });
    let begun = start(&mut world, workflow("w"), |_| {});
    world.worker(1, &["a", &function("w")], 2);
    let (offer, body) = (world.offer(), world.offer());
    assert_eq!((offer.attempt.run, body.attempt.run), (retried, begun));
    world.send(Command::DrainWorker { worker: WorkerId(1) }).expect("drained");
    world.fail(&offer, "Busy");
    let act = Act::Ran { tag: 1, path: "one".into(), outcome: Ok(Json::null()) };
    world.progress(&body, 1, vec![act]).expect("taken");
    world.report(&body, Report::Lost(Lost::Returned)).expect("given back");
    let waiting = start(&mut world, task("a"), |_| {});
    let delayed = start(&mut world, task("a"), |options| options.delay_ms = Some(60_000));
    let dated = start(&mut world, task("a"), |options| options.run_at = Some(Wall(1_800_000_000_000)));
    let unbegun = start(&mut world, workflow("w"), |_| {});
    let elsewhere = start(&mut world, task("a"), |options| {
        options.task.as_mut().expect("a task").queue = "other".into();
    });
    let all = vec![retried, begun, waiting, delayed, dated, unbegun, elsewhere];
    world.evict();
    let batches = world.log.len();
    let withdraw = || Command::Withdraw { queue: "mail".into(), runs: all.clone(), reason: "emptied".into() };
    assert_eq!(world.send(withdraw()), Ok(Reply::Withdrawn(5)));
    assert_eq!(world.log.len(), batches + 1, "one commit");
    assert_eq!(world.send(withdraw()), Ok(Reply::Withdrawn(0)), "again changes nothing");
    world.crash();
    for run in [retried, waiting, delayed, dated, unbegun] {
        assert_eq!(world.state(run), State::Cancelled);
    }
    assert_eq!((world.state(begun), world.state(elsewhere)), (State::Running, State::Queued));
}
