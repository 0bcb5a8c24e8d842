//! Histories: the language's own events, with the data that every step saw and what caused each event.

use riverrun_kernel::driver::Note;
use riverrun_kernel::{Entry, JournalRow};
use riverrun_plan::history::{self, Event, EventType};
use riverrun_plan::{Crash, Flow, rehearse};

use crate::harness::parse;
use crate::rehearsal::{cases, examples, for_case, program};

/// A case without functions.
const DONE: &str = "- input: {}\n  expect: {state: succeeded}\n";

/// Plays a case: the flow and its journal.
fn journal(flow: &str, case: &str, crash: Crash) -> (Flow, Vec<JournalRow>) {
    let program = program(flow);
    let cases = cases(&program.flow, case);
    let played = rehearse(&program, &cases[0], crash);
    assert!(played.problems.is_empty(), "{:?}", played.problems);
    (parse(flow), played.journal)
}

/// The history of a case, a line an event: number, cause, what, detail.
fn told(flow: &str, case: &str) -> String {
    let (flow, journal) = journal(flow, case, Crash::Never);
    lines(&history::events(&flow, &journal))
}

fn lines(events: &[Event]) -> String {
    let line = |event: &Event| {
        let Event { id, caused_by, kind, step, detail, .. } = event;
        let kind = kind.as_str();
        let space = if step.is_empty() { "" } else { " " };
        // Runs have names of their own each time.
        let detail = match detail.find("run_") {
            Some(at) if !detail.contains("\"input\"") => format!("{}run…", &detail[..at]),
            _ => detail.clone(),
        };
        format!("{id:>2} <-{caused_by:>2}  {kind}{space}{step} {detail}")
    };
    events.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn pass_steps_are_told_as_they_were_recorded_of_the_vendor() {
    let flow = r"
version: v1
type: flow
steps:
  - type: pass
    name: a
    outputMappings: [{target: x, source: 1}]
  - type: pass
    name: b
    inputMappings: [{target: y, source: $local.x}]
";
    insta::assert_snapshot!(told(flow, DONE), @r#"
     1 <- 0  ExecutionStarted {"input":{}}
     2 <- 1  StepEntered a {"input":{},"local":{}}
     3 <- 2  StepStarted a {"input":{}}
     4 <- 3  StepSucceeded a {"output":{"x":1}}
     5 <- 4  StepExited a {"local":{"x":1}}
     6 <- 5  StepEntered b {"input":{},"local":{"x":1}}
     7 <- 6  StepStarted b {"input":{"y":1}}
     8 <- 7  StepSucceeded b {"output":{}}
     9 <- 8  StepExited b {"local":{"x":1}}
    10 <- 9  ExecutionSucceeded {"output":{"x":1}}
    "#);
}

#[test]
fn a_task_is_scheduled_started_and_tried_again_before_its_step_ends() {
    let flow = r"
version: v1
type: flow
steps:
  - type: task
    name: book
    resourceArn: travel/book
    timeoutSeconds: 30
    retry: [{errors: [Busy], maxAttempts: 1}]
    catch: [{errors: [FnF.ALL], goto: undo}]
    errorMappings: [{target: why, source: $local.error}]
  - type: succeed
    name: done
  - type: wait
    name: undo
    duration: 5
";
    let case = r"
- input: {n: 1}
  functions:
    travel/book: [{error: Busy, cause: later}, {error: Full, cause: no seat}]
  expect: {state: succeeded}
";
    insta::assert_snapshot!(told(flow, case));
}

#[test]
fn branches_and_iterations_have_lanes_of_their_own() {
    let flow = r"
version: v1
type: flow
steps:
  - type: parallel
    name: both
    branches:
      - steps: [{type: task, name: left, resourceArn: a/left}]
      - steps: [{type: choice, name: ask, choices: [{condition: $.yes, steps: [{type: task, name: right, resourceArn: a/right}]}]}]
    outputMappings: [{target: all, source: $local}]
  - type: foreach
    name: each
    iterationMapping: {collection: $.all, item: one}
    steps: [{type: pass, name: inner}]
";
    let case = r"
- input: {yes: true}
  functions:
    a/left: {result: {l: 1}, after: 2}
    a/right: {result: {r: 2}, after: 1}
  expect: {state: succeeded}
";
    insta::assert_snapshot!(told(flow, case));
}

#[test]
fn callbacks_and_children_are_submitted() {
    let flow = r"
version: v1
type: flow
steps:
  - type: task
    name: ask
    resourceArn: mail/ask
    pattern: waitForCallback
    inputMappings: [{target: token, source: $context.task.token}]
  - type: task
    name: child
    resourceArn: acs:fnf:::flow/other
    pattern: sync
  - type: task
    name: later
    resourceArn: acs:fnf:::flow/other
";
    let case = r"
- input: {}
  functions: {mail/ask: {result: {}}}
  flows: {other: {result: {c: 1}}}
  callbacks: {ask: {result: {said: yes}, after: 3}}
  expect: {state: succeeded}
";
    insta::assert_snapshot!(told(flow, case));
}

#[test]
fn a_child_that_has_the_token_is_submitted_and_the_answer_is_the_tasks() {
    let flow = r"
version: v1
type: flow
steps:
  - type: task
    name: hand
    resourceArn: acs:fnf:::flow/other
    pattern: waitForCallback
    timeoutSeconds: 60
    inputMappings: [{target: token, source: $context.task.token}]
    catch: [{errors: [No], goto: again}]
  - type: task
    name: again
    resourceArn: acs:fnf:::flow/other
    pattern: waitForCallback
    timeoutSeconds: 60
";
    let case = r"
- input: {}
  flows: {other: {result: {c: 1}}}
  callbacks: {hand: {error: No, after: 3}, again: {never: true}}
  expect: {state: failed}
";
    insta::assert_snapshot!(told(flow, case));
}

#[test]
fn a_failure_goes_through_everything_around_it() {
    let flow = r"
version: v1
type: flow
steps:
  - type: foreach
    name: each
    iterationMapping: {collection: $.items, item: one}
    steps:
      - type: choice
        name: which
        choices: [{condition: $.one == 2, steps: [{type: fail, name: stop, error: Bad, cause: it is two}]}]
";
    insta::assert_snapshot!(told(flow, "- input: {items: [1, 2]}\n  expect: {state: failed}\n"));
}

#[test]
fn stopping_and_running_out_of_time_end_the_execution() {
    let wait = "version: v1\ntype: flow\nsteps: [{type: wait, name: w, duration: 100}]\n";
    let stopped = told(wait, "- input: {}\n  cancel_after: 5\n  expect: {state: cancelled}\n");
    assert!(stopped.contains("ExecutionStopped"), "{stopped}");
    let limited = wait.replace("steps:", "timeoutSeconds: 9\nsteps:");
    let timed_out = told(&limited, "- input: {}\n  expect: {state: timed_out}\n");
    assert!(timed_out.ends_with("ExecutionTimedOut {}"), "{timed_out}");
    let task =
        "version: v1\ntype: flow\nsteps: [{type: task, name: t, resourceArn: a/b, timeoutSeconds: 3}]\n";
    let late = told(task, "- input: {}\n  functions: {a/b: {never: true}}\n  expect: {state: failed}\n");
    assert!(late.contains("TaskTimedOut t {\"error\":\"FnF.TaskTimeout\""), "{late}");
}

#[test]
fn every_example_tells_a_whole_history_that_a_crash_does_not_change() {
    for (name, program, cases) in examples() {
        for case in &cases {
            let program = for_case(&program, case);
            let of = |crash| {
                let played = rehearse(&program, case, crash);
                (history::events(&program.flow, &played.journal), played.journal)
            };
            let (events, journal) = of(Crash::Never);
            let what = format!("{name}: {}", case.name);
            for (number, event) in (1..).zip(&events) {
                assert_eq!(event.id, number, "{what}");
                assert!(event.caused_by < event.id, "{what}: {event:?}");
                let detail: serde_json::Value = serde_json::from_str(&event.detail).expect("JSON");
                let has = |key: &str| assert!(detail.get(key).is_some(), "{what}: {event:?}");
                match event.kind {
                    EventType::StepEntered => ["input", "local"].into_iter().for_each(has),
                    EventType::StepStarted => has("input"),
                    EventType::StepSucceeded => has("output"),
                    EventType::StepExited => has("local"),
                    _ => {}
                }
            }
            let entered: Vec<&str> = journal.iter().filter_map(|row| entered(&row.entry)).collect();
            let told = events.iter().filter(|event| event.kind == EventType::StepEntered);
            assert_eq!(told.map(|event| event.step.as_str()).collect::<Vec<_>>(), entered, "{what}");
            let kinds = |events: &[Event]| {
                let shown = events.iter().filter(|event| event.kind != EventType::TaskStarted);
                shown.map(|event| (event.kind, event.step.clone())).collect::<Vec<_>>()
            };
            let (crashed, _) = of(Crash::AfterEvery);
            assert_eq!(kinds(&crashed), kinds(&events), "{what}");
        }
    }
}

fn entered(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Noted(Note { event, step, .. }) if event == "StepEntered" => Some(step),
        _ => None,
    }
}

#[test]
fn a_turn_that_used_up_its_fuel_is_cut_where_it_was() {
    let steps: Vec<String> = (0..1000).map(|n| format!("  - {{type: pass, name: s{n}}}\n")).collect();
    let flow = format!("version: v1\ntype: flow\nsteps:\n{}", steps.concat());
    let (flow, journal) = journal(&flow, DONE, Crash::Never);
    let cuts = journal.iter().filter(|row| matches!(&row.entry, Entry::Advanced { unfinished: true, .. }));
    assert!(cuts.count() > 3);
    let events = history::events(&flow, &journal);
    assert_eq!(events.len(), 4002);
    assert!(events.iter().all(|event| event.caused_by + 1 == event.id));
}

#[test]
fn a_turn_that_cannot_be_decided_again_is_told_by_its_notes() {
    let source = "version: v1\ntype: flow\nsteps: [{type: pass, name: a}, {type: pass, name: b}]\n";
    let (flow, mut journal) = journal(source, DONE, Crash::Never);
    for row in &mut journal {
        if let Entry::Advanced { transitions, .. } = &mut row.entry {
            *transitions = 77;
        }
    }
    let told = lines(&history::events(&flow, &journal));
    assert!(told.contains("StepEntered b {}"), "{told}");
    assert!(told.contains("ExecutionSucceeded"), "{told}");
}
