//! What tasks call: functions, flows, callbacks.

use riverrun_kernel::Failure;
use riverrun_kernel::driver::{OnParentEnd, Wake, Work};
use serde_json::{Value, json};

use crate::harness::{Run, flow, mistakes, parse, warnings};

fn function(resource: &str) -> String {
    parse(&flow(&format!("  - type: task\n    name: T\n    resourceArn: {resource}\n"))).functions().join(" ")
}

fn refused(resource: &str) -> String {
    mistakes(&flow(&format!("  - type: task\n    name: T\n    resourceArn: {resource}\n")))
}

#[test]
fn every_form_of_a_function_s_name() {
    for resource in [
        "acs:fc:cn-hangzhou:{accountID}:services/s/functions/f",
        "acs:fc:::services/s/functions/f",
        "acs:fc:cn-hangzhou:123:services/s.prod/functions/f",
        "!Ref s/f",
        "s/f",
        "'s/f'",
    ] {
        assert_eq!(function(resource), "s/f", "{resource}");
    }
    assert_eq!(function("acs:fc:cn-hangzhou:1:functions/f/LATEST"), "f");
    assert_eq!(function("jobs.resize"), "jobs.resize");
}

#[test]
fn what_is_not_served_says_so() {
    for resource in ["https://example.com/x", "acs:mns:::/queues/q/messages", "acs:mns:::/topics/t/messages"]
    {
        assert!(refused(resource).contains("not served yet"), "{}", refused(resource));
    }
    let action = mistakes(&flow("  - {type: task, name: T, action: 'ocr:RecognizeIdentityCard'}\n"));
    assert!(action.contains("`ocr:RecognizeIdentityCard`, which is not served yet"), "{action}");
}

#[test]
fn what_names_nothing_says_what_would() {
    for resource in [
        "acs:fc:::services/s",
        "acs:fc",
        "a/b/c",
        "../x",
        "s/..",
        "acs:ecs:::x",
        "acs:fnf:::flow/",
        "acs:fnf:::flow/a.b",
        "acs:fc:::services/<service>/functions/f",
        "!Sub s/f",
        "!Ref s",
        "''",
    ] {
        assert!(
            refused(resource).contains("4:18") || refused(resource).contains("6:18"),
            "{}",
            refused(resource)
        );
    }
}

fn begun(steps: &str, input: &Value) -> Work {
    let mut run = Run::new(&flow(steps), input);
    run.settle();
    run.open.into_values().next_back().expect("a step is open").1
}

#[test]
fn a_callback_step_tells_the_kernel_where_the_token_goes() {
    let work = begun(
        "  - type: task\n    name: T\n    resourceArn: s/f\n    pattern: waitForCallback\n    timeoutSeconds: 60\n    inputMappings:\n      - {target: taskToken, source: $context.task.token}\n      - {target: a/b, source: $context.task}\n      - {target: all, source: $context}\n      - {target: twice, source: $context.task.token}\n      - {target: twice, source: 1}\n      - {target: x, source: $input.x}\n",
        &json!({"x": 1}),
    );
    let Work::Call(call) = work else { panic!("{work:?}") };
    assert!(call.callback);
    assert_eq!(call.timeout_ms, Some(60_000));
    assert_eq!(call.callback_paths, ["/taskToken", "/a~1b/token", "/all/task/token"]);
    let input = call.input.to_value().expect("decodes");
    assert_eq!((&input["taskToken"], &input["x"], &input["twice"]), (&Value::Null, &json!(1), &json!(1)));
    for path in &call.callback_paths {
        assert_eq!(input.pointer(path), Some(&Value::Null), "{path}");
    }
}

#[test]
fn the_reported_output_is_the_callback_step_s_local() {
    let source = flow("  - {type: task, name: T, resourceArn: s/f, pattern: waitForCallback}\n");
    let mut run = Run::new(&source, &json!({}));
    run.settle();
    run.end("T", Ok(json!({"approved": true})));
    assert_eq!(run.outcome, Some(Ok(json!({"approved": true}))));
}

#[test]
fn a_token_outside_a_callback_step_is_null_with_a_warning() {
    let source =
        flow("  - {type: pass, name: A, inputMappings: [{target: t, source: $context.task.token}]}\n");
    assert!(warnings(&source).contains("there is no token here"));
}

#[test]
fn a_sync_child_is_waited_for_and_another_goes_on_alone() {
    let sync = begun(
        "  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: sync}\n",
        &json!({"x": 1}),
    );
    let Work::Child(child) = sync else { panic!("{sync:?}") };
    assert_eq!((&*child.definition.name, child.wait, child.on_parent_end), ("c", true, OnParentEnd::Cancel));
    assert_eq!(child.input.get(), r#"{"x":1}"#);
    let request = begun("  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c'}\n", &json!({}));
    let Work::Child(child) = request else { panic!("{request:?}") };
    assert_eq!((child.wait, child.on_parent_end, child.continue_id), (false, OnParentEnd::Abandon, None));
    assert_eq!(
        parse(&flow("  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c'}\n")).children(),
        ["c"]
    );
}

#[test]
fn service_parameters_of_a_child_are_literals_and_paths() {
    let child = |params: &str| {
        let work = begun(
            &format!(
                "  - {{type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: sync, serviceParams: {params}}}\n"
            ),
            &json!({"x": {"y": 1}, "id": "n-1", "text": "{\"z\": 2}"}),
        );
        let Work::Child(child) = work else { panic!("{work:?}") };
        (child.input.to_value().expect("decodes"), child.continue_id)
    };
    assert_eq!(child("{Input: $.x, ExecutionName: $.id}"), (json!({"y": 1}), Some("n-1".to_owned())));
    assert_eq!(
        child("{Input: {a: $.x.y, b: side, c: [$.id]}}").0,
        json!({"a": 1, "b": "side", "c": ["n-1"]})
    );
    assert_eq!(child("{Input: $.text}").0, json!({"z": 2}));
    assert_eq!(child("{Input: $, ExecutionName: fixed}").0["id"], "n-1");
}

#[test]
fn a_child_input_that_is_no_object_fails_the_step_and_can_be_caught() {
    let source = flow(
        "  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: sync, serviceParams: {Input: $.n}, catch: [{errors: [FnF.InvalidInput], goto: H}]}\n  - {type: pass, name: H, outputMappings: [{target: h, source: 1}]}\n",
    );
    let mut run = Run::new(&source, &json!({"n": 1}));
    run.settle();
    assert_eq!(run.outcome, Some(Ok(json!({"h": 1}))));
}

const LIMITED: &str = "  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: sync, timeoutSeconds: 5, catch: [{errors: [FnF.TaskTimeout], goto: H}]}\n  - {type: succeed, name: S}\n  - {type: pass, name: H, outputMappings: [{target: h, source: 1}]}\n";

#[test]
fn a_child_that_takes_too_long_is_given_up() {
    let mut run = Run::new(&flow(LIMITED), &json!({}));
    run.settle();
    run.end("T~limit", Ok(Value::Null));
    assert_eq!(run.outcome, Some(Ok(json!({"h": 1}))));
    assert_eq!(run.log(), "sleep T~limit 5000\nchild T c {}");
}

#[test]
fn a_child_that_ends_in_time_ends_its_limit() {
    let source = format!("{LIMITED}  - {{type: wait, name: W, duration: 1}}\n")
        .replace("{type: succeed, name: S}", "{type: wait, name: S, duration: 1}");
    let mut run = Run::new(&flow(&source), &json!({}));
    run.settle();
    run.end("T", Ok(json!({"c": 1})));
    assert_eq!(run.log(), "sleep T~limit 5000\nchild T c {}\nabort T~limit\nsleep S 1000");
    let mut failing = Run::new(&flow(&source), &json!({}));
    failing.settle();
    failing.end("T", Err(Failure::new("E", "")));
    assert_eq!(failing.outcome, Some(Err(Failure::new("E", ""))));
}

#[test]
fn the_flow_s_own_time_limit_is_shown() {
    let source =
        "version: v1beta1\ntype: flow\ntimeoutSeconds: 60\nname: test\nsteps:\n  - {type: pass, name: A}\n";
    assert_eq!(parse(source).timeout_ms(), Some(60_000));
    assert_eq!(warnings(source), "");
}

#[test]
fn outcomes_that_stood_in_line_when_their_step_was_given_up_are_not_the_next_step_s() {
    let steps = "  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: sync, timeoutSeconds: 5, catch: [{errors: [FnF.TaskTimeout], goto: U}]}\n  - {type: task, name: U, resourceArn: 'acs:fnf:::flow/d', pattern: sync, timeoutSeconds: 6}\n";
    for first in ["T", "T~limit"] {
        let mut run = Run::new(&flow(steps), &json!({}));
        run.settle();
        // Both end while the run is held.
        let mut ends: Vec<_> = std::mem::take(&mut run.open).into_iter().collect();
        ends.sort_by_key(|(_, (path, _))| path != first);
        for (tag, (path, _)) in ends {
            let output = if path == "T" { json!({"from": "T"}) } else { Value::Null };
            run.wakes.push_back(Wake::StepEnded { tag, outcome: Ok(output.into()) });
        }
        run.lenient = true;
        run.settle();
        assert_eq!(run.outcome, None);
        assert_eq!(run.open.values().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["U", "U~limit"]);
        run.end("U", Ok(json!({"from": "U"})));
        assert_eq!(run.outcome, Some(Ok(json!({"from": "U"}))));
    }
}
