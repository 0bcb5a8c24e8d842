//! Attempts: retries, leases, lost workers, repeated and late reports, time limits.

use std::sync::Arc;

use riverrun_kernel::*;

use crate::world::{Op, World, call, flow, retry, task};

fn one_call(change: impl FnOnce(&mut driver::Call)) -> World {
    let mut step = call("a");
    change(&mut step);
    let mut world = World::new(&[("f", vec![Op::Call(step)])]);
    world.worker(1, &["a"], 1);
    world
}

#[test]
fn retries_wait_longer_each_time_and_then_the_step_fails() {
    let mut world = one_call(|call| call.retry = retry(2, 1_000));
    let run = world.start(flow("f"));
    for wait in [1_000, 2_000] {
        let offer = world.offer();
        world.fail(&offer, "Flaky");
        assert_eq!(world.waiting(run), Some(WaitKind::Retry));
        world.pass(wait - 1);
        assert!(world.offers.is_empty());
        world.pass(1);
    }
    let offer = world.offer();
    assert_eq!(offer.attempt.attempt, 3);
    world.fail(&offer, "Flaky");
    assert_eq!(world.view(run).summary.error.as_deref(), Some("Flaky"));
}

#[test]
fn the_first_policy_that_matches_decides_and_each_counts_for_itself() {
    let mut world = one_call(|call| {
        call.retry = retry(1, 10);
        call.retry[0].errors = vec!["A".into()];
        call.retry.extend(retry(1, 20));
    });
    let run = world.start(flow("f"));
    for error in ["A", "B"] {
        let offer = world.offer();
        world.fail(&offer, error);
        world.pass(20);
    }
    let offer = world.offer();
    world.fail(&offer, "A");
    assert_eq!(world.state(run), State::Failed);
}

#[test]
fn a_failure_that_must_not_be_retried_is_not() {
    let mut world = one_call(|call| call.retry = retry(5, 10));
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.report(&offer, Report::Failed(Failure::new("Bad", "input").not_retryable())).expect("reported");
    assert_eq!(world.state(run), State::Failed);
}

#[test]
fn the_same_report_again_is_a_success_and_another_one_a_conflict() {
    let mut world = one_call(|_| {});
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
    let again = Report::Succeeded(Json::trusted("{\"ok\":true}"));
    assert_eq!(world.report(&offer, again.clone()), Ok(Reply::AlreadyRecorded));
    let other = Report::Succeeded(Json::trusted("{\"ok\":false}"));
    assert_eq!(world.report(&offer, other), Err(Refusal::Conflict(offer.attempt)));
    world.evict();
    assert_eq!(world.report(&offer, again), Ok(Reply::AlreadyRecorded), "also when the run is a row only");
    let forged =
        Command::Report { attempt: offer.attempt, token: Token([0; 16]), report: Report::Stopped, acts: 0 };
    assert_eq!(world.send(forged), Err(Refusal::LeaseLost(offer.attempt)));
}

#[test]
fn a_silent_worker_loses_its_attempts_after_a_lease() {
    let mut world = one_call(|_| {});
    let run = world.start(flow("f"));
    let lost = world.offer();
    world.pass(20_000);
    world.send(Command::Heartbeat { worker: WorkerId(1) }).expect("alive");
    world.pass(29_999);
    assert!(world.evicted.is_empty());
    world.pass(1);
    assert_eq!(world.evicted, [WorkerId(1)]);
    world.worker(2, &["a"], 1);
    let offer = world.offer();
    assert_eq!(offer.idempotency_key, lost.idempotency_key);
    let late = Report::Succeeded(Json::null());
    assert_eq!(world.report(&lost, late), Err(Refusal::LeaseLost(lost.attempt)));
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_its_attempts() {
    let mut world = one_call(|_| {});
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.send(Command::DisconnectWorker { worker: WorkerId(1), goodbye: false }).expect("gone");
    world.pass(2_999);
    let claims = vec![(offer.attempt, offer.token), (AttemptId { attempt: 9, ..offer.attempt }, offer.token)];
    let answer = world.reconnect(2, &["a"], 1, claims);
    assert_eq!(answer.keep, [offer.attempt]);
    assert_eq!(answer.drop.len(), 1);
    world.pass(10_000);
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_lost_connection_costs_the_attempts_after_the_grace_and_goodbye_at_once() {
    for goodbye in [false, true] {
        let mut world = one_call(|_| {});
        world.start(flow("f"));
        world.offer();
        world.worker(2, &["a"], 1);
        world.send(Command::DisconnectWorker { worker: WorkerId(1), goodbye }).expect("gone");
        if !goodbye {
            world.pass(2_999);
            assert!(world.offers.is_empty());
            world.pass(1);
        }
        assert_eq!(world.offer().attempt.attempt, 2);
    }
}

#[test]
fn attempts_survive_a_restart_of_the_server_with_a_fresh_lease() {
    let mut world = one_call(|_| {});
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.pass(29_000);
    world.crash();
    world.pass(29_999);
    let answer = world.reconnect(5, &["a"], 1, vec![(offer.attempt, offer.token)]);
    assert_eq!(answer.keep, [offer.attempt]);
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn a_poison_step_is_given_up_after_max_crashes_and_bystanders_are_not_charged() {
    let mut world = one_call(|call| call.max_crashes = 2);
    let run = world.start(flow("f"));
    for reason in [Lost::Bystander, Lost::Bystander, Lost::Returned, Lost::Crashed, Lost::Crashed] {
        assert_eq!(world.state(run), State::Running);
        let offer = world.offer();
        world.report(&offer, Report::Lost(reason)).expect("reported");
    }
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::WORKER_CRASHED));
}

#[test]
fn a_worker_lost_as_a_whole_counts_a_tenth_of_a_death_under_the_attempt() {
    let mut world = one_call(|call| call.max_crashes = 2);
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.report(&offer, Report::Lost(Lost::Crashed)).expect("reported");
    for worker in 2..12 {
        assert_eq!(world.state(run), State::Running);
        world.offer();
        world.send(Command::DisconnectWorker { worker: WorkerId(worker - 1), goodbye: false }).expect("gone");
        world.pass(3_000);
        world.crash();
        world.worker(worker, &["a"], 1);
    }
    let error = world.view(run).outcome.expect("an outcome").expect_err("a failure");
    assert_eq!(error.error, Failure::WORKER_CRASHED);
    assert!(error.message.contains("1 times, and was lost as a whole 10 times"), "{}", error.message);
}

#[test]
fn losses_recorded_before_they_counted_a_tenth_count_as_they_did() {
    let old = r#"{"AttemptLost":{"step":1,"attempt":1,"reason":"disconnected"}}"#;
    let Entry::AttemptLost { with_worker, .. } = serde_json::from_str(old).expect("an old entry") else {
        panic!("another entry")
    };
    assert!(!with_worker);
}

#[test]
fn what_the_process_that_got_it_comes_back_without_is_offered_again_at_once() {
    for restart in [false, true] {
        let mut world = World::new(&[]);
        world.incarnation = Some(incarnation("p", 1));
        world.worker(1, &["a"], 2);
        let mut once = world.request(task("a"));
        once.options.task = Some(TaskOptions { at_most_once: Some(true), ..TaskOptions::default() });
        let lost = world.start_run(once).expect("a start").0;
        let kept = world.start(task("a"));
        world.offer();
        let held = world.offer();
        if restart {
            world.crash();
        }
        world.incarnation = Some(incarnation("other", 7));
        world.worker(2, &["b"], 2);
        assert!(world.offers.is_empty(), "another process says nothing of it");
        world.incarnation = Some(incarnation("p", 2));
        let claims = world.reconnect(3, &["a"], 2, vec![(held.attempt, held.token)]);
        assert_eq!(claims.keep, [held.attempt]);
        assert_eq!(world.evicted.len(), usize::from(!restart), "its earlier connection is over");
        let again = world.offer();
        assert_eq!((again.attempt.run, again.attempt.attempt), (lost, 2));
        world.succeed(&held);
        world.succeed(&again);
        assert_eq!((world.state(lost), world.state(kept)), (State::Succeeded, State::Succeeded));
    }
}

#[test]
fn a_hello_that_was_overtaken_by_a_later_one_takes_nothing_away() {
    let mut world = World::new(&[]);
    world.incarnation = Some(incarnation("p", 2));
    world.worker(2, &["a"], 1);
    let run = world.start(task("a"));
    let offer = world.offer();
    world.incarnation = Some(incarnation("p", 1));
    world.worker(1, &["a"], 1);
    assert_eq!(world.evicted, [WorkerId(1)]);
    assert!(world.offers.is_empty());
    world.send(Command::DisconnectWorker { worker: WorkerId(2), goodbye: false }).expect("gone");
    world.worker(1, &["a"], 1);
    assert!(world.offers.is_empty(), "it was offered over a later connection than this");
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn an_attempt_told_to_stop_that_never_arrived_frees_its_key_at_once() {
    let mut world = World::new(&[]);
    world.incarnation = Some(incarnation("p", 1));
    world.worker(1, &["a"], 2);
    let limited = |world: &mut World| {
        let mut request = world.request(task("a"));
        let limit = Some(Arc::new(CallLimit { key: "k".into(), max_running: Some(1), rate: None }));
        request.options.task = Some(TaskOptions { limit, ..TaskOptions::default() });
        request
    };
    let [first, second] = [(), ()].map(|()| {
        let request = limited(&mut world);
        world.start_run(request).expect("a start").0
    });
    world.offer();
    world.send(Command::Cancel { run: first, reason: String::new() }).expect("cancelling");
    assert!(world.offers.is_empty());
    world.crash();
    world.incarnation = Some(incarnation("p", 2));
    world.worker(2, &["a"], 2);
    assert_eq!(world.offer().attempt.run, second);
}

fn incarnation(process: &str, connection: u64) -> Incarnation {
    Incarnation { process: process.into(), connection }
}

#[test]
fn at_most_once_never_runs_again() {
    let mut world = one_call(|call| {
        call.at_most_once = true;
        call.retry = retry(3, 1);
    });
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.report(&offer, Report::Lost(Lost::Returned)).expect("it was never started");
    let offer = world.offer();
    world.report(&offer, Report::Lost(Lost::Bystander)).expect("reported");
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::UNKNOWN_OUTCOME));
}

#[test]
fn an_attempt_over_its_limit_is_stopped_and_the_next_waits_until_it_has() {
    let mut world = one_call(|call| {
        call.timeout_ms = Some(1_000);
        call.retry = retry(1, 10);
    });
    world.worker(2, &["a"], 1);
    let run = world.start(flow("f"));
    let slow = world.offer();
    for _ in 0..4 {
        world.pass(750);
        world.send(Command::Heartbeat { worker: WorkerId(1) }).expect("alive");
        world.send(Command::Heartbeat { worker: WorkerId(2) }).expect("alive");
    }
    assert_eq!(world.stops, [slow.attempt], "the worker did not do it itself");
    world.pass(1_000);
    assert!(world.offers.is_empty(), "two attempts at one step never run side by side");
    assert_eq!(world.report(&slow, Report::Stopped), Ok(Reply::Done));
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn higher_priority_first_then_first_in_first_out() {
    let mut world = World::new(&[]);
    let mut runs = Vec::new();
    for priority in [0, 5, 0, 5] {
        let mut request = world.request(task("f"));
        request.options.task = Some(TaskOptions { priority: Some(priority), ..TaskOptions::default() });
        runs.push(world.start_run(request).expect("a start").0);
    }
    world.worker(1, &["f"], 4);
    let order: Vec<RunId> =
        std::iter::from_fn(|| world.offers.pop_front()).map(|(_, offer)| offer.attempt.run).collect();
    assert_eq!(order, [runs[1], runs[3], runs[0], runs[2]]);
}

#[test]
fn a_worker_gets_only_what_it_serves_and_has_room_for() {
    let mut world = World::new(&[]);
    for function in ["f", "f", "g"] {
        world.start(task(function));
    }
    world.worker(1, &["f"], 1);
    assert_eq!(world.offers.len(), 1);
    let depths = world.partition.queue_depths();
    let depths: Vec<_> = depths.iter().map(|depth| (&*depth.function, depth.waiting)).collect();
    assert_eq!(depths, [("f", 1), ("g", 1)]);
    let offer = world.offer();
    world.send(Command::DrainWorker { worker: WorkerId(1) }).expect("draining");
    world.succeed(&offer);
    assert!(world.offers.is_empty());
}

#[test]
fn a_worker_that_is_quick_gets_attempts_ahead_but_none_that_must_begin_at_once() {
    let mut world = World::new(&[]);
    world.worker(1, &["f"], 1);
    world.send(Command::OfferAhead { worker: WorkerId(1), attempts: 2 }).expect("asked for");
    for _ in 0..2 {
        world.start(task("f"));
    }
    assert_eq!(world.offers.len(), 2, "one executes, one waits there");
    let mut once = world.request(task("f"));
    once.options.task = Some(TaskOptions { at_most_once: Some(true), ..TaskOptions::default() });
    world.start_run(once).expect("a start");
    assert_eq!(world.offers.len(), 2, "it would count as begun");
    for _ in 0..2 {
        let offer = world.offer();
        world.succeed(&offer);
    }
    assert_eq!(world.offers.len(), 1, "a slot is free for it");
    world.start(task("f"));
    world.send(Command::OfferAhead { worker: WorkerId(1), attempts: 0 }).expect("asked for");
    world.start(task("f"));
    assert_eq!(world.offers.len(), 2);
}

#[test]
fn a_worker_that_can_use_few_of_its_slots_gets_no_more_and_others_get_the_rest() {
    let mut world = World::new(&[]);
    world.worker(1, &["f"], 2);
    let limit = |slots, why: Option<&str>| Command::LimitSlots {
        worker: WorkerId(1),
        slots,
        why: why.map(Arc::from),
    };
    world.send(limit(0, Some("no child starts"))).expect("told");
    assert_eq!(world.partition.workers()[0].trouble.as_deref(), Some("no child starts"));
    world.start(task("f"));
    world.start(task("f"));
    assert!(world.offers.is_empty());
    world.worker(2, &["f"], 1);
    assert_eq!(world.offers.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [WorkerId(2)]);
    world.send(limit(9, None)).expect("told");
    assert_eq!(world.offers.len(), 2);
    world.start(task("f"));
    world.start(task("f"));
    assert_eq!(world.offers.len(), 3, "no more than it announced");
}

#[test]
fn work_spreads_over_workers() {
    let mut world = World::new(&[]);
    world.worker(1, &["f"], 10);
    world.worker(2, &["f"], 10);
    for _ in 0..6 {
        world.start(task("f"));
    }
    let of_first = world.offers.iter().filter(|(worker, _)| *worker == WorkerId(1)).count();
    assert_eq!(of_first, 3);
}

#[test]
fn queued_tasks_that_are_rows_only_are_loaded_when_their_turn_comes() {
    let mut world = World::new(&[]);
    let runs: Vec<RunId> = (0..50).map(|_| world.start(task("f"))).collect();
    world.evict();
    assert_eq!(world.partition.loaded(), (0, 50));
    world.worker(1, &["f"], 3);
    assert_eq!(world.offers.len(), 3);
    for run in runs {
        let offer = world.offer();
        assert_eq!(offer.attempt.run, run, "first in, first out");
        world.succeed(&offer);
    }
}

#[test]
fn goodbye_does_not_run_an_at_most_once_step_again() {
    let mut world = one_call(|call| call.at_most_once = true);
    let run = world.start(flow("f"));
    world.offer();
    world.send(Command::DisconnectWorker { worker: WorkerId(1), goodbye: true }).expect("gone");
    assert_eq!(world.view(run).summary.error.as_deref(), Some(Failure::UNKNOWN_OUTCOME));
}

#[test]
fn an_at_most_once_step_over_its_time_limit_is_not_retried() {
    let mut world = one_call(|call| {
        call.at_most_once = true;
        call.timeout_ms = Some(10);
        call.retry = retry(3, 1);
    });
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.pass(10_000);
    assert_eq!(world.report(&offer, Report::Stopped), Ok(Reply::Done));
    world.pass(10_000);
    assert!(world.offers.is_empty());
    assert_eq!(world.state(run), State::Failed);
}

#[test]
fn leases_can_be_renewed_for_all() {
    let mut world = one_call(|_| {});
    let run = world.start(flow("f"));
    let offer = world.offer();
    world.now.ticks = world.now.ticks.plus(3_600_000);
    world.partition.renew_leases(world.now);
    world.pass(1);
    assert!(world.evicted.is_empty());
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
}

#[test]
fn what_the_dead_process_executed_itself_is_not_waited_for_a_whole_lease() {
    let mut world = World::new(&[]);
    world.in_process = true;
    world.worker(1, &["a"], 1);
    let run = world.start(task("a"));
    world.offer();
    world.crash();
    world.in_process = false;
    world.worker(2, &["a"], 1);
    world.pass(2_999);
    assert!(world.offers.is_empty());
    world.pass(1);
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(world.state(run), State::Succeeded);
    let lost = |entry: &Entry| matches!(entry, Entry::AttemptLost { reason: Lost::Disconnected, .. });
    assert!(world.entries(run).iter().any(lost));
}
