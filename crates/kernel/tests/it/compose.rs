//! Groups and chains: runs made of runs.

use riverrun_kernel::compose::{CHAIN, ChainInput, GROUP, GroupInput};
use riverrun_kernel::*;

use crate::world::{World, task};

fn part(name: &str, input: Option<&str>, into: Option<&str>) -> Next {
    Next {
        definition: task(name),
        input: input.map(Json::trusted),
        into: into.map(str::to_owned),
        options: RunOptions {
            task: Some(TaskOptions { queue: "parts".into(), ..TaskOptions::default() }),
            ..RunOptions::default()
        },
    }
}

fn start(world: &mut World, name: &str, input: &impl serde::Serialize) -> RunId {
    let definition = DefinitionRef { kind: DefinitionKind::Builtin, ..task(name) };
    let mut request = world.request(definition);
    request.input = Json::trusted(serde_json::to_string(input).expect("JSON"));
    world.start_run(request).expect("a start").0
}

fn give(world: &mut World, offer: &Offer, output: &str) {
    world.report(offer, Report::Succeeded(Json::trusted(output))).expect("reported");
}

fn output(world: &mut World, run: RunId) -> String {
    match world.view(run).outcome {
        Some(Ok(output)) => output.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn group_of(count: usize) -> GroupInput {
    let parts = (0..count).map(|n| part("a", Some(&format!("{{\"n\":{n}}}")), None)).collect();
    GroupInput { parts, then: None, allow_failures: false }
}

#[test]
fn a_group_gives_the_results_of_all_in_their_order() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 10);
    let run = start(&mut world, GROUP, &group_of(3));
    let offers: Vec<Offer> = world.offers.drain(..).map(|(_, offer)| offer).collect();
    assert_eq!(offers.len(), 3);
    assert!(offers.iter().all(|offer| offer.call.queue == "parts"));
    for offer in offers.iter().rev() {
        assert_eq!(world.state(run), State::Suspended);
        give(&mut world, offer, &format!("[{}]", offer.call.input));
    }
    assert_eq!(output(&mut world, run), r#"[[{"n":0}],[{"n":1}],[{"n":2}]]"#);
}

#[test]
fn a_large_group_begins_in_turns_and_survives_crashes() {
    let mut world = World::new(&[]);
    let run = start(&mut world, GROUP, &group_of(1_000));
    world.evict();
    world.crash();
    world.worker(1, &["a"], 300);
    let mut given = 0;
    while world.state(run) != State::Succeeded {
        let Some((_, offer)) = world.offers.pop_front() else { panic!("{given} of 1000, and no offer") };
        give(&mut world, &offer, "1");
        given += 1;
        if given == 500 {
            world.checkpoint(usize::MAX);
            world.offers.clear();
            world.crash();
            world.pass(60_000);
            world.worker(2, &["a"], 300);
        }
    }
    assert_eq!(output(&mut world, run), format!("[{}]", vec!["1"; 1_000].join(",")));
}

#[test]
fn a_group_fails_when_all_have_ended_and_resumes_what_failed() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 10);
    let run = start(&mut world, GROUP, &group_of(3));
    let offers: Vec<Offer> = world.offers.drain(..).map(|(_, offer)| offer).collect();
    world.fail(&offers[1], "Boom");
    assert_eq!(world.state(run), State::Suspended, "the others go on");
    give(&mut world, &offers[0], "\"x\"");
    give(&mut world, &offers[2], "\"z\"");
    let Some(Err(failure)) = world.view(run).outcome else { panic!("it failed") };
    assert_eq!(failure.error, "GroupFailed");
    assert!(failure.message.contains("1 of 3 parts failed; the first, part 1: Boom"), "{}", failure.message);
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    assert!(world.offers.is_empty(), "only what failed");
    assert_eq!(offer.attempt.run, offers[1].attempt.run, "the same run, which is no dead letter any more");
    give(&mut world, &offer, "\"y\"");
    assert_eq!(output(&mut world, run), r#"["x","y","z"]"#);
}

/// A group of `a`s followed by `b`; the first part has failed, and with it the group.
fn failed_group(world: &mut World) -> (RunId, RunId) {
    world.worker(1, &["a", "b"], 10);
    let then = Some(part("b", None, Some("results")));
    let run = start(world, GROUP, &GroupInput { then, ..group_of(2) });
    let offers: Vec<Offer> = world.offers.drain(..).map(|(_, offer)| offer).collect();
    give(world, &offers[1], "1");
    world.fail(&offers[0], "Boom");
    assert_eq!(world.state(run), State::Failed);
    (run, offers[0].attempt.run)
}

#[test]
fn a_part_that_has_succeeded_since_is_not_executed_again() {
    let mut world = World::new(&[]);
    let (run, failed) = failed_group(&mut world);
    world.send(Command::Resume { run: failed }).expect("resumed by itself");
    let offer = world.offer();
    give(&mut world, &offer, "7");
    assert_eq!(world.state(run), State::Failed, "nobody has resumed the group");
    world.evict();
    world.crash();
    world.worker(1, &["a", "b"], 10);
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    assert_eq!((&*offer.call.function, offer.call.input.get()), ("b", r#"{"results":[7,1]}"#));
    give(&mut world, &offer, "14");
    assert_eq!(output(&mut world, run), "14");
    assert!(world.offers.is_empty());
}

#[test]
fn a_resumed_group_waits_for_a_part_that_was_resumed_by_itself_or_fails_again() {
    let mut world = World::new(&[]);
    let (run, failed) = failed_group(&mut world);
    world.send(Command::Resume { run: failed }).expect("resumed by itself");
    let offer = world.offer();
    world.send(Command::Resume { run }).expect("resumed");
    assert!(world.offers.is_empty(), "it is executing");
    world.fail(&offer, "Boom");
    assert_eq!(world.state(run), State::Failed);
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    assert_eq!(offer.attempt.run, failed);
    give(&mut world, &offer, "7");
    assert_eq!(world.offer().call.input.get(), r#"{"results":[7,1]}"#);
}

#[test]
fn a_part_whose_run_was_deleted_is_started_anew() {
    let mut world = World::new(&[]);
    let (run, failed) = failed_group(&mut world);
    world.send(Command::Delete { run: failed }).expect("deleted");
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    assert_ne!(offer.attempt.run, failed);
    give(&mut world, &offer, "7");
    assert_eq!(world.offer().call.input.get(), r#"{"results":[7,1]}"#);
}

#[test]
fn a_group_whose_time_was_up_goes_on_with_what_it_gave_up() {
    let mut world = World::new(&[]);
    let definition = DefinitionRef { kind: DefinitionKind::Builtin, ..task(GROUP) };
    let mut request = world.request(definition);
    request.input = Json::trusted(serde_json::to_string(&group_of(2)).expect("JSON"));
    request.options.timeout_ms = Some(1_000);
    let (run, ..) = world.start_run(request).expect("a start");
    world.pass(1_000);
    assert_eq!(world.state(run), State::TimedOut);
    world.worker(1, &["a"], 10);
    assert!(world.offers.is_empty());
    world.send(Command::Resume { run }).expect("resumed");
    for _ in 0..2 {
        let offer = world.offer();
        give(&mut world, &offer, "1");
    }
    assert_eq!(output(&mut world, run), "[1,1]");
}

#[test]
fn what_follows_a_group_goes_on_alone_where_failures_are_results() {
    let mut world = World::new(&[]);
    world.worker(1, &["a", "b"], 10);
    let then = Some(part("b", None, Some("results")));
    let run = start(&mut world, GROUP, &GroupInput { then, allow_failures: true, ..group_of(1) });
    let offer = world.offer();
    world.fail(&offer, "Boom");
    let following = world.offer();
    world.fail(&following, "Bang");
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    assert_eq!((&*offer.call.function, offer.attempt.run), ("b", following.attempt.run));
    give(&mut world, &offer, "2");
    assert_eq!(output(&mut world, run), "2");
    assert!(world.offers.is_empty());
}

#[test]
fn a_resumed_flow_takes_what_its_child_has_done_and_lets_it_go_on() {
    use crate::world::{Op, call, flow};
    use riverrun_kernel::driver::OnParentEnd;
    let mut world = World::new(&[
        ("parent", vec![Op::Child("child", true, OnParentEnd::Cancel, None)]),
        ("child", vec![Op::Call(call("a")), Op::Call(call("b"))]),
    ]);
    world.worker(1, &["a", "b"], 10);
    let run = world.start(flow("parent"));
    let offer = world.offer();
    let child = offer.attempt.run;
    give(&mut world, &offer, "{}");
    let offer = world.offer();
    world.fail(&offer, "Boom");
    assert_eq!((world.state(child), world.state(run)), (State::Failed, State::Failed));
    world.send(Command::Resume { run }).expect("resumed");
    let offer = world.offer();
    assert_eq!((offer.attempt.run, &*offer.call.function), (child, "b"), "`a` is done");
    give(&mut world, &offer, "{}");
    assert_eq!((world.state(child), world.state(run)), (State::Succeeded, State::Succeeded));
}

#[test]
fn what_follows_a_group_gets_the_list() {
    let mut world = World::new(&[]);
    world.worker(1, &["a", "b"], 10);
    let then = Some(part("b", Some("{\"title\":\"all\"}"), Some("results")));
    let run = start(&mut world, GROUP, &GroupInput { then, ..group_of(2) });
    for _ in 0..2 {
        let offer = world.offer();
        give(&mut world, &offer, "7");
    }
    let offer = world.offer();
    assert_eq!((&*offer.call.function, offer.call.input.get()), ("b", r#"{"title":"all","results":[7,7]}"#));
    give(&mut world, &offer, "14");
    assert_eq!(output(&mut world, run), "14");
}

#[test]
fn failures_are_results_where_that_was_asked_for_and_an_empty_group_is_done() {
    let mut world = World::new(&[]);
    world.worker(1, &["a"], 10);
    let run = start(&mut world, GROUP, &GroupInput { allow_failures: true, ..group_of(2) });
    let offers: Vec<Offer> = world.offers.drain(..).map(|(_, offer)| offer).collect();
    world.fail(&offers[0], "Boom");
    give(&mut world, &offers[1], "1");
    assert_eq!(output(&mut world, run), r#"[{"error":{"error":"Boom","message":"no"}},{"output":1}]"#);
    let empty = start(&mut world, GROUP, &group_of(0));
    assert_eq!(output(&mut world, empty), "[]");
}

#[test]
fn a_chain_hands_each_result_to_the_next() {
    let mut world = World::new(&[]);
    world.worker(1, &["a", "b", "c"], 10);
    let parts =
        vec![part("a", Some("{}"), None), part("b", None, None), part("c", Some("{\"t\":1}"), Some("x"))];
    let run = start(&mut world, CHAIN, &ChainInput { parts });
    for (function, input, result) in
        [("a", "{}", r#"{"n":1}"#), ("b", r#"{"n":1}"#, "5"), ("c", r#"{"t":1,"x":5}"#, "\"end\"")]
    {
        world.evict();
        world.crash();
        world.worker(1, &["a", "b", "c"], 10);
        let offer = world.offer();
        assert_eq!((&*offer.call.function, offer.call.input.get()), (function, input));
        give(&mut world, &offer, result);
    }
    assert_eq!(output(&mut world, run), "\"end\"");
}

#[test]
fn a_chain_fails_with_its_part_and_resumes_there() {
    let mut world = World::new(&[]);
    world.worker(1, &["a", "b"], 10);
    let parts = vec![part("a", Some("{}"), None), part("b", None, Some("x"))];
    let run = start(&mut world, CHAIN, &ChainInput { parts });
    let offer = world.offer();
    give(&mut world, &offer, "1");
    let offer = world.offer();
    world.fail(&offer, "Boom");
    assert_eq!(world.view(run).summary.error.as_deref(), Some("Boom"));
    world.send(Command::Resume { run }).expect("resumed");
    let part = offer.attempt.run;
    let offer = world.offer();
    assert_eq!((&*offer.call.function, offer.call.input.get()), ("b", "{\"x\":1}"));
    assert_eq!(offer.attempt.run, part);
    give(&mut world, &offer, "2");
    assert_eq!(output(&mut world, run), "2");
}

#[test]
fn a_cancelled_group_cancels_its_parts() {
    let mut world = World::new(&[]);
    let run = start(&mut world, GROUP, &group_of(2));
    world.send(Command::Cancel { run, reason: String::new() }).expect("cancelled");
    world.worker(1, &["a"], 10);
    assert!(world.offers.is_empty());
    assert_eq!(world.state(run), State::Cancelled);
}
