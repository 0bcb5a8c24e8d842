//! Limits: what is refused in a source, what fails a step or a run, and that a run keeps those that it began under.

use std::sync::Arc;

use riverrun_kernel::{Failure, State, Wall};
use riverrun_plan::{Crash, Flow, Limits, Program, history, rehearse};
use serde_json::{Value, json};

use crate::harness::{Run, flow, parse, shown};
use crate::rehearsal::{examples, folder, for_case};

const DAY: u64 = 86_400;

fn failed(outcome: Result<Value, Failure>) -> (String, String) {
    let failure = outcome.expect_err("the run fails");
    (failure.error, failure.message)
}

fn no_stub(name: &str, _: &Value, _: u32) -> Result<Value, Failure> {
    panic!("`{name}` has no stub")
}

#[test]
fn what_a_source_asks_for_beyond_the_profile_is_refused_with_its_place() {
    let branches = "      - steps: [{type: pass, name: PN}]\n";
    let branches: String = (0..101).map(|n| branches.replace("PN", &format!("P{n}"))).collect();
    let source = format!(
        "version: v1\ntype: flow\ntimeoutSeconds: 31536001\nsteps:\n  - {{type: wait, name: Long, duration: 172801}}\n  \
         - {{type: wait, name: Right, duration: 172800}}\n  - type: task\n    name: Call\n    resourceArn: a/b\n    \
         retry: [{{errors: [FnF.ALL], intervalSeconds: 86401, maxIntervalSeconds: 90000}}]\n  - type: parallel\n    name: Wide\n    \
         branches:\n{branches}"
    );
    assert!(Flow::parse(&source).is_ok(), "without the profile all of it is welcome");
    let mistakes = shown(&Flow::parse_within(&source, Limits::FNF).expect_err("mistakes"));
    insta::assert_snapshot!(mistakes);
}

#[test]
fn a_flow_that_was_accepted_before_fails_at_its_beginning() {
    let source = flow("  - {type: pass, name: First}\n  - {type: wait, name: Long, duration: 172801}\n");
    let mut run = Run::within(&source, &json!({}), Limits::FNF);
    let (error, message) = failed(run.finish(&no_stub));
    assert_eq!((error.as_str(), run.notes.len()), ("FnF.RuntimeError", 0));
    assert!(message.contains("`Long`") && message.contains("wait_seconds"), "{message}");
    run.resume();
    assert_eq!(failed(run.finish(&no_stub)), (error, message));
}

#[test]
fn a_wait_that_the_data_makes_too_long_fails() {
    let seconds = flow("  - {type: wait, name: W, duration: $.for}\n");
    let until = flow("  - {type: wait, name: W, timestamp: $.until}\n");
    let date = flow("  - {type: wait, name: W, timestamp: 1970-01-05T00:00:00Z}\n");
    for (source, input, is_over) in [
        (&seconds, json!({"for": 2 * DAY}), false),
        (&seconds, json!({"for": 2 * DAY + 1}), true),
        (&until, json!({"until": "1970-01-03T00:00:00Z"}), false),
        (&until, json!({"until": "1970-01-03T00:00:01Z"}), true),
        (&date, json!({}), true),
    ] {
        let outcome = Run::within(source, &input, Limits::FNF).finish(&no_stub);
        assert_eq!(outcome.is_err(), is_over, "{source} {input}");
        if is_over {
            assert_eq!(failed(outcome).0, "FnF.InvalidInput");
        }
        assert!(Run::new(source, &input).finish(&no_stub).is_ok());
    }
    let mut later = Run::within(&date, &json!({}), Limits::FNF);
    later.now = Wall(3 * 86_400_000);
    assert!(later.finish(&no_stub).is_ok(), "a date is as far off as it is when the step is entered");
}

#[test]
fn a_step_with_too_much_data_fails_and_a_task_may_catch_that() {
    let pass = flow("  - {type: pass, name: P}\n");
    let of = |size: usize| json!({"x": "a".repeat(size)});
    let frame = json!({"x": ""}).to_string().len();
    let limit = 32 * 1024;
    // Nothing but the input, and two bytes each for an empty local and output.
    let fits = Run::within(&pass, &of(limit - frame - 4), Limits::FNF).finish(&no_stub);
    assert_eq!(fits, Ok(json!({})));
    for size in [limit - frame - 3, limit] {
        let (error, message) = failed(Run::within(&pass, &of(size), Limits::FNF).finish(&no_stub));
        assert_eq!(error, "FnF.PayloadTooLarge");
        assert!(message.contains("`P`") && message.contains("payload_bytes"), "{message}");
    }

    let task = flow(
        "  - type: task\n    name: T\n    resourceArn: a/b\n    retry: [{errors: [FnF.ALL]}]\n    \
         catch: [{errors: [FnF.PayloadTooLarge], goto: Small}]\n    errorMappings: [{target: why, source: $local.error}]\n  \
         - {type: fail, name: F}\n  - {type: pass, name: Small}\n",
    );
    let large = |_: &str, _: &Value, _: u32| Ok(json!({"x": "a".repeat(20_000)}));
    let mut run = Run::within(&task, &json!({}), Limits::FNF);
    assert_eq!(run.finish(&large), Ok(json!({"why": "FnF.PayloadTooLarge"})));
    assert_eq!(run.log.len(), 1, "the same call would return as much again");
    let mut run = Run::within(&task, &of(limit), Limits::FNF);
    assert_eq!(failed(run.finish(&large)).0, "FnF.PayloadTooLarge", "the step behind has the same input");
    assert_eq!(run.log.len(), 0, "what is given too much is not called");
}

#[test]
fn a_container_that_collects_too_much_fails_again_when_it_is_resumed() {
    let each = flow(
        "  - type: foreach\n    name: Each\n    iterationMapping: {collection: $.items, item: item}\n    \
         steps: [{type: task, name: T, resourceArn: a/b, inputMappings: []}]\n",
    );
    let choice = flow(
        "  - type: choice\n    name: Each\n    inputMappings: []\n    choices:\n      - condition: 1 == 1\n        \
         steps: [{type: task, name: T, resourceArn: a/b, inputMappings: []}, {type: task, name: U, resourceArn: a/c, inputMappings: []}]\n",
    );
    let large = |name: &str, _: &Value, _: u32| Ok(json!({name: "a".repeat(12_000)}));
    for source in [each, choice] {
        let mut run = Run::within(&source, &json!({"items": [1, 2, 3]}), Limits::FNF);
        assert_eq!(failed(run.finish(&large)).0, "FnF.PayloadTooLarge", "{source}");
        let asked = run.log.len();
        run.resume();
        assert_eq!(failed(run.finish(&large)).0, "FnF.PayloadTooLarge");
        assert_eq!(run.log.len(), asked, "what was recorded is not called again");
    }
}

#[test]
fn a_loop_ends_when_its_history_is_too_long() {
    let source = flow(
        "  - {type: pass, name: A}\n  - type: choice\n    name: B\n    choices: [{condition: 1 == 1, goto: A}]\n",
    );
    let mut run = Run::within(&source, &json!({}), Limits::FNF);
    let (error, message) = failed(run.finish(&no_stub));
    assert_eq!(error, Failure::HISTORY_LIMIT);
    assert!(message.contains("5000"), "{message}");
    // Four events a step, and the one that begins the run.
    assert_eq!(run.transitions, 1250);
    run.resume();
    assert_eq!(failed(run.finish(&no_stub)).0, Failure::HISTORY_LIMIT);
}

#[test]
fn events_are_counted_as_the_history_tells_them() {
    let mut compared = 0;
    for (name, program, cases) in examples() {
        let source = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("a flow");
        for case in &cases {
            let program = for_case(&program, case);
            let told = rehearse(&program, case, Crash::Never);
            let events = history::events(&program.flow, &told.journal).len() as u64;
            // A worker's death counts as a failed try, and a function that hands a token on as one that has returned, also where the token
            // came back sooner: the history tells less of these.
            let is_told =
                name != "callback" && !told.lines().iter().any(|line| line.starts_with("AttemptLost"));
            let at_most = if is_told { events } else { events + 3 * told.calls.len() as u64 };
            let under = |events| {
                let limits = Limits { events: Some(events), ..Limits::default() };
                let flow = Arc::new(parse(&source).within(limits));
                rehearse(&Program { flow, ..program.clone() }, case, Crash::Never)
            };
            let same = under(at_most);
            assert_eq!((same.state, same.outcome), (told.state, told.outcome), "{name}, `{}`", case.name);
            if is_told && told.state == State::Succeeded {
                let failure = under(events - 1).outcome.and_then(Result::err).map(|failure| failure.error);
                assert_eq!(failure.as_deref(), Some(Failure::HISTORY_LIMIT), "{name}, `{}`", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "only {compared} cases were compared");
}

#[test]
fn the_examples_do_the_same_under_the_profile_wherever_the_process_dies() {
    for (name, program, cases) in examples() {
        let source = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("a flow");
        let Ok((flow, _)) = Flow::parse_within(&source, Limits::FNF) else { continue };
        let limited = Program { flow: Arc::new(flow), ..program };
        for case in &cases {
            let limited = for_case(&limited, case);
            let once = rehearse(&limited, case, Crash::Never);
            let again = rehearse(&limited, case, Crash::AfterEvery);
            assert_eq!(once.state, again.state, "{name}, `{}`", case.name);
            assert_eq!(once.outcome, again.outcome, "{name}, `{}`", case.name);
        }
    }
}

#[test]
fn a_foreach_runs_as_many_iterations_at_once_as_its_run_began_with() {
    let source = flow(
        "  - type: foreach\n    name: Each\n    iterationMapping: {collection: $.items, item: item}\n    \
         steps: [{type: task, name: T, resourceArn: a/b}]\n",
    );
    let items = json!({"items": (0..7).collect::<Vec<_>>()});
    let few = Limits { foreach_concurrency: 2, ..Limits::default() };
    for (begun, later, expected) in [(few, Limits::default(), 2), (Limits::default(), few, 7)] {
        let mut run = Run::within(&source, &items, begun);
        run.settle();
        assert_eq!(run.open.len(), expected);
        // The process starts anew with another setting before every turn.
        (run.crash_always, run.limits) = (true, later);
        run.end("Each[0]/T", Ok(json!({})));
        assert_eq!(run.open.len(), if expected == 2 { 2 } else { 6 });
        assert_eq!(run.finish(&|_, _, _| Ok(json!({}))), Ok(json!({})));
    }
}

#[test]
fn a_run_that_began_without_limits_goes_on_without() {
    let source = flow(
        "  - {type: pass, name: P}\n  - {type: wait, name: W, duration: 1}\n  - {type: wait, name: V, duration: 172801}\n",
    );
    let mut run = Run::new(&source, &json!({"x": "a".repeat(40_000)}));
    run.settle();
    (run.crash_always, run.limits) = (true, Limits::FNF);
    assert_eq!(run.finish(&no_stub), Ok(json!({})));
}
