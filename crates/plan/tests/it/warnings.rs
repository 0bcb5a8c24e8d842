//! Warnings: what is legal and surely not meant, with its place and advice.

use std::fmt::Write;

use crate::harness::{flow, warnings};
use crate::seed::POLLING;

/// The warnings of a flow of these steps.
fn of(steps: &str) -> String {
    warnings(&flow(steps))
}

#[test]
fn what_is_meant_is_not_warned_of() {
    assert_eq!(warnings(POLLING), "");
    for steps in [
        "- {type: choice, name: C, choices: [{condition: $.x, goto: F}], default: {goto: F}}\n- {type: fail, name: F}\n",
        "- {type: task, name: T, resourceArn: s/f}\n- {type: pass, name: P, inputMappings: [{target: a, source: $local.whatever}]}\n",
        "- {type: task, name: T, resourceArn: s/f, catch: [{errors: [E], goto: H}], end: true}\n- {type: pass, name: H}\n",
        "- {type: wait, name: W, duration: 1}\n- {type: choice, name: C, choices: [{condition: $.x, goto: W}]}\n",
        "- {type: task, name: T, resourceArn: s/f, pattern: waitForCallback, inputMappings: [{target: c, source: $context}]}\n",
    ] {
        assert_eq!(of(steps), "", "{steps}");
    }
}

#[test]
fn steps_that_nothing_leads_to() {
    insta::assert_snapshot!(of(r"
  - {type: pass, name: A, end: true}
  - {type: pass, name: B}
  - {type: pass, name: C}
  - type: parallel
    name: P
    branches:
      - steps: [{type: succeed, name: S}, {type: pass, name: D}]
      - steps: [{type: choice, name: Q, choices: [{condition: $.x, goto: R}], default: {goto: R}}, {type: pass, name: E}, {type: pass, name: R}]
"));
}

#[test]
fn choices_that_fall_into_a_failure() {
    insta::assert_snapshot!(of(r"
  - type: choice
    name: Check
    choices:
      - condition: $.good
        goto: Done
      - condition: $.odd
        steps: [{type: pass, name: Note}]
      - condition: $.bad
        steps: [{type: fail, name: Own}]
  - {type: fail, name: Broken}
  - {type: succeed, name: Done}
"));
}

#[test]
fn loops_that_do_not_rest() {
    let polling = POLLING
        .replace("  - type: wait\n    name: Wait10s\n    duration: 10\n", "")
        .replace("goto: Wait10s", "goto: GetJobStatus");
    insta::assert_snapshot!("a_polling_loop_without_its_wait", warnings(&polling));
    insta::assert_snapshot!(of(r"
  - {type: pass, name: A}
  - type: choice
    name: B
    choices:
      - {condition: $.x, goto: A}
      - {condition: $.y, goto: B}
  - {type: task, name: T, resourceArn: s/f, catch: [{errors: [FnF.ALL], goto: T}]}
  - type: choice
    name: Rests
    choices:
      - {condition: $.x, steps: [{type: wait, name: W, duration: 1}], goto: T}
"));
}

#[test]
fn paths_that_nothing_sets() {
    insta::assert_snapshot!(warnings(
        r"
version: v1
type: flow
outputMappings:
  - {target: a, source: $local.totl}
  - {target: b, source: $local.total}
steps:
  - type: pass
    name: First
    inputMappings: [{target: early, source: $local.total}, {target: given, source: $input.given}]
    outputMappings: [{target: total, source: $local.x}, {target: later, source: $input.missing}, {target: fine, source: $input.given}]
  - type: choice
    name: Check
    inputMappings: [{target: status, source: $local.total}]
    choices:
      - {condition: '$.stauts == 1 || $.status == 2', goto: Each}
  - type: foreach
    name: Each
    inputMappings: [{target: items, source: $input.items}]
    iterationMapping: {collection: $.item, item: one, index: place}
    steps:
      - type: wait
        name: Rest
        inputMappings: [{target: s, source: $input.one}, {target: p, source: $input.place}, {target: t, source: $input.two}]
        duration: $.seconds
"
    ));
}

#[test]
fn a_goto_back_lets_later_steps_come_first() {
    let steps = |goto: &str| {
        format!(
            "- {{type: pass, name: A, inputMappings: [{{target: a, source: $local.n}}]}}\n\
             - {{type: pass, name: B, outputMappings: [{{target: n, source: 1}}]}}\n\
             - {{type: wait, name: W, duration: 1}}\n\
             - {{type: choice, name: C, choices: [{{condition: $.n, goto: {goto}}}]}}\n"
        )
    };
    assert_eq!(of(&steps("A")), "");
    assert!(of(&steps("B")).contains("`$local.n` is always null: no step before `A` sets `n`"));
}

#[test]
fn callbacks_that_nobody_can_make_and_policies_that_nothing_reaches() {
    insta::assert_snapshot!(of(r"
  - {type: task, name: Ask, resourceArn: s/ask, pattern: waitForCallback, inputMappings: [{target: what, source: $input.what}]}
  - type: task
    name: Try
    resourceArn: s/try
    retry: [{errors: [FnF.ALL]}, {errors: [Late]}]
    catch: [{errors: [FnF.ALL], goto: End}, {errors: [Late], goto: End}]
  - {type: pass, name: End}
"));
}

#[test]
fn a_flow_that_has_a_token_may_end_without_using_it() {
    let step = |more: &str| {
        of(&format!(
            "- {{type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: waitForCallback{more}}}\n"
        ))
    };
    let token = ", inputMappings: [{target: to, source: $context.task.token}]";
    assert!(step("").contains("nobody learns the token of `T`"));
    assert!(step(token).contains("`T` waits for ever when the flow that has its token ends"));
    assert_eq!(step(&format!("{token}, timeoutSeconds: 60")), "");
}

#[test]
fn a_flow_of_five_thousand_steps_is_checked_whole() {
    let mut steps = String::new();
    for step in 0..5000 {
        writeln!(
            steps,
            "- {{type: pass, name: S{step}, inputMappings: [{{target: a, source: $local.k{}}}], outputMappings: [{{target: k{step}, source: $input.a}}]}}",
            step - i32::from(step > 0)
        )
        .expect("a string");
    }
    let found = of(&steps);
    assert_eq!(
        found.lines().filter(|line| line.contains("warning")).count(),
        1,
        "only the first has none before it: {found}"
    );
}
