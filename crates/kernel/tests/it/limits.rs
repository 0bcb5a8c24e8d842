//! Limits of queues and concurrency keys, and the other things that tasks may ask for.

use std::sync::Arc;

use riverrun_kernel::workflow::Act;
use riverrun_kernel::*;

use crate::world::{World, retry, task};

fn limited(key: &str, max_running: Option<u32>, rate: Option<&str>) -> TaskOptions {
    let rate = rate.map(|rate| rate.parse().expect("a rate"));
    let limit = CallLimit { key: key.into(), max_running, rate };
    TaskOptions { limit: Some(Arc::new(limit)), ..TaskOptions::default() }
}

fn start(world: &mut World, options: TaskOptions) -> RunId {
    let mut request = world.request(task("a"));
    request.options.task = Some(options);
    world.start_run(request).expect("a start").0
}

fn change(world: &mut World, kind: LimiterKind, name: &str, change: LimiterChange) {
    let limiter = LimiterId { namespace: "default".into(), kind, name: name.into() };
    world.send(Command::ChangeLimit { limiter, change }).expect("changed");
}

fn rate(text: &str) -> LimiterChange {
    LimiterChange { rate: Some(Some(text.parse().expect("a rate"))), ..LimiterChange::default() }
}

fn paused(paused: bool) -> LimiterChange {
    LimiterChange { paused: Some(paused), ..LimiterChange::default() }
}

/// Ends what is offered, one after another, and says in which order the runs came.
fn drain(world: &mut World) -> Vec<RunId> {
    let mut order = Vec::new();
    while let Some((_, offer)) = world.offers.pop_front() {
        order.push(offer.attempt.run);
        world.succeed(&offer);
    }
    order
}

#[test]
fn so_many_of_a_key_execute_at_once_and_the_rest_in_order() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 10);
    let runs: Vec<RunId> = (0..5).map(|_| start(&mut world, limited("customer", Some(2), None))).collect();
    assert_eq!(world.offers.len(), 2);
    let waiting = world.view(runs[2]).summary.waiting.expect("it waits");
    assert_eq!((waiting.kind, &*waiting.name), (WaitKind::Limit, "key customer: 2 of 2 running"));
    assert_eq!(world.state(runs[2]), State::Queued);
    let other = start(&mut world, TaskOptions::default());
    assert_eq!(world.offers.back().expect("an offer").1.attempt.run, other);
    world.offers.pop_back();
    assert_eq!(drain(&mut world), runs);
}

#[test]
fn keys_take_turns_however_much_each_has_queued() {
    let mut world = World::new(&[]);
    let mut named = Vec::new();
    for key in ["a", "a", "a", "a", "b", "b", "c"] {
        named.push((start(&mut world, limited(key, None, None)), key));
    }
    world.worker(1, &["a"], 1);
    let order = drain(&mut world);
    let name = |run: &RunId| named.iter().find(|(known, _)| known == run).expect("known").1;
    let order: Vec<&str> = order.iter().map(name).collect();
    assert_eq!(order, ["a", "b", "c", "a", "b", "a", "a"]);
}

#[test]
fn a_higher_priority_goes_first_unless_its_key_may_not_start() {
    let mut world = World::new(&[]);
    let mut with = |priority, key| {
        start(&mut world, TaskOptions { priority: Some(priority), ..limited(key, Some(1), None) })
    };
    let (low, high, blocked) = (with(1, "low"), with(9, "high"), with(9, "high"));
    world.worker(1, &["a"], 2);
    assert_eq!(world.offer().attempt.run, high);
    assert_eq!(world.offer().attempt.run, low, "the second of `high` has to wait, {blocked} is no obstacle");
}

#[test]
fn a_paused_queue_starts_nothing_not_even_after_a_crash() {
    let mut world = World::new(&[]);
    change(&mut world, LimiterKind::Queue, "default", paused(true));
    let run = start(&mut world, TaskOptions::default());
    for checkpoint in [false, true] {
        if checkpoint {
            world.checkpoint(100);
        }
        world.crash();
        world.worker(1, &["a"], 1);
        assert!(world.offers.is_empty());
    }
    // A stub shows what it waits for once it is read.
    world.send(Command::SetLabels { run, labels: Labels::new() }).expect("read");
    assert_eq!(world.waiting(run), Some(WaitKind::Limit));
    let queues = world.partition.queues();
    assert!(
        queues.iter().any(|queue| &*queue.queue == "default" && queue.settings.paused && queue.waiting == 1)
    );
    change(&mut world, LimiterKind::Queue, "default", paused(false));
    assert_eq!(drain(&mut world), [run]);
}

#[test]
fn a_queue_has_its_own_limit_and_only_its_own() {
    let mut world = World::new(&[]);
    let most = LimiterChange { max_running: Some(Some(1)), ..LimiterChange::default() };
    change(&mut world, LimiterKind::Queue, "narrow", most);
    world.worker(1, &["a"], 10);
    for queue in ["narrow", "narrow", "wide", "wide"] {
        start(&mut world, TaskOptions { queue: queue.into(), ..TaskOptions::default() });
    }
    assert_eq!(world.offers.len(), 3);
    let lifted = LimiterChange { max_running: Some(None), ..LimiterChange::default() };
    change(&mut world, LimiterKind::Queue, "narrow", lifted);
    assert_eq!(world.offers.len(), 4);
}

#[test]
fn a_rate_lets_so_many_start_and_is_changed_while_it_runs() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 100);
    change(&mut world, LimiterKind::Queue, "default", rate("2/s"));
    for _ in 0..10 {
        start(&mut world, TaskOptions::default());
    }
    assert_eq!(world.offers.len(), 2, "a bucket of two");
    world.pass(499);
    assert_eq!(world.offers.len(), 2);
    world.pass(1);
    assert_eq!(world.offers.len(), 3);
    world.pass(500);
    assert_eq!(world.offers.len(), 4);
    change(&mut world, LimiterKind::Queue, "default", rate("100/s"));
    world.pass(60);
    assert_eq!(world.offers.len(), 10);
}

#[test]
fn a_rate_of_a_key_is_remembered_across_crashes_and_eviction() {
    let mut world = World::new(&[]);
    let often = || limited("mail", None, Some("1/m"));
    for _ in 0..3 {
        start(&mut world, often());
    }
    world.worker(1, &["a"], 10);
    assert_eq!(drain(&mut world).len(), 1);
    for ms in [20_000, 39_999] {
        world.pass(ms);
        world.evict();
        world.crash();
        world.worker(1, &["a"], 10);
        assert!(world.offers.is_empty());
    }
    world.pass(1);
    assert_eq!(drain(&mut world).len(), 1);
    world.crash();
    world.worker(1, &["a"], 10);
    world.pass(59_000);
    world.worker(2, &["a"], 10);
    assert!(world.offers.is_empty());
    world.pass(1_000);
    assert_eq!(drain(&mut world).len(), 1);
}

#[test]
fn an_attempt_that_may_still_execute_counts() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 10);
    let options = || TaskOptions { timeout_ms: Some(1_000), ..limited("k", Some(1), None) };
    let first = start(&mut world, options());
    let second = start(&mut world, options());
    let offer = world.offer();
    // The partition's own verdict: the worker has not said that it stopped.
    world.pass(3_000);
    assert_eq!(world.state(first), State::Failed);
    assert!(world.offers.is_empty());
    world.report(&offer, Report::Stopped).expect("stopped");
    assert_eq!(world.offer().attempt.run, second);
}

#[test]
fn what_executes_counts_after_a_crash_before_it_is_known() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 10);
    start(&mut world, limited("k", Some(1), None));
    let offer = world.offer();
    let waits = start(&mut world, limited("k", Some(1), None));
    world.checkpoint(100);
    world.crash();
    world.reconnect(2, &["a"], 10, vec![(offer.attempt, offer.token)]);
    assert!(world.offers.is_empty());
    world.succeed(&offer);
    assert_eq!(drain(&mut world), [waits]);
}

#[test]
fn full_jitter_draws_a_wait_that_every_replay_draws_again() {
    let wait_of = |jitter: bool| {
        let mut world = World::new(&[]);
        world.worker(1, &["a"], 1);
        let mut policy = retry(20, 1_000);
        policy[0].multiplier = 1.0;
        policy[0].jitter = jitter;
        let run = start(&mut world, TaskOptions { retry: policy, ..TaskOptions::default() });
        let mut waits = Vec::new();
        for _ in 0..20 {
            let offer = world.offer();
            let failed = world.now.ticks;
            world.fail(&offer, "Flaky");
            let Some(Entry::AttemptFailed { retry_at, .. }) = world.entries(run).pop() else {
                panic!("no retry")
            };
            waits.push(retry_at.0 - failed.0);
            world.pass(1_000);
        }
        waits
    };
    let drawn = wait_of(true);
    assert!(drawn.iter().all(|wait| *wait <= 1_000));
    assert!(drawn.iter().min() < drawn.iter().max(), "{drawn:?}");
    assert_eq!(drawn, wait_of(true));
    assert_eq!(wait_of(false), [1_000; 20]);
}

#[test]
fn a_failure_says_when_a_retry_makes_sense_or_that_none_does() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 1);
    let mut policy = retry(5, 10);
    policy[0].never = vec!["Fatal".into()];
    let run = start(&mut world, TaskOptions { retry: policy, ..TaskOptions::default() });
    let offer = world.offer();
    let failure = Failure { retry_after_ms: Some(7_000), ..Failure::new("Busy", "come back") };
    world.report(&offer, Report::Failed(failure)).expect("reported");
    world.pass(6_999);
    assert!(world.offers.is_empty());
    world.pass(1);
    let offer = world.offer();
    world.fail(&offer, "Fatal");
    assert_eq!(world.state(run), State::Failed);
}

#[test]
fn many_starts_are_one_commit() {
    let mut world = World::new(&[]);
    let starts: Vec<StartRun> = (0..500).map(|_| world.request(task("a"))).collect();
    let batches = world.log.len();
    let Ok(Reply::StartedMany(answers)) = world.send(Command::StartMany(starts.clone())) else {
        panic!("not answered")
    };
    assert_eq!(world.log.len(), batches + 1);
    let ids: Vec<RunId> = answers.into_iter().map(|answer| answer.expect("started").0).collect();
    assert_eq!(ids, starts.iter().map(|start| start.run).collect::<Vec<_>>());
    world.worker(1, &["a"], 500);
    assert_eq!(drain(&mut world), ids);
}

#[test]
fn what_follows_a_success_starts_in_its_commit() {
    let mut world = World::new(&[]);
    world.worker(1, &["a", "b"], 1);
    let mut request = world.request(task("a"));
    request.options.then = Some(Box::new(Next {
        definition: task("b"),
        input: Some(Json::trusted(r#"{"big":9007199254740993,"of":1}"#)),
        into: Some("of".into()),
        options: RunOptions::default(),
    }));
    let first = world.start_run(request).expect("a start").0;
    let offer = world.offer();
    world.succeed(&offer);
    assert_eq!(world.state(first), State::Succeeded);
    let begun = |record: &&Record| matches!(record, Record::Run(_, Entry::RunCreated(_)));
    let batch = world.log.iter().rfind(|batch| batch.records.iter().any(|record| begun(&record)));
    let succeeded = |record: &Record| matches!(record, Record::Run(_, Entry::RunSucceeded { .. }));
    assert!(batch.expect("a batch").records.iter().any(succeeded), "one commit");
    let next = world.offer();
    assert_eq!(next.call.function, "b");
    assert_eq!(next.call.input.get(), r#"{"big":9007199254740993,"of":{"ok":true}}"#);
}

#[test]
fn nothing_follows_a_failure() {
    let mut world = World::new(&[]);
    world.worker(1, &["a", "b"], 1);
    let mut request = world.request(task("a"));
    let next = Next { definition: task("b"), input: None, into: None, options: RunOptions::default() };
    request.options.then = Some(Box::new(next));
    world.start_run(request).expect("a start");
    let offer = world.offer();
    world.fail(&offer, "Bad");
    assert!(world.offers.is_empty());
}

#[test]
fn a_task_publishes_its_progress() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 1);
    let run = start(&mut world, TaskOptions::default());
    let offer = world.offer();
    let status = Json::trusted(r#"{"done":3,"total":10}"#);
    world.progress(&offer, 1, vec![Act::Status(status.clone())]).expect("taken");
    assert_eq!(world.view(run).status, Some(status));
    let begin = Act::Abort { tag: 1 };
    assert!(world.progress(&offer, 1, vec![begin]).is_err(), "a task has no steps");
    world.succeed(&offer);
}

#[test]
fn a_run_says_how_long_its_outcome_is_kept() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 1);
    let mut ends = |result: Option<Ttl>, failure: Option<Ttl>, succeeds: bool| {
        let mut request = world.request(task("a"));
        (request.options.result_ttl, request.options.failure_ttl) = (result, failure);
        let run = world.start_run(request).expect("a start").0;
        let offer = world.offer();
        if succeeds {
            world.succeed(&offer);
        } else {
            world.fail(&offer, "Bad");
        }
        let summary = world.view(run).summary;
        let kept = summary.expires.map(|expires| expires.0 - summary.ended.expect("ended").0);
        (kept, summary.read_once)
    };
    let week = 7 * 24 * 3_600_000;
    assert_eq!(ends(None, None, true), (None, false));
    assert_eq!(ends(Some(Ttl::Ms(5)), None, true), (Some(5), false));
    assert_eq!(ends(Some(Ttl::Ms(5)), None, false), (None, false));
    assert_eq!(ends(Some(Ttl::Ms(0)), None, true), (Some(week), true));
    assert!(ends(None, Some(Ttl::Forever), false).0.expect("kept") > 1_000_000 * week);
}

#[test]
fn queues_and_keys_that_are_idle_are_forgotten() {
    let mut world = World::new(&[]);
    for n in 0..2_100 {
        let options = limited(&format!("key {n}"), None, Some("1000/s"));
        start(&mut world, TaskOptions { queue: format!("queue {n}"), ..options });
    }
    change(&mut world, LimiterKind::Queue, "kept", paused(true));
    world.worker(1, &["a"], 2_100);
    assert_eq!(drain(&mut world).len(), 2_100);
    world.pass(61_000);
    assert_eq!(world.partition.queues().len(), 2_101);
    world.send(Command::Tick { limit: 1 }).expect("a tick");
    world.checkpoint(usize::MAX);
    let left = world.partition.queues();
    assert!(left.len() == 1 && &*left[0].queue == "kept", "{} are left", left.len());
}
