//! Mistakes in flows: all of them at once, each with its place and what to do.

use insta::assert_snapshot;

use crate::harness::{flow, mistakes, parse, warnings};

#[test]
fn three_mistakes_in_three_places() {
    assert_snapshot!(mistakes(
        r#"version: v1
type: flow
steps:
  - type: task
    name: StartJob
    resourceArn: fnf-demo/StartJob
    timeoutSecond: 5
  - type: choice
    name: Check
    choices:
      - condition: $.status = "success"
        goto: StartJob
    default:
      goto: StartJbo
"#
    ));
}

#[test]
fn every_kind_of_mistake_in_one_file() {
    assert_snapshot!(mistakes(
        r#"version: v3
type: flow
timeoutSeconds: 1.5
stepz: 1
inputMappings: {target: x}
steps:
  - type: task
    resourceArn: 5
    pattern: async
    retry:
      - intervalSeconds: -1
        multiplier: 0.5
        maxAttempts: "3"
        errors: FnF.ALL
    catch:
      - errors: []
    errorMappings:
      - {target: x, source: $local.other}
  - type: wait
    name: Both
    duration: 1
    timestamp: 2030-01-01
    end: yes
  - type: wait
    name: Neither
    retry: []
  - type: wait
    name: Wrong
    duration: "10"
  - type: loop
    name: Around
    steps: []
  - type: pass
    name: Both
    goto: Neither
  - type: pass
    name: 5
  - name: Untyped
  - type: foreach
    name: Each
    iterationMapping: {collection: $local.items, index: 1, item2: x}
    steps:
      - {type: choice, name: Inner, choices: [{condition: "true", goto: Both}, {goto: Inner}], default: [x]}
  - type: parallel
    name: Par
    branches: [{name: B}]
  - type: choice
    name: NoChoices
  - text
  - type: pass
    name: a b
    outputMappings: [{source: $input..x}, {target: y, source: "$input.a b"}, {target: z, sourc: 1}]
  - {type: task, name: Two, resourceArn: s/f, action: a:b}
  - {type: task, name: None}
  - {type: succeed, name: S, end: true}
"#
    ));
}

#[test]
fn a_goto_leads_to_siblings_only() {
    let source = flow(
        "  - {type: pass, name: Outer}\n  - type: choice\n    name: C\n    choices:\n      - condition: 'true'\n        steps:\n          - {type: pass, name: Inner}\n          - {type: task, name: T, resourceArn: s/t, catch: [{errors: [FnF.ALL], goto: Outer}]}\n        goto: Inner\n",
    );
    assert_snapshot!(mistakes(&source));
}

#[test]
fn missing_parts_of_the_flow() {
    assert_snapshot!(mistakes("name: x\n"), @r"
    1:1 error: the flow has no `version`
          add `version: v1`
    1:1 error: the flow has no `type`
          add `type: flow`
    1:1 error: the flow has no `steps`
          add a list of steps: `steps: [{type: pass, name: First}]`
    ");
    assert!(mistakes("version: v1\ntype: flow\nsteps: []\n").contains("the flow has no steps"));
    assert!(mistakes("Type: StateMachine\nSpecVersion: v1\nName: x\n").contains("newer language"));
}

#[test]
fn versions_and_unknown_top_level_attributes() {
    for version in ["v1", "'v1'", "v1beta1", "v1.0"] {
        parse(&format!("version: {version}\ntype: flow\nsteps: [{{type: pass, name: A}}]\n"));
    }
    let warned = warnings("version: v1\ntype: flow\ntimeoutSecond: 5\nsteps: [{type: pass, name: A}]\n");
    assert!(
        warned.contains("it is ignored") && warned.contains("did you mean `timeoutSeconds`?"),
        "{warned}"
    );
}

#[test]
fn unknown_error_names_of_the_engine_are_warned_of() {
    let warned = warnings(&flow(
        "  - {type: task, name: T, resourceArn: s/t, retry: [{errors: [FnF.All, fnf.ResourceThrottled, FC.Whatever]}]}\n",
    ));
    assert_eq!(
        warned,
        "4:63 warning: `FnF.All` is not an error that the engine raises\n      did you mean `FnF.ALL`?"
    );
}

#[test]
fn unquoted_conditions_that_yaml_cannot_read_get_advice() {
    let source = flow("  - type: choice\n    name: C\n    choices:\n      - condition: \"a\" == $.b\n");
    assert!(mistakes(&source).contains("must be quoted as a whole"), "{}", mistakes(&source));
}
