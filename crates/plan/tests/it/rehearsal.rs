//! Rehearsals: cases are read, played in the real partition, compared, and survive a crash at every batch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use riverrun_plan::{Case, Crash, Flow, Format, Played, Program, StepState, rehearse};

use crate::harness::{flow, parse, shown};
use crate::seed::POLLING;

pub fn program(source: &str) -> Program {
    Program { name: "test".to_owned(), flow: Arc::new(parse(source)), children: BTreeMap::new() }
}

pub fn cases(flow: &Flow, source: &str) -> Vec<Case> {
    match Case::parse(source, flow) {
        Ok((cases, _)) => cases,
        Err(mistakes) => panic!("{}", shown(&mistakes)),
    }
}

fn mistakes(flow: &str, source: &str) -> String {
    shown(&Case::parse(source, &parse(flow)).expect_err("mistakes"))
}

/// Plays the one case of a source.
fn play(flow: &str, source: &str) -> (Played, Vec<String>) {
    let program = program(flow);
    let cases = cases(&program.flow, source);
    let played = rehearse(&program, &cases[0], Crash::Never);
    let differences = played.differences(&cases[0]);
    (played, differences)
}

#[test]
fn the_polling_flow_waits_twice_and_succeeds() {
    let (played, differences) = play(
        POLLING,
        r"
- input: {delay: 20}
  functions:
    fnf-demo/StartJob: {result: {job_id: J}}
    fnf-demo/GetJobStatus:
      - result: {job_id: J, job_status: running, try_count: 1}
      - result: {job_id: J, job_status: success, try_count: 2}
  expect:
    output: {job_id: J, try_count: 2, job_status: success}
    took: 20
    calls:
      - fnf-demo/StartJob
      - {function: fnf-demo/GetJobStatus, input: {job_id: J, delay: 20, try_count: 0}}
      - {function: fnf-demo/GetJobStatus, input: {job_id: J, delay: 20, try_count: 1}}
    steps: [StartJob, Init, Wait10s, GetJobStatus, CheckJobComplete, Wait10s, GetJobStatus, CheckJobComplete, JobSucceeded]
    journal: [StepSucceeded StartJob, 'StepBegun Wait10s#2', RunSucceeded]
",
    );
    assert_eq!(differences, Vec::<String>::new(), "{:?}", played.lines());
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flows")
}

/// Every example: its name, the flow with the flows that its cases play, and the cases.
pub fn examples() -> Vec<(String, Program, Vec<Case>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut program = program(&std::fs::read_to_string(&path).expect("a flow"));
        let file = folder().join("cases").join(format!("{name}.yaml"));
        let source = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{name} has no cases"));
        let cases = cases(&program.flow, &source);
        for (child, file) in cases.iter().flat_map(Case::files) {
            let source = std::fs::read_to_string(folder().join("cases").join(file)).expect("a child flow");
            program.children.insert(child.to_owned(), Arc::new(parse(&source)));
        }
        found.push((name, program, cases));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 13, "only {} examples were found", found.len());
    found
}

/// The flows of a case: only those that it does not stub are played.
pub fn for_case(program: &Program, case: &Case) -> Program {
    let played: Vec<&str> = case.files().into_iter().map(|(name, _)| name).collect();
    let mut program = program.clone();
    program.children.retain(|name, _| played.contains(&name.as_str()));
    program
}

#[test]
fn every_example_plays_its_cases() {
    let mut wrong = Vec::new();
    for (name, program, cases) in examples() {
        for case in &cases {
            let played = rehearse(&for_case(&program, case), case, Crash::Never);
            let differences = played.differences(case);
            if !differences.is_empty() {
                wrong.push(format!(
                    "{name}, `{}`:\n{}\n{}",
                    case.name,
                    differences.join("\n"),
                    played.lines().join("\n")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What of a rehearsal must be the same wherever the process died.
fn essence(played: &Played) -> (String, Vec<String>, Vec<String>) {
    let outcome = format!("{} {:?}", played.state, played.outcome);
    let mut done: Vec<String> = played.lines();
    done.retain(|line| line.starts_with("StepSucceeded"));
    done.sort();
    (outcome, done, played.problems.clone())
}

/// The journal without what became of attempts whose outcome was not needed any more.
fn story(played: &Played) -> Vec<String> {
    let mut lines = played.lines();
    lines.retain(|line| !line.starts_with("AttemptStopped") && !line.starts_with("CallReturned"));
    lines
}

#[test]
fn every_example_comes_to_the_same_end_wherever_it_crashes() {
    let mut boundaries = 0;
    for (name, program, cases) in examples() {
        for case in &cases {
            let program = for_case(&program, case);
            let whole = rehearse(&program, case, Crash::Never);
            // What depends on the moment may change when a crash costs time.
            let is_timed = case_is_timed(&name, &case.name);
            let at = (0..whole.batches).map(Crash::Before).filter(|_| !is_timed);
            for crash in at.chain([Crash::AfterEvery]) {
                let played = rehearse(&program, case, crash);
                assert_eq!(essence(&played), essence(&whole), "{name}, `{}`, {crash:?}", case.name);
                assert_eq!(
                    played.recorded_twice(),
                    Vec::<String>::new(),
                    "{name}, `{}`, {crash:?}",
                    case.name
                );
                if crash == Crash::AfterEvery {
                    assert_eq!(
                        story(&played),
                        story(&whole),
                        "{name}, `{}`: the journal is another",
                        case.name
                    );
                    assert_eq!(played.calls, whole.calls, "{name}, `{}`: other calls", case.name);
                }
                boundaries += 1;
            }
        }
    }
    assert!(boundaries > 150, "only {boundaries} crashes were tried");
}

/// Cases in which a time limit decides: five minutes of silence after a crash are more than they bear.
fn case_is_timed(name: &str, case: &str) -> bool {
    matches!((name, case), ("parallel", "one that fails ends it, and the others are told"))
}

#[test]
fn stubs_that_nothing_calls_are_mistakes_and_so_is_everything_else() {
    insta::assert_snapshot!(mistakes(
        POLLING,
        r"
functions:
  fnf-demo/StartJbo: {result: {}}
flows:
  audit: {result: {}}
callbacks:
  StartJob: {result: {}}
cases:
  - name: one
    inptu: {}
    functions:
      fnf-demo/StartJob: {result: {}, error: Boom}
      fnf-demo/GetJobStatus: []
    cancel_after: soon
    expect: {state: done, took: -1, calls: [7]}
  - functions:
      fnf-demo/GetJobStatus: {after: 3}
    starts_at: yesterday
"
    ));
}

#[test]
fn what_is_reported_of_a_callback_is_retried_by_policy_with_a_token_of_its_own() {
    let source = flow(
        "- {type: task, name: Ask, resourceArn: s/ask, pattern: waitForCallback, timeoutSeconds: 60, \
         inputMappings: [{target: token, source: $context.task.token}], \
         retry: [{errors: [Busy, FnF.TaskTimeout], intervalSeconds: 10, maxAttempts: 2, multiplier: 1}]}",
    );
    let case = |answers: &str, expect: &str| {
        format!(
            "- functions: {{s/ask: {{result: {{}}}}}}\n  callbacks: {{Ask: [{answers}]}}\n  expect: {{{expect}, calls: [s/ask, s/ask, s/ask]}}\n"
        )
    };
    let silent_then_busy = "{never: true}, {error: Busy, after: 5}, {result: {yes: true}, after: 1}";
    let (played, differences) = play(&source, &case(silent_then_busy, "output: {'yes': true}, took: 86"));
    assert_eq!(differences, Vec::<String>::new(), "{:?}", played.lines());
    let tokens: std::collections::BTreeSet<&str> = played.calls.iter().map(|call| call.input.get()).collect();
    assert_eq!(tokens.len(), 3, "{tokens:?}");
    let busy = "{error: Busy}, {error: Busy}, {error: Busy}";
    let (played, differences) = play(&source, &case(busy, "error: Busy, took: 20"));
    assert_eq!(differences, Vec::<String>::new(), "{:?}", played.lines());

    // What the function itself did wrong is retried with the token that it may have handed out.
    let (played, differences) = play(
        &source,
        "- functions: {s/ask: [{error: Busy}, {result: {}}]}\n  callbacks: {Ask: {result: {}, after: 20}}\n  expect: {output: {}, took: 20}\n",
    );
    assert_eq!(differences, Vec::<String>::new(), "{:?}", played.lines());
    assert_eq!(played.calls[0].input, played.calls[1].input);
}

#[test]
fn stubs_that_nothing_calls_are_found_also_where_child_flows_are_played() {
    let (_, mut program, _) =
        examples().into_iter().find(|(name, ..)| name == "delegate").expect("the example");
    let source = r"
- flows: {approval: {file: ../approval.yaml}, report: {result: {}}, raport: {result: {}}}
  functions: {office/ask: {result: {}}, office/file: {result: {}}, office/fiel: {result: {}}}
  callbacks: {Decide: {result: {}}, Ask: {result: {}}}
  expect: {state: succeeded}
";
    let case = &cases(&program.flow, source)[0];
    program.children.retain(|name, _| name == "approval");
    let differences = rehearse(&program, case, Crash::Never).differences(case);
    for (found, what) in differences.iter().zip(["function `office/fiel`", "flow `raport`", "name `Ask`"]) {
        assert!(found.contains(what), "{differences:?}");
    }
    assert_eq!(differences.len(), 3, "{differences:?}");
}

#[test]
fn empty_files_and_files_that_are_no_cases_are_refused() {
    for (source, says) in [
        ("", "the file is empty"),
        ("[]", "the file has no cases"),
        ("just text", "a case file is a list of cases"),
        ("- 7", "a case must be a mapping"),
        ("- name: a\n  name: b\n", "stands here twice"),
    ] {
        let found = mistakes(POLLING, source);
        assert!(found.contains(says), "{source}: {found}");
    }
}

#[test]
fn differences_name_the_place() {
    let (_, differences) = play(
        POLLING,
        r"
- input: {delay: 20}
  functions:
    fnf-demo/StartJob: {result: {job_id: J}}
    fnf-demo/GetJobStatus:
      - result: {job_id: J, job_status: success, try_count: 1, log: [a, {b: 1}]}
  expect:
    output: {job_id: K, try_count: 1, log: [a, {b: 2}], missing: 1}
    state: failed
    error: Boom
    cause: because
    took: 20.5
    calls: [fnf-demo/StartJob, fnf-demo/GetJobStatus, fnf-demo/GetJobStatus]
    steps: [StartJob, Wait10s]
    journal: [RunSucceeded, RunCreated]
",
    );
    insta::assert_snapshot!(differences.join("\n"));
}

#[test]
fn what_a_case_forgets_is_told() {
    let (_, differences) =
        play(POLLING, "- functions:\n    fnf-demo/StartJob: [{result: {}}]\n  expect: {output: {}}\n");
    assert!(
        differences[0]
            .contains("the function `fnf-demo/GetJobStatus` is called by `GetJobStatus` and has no stub"),
        "{differences:?}"
    );
    let (_, differences) = play(
        &flow("- {type: task, name: Ask, resourceArn: s/ask, pattern: waitForCallback}"),
        "- functions: {s/ask: {result: {}}}\n  expect: {output: {}}\n",
    );
    assert!(
        differences[0].contains("the run waits for the callback of `Ask`, which never comes"),
        "{differences:?}"
    );
    let round = flow(
        "- {type: wait, name: W, duration: 60}\n- {type: choice, name: C, choices: [{condition: 'true', goto: W}]}\n",
    );
    let (_, differences) = play(&round, "- max_batches: 500\n  expect: {output: {}}\n");
    assert!(differences[0].contains("goes round for ever"), "{differences:?}");
}

#[test]
fn a_run_colours_its_picture() {
    let program = program(POLLING);
    let source = r"
- name: twice
  functions:
    fnf-demo/StartJob: {result: {job_id: J}, after: 2.5}
    fnf-demo/GetJobStatus:
      - result: {job_id: J, job_status: running, try_count: 1}
      - result: {job_id: J, job_status: success, try_count: 2}
  expect: {state: succeeded}
";
    let case = &cases(&program.flow, source)[0];
    let played = rehearse(&program, case, Crash::Never);
    let mut trace = program.flow.trace();
    played.journal.iter().for_each(|row| trace.take(row));
    let overlay = trace.overlay("run 7", None);
    assert_eq!(overlay.caption, "run 7 · succeeded · 22.5 s");
    let mark = &overlay.steps["Wait10s"];
    assert_eq!((mark.state, mark.visits, mark.duration_ms), (StepState::Succeeded, 2, Some(20_000)));
    assert!(!overlay.steps.contains_key("JobFailed"));
    let svg = program.flow.draw(Format::Svg, "polling", Some(&overlay));
    for says in [
        "×2 · 20 s",
        "rr-node rr-is-wait rr-succeeded",
        "rr-node rr-is-fail rr-idle",
        "rr-edge rr-loop rr-taken",
    ] {
        assert!(svg.contains(says), "no `{says}` in {svg}");
    }

    // Half way: what is open is waiting or running, and a failure reaches the containers around it.
    let mut trace = program.flow.trace();
    let begun = played.journal.iter().position(|row| row.entry.name() == "StepBegun").expect("a step");
    played.journal[..=begun].iter().for_each(|row| trace.take(row));
    assert_eq!(trace.overlay("", None).steps["StartJob"].state, StepState::Waiting);
    played.journal[begun + 1..begun + 2].iter().for_each(|row| trace.take(row));
    assert_eq!(trace.overlay("", None).steps["StartJob"].state, StepState::Running);
}

#[test]
fn failures_and_what_they_left_open_show_in_the_picture() {
    let (name, program, cases) =
        examples().into_iter().find(|(name, ..)| name == "parallel").expect("the example");
    let case = cases.iter().find(|case| case.name.starts_with("one that fails")).expect("the case");
    let played = rehearse(&program, case, Crash::Never);
    let mut trace = program.flow.trace();
    played.journal.iter().for_each(|row| trace.take(row));
    let overlay = trace.overlay(&name, None);
    let state = |step: &str| overlay.steps.get(step).map(|mark| mark.state);
    assert_eq!(state("BookFlight"), Some(StepState::Failed));
    assert_eq!(state("BookEverything"), Some(StepState::Failed));
    assert_eq!(state("BookHotel"), Some(StepState::Cancelled));
    assert_eq!(state("PackBags"), Some(StepState::Succeeded));
    assert_eq!(state("HaveATrip"), None);
    assert_eq!(overlay.steps["BookFlight"].error.as_deref(), Some("NoSeat"));
}
