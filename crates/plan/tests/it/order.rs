//! Order, end, goto and nesting: section 6; and the steps that need no kernel: section 3.

use riverrun_kernel::Failure;
use serde_json::json;

use crate::harness::{flow, output, run};

fn stub(_: &str, _: &serde_json::Value, _: u32) -> Result<serde_json::Value, Failure> {
    Ok(json!({}))
}

const MARK: &str = "outputMappings: [{target: ";

fn pass(name: &str, more: &str) -> String {
    format!("{{type: pass, name: {name}, {MARK}{name}, source: 1}}]{more}}}")
}

#[test]
fn steps_run_in_the_order_of_the_text() {
    let source = flow(&format!("  - {}\n  - {}\n", pass("A", ""), pass("B", "")));
    assert_eq!(output(&source, &json!({})), json!({"A": 1, "B": 1}));
}

#[test]
fn end_true_ends_the_list_with_its_local_as_it_is() {
    let source = flow(&format!("  - {}\n  - {}\n", pass("A", ", end: true"), pass("B", "")));
    assert_eq!(output(&source, &json!({})), json!({"A": 1}));
}

#[test]
fn succeed_ends_the_list_like_a_return() {
    let source =
        flow(&format!("  - {}\n  - {{type: succeed, name: S}}\n  - {}\n", pass("A", ""), pass("B", "")));
    assert_eq!(output(&source, &json!({})), json!({"A": 1}));
    let mapped = flow("  - {type: succeed, name: S, outputMappings: [{target: r, source: $input.a}]}\n");
    assert_eq!(output(&mapped, &json!({"a": 4})), json!({"r": 4}));
}

#[test]
fn end_and_succeed_inside_a_branch_end_that_branch_only() {
    for ending in ["{type: succeed, name: S}", "{type: pass, name: S, end: true}"] {
        let source = flow(&format!(
            "  - type: choice\n    name: C\n    choices:\n      - condition: 'true'\n        steps:\n          - {}\n          - {ending}\n          - {}\n  - {}\n",
            pass("A", ""),
            pass("Skipped", ""),
            pass("After", ""),
        ));
        assert_eq!(output(&source, &json!({})), json!({"A": 1, "After": 1}));
    }
}

#[test]
fn end_on_a_choice_ends_the_list_when_no_goto_is_taken() {
    let source = flow(&format!(
        "  - {{type: choice, name: C, end: true, choices: [{{condition: $.go, goto: B}}]}}\n  - {}\n  - {}\n",
        pass("A", ""),
        pass("B", "")
    ));
    assert_eq!(output(&source, &json!({})), json!({}));
    assert_eq!(output(&source, &json!({"go": true})), json!({"B": 1}));
}

#[test]
fn the_first_true_branch_is_taken_then_its_goto() {
    let source = flow(&format!(
        "  - type: choice\n    name: C\n    choices:\n      - {{condition: $.n > 5, goto: B}}\n      - condition: $.n > 1\n        steps:\n          - {}\n        goto: B\n      - {{condition: 'true', goto: Z}}\n  - {}\n  - {}\n  - {{type: fail, name: Z}}\n",
        pass("In", ""),
        pass("A", ""),
        pass("B", ", end: true"),
    ));
    assert_eq!(output(&source, &json!({"n": 9})), json!({"B": 1}));
    assert_eq!(output(&source, &json!({"n": 3})), json!({"In": 1, "B": 1}));
}

#[test]
fn without_a_true_branch_the_default_and_without_a_default_the_next_step() {
    let with = flow(&format!(
        "  - {{type: choice, name: C, choices: [{{condition: 'false', goto: A}}], default: {{goto: B}}}}\n  - {}\n  - {}\n",
        pass("A", ""),
        pass("B", "")
    ));
    assert_eq!(output(&with, &json!({})), json!({"B": 1}));
    assert_eq!(output(&with.replace(", default: {goto: B}", ""), &json!({})), json!({"A": 1, "B": 1}));
}

#[test]
fn a_branch_with_neither_steps_nor_goto_ends_the_choice() {
    let source = flow(&format!(
        "  - {{type: choice, name: C, choices: [{{condition: 'true'}}, {{condition: 'true', goto: F}}]}}\n  - {}\n  - {{type: fail, name: F}}\n",
        pass("A", ", end: true")
    ));
    assert_eq!(output(&source, &json!({})), json!({"A": 1}));
}

#[test]
fn the_local_of_a_choice_is_its_branch_s_and_empty_after_a_goto_alone() {
    let source = flow(
        "  - type: choice\n    name: C\n    inputMappings: [{target: s, source: 1}]\n    choices: [{condition: 'true', goto: A}]\n  - {type: succeed, name: A}\n",
    );
    assert_eq!(output(&source, &json!({})), json!({}));
}

#[test]
fn a_local_persists_across_a_loop() {
    let source = flow(
        "  - {type: pass, name: Init, outputMappings: [{target: seen, source: []}]}\n  - {type: wait, name: W, duration: 0}\n  - {type: pass, name: Once, inputMappings: [{target: x, source: $local.again}], outputMappings: [{target: again, source: true}, {target: before, source: $input.x}]}\n  - {type: choice, name: C, choices: [{condition: $.before != true, goto: W}]}\n",
    );
    let (outcome, log) = run(&source, &json!({}), &stub);
    assert_eq!(outcome, Ok(json!({"seen": [], "again": true, "before": true})));
    assert_eq!(log, "sleep W 0\nsleep W#2 0");
}

#[test]
fn visits_inside_a_branch_are_counted_over_the_whole_list() {
    let source = flow(
        "  - {type: pass, name: A, inputMappings: [{target: n, source: $local.n}], outputMappings: [{target: m, source: $input.n}]}\n  - type: choice\n    name: C\n    choices:\n      - condition: $.n == null\n        steps: [{type: wait, name: W, duration: 1}, {type: pass, name: N, outputMappings: [{target: n, source: 1}]}]\n        goto: A\n      - condition: $.m == 1 && $.n == 1\n        steps: [{type: wait, name: V, duration: 1}]\n",
    );
    let (outcome, log) = run(&source, &json!({}), &stub);
    assert_eq!((outcome, log.as_str()), (Ok(json!({"m": 1, "n": 1})), "sleep W 1000\nsleep V 1000"));
    let twice = flow(
        "  - {type: pass, name: A, inputMappings: [{target: m, source: $local.n}, {target: k, source: $local.m}], outputMappings: [{target: k, source: $input.k}, {target: m, source: $input.m}, {target: n, source: 1}]}\n  - type: choice\n    name: C\n    choices:\n      - condition: $.k == null\n        steps: [{type: wait, name: W, duration: 1}]\n        goto: A\n",
    );
    assert_eq!(run(&twice, &json!({}), &stub).1, "sleep W 1000\nsleep W#2 1000");
}

#[test]
fn a_fail_step_fails_everything_around_it() {
    let source = flow(
        "  - type: choice\n    name: C\n    choices:\n      - condition: 'true'\n        steps: [{type: fail, name: F, error: MyError, cause: because}]\n  - {type: pass, name: A}\n",
    );
    assert_eq!(run(&source, &json!({}), &stub).0, Err(Failure::new("MyError", "because")));
}

#[test]
fn waits_are_durations_dates_or_paths() {
    let log = |wait: &str, input| {
        let (outcome, log) = run(&flow(&format!("  - {{type: wait, name: W, {wait}}}\n")), &input, &stub);
        outcome.map(|_| log).map_err(|failure| failure.to_string())
    };
    assert_eq!(log("duration: 20", json!({})).as_deref(), Ok("sleep W 20000"));
    assert_eq!(log("duration: $.sleep", json!({"sleep": 3})).as_deref(), Ok("sleep W 3000"));
    assert_eq!(log("timestamp: 1970-01-01T00:00:01Z", json!({})).as_deref(), Ok("sleep W until 1000"));
    assert_eq!(
        log("timestamp: '1970-01-01T08:00:01.5+08:00'", json!({})).as_deref(),
        Ok("sleep W until 1500")
    );
    assert_eq!(
        log("timestamp: $.at", json!({"at": "1970-01-01T00:00:02Z"})).as_deref(),
        Ok("sleep W until 2000")
    );
    for (wait, input) in [
        ("duration: $.sleep", json!({})),
        ("duration: $.sleep", json!({"sleep": "3"})),
        ("duration: $.sleep", json!({"sleep": -3})),
        ("duration: $.sleep", json!({"sleep": 1e300})),
        ("timestamp: $.at", json!({"at": "tomorrow"})),
        ("timestamp: $.at", json!({"at": 5})),
    ] {
        let failure = log(wait, input).expect_err("it fails");
        assert!(failure.starts_with("FnF.InvalidInput: `W` needs"), "{failure}");
    }
}

#[test]
fn a_wait_has_no_local_but_its_output_mappings_see_its_input() {
    let source = flow(
        "  - {type: wait, name: W, duration: 0, outputMappings: [{target: a, source: $input.a}, {target: l, source: $local}]}\n",
    );
    assert_eq!(output(&source, &json!({"a": 1, "b": 2})), json!({"a": 1, "l": {}}));
}
