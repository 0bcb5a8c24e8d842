//! Parallel and foreach.

use riverrun_kernel::Failure;
use serde_json::{Value, json};

use crate::harness::{Run, flow, run};

const EACH: &str = r"
  - type: foreach
    name: Each
    iterationMapping: {collection: $.items, item: item, index: place}
    outputMappings: [{target: all, source: $local}]
    steps:
      - type: task
        name: Work
        resourceArn: s/work
";

fn work(_: &str, input: &Value, _: u32) -> Result<Value, Failure> {
    Ok(json!({"done": input["item"], "at": input["place"]}))
}

#[test]
fn each_iteration_has_the_foreach_s_input_its_item_and_its_index() {
    let (outcome, log) = run(&flow(EACH), &json!({"items": ["a", "b"], "k": 1}), &work);
    assert_eq!(outcome, Ok(json!({"all": [{"done": "a", "at": 0}, {"done": "b", "at": 1}]})));
    assert_eq!(
        log,
        r#"call Each[0]/Work s/work {"items":["a","b"],"k":1,"item":"a","place":0}
call Each[1]/Work s/work {"items":["a","b"],"k":1,"item":"b","place":1}"#
    );
}

#[test]
fn results_stand_in_the_order_of_the_items_whatever_ends_first() {
    let mut run = Run::new(&flow(EACH), &json!({"items": [1, 2, 3]}));
    run.settle();
    for (path, result) in [("Each[2]/Work", 30), ("Each[0]/Work", 10), ("Each[1]/Work", 20)] {
        run.end(path, Ok(json!({"r": result})));
    }
    assert_eq!(run.outcome, Some(Ok(json!({"all": [{"r": 10}, {"r": 20}, {"r": 30}]}))));
}

#[test]
fn without_output_mappings_a_container_gives_nothing() {
    let each = EACH.replace("    outputMappings: [{target: all, source: $local}]\n", "");
    assert_eq!(run(&flow(&each), &json!({"items": [1]}), &work).0, Ok(json!({})));
    let parallel = "  - {type: parallel, name: P, branches: [{steps: [{type: pass, name: A, outputMappings: [{target: a, source: 1}]}]}]}\n";
    assert_eq!(run(&flow(parallel), &json!({}), &work).0, Ok(json!({})));
}

#[test]
fn an_empty_collection_gives_an_empty_list() {
    let source = flow(&format!(
        "{EACH}  - {{type: pass, name: After, outputMappings: [{{target: after, source: 1}}]}}\n"
    ));
    assert_eq!(run(&source, &json!({"items": []}), &work).0, Ok(json!({"all": [], "after": 1})));
}

#[test]
fn what_is_no_array_fails_the_step() {
    for (input, what) in [
        (json!({}), "nothing"),
        (json!({"items": null}), "nothing"),
        (json!({"items": {}}), "an object"),
        (json!({"items": "abc"}), "a string"),
        (json!({"items": 3}), "a number or truth value"),
    ] {
        let failure = run(&flow(EACH), &input, &work).0.expect_err("it fails");
        assert_eq!(failure.error, "FnF.InvalidInput");
        assert!(failure.message.ends_with(&format!("its collection is {what}")), "{failure}");
    }
}

#[test]
fn at_most_a_hundred_iterations_run_at_once_and_the_rest_in_order() {
    let items: Vec<u32> = (0..250).collect();
    let mut run = Run::new(&flow(EACH), &json!({ "items": items }));
    run.settle();
    assert_eq!(run.open.len(), 100);
    run.end("Each[40]/Work", Ok(json!({})));
    assert_eq!(run.open.len(), 100);
    assert!(run.log.last().expect("a line").starts_with("call Each[100]/Work"));
    let output = run.finish(&work).expect("it succeeds");
    assert_eq!((output["all"].as_array().map(Vec::len), &output["all"][249]["at"]), (Some(250), &json!(249)));
}

#[test]
fn foreachs_nest_and_collect() {
    let source = flow(
        r#"
  - type: foreach
    name: Outer
    iterationMapping: {collection: $.groups, item: group}
    outputMappings: [{target: parts, source: "$local[*].parts[*]"}]
    steps:
      - type: foreach
        name: Inner
        iterationMapping: {collection: $.group, item: x, index: i}
        outputMappings: [{target: parts, source: "$local[*].v"}]
        steps:
          - {type: pass, name: P, outputMappings: [{target: v, source: $input.x}]}
          - {type: wait, name: W, duration: 1}
"#,
    );
    let (outcome, log) = run(&source, &json!({"groups": [[1, 2], [], [3]]}), &work);
    assert_eq!(outcome, Ok(json!({"parts": [1, 2, 3]})));
    assert_eq!(
        log,
        "sleep Outer[0]/Inner[0]/W 1000\nsleep Outer[0]/Inner[1]/W 1000\nsleep Outer[2]/Inner[0]/W 1000"
    );
}

#[test]
fn a_second_visit_has_paths_of_its_own() {
    let source = flow(
        r"
  - type: pass
    name: Count
    inputMappings: [{target: n, source: $local.n}]
    outputMappings: [{target: m, source: $input.n}, {target: n, source: 1}]
  - type: foreach
    name: Each
    iterationMapping: {collection: $.items, item: item}
    steps: [{type: wait, name: W, duration: 1}]
  - {type: choice, name: C, choices: [{condition: $.m == null, goto: Count}]}
",
    );
    assert_eq!(run(&source, &json!({"items": [0]}), &work).1, "sleep Each[0]/W 1000\nsleep Each#2[0]/W 1000");
}

#[test]
fn an_iteration_keeps_its_local_across_its_own_loop() {
    let source = flow(
        r#"
  - type: foreach
    name: Each
    iterationMapping: {collection: $.keys, item: key}
    outputMappings: [{target: markers, source: "$local[*].seen"}]
    steps:
      - {type: pass, name: Init, outputMappings: [{target: marker, source: ""}]}
      - {type: task, name: Unzip, resourceArn: s/unzip}
      - {type: choice, name: More, choices: [{condition: $.marker != "", goto: Unzip}]}
"#,
    );
    let unzip = |_: &str, input: &Value, _: u32| {
        let marker = if input["marker"] == "" && input["key"] == "long" { "m" } else { "" };
        Ok(json!({"marker": marker, "seen": input["marker"]}))
    };
    let (outcome, log) = run(&source, &json!({"keys": ["long", "short"]}), &unzip);
    assert_eq!(outcome, Ok(json!({"markers": ["m", ""]})));
    assert!(log.contains("call Each[0]/Unzip#2") && !log.contains("call Each[1]/Unzip#2"), "{log}");
}

#[test]
fn every_branch_of_a_parallel_has_its_own_local() {
    let source = flow(
        r#"
  - type: parallel
    name: P
    inputMappings: [{target: x, source: $input.a}]
    outputMappings: [{target: both, source: $local}, {target: first, source: "$local[0].x"}]
    branches:
      - steps:
          - {type: task, name: A, resourceArn: s/a}
          - {type: pass, name: B, inputMappings: [{target: x, source: $input.x}], outputMappings: [{target: x, source: $input.x}]}
      - steps: [{type: task, name: C, resourceArn: s/c}]
"#,
    );
    let stub = |name: &str, input: &Value, _: u32| Ok(json!({"by": name, "saw": input}));
    let (outcome, log) = run(&source, &json!({"a": 1}), &stub);
    assert_eq!(log, "call P[0]/A s/a {\"x\":1}\ncall P[1]/C s/c {\"x\":1}");
    let both = json!([{"by": "s/a", "saw": {"x": 1}, "x": 1}, {"by": "s/c", "saw": {"x": 1}}]);
    assert_eq!(outcome, Ok(json!({"both": both, "first": 1})));
}

#[test]
fn a_failed_branch_fails_the_container_and_the_journal_says_which() {
    let mut run = Run::new(&flow(EACH), &json!({"items": [1, 2, 3]}));
    run.settle();
    run.end("Each[1]/Work", Err(Failure::new("Boom", "no")));
    assert_eq!(run.outcome, Some(Err(Failure::new("Boom", "no"))));
    assert_eq!(
        run.notes.last().map(String::as_str),
        Some(r#"StepFailed Work {"path":"Each[1]/Work","error":"Boom"}"#)
    );
}

#[test]
fn a_catch_inside_an_iteration_keeps_the_others_going() {
    let source = flow(
        r#"
  - type: foreach
    name: Each
    iterationMapping: {collection: $.keys, item: key}
    outputMappings: [{target: ok, source: "$local[*].ok"}]
    steps:
      - type: task
        name: Resize
        resourceArn: s/resize
        catch: [{errors: [FnF.ALL], goto: Ignore}]
      - {type: pass, name: Ignore}
"#,
    );
    let stub = |_: &str, input: &Value, _: u32| {
        if input["key"] == 1 { Err(Failure::new("Boom", "")) } else { Ok(json!({"ok": input["key"]})) }
    };
    assert_eq!(run(&source, &json!({"keys": [0, 1, 2]}), &stub).0, Ok(json!({"ok": [0, 2]})));
}

#[test]
fn notes_tell_of_branches_and_iterations() {
    let source = flow(
        "  - {type: foreach, name: E, iterationMapping: {collection: $.i, item: x}, steps: [{type: pass, name: P}]}\n  - {type: parallel, name: B, branches: [{steps: [{type: pass, name: Q}]}]}\n",
    );
    let mut run = Run::new(&source, &json!({"i": [7]}));
    run.settle();
    assert_eq!(
        run.notes,
        [
            "StepEntered E",
            r#"IterationEntered E {"index":0}"#,
            "StepEntered P",
            "StepExited P",
            r#"IterationExited E {"index":0}"#,
            "StepExited E",
            "StepEntered B",
            r#"BranchEntered B {"index":0}"#,
            "StepEntered Q",
            "StepExited Q",
            r#"BranchExited B {"index":0}"#,
            "StepExited B",
        ]
    );
}
