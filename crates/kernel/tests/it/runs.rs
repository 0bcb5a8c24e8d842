//! What runs do: steps, waits, children, limits.

use riverrun_kernel::driver::OnParentEnd::{Abandon, Cancel, Wait};
use riverrun_kernel::*;

use crate::world::{Op, SECRET, World, call, flow, retry, task, token_of};

#[test]
fn a_task_is_queued_until_a_worker_takes_it() {
    let mut world = World::new(&[]);
    let run = world.start(task("f"));
    assert_eq!(world.state(run), State::Queued);
    assert_eq!(world.waiting(run), Some(WaitKind::Worker));
    world.worker(1, &["f"], 1);
    assert_eq!(world.state(run), State::Running);
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
    assert_eq!(world.view(run).outcome, Some(Ok(Json::trusted("{\"ok\":true}"))));
    insta::assert_compact_json_snapshot!(world.journal(run), @r#"["RunCreated", "StepBegun", "RunStarted", "AttemptStarted", "StepSucceeded", "RunSucceeded"]"#);
}

#[test]
fn a_flow_goes_from_step_to_step() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Sleep(10_000), Op::Call(call("b"))])]);
    world.worker(1, &["a", "b"], 1);
    let run = world.start(flow("f"));
    let offer = world.offer();
    assert_eq!((offer.path.as_str(), offer.call.function.as_str()), ("s0.1", "a"));
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Suspended);
    let waiting = world.view(run).summary.waiting.expect("it waits");
    assert_eq!(waiting.kind, WaitKind::Timer);
    assert_eq!(waiting.until, Some(world.now.wall.plus(10_000)));
    world.pass(9_999);
    assert!(world.offers.is_empty());
    world.pass(1);
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(world.view(run).outcome, Some(Ok(Json::trusted("{\"did\":3}"))));
}

#[test]
fn attempt_and_its_record_come_in_the_batch_of_the_start() {
    let mut world = World::new(&[]);
    world.worker(1, &["f"], 1);
    world.start(task("f"));
    let names: Vec<_> =
        world.log.last().expect("a batch").records.iter().map(|record| format!("{record:.20?}")).collect();
    assert_eq!(names.len(), 5, "created, advanced, begun, started, attempt: {names:?}");
    assert_eq!(world.offers.len(), 1);
}

#[test]
fn a_loop_without_a_step_goes_to_the_end_of_the_queue_and_then_fails() {
    let mut world = World::new(&[("short", vec![Op::Spin(1_000)]), ("endless", vec![Op::Spin(u32::MAX)])]);
    let run = world.start(flow("short"));
    assert_eq!(world.state(run), State::Succeeded);
    let turns = world.entries(run).iter().filter(|entry| entry.name() == "Advanced").count();
    assert!(turns >= 5, "1,000 transitions at 200 a turn took {turns} turns");
    let run = world.start(flow("endless"));
    assert_eq!(world.view(run).summary.error.as_deref(), Some("TransitionLimitExceeded"));
}

#[test]
fn a_flow_whose_journal_grows_too_long_fails_and_says_so() {
    let sleeps = vec![Op::Sleep(1); 50];
    let mut world = World::new(&[("f", sleeps)]).with_max_entries(40);
    let run = world.start(flow("f"));
    world.pass(100);
    let summary = world.view(run).summary;
    assert_eq!(summary.error.as_deref(), Some(Failure::HISTORY_LIMIT));
    let journal = world.journal(run).len();
    assert!((20..50).contains(&journal), "{journal} lines");
    assert!(world.partition.next_due().0.is_none(), "nothing of it is left");
}

#[test]
fn a_signal_is_taken_whether_it_comes_before_or_after_its_step() {
    let mut world =
        World::new(&[("f", vec![Op::Sleep(5), Op::Signal("go", Some(100)), Op::Signal("go", Some(100))])]);
    let run = world.start(flow("f"));
    let signal =
        |id: &str| Command::Signal { run, name: "go".into(), payload: Json::null(), id: Some(id.into()) };
    world.send(signal("1")).expect("buffered");
    world.send(signal("1")).expect("the same again changes nothing");
    world.pass(5);
    assert_eq!(world.waiting(run), Some(WaitKind::Signal));
    world.send(signal("2")).expect("taken at once");
    assert_eq!(world.state(run), State::Succeeded);
    assert_eq!(world.send(signal("3")), Err(Refusal::RunClosed(run)));
}

#[test]
fn a_run_keeps_so_many_signals_and_no_more_until_it_takes_one() {
    let flows = [("f", vec![Op::Sleep(5), Op::Signal("go", None), Op::Sleep(1_000)])];
    let mut world = World::new(&flows).with_max_signals(3);
    let run = world.start(flow("f"));
    let signal =
        |id: u32| Command::Signal { run, name: "go".into(), payload: Json::null(), id: Some(id.to_string()) };
    for id in 0..3 {
        world.send(signal(id)).expect("kept");
    }
    assert_eq!(world.send(signal(3)), Err(Refusal::TooManySignals { run, name: "max_signals", limit: 3 }));
    world.send(signal(0)).expect("one that it has is no further one");
    world.pass(5);
    world.send(signal(3)).expect("one was taken");
    assert!(matches!(world.send(signal(4)), Err(Refusal::TooManySignals { .. })));
}

#[test]
fn a_run_keeps_so_many_bytes_of_signals_and_no_more_until_it_takes_one() {
    let flows = [("f", vec![Op::Sleep(5), Op::Signal("go", None), Op::Sleep(1_000)])];
    let mut world = World::new(&flows).with_max_signal_bytes(100);
    let run = world.start(flow("f"));
    let signal = |size: usize| Command::Signal {
        run,
        name: "go".into(),
        payload: Json::trusted(format!("\"{}\"", "x".repeat(size))),
        id: None,
    };
    world.send(signal(60)).expect("kept");
    let refused = Err(Refusal::TooManySignals { run, name: "max_signal_bytes", limit: 100 });
    assert_eq!(world.send(signal(60)), refused);
    world.pass(5);
    world.send(signal(60)).expect("the first one was taken");
}

#[test]
fn a_signal_that_does_not_come_in_time_fails_the_step() {
    let mut world = World::new(&[("f", vec![Op::Signal("go", Some(100))])]);
    let run = world.start(flow("f"));
    world.pass(100);
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::TIMEOUT));
}

#[test]
fn a_callback_token_works_once_also_before_the_function_returns() {
    let mut with_callback = call("a");
    with_callback.callback = true;
    with_callback.callback_paths = vec!["/token".into()];
    with_callback.input = Json::trusted(r#"{"token":null}"#);
    let mut world = World::new(&[("f", vec![Op::Call(with_callback)])]);
    world.worker(1, &["a"], 2);
    for early in [true, false] {
        let run = world.start(flow("f"));
        let offer = world.offer();
        let text = offer.callback.clone().expect("a token");
        assert_eq!(offer.call.input.to_value().expect("decodes")["token"], text.as_str());
        let journal = format!("{:?}", world.entries(run));
        assert!(!journal.contains(&text), "no record holds the token");
        let parts: Vec<&str> = text.split('.').collect();
        let step = StepId(parts[1].parse().expect("a step"));
        let token = CallbackToken { run, step, token: parts[2].parse().expect("a token") };
        let complete =
            Command::CompleteCallback { token, outcome: Ok(Json::trusted("{\"from\":\"outside\"}")) };
        if !early {
            world.succeed(&offer);
            assert_eq!(world.waiting(run), Some(WaitKind::Callback));
        }
        let wrong = CallbackToken { token: Token([1; 16]), ..token };
        let forged = Command::CompleteCallback { token: wrong, outcome: Ok(Json::null()) };
        assert_eq!(world.send(forged), Err(Refusal::InvalidCallback));
        assert_eq!(world.send(complete.clone()), Ok(Reply::Done));
        assert_eq!(world.state(run), State::Succeeded);
        assert_eq!(world.send(complete), Ok(Reply::Done), "the same again, after a lost answer");
        let other = Command::CompleteCallback { token, outcome: Ok(Json::null()) };
        assert_eq!(world.send(other), Err(Refusal::InvalidCallback), "it works once");
        if early {
            assert_eq!(world.report(&offer, Report::Succeeded(Json::null())), Ok(Reply::Superseded));
        }
    }
    assert!(world.partition.workers()[0].attempts.is_empty());
}

#[test]
fn the_function_of_a_callback_step_is_tried_again_within_the_steps_time() {
    let mut asks = call("a");
    asks.callback = true;
    asks.timeout_ms = Some(250);
    asks.retry = retry(9, 100);
    let mut world = World::new(&[("f", vec![Op::Call(asks)])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("f"));
    let first = world.offer();
    world.report(&first, Report::Failed(Failure::new("Busy", ""))).expect("taken");
    assert_eq!(world.waiting(run), Some(WaitKind::Retry));
    world.pass(100);
    let second = world.offer();
    assert_eq!((second.attempt.attempt, &second.callback), (2, &first.callback));
    // The next back-off would last longer than the step may.
    world.report(&second, Report::Failed(Failure::new("Busy", ""))).expect("taken");
    world.pass(149);
    assert_eq!(world.view(run).outcome, None);
    world.pass(1);
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::TIMEOUT));
    assert!(world.offers.is_empty());
}

#[test]
fn a_callback_step_that_stands_in_its_queue_again_still_ends_in_time() {
    let mut asks = call("a");
    asks.callback = true;
    asks.timeout_ms = Some(250);
    asks.retry = retry(9, 100);
    let mut world = World::new(&[("f", vec![Op::Call(asks)])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.report(&offer, Report::Failed(Failure::new("Busy", ""))).expect("taken");
    // Something else takes the only place.
    world.start(task("a"));
    world.pass(249);
    assert_eq!(world.view(run).outcome, None);
    world.pass(1);
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::TIMEOUT));
}

/// The run that a run started last.
fn child_of(world: &World, parent: RunId) -> RunId {
    let of_parent = |record: &Record| match record {
        Record::Run(run, Entry::RunCreated(created)) if created.parent.is_some_and(|by| by.run == parent) => {
            Some(*run)
        }
        _ => None,
    };
    world.log.iter().flat_map(|batch| &batch.records).filter_map(of_parent).next_back().expect("a child")
}

/// What the function of a child was given for the token of its parent's first step.
fn token_in(offer: &Offer) -> (String, CallbackToken) {
    let text = offer.call.input.to_value().expect("decodes")["to"][0].as_str().expect("a text").to_owned();
    let token = token_of(&text);
    (text, token)
}

#[test]
fn a_child_hands_its_parents_token_to_functions_and_the_step_ends_by_it() {
    let flows = [
        ("parent", vec![Op::Hand("clerk", None)]),
        ("clerk", vec![Op::PassOn("ask"), Op::Sleep(100)]),
        ("chief", vec![Op::Hand("bad", None)]),
        ("bad", vec![Op::Fail]),
    ];
    let mut world = World::new(&flows);
    world.worker(1, &["ask"], 2);
    let run = world.start(flow("parent"));
    assert_eq!(world.waiting(run), Some(WaitKind::Callback));
    let child = child_of(&world, run);
    let offer = world.offer();
    assert_eq!(offer.attempt.run, child);
    let (text, token) = token_in(&offer);
    assert_eq!((token.run, token), (run, CallbackToken::of(&SECRET, run, token.step)));
    let log = serde_json::to_string(&world.log.iter().map(|batch| &batch.records).collect::<Vec<_>>());
    let log = log.expect("it is written");
    assert!(!log.contains(&text) && !log.contains(&token.token.to_string()), "no record holds the token");
    assert!(log.contains(&callback_name(run, token.step)), "but its name");

    // It comes before the child is done; that goes on alone.
    let answer = Json::trusted(r#"{"yes":true}"#);
    let complete = Command::CompleteCallback { token, outcome: Ok(answer) };
    assert_eq!(world.send(complete.clone()), Ok(Reply::Done));
    assert_eq!((world.state(run), world.state(child)), (State::Succeeded, State::Running));
    assert_eq!(world.send(complete), Ok(Reply::Done), "the same again, after a lost answer");
    world.succeed(&offer);
    world.pass(100);
    assert_eq!(world.state(child), State::Succeeded);

    // A child that is over ends nothing, however it ended.
    let chief = world.start(flow("chief"));
    assert_eq!(world.state(child_of(&world, chief)), State::Failed);
    assert_eq!(world.waiting(chief), Some(WaitKind::Callback));
    let step = world.view(chief).steps[0].id;
    let token = CallbackToken::of(&SECRET, chief, step);
    let failure = Failure::new("TooDear", "no");
    world.send(Command::CompleteCallback { token, outcome: Err(failure) }).expect("taken");
    assert_eq!(world.view(chief).summary.error.as_deref(), Some("TooDear"));
}

#[test]
fn a_token_goes_down_to_grandchildren_and_to_nobody_else() {
    let flows = [
        ("parent", vec![Op::Hand("middle", None)]),
        ("middle", vec![Op::Child("clerk", true, Cancel, None)]),
        ("clerk", vec![Op::PassOn("ask")]),
    ];
    let mut world = World::new(&flows);
    world.worker(1, &["ask"], 9);
    let run = world.start(flow("parent"));
    // The child of this world's script passes nothing on, so there is nothing to put a token in place of.
    assert_eq!(world.offer().call.input.get(), "{}");
    let created = world.log.iter().flat_map(|batch| &batch.records).filter_map(|record| match record {
        Record::Run(_, Entry::RunCreated(created)) => Some(created.options.tokens.clone()),
        _ => None,
    });
    let created: Vec<_> = created.collect();
    let step = world.view(run).steps[0].id;
    let handed = AwaitedStep { run, step };
    assert_eq!(created, [vec![], vec![handed], vec![handed]]);

    // Whoever writes the name of a token into an input has not got the token.
    let name = callback_name(run, step);
    let mut start = world.request(flow("clerk"));
    start.input = Json::trusted(format!(r#"{{"to":["{name}"]}}"#));
    world.send(Command::Start(Box::new(start))).expect("started");
    assert!(world.offer().call.input.get().contains(&name));
}

#[test]
fn a_step_fails_whose_child_cannot_have_the_token_or_nobody_uses_it() {
    let flows = [
        ("unknown", vec![Op::Hand("nobody", None)]),
        ("taken", vec![Op::Hand("clerk", Some("k"))]),
        ("silent", vec![Op::Hand("clerk", None)]),
        ("clerk", vec![Op::Sleep(100)]),
    ];
    let mut world = World::new(&flows);
    let run = world.start(flow("unknown"));
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::START_REFUSED));
    let first = world.start(flow("taken"));
    assert_eq!(world.waiting(first), Some(WaitKind::Callback));
    let second = world.start(flow("taken"));
    assert_eq!(world.view(second).summary.error.as_deref(), Some(Failure::START_REFUSED));
    world.send(Command::Cancel { run: first, reason: "enough".into() }).expect("cancelled");
    assert_eq!(world.state(child_of(&world, first)), State::Suspended, "it goes on alone");

    world.pass(100);
    let silent = world.start(flow("silent"));
    world.pass(999_999);
    assert_eq!(world.waiting(silent), Some(WaitKind::Callback));
    world.pass(1);
    assert_eq!(world.view(silent).summary.error.as_deref(), Some(Failure::TIMEOUT));
}

#[test]
fn a_callback_that_does_not_come_fails_the_step_in_time() {
    let mut world = World::new(&[("f", vec![Op::Callback(Some(50))])]);
    let run = world.start(flow("f"));
    assert_eq!(world.waiting(run), Some(WaitKind::Callback));
    world.pass(50);
    assert_eq!(world.state(run), State::Failed);
}

#[test]
fn a_parent_waits_for_its_child() {
    let parent = vec![Op::Child("child", true, Cancel, None)];
    let mut world =
        World::new(&[("parent", parent), ("child", vec![Op::Call(call("a"))]), ("bad", vec![Op::Fail])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("parent"));
    assert_eq!(world.waiting(run), Some(WaitKind::Child));
    let offer = world.offer();
    assert_eq!(world.view(offer.attempt.run).summary.parent.map(|parent| parent.run), Some(run));
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_child_that_fails_fails_the_step() {
    let parent = vec![Op::Child("bad", true, Cancel, None)];
    let mut world = World::new(&[("parent", parent), ("bad", vec![Op::Fail])]);
    let run = world.start(flow("parent"));
    assert_eq!(world.view(run).summary.error.as_deref(), Some("Boom"));
}

#[test]
fn what_becomes_of_a_child_is_the_parents_choice() {
    for (choice, parent_then, child_then) in [
        (Cancel, State::Succeeded, State::Cancelled),
        (Abandon, State::Succeeded, State::Suspended),
        (Wait, State::Suspended, State::Suspended),
    ] {
        let parent = vec![Op::Child("child", false, choice, None)];
        let mut world = World::new(&[("parent", parent), ("child", vec![Op::Sleep(1_000)])]);
        let run = world.start(flow("parent"));
        let child = world.log.iter().flat_map(|batch| &batch.records).find_map(|record| match record {
            Record::Run(_, Entry::ChildStarted { run, .. }) => Some(*run),
            _ => None,
        });
        let child = child.expect("a child");
        assert_eq!((world.state(run), world.state(child)), (parent_then, child_then), "{choice:?}");
        world.pass(1_000);
        assert_eq!(world.state(run), State::Succeeded, "{choice:?}");
    }
}

#[test]
fn cancelling_a_parent_cancels_its_child() {
    let parent = vec![Op::Child("child", true, Cancel, None)];
    let mut world = World::new(&[("parent", parent), ("child", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let run = world.start(flow("parent"));
    let offer = world.offer();
    world.send(Command::Cancel { run, reason: "enough".into() }).expect("cancelled");
    assert_eq!(world.stops, [offer.attempt]);
    assert_eq!(world.state(offer.attempt.run), State::Cancelling);
    world.report(&offer, Report::Stopped).expect("stopped");
    assert_eq!(world.state(offer.attempt.run), State::Cancelled);
    assert_eq!(world.state(run), State::Cancelled);
}

#[test]
fn a_flow_that_starts_itself_holds_up_nobody() {
    let mut world = World::new(&[
        ("self", vec![Op::Child("nap", true, Cancel, Some("k")), Op::Sleep(1)]),
        ("nap", vec![Op::Sleep(3)]),
    ]);
    let run = world.start(flow("self"));
    assert_eq!(world.waiting(run), Some(WaitKind::Child));
    world.pass(10);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_run_may_wait_for_a_date_and_expire_in_the_queue() {
    let mut world = World::new(&[("f", vec![])]);
    let mut request = world.request(flow("f"));
    request.options.run_at = Some(world.now.wall.plus(5_000));
    let (late, ..) = world.start_run(request).expect("a start");
    assert_eq!(world.waiting(late), Some(WaitKind::Timer));
    world.pass(5_000);
    assert_eq!(world.state(late), State::Succeeded);

    let mut request = world.request(task("nobody"));
    request.options.queue_ttl_ms = Some(1_000);
    let (expired, ..) = world.start_run(request).expect("a start");
    world.pass(1_000);
    assert_eq!(world.state(expired), State::Expired);
}

#[test]
fn the_time_in_a_queue_counts_from_when_a_run_may_begin() {
    let mut world = World::new(&[]);
    let mut delayed = world.request(task("f"));
    delayed.options.queue_ttl_ms = Some(1_000);
    delayed.options.delay_ms = Some(5_000);
    let mut dated = world.request(task("f"));
    dated.options.queue_ttl_ms = Some(1_000);
    dated.options.run_at = Some(world.now.wall.plus(5_000));
    let mut past = world.request(task("f"));
    past.options.queue_ttl_ms = Some(1_000);
    past.options.run_at = Some(Wall(0));
    let [delayed, dated, past] = [delayed, dated, past].map(|run| world.start_run(run).expect("a start").0);
    world.pass(999);
    assert_eq!(world.state(past), State::Queued);
    world.pass(1);
    assert_eq!(world.state(past), State::Expired);
    world.pass(4_999);
    assert_eq!([world.state(delayed), world.state(dated)], [State::Queued; 2]);
    world.pass(1);
    assert_eq!([world.state(delayed), world.state(dated)], [State::Expired; 2]);
}

#[test]
fn a_delayed_task_gets_no_place_in_a_queue_before_its_time() {
    let mut world = World::new(&[]);
    world.worker(1, &["f"], 1);
    let mut request = world.request(task("f"));
    request.options.delay_ms = Some(500);
    world.start_run(request).expect("a start");
    assert!(world.offers.is_empty());
    world.pass(500);
    assert_eq!(world.offers.len(), 1);
}

#[test]
fn a_run_has_its_own_time_limit() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a"))])]);
    world.worker(1, &["a"], 1);
    let mut request = world.request(flow("f"));
    request.options.timeout_ms = Some(2_000);
    let (run, ..) = world.start_run(request).expect("a start");
    let offer = world.offer();
    world.pass(2_000);
    assert_eq!(world.state(run), State::TimedOut);
    assert_eq!(world.stops, [offer.attempt], "the attempt is told");
    assert_eq!(world.report(&offer, Report::Succeeded(Json::null())), Ok(Reply::Superseded));
    world.send(Command::Resume { run }).expect("reopened");
    assert_eq!(world.state(run), State::Running);
    assert_eq!(world.offer().path, offer.path, "the same step under the same key");
}

#[test]
fn an_unknown_definition_or_an_unreadable_state_suspends_for_repair() {
    let mut world = World::new(&[("broken", vec![Op::Broken])]);
    let run = world.start(flow("broken"));
    assert_eq!(world.waiting(run), Some(WaitKind::Repair));
    assert_eq!(world.state(run), State::Suspended);
    let run = world.start(flow("gone"));
    assert!(world.view(run).summary.waiting.expect("waits").name.contains("`gone`"));
    world.library = World::new(&[("gone", vec![])]).library;
    world.send(Command::Resume { run }).expect("repaired");
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn siblings_are_given_up_when_one_fails() {
    let mut world = World::new(&[("f", vec![Op::Both(call("a"), call("b"))])]);
    world.worker(1, &["a", "b"], 2);
    let run = world.start(flow("f"));
    let (a, b) = (world.offer(), world.offer());
    world.fail(&a, "Boom");
    assert_eq!(world.state(run), State::Failed);
    assert_eq!(world.stops, [b.attempt]);
    assert_eq!(world.report(&b, Report::Stopped), Ok(Reply::Done));
    world.send(Command::Delete { run }).expect("nothing executes any more");
    assert_eq!(world.send(Command::Pause { run }), Err(Refusal::UnknownRun(run)));
}

#[test]
fn an_outcome_that_the_driver_has_not_seen_survives_a_failure_and_its_resume() {
    let mut world = World::new(&[("f", vec![Op::Call(call("a")), Op::Call(call("b"))])]);
    world.worker(1, &["a", "b"], 1);
    let mut request = world.request(flow("f"));
    request.options.timeout_ms = Some(1_000);
    let (run, ..) = world.start_run(request).expect("a start");
    let offer = world.offer();
    world.send(Command::Pause { run }).expect("paused");
    world.succeed(&offer);
    world.pass(1_000);
    assert_eq!(world.state(run), State::TimedOut);
    world.evict();
    world.send(Command::Resume { run }).expect("reopened");
    assert_eq!(world.offer().call.function, "b", "the first step is not done again");
}

#[test]
fn a_child_of_no_definition_fails_its_step_at_once() {
    let mut world = World::new(&[("f", vec![Op::Child("nobody", true, Cancel, None)])]);
    let run = world.start(flow("f"));
    let failure = world.view(run).outcome.expect("closed").expect_err("failed");
    assert_eq!(
        (failure.error.as_str(), failure.message.as_str()),
        (Failure::START_REFUSED, "there is no flow `nobody`")
    );
}
