//! Interpreter state: cells survive crashes, turns are the same each time, fuel is respected, failed runs resume.

use riverrun_kernel::Failure;
use riverrun_kernel::driver::Wake;
use serde_json::{Value, json};

use crate::harness::{Run, flow};

const NESTED: &str = r#"
  - type: foreach
    name: Each
    iterationMapping: {collection: $.items, item: item, index: place}
    outputMappings: [{target: done, source: "$local[*].result"}]
    steps:
      - type: task
        name: Work
        resourceArn: s/work
      - type: choice
        name: Often
        choices:
          - condition: $.result < 2
            steps:
              - {type: wait, name: Rest, duration: 1}
            goto: Work
  - type: parallel
    name: Both
    branches:
      - steps: [{type: task, name: Left, resourceArn: s/left}]
      - steps: [{type: pass, name: Right}]
"#;

fn stub(name: &str, input: &Value, _: u32) -> Result<Value, Failure> {
    match name {
        "s/work" => {
            Ok(json!({"result": input["result"].as_u64().unwrap_or(0) + input["item"].as_u64().unwrap_or(9)}))
        }
        _ => Ok(json!({"left": true})),
    }
}

fn trace(fuel: u32, crash: bool) -> (Result<Value, Failure>, Vec<String>, Vec<String>) {
    let mut run = Run::new(&flow(NESTED), &json!({"items": [1, 2, 3]}));
    run.fuel = fuel;
    run.crash_always = crash;
    let outcome = run.finish(&stub);
    (outcome, run.log, run.notes)
}

#[test]
fn a_crash_before_every_turn_changes_nothing() {
    let whole = trace(200, false);
    assert_eq!(whole.0, Ok(json!({"done": [2, 2, 3]})));
    assert_eq!(trace(200, true), whole);
    assert_eq!(trace(200, false), whole);
}

#[test]
fn little_fuel_changes_nothing_but_the_number_of_turns() {
    let (outcome, mut log, _) = trace(200, false);
    let (slow_outcome, mut slow_log, _) = trace(1, true);
    log.sort();
    slow_log.sort();
    assert_eq!((slow_outcome, slow_log), (outcome, log));
}

#[test]
fn a_loop_gives_way_when_its_fuel_is_used_up() {
    let source = flow(
        "  - {type: pass, name: A}\n  - {type: choice, name: B, choices: [{condition: 'true', goto: A}]}\n",
    );
    let mut run = Run::new(&source, &json!({}));
    run.turn();
    assert_eq!((run.transitions, run.wakes.front()), (200, Some(&Wake::Continued)));
    run.turn();
    assert_eq!(run.transitions, 400);
    assert!(run.written < 100, "a loop that changes nothing records next to nothing: {} bytes", run.written);
}

#[test]
fn a_thousand_steps_take_five_turns_and_the_local_is_recorded_once_a_turn() {
    let steps: String = (0..1000)
        .map(|n| {
            format!(
                "  - {{type: pass, name: P{n}, outputMappings: [{{target: k{}, source: {n}}}]}}\n",
                n % 10
            )
        })
        .collect();
    let mut run = Run::new(&flow(&steps), &json!({}));
    run.settle();
    assert_eq!(run.outcome.clone().expect("ended").expect("succeeded")["k9"], 999);
    assert_eq!((run.transitions, run.notes.len()), (1000, 2000));
    assert!(run.written < 2000, "{} bytes", run.written);
}

#[test]
fn only_the_frames_that_change_are_recorded() {
    let mut run = Run::new(&flow(NESTED), &json!({"items": vec![5; 100]}));
    run.settle();
    let before = run.written;
    run.end("Each[17]/Work", Ok(json!({"result": 5})));
    assert!(run.written - before < 120, "{} bytes for one iteration's end", run.written - before);
}

#[test]
fn nothing_is_kept_of_a_run_that_succeeded() {
    let mut run = Run::new(&flow(NESTED), &json!({"items": [1, 2]}));
    run.finish(&stub).expect("it succeeds");
    assert!(run.cells.is_empty(), "{:?}", run.cells);
}

#[test]
fn a_resumed_run_tries_the_failed_step_again_under_its_path() {
    let source =
        flow("  - {type: task, name: A, resourceArn: s/a}\n  - {type: task, name: B, resourceArn: s/b}\n");
    let mut run = Run::new(&source, &json!({}));
    run.settle();
    run.end("A", Ok(json!({"a": 1})));
    run.end("B", Err(Failure::new("Boom", "no")));
    assert_eq!(run.outcome, Some(Err(Failure::new("Boom", "no"))));
    run.crash_always = true;
    run.resume();
    run.end("B", Ok(json!({"b": 2})));
    assert_eq!(run.outcome, Some(Ok(json!({"a": 1, "b": 2}))));
    assert_eq!(run.log(), "call A s/a {}\ncall B s/b {\"a\":1}\ncall B s/b {\"a\":1}");
}

#[test]
fn a_resumed_run_keeps_finished_iterations_and_begins_the_others_again() {
    let mut run = Run::new(&flow(NESTED), &json!({"items": [5, 6, 7]}));
    run.settle();
    run.end("Each[1]/Work", Ok(json!({"result": 6})));
    run.end("Each[0]/Work", Err(Failure::new("Boom", "no")));
    assert!(matches!(run.outcome, Some(Err(_))));
    run.log.clear();
    run.resume();
    assert_eq!(
        run.open.values().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["Each[0]/Work", "Each[2]/Work"]
    );
    assert_eq!(run.finish(&stub), Ok(json!({"done": [5, 6, 7]})));
}

#[test]
fn a_resumed_run_goes_through_a_fail_step_again() {
    let mut run = Run::new(&flow("  - {type: fail, name: No, error: E}\n"), &json!({}));
    run.settle();
    run.resume();
    assert_eq!(run.outcome, Some(Err(Failure::new("E", "the flow came to `No`"))));
    assert_eq!(run.transitions, 2);
}

#[test]
fn input_that_is_no_object_fails_the_run_with_a_name() {
    let mut run = Run::new(&flow("  - {type: pass, name: A}\n"), &json!([1]));
    run.settle();
    let failure = run.outcome.clone().expect("ended").expect_err("it fails");
    assert_eq!(failure.error, "FnF.InvalidInput");
    run.resume();
    assert!(matches!(run.outcome, Some(Err(_))));
}

#[test]
fn a_wake_for_a_step_that_is_gone_changes_nothing() {
    let mut run = Run::new(&flow("  - {type: wait, name: W, duration: 1}\n"), &json!({}));
    run.settle();
    let before = run.cells.clone();
    run.wakes.push_back(Wake::StepEnded {
        tag: 77,
        outcome: Ok(riverrun_kernel::Json::null()),
        from_outside: false,
        attempts: 1,
    });
    run.settle();
    assert_eq!(run.cells, before);
}

const EVERYTHING: &str = r"
  - {type: pass, name: Init, outputMappings: [{target: rounds, source: []}]}
  - type: task
    name: Start
    resourceArn: s/start
    retry: [{errors: [FnF.InvalidLocal], maxAttempts: 1}]
    catch: [{errors: [FnF.InvalidLocal, Boom], goto: Fork}]
    errorMappings: [{target: caught, source: $local.error}]
  - type: foreach
    name: Each
    iterationMapping: {collection: $.items, item: item}
    outputMappings: [{target: each, source: $local}]
    steps:
      - {type: task, name: Child, resourceArn: 'acs:fnf:::flow/c', pattern: sync, timeoutSeconds: 9, retry: [{errors: [FnF.ALL], maxAttempts: 2}]}
      - type: choice
        name: Again
        choices: [{condition: $.again == true, steps: [{type: wait, name: Nap, duration: 1}], goto: Child}]
        default: {steps: [{type: succeed, name: Enough}]}
  - type: parallel
    name: Fork
    branches:
      - steps: [{type: wait, name: W, duration: 1}, {type: task, name: P, resourceArn: s/p, catch: [{errors: [FnF.ALL], goto: Q}]}, {type: pass, name: Q}]
      - steps: [{type: pass, name: R}]
      - steps: []
  - {type: choice, name: Loop, choices: [{condition: $.more == true, goto: Each}]}
";

/// Ends open steps in the order and with the outcomes that `choices` say; resumes what fails.
fn drive(choices: &[(u8, u8)], fuel: u32, crash: bool) -> Run {
    let mut run = Run::new(&flow(EVERYTHING), &json!({"items": [1, [2], {"three": 3}]}));
    run.fuel = fuel;
    run.crash_always = crash;
    run.settle();
    for &(which, how) in choices {
        match run.outcome {
            Some(Ok(_)) => break,
            Some(Err(_)) => run.resume(),
            None => {
                let paths: Vec<String> = run.open.values().map(|(path, _)| path.clone()).collect();
                let outcome = match how % 8 {
                    0 => Ok(json!({"again": true, "more": true})),
                    1 => Ok(json!(1)),
                    2 => Err(Failure::new("Boom", "no")),
                    3 => Err(Failure::new(Failure::TIMEOUT, "late").not_retryable()),
                    _ => Ok(json!({"again": false, "more": false, "n": how})),
                };
                run.end(&paths[which as usize % paths.len()], outcome);
            }
        }
    }
    run
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_ends_however_the_state_stays_sound(
        choices in proptest::collection::vec(proptest::prelude::any::<(u8, u8)>(), 0..60)
    ) {
        let whole = drive(&choices, 200, false);
        let crashed = drive(&choices, 200, true);
        proptest::prop_assert_eq!(&crashed.log, &whole.log);
        proptest::prop_assert_eq!(&crashed.notes, &whole.notes);
        proptest::prop_assert_eq!(&crashed.cells, &whole.cells);
        proptest::prop_assert_eq!(&crashed.outcome, &whole.outcome);
    }

    #[test]
    fn fuel_does_not_change_how_a_run_ends(
        choices in proptest::collection::vec(proptest::prelude::any::<(u8, u8)>(), 0..60)
    ) {
        // Only good ends, always of the oldest frame's step, so that the order in which steps began does not matter.
        let first: Vec<(u8, u8)> = choices.iter().map(|(_, how)| (0, 4 + how % 4)).collect();
        let (whole, slow) = (drive(&first, 200, false), drive(&first, 1, true));
        proptest::prop_assert_eq!(&slow.outcome, &whole.outcome);
    }
}
