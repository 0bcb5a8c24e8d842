//! What tasks call: functions, flows, callbacks.

use riverrun_kernel::Failure;
use riverrun_kernel::driver::{Handed, OnParentEnd, Wake, Work};
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
fn an_address_is_a_function_of_that_name() {
    for address in ["https://example.com/x?y=1", "http://127.0.0.1:8080", "http://[::1]/a%20b"] {
        assert_eq!(function(&format!("'{address}'")), address);
    }
    for (address, why) in [
        ("ftp://example.com/x", "no address that can be called"),
        ("file:///etc/passwd", "no address that can be called"),
        ("https://", "names no host"),
        ("https:///x", "names no host"),
        ("http://:80/x", "names no host"),
        ("'https://a b/x'", "names no host"),
        ("'https://example.com/a b'", "holds a blank"),
    ] {
        assert!(refused(address).contains(why), "{}", refused(address));
    }
    let secret = refused("https://user:hunter2@example.com/x");
    assert!(secret.contains("[functions.") && !secret.contains("hunter2"), "{secret}");
    let long = format!("https://example.com/{}", "x".repeat(2100));
    assert!(refused(&long).contains("too long"));
}

#[test]
fn a_cloud_service_is_a_function_that_is_given_the_service_parameters() {
    let source = flow(
        "  - {type: task, name: T, action: 'ocr:Read', serviceParams: {ImageURL: $.url, Side: face, All: {in: [$]}}}\n",
    );
    let mut run = Run::new(&source, &json!({"url": "u", "other": 1}));
    run.settle();
    let input = r#"{"ImageURL":"u","Side":"face","All":{"in":[{"other":1,"url":"u"}]}}"#;
    assert_eq!(run.log(), format!("call T ocr:Read {input}"));
    for action in ["ocr", "ocr:", ":Read", "a b:c", "fnf:StopExecution"] {
        let found = mistakes(&flow(&format!("  - {{type: task, name: T, action: '{action}'}}\n")));
        assert!(found.contains("service:Operation") || found.contains("acs:fnf:::flow/NAME"), "{found}");
    }
}

/// The work that the one step of a flow begins.
fn work(step: &str) -> Work {
    let mut run = Run::new(&flow(step), &json!({"a": 1, "text": "hello"}));
    run.settle();
    run.open.into_values().next().expect("a step is open").1
}

#[test]
fn a_message_starts_the_task_of_the_queue_s_name_in_that_queue() {
    let step = "  - {type: task, name: T, resourceArn: 'acs:mns:::/queues/q/messages', \
                serviceParams: {MessageBody: $.text, MessageAttributes: {of: $.a}, DelaySeconds: 5, Priority: 1}}\n";
    let Work::Child(child) = work(step) else { panic!("no run is started") };
    assert_eq!((&*child.definition.name, child.wait), ("q", false));
    assert_eq!(child.on_parent_end, OnParentEnd::Abandon);
    assert_eq!(
        child.input.to_value().expect("decodes"),
        json!({"Message": "hello", "MessageAttributes": {"of": 1}})
    );
    assert_eq!(child.options.delay_ms, Some(5000));
    let task = child.options.task.expect("a task's options");
    assert_eq!((task.queue.as_str(), task.priority), ("q", Some(9)));
    let whole = "  - {type: task, name: T, resourceArn: 'acs:mns:cn:1:/topics/t/messages'}\n";
    let Work::Child(child) = work(whole) else { panic!("no run is started") };
    assert_eq!(child.input.to_value().expect("decodes"), json!({"Message": {"a": 1, "text": "hello"}}));
    let refused = mistakes(&flow(
        "  - {type: task, name: T, resourceArn: 'acs:mns:::/queues/q/messages', pattern: sync}\n",
    ));
    assert!(refused.contains("cannot wait for what becomes of a message"), "{refused}");
}

#[test]
fn a_message_that_is_answered_is_a_call_whose_input_has_a_place_for_the_token() {
    let step = "  - {type: task, name: T, resourceArn: 'acs:mns:::/queues/q/messages', pattern: waitForCallback, \
                inputMappings: [{target: 'to/ken', source: $context.task.token}, {target: ctx, source: $context}], \
                serviceParams: {MessageBody: $, MessageTag: \"$['to/ken']\", MessageAttributes: {deep: [$.ctx]}}}\n";
    let Work::Call(call) = work(step) else { panic!("it is no call") };
    assert_eq!((call.function.as_str(), call.queue.as_str(), call.callback), ("q", "q", true));
    let mut places = call.callback_paths;
    places.sort();
    let expected = [
        "/Message/ctx/task/token",
        "/Message/to~1ken",
        "/MessageAttributes/deep/0/task/token",
        "/MessageTag",
    ];
    assert_eq!(places, expected);
}

#[test]
fn a_function_that_is_left_alone_is_a_run_of_its_own() {
    let step = "  - {type: task, name: T, resourceArn: s/f, serviceParams: {InvocationType: Async}}\n";
    let Work::Child(child) = work(step) else { panic!("no run is started") };
    assert_eq!((&*child.definition.name, child.wait), ("s/f", false));
    for pattern in ["sync", "waitForCallback"] {
        let step = step.replace("serviceParams", &format!("pattern: {pattern}, serviceParams"));
        assert!(matches!(work(&step), Work::Call(_)), "{pattern}");
    }
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
fn a_child_may_get_the_token_of_the_step_that_starts_it() {
    let child = |step: &str| {
        let work = begun(step, &json!({"x": 1}));
        let Work::Child(child) = work else { panic!("{work:?}") };
        child
    };
    let mapped = "inputMappings: [{target: to, source: $context.task.token}, {target: x, source: $input.x}]";
    let plain = child(&format!(
        "  - {{type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: waitForCallback, timeoutSeconds: 9, {mapped}}}\n"
    ));
    assert_eq!(plain.callback, Some(Handed { paths: vec!["/to".to_owned()], timeout_ms: Some(9_000) }));
    assert_eq!((plain.wait, plain.on_parent_end), (false, OnParentEnd::Abandon));
    assert_eq!(plain.input.get(), r#"{"to":null,"x":1}"#);
    let moved = child(&format!(
        "  - {{type: task, name: T, action: 'fnf:StartExecution', pattern: waitForCallback, \
         serviceParams: {{FlowName: c, Input: {{all: $, one: [$.x, $.to]}}}}, {mapped}}}\n"
    ));
    let paths = vec!["/all/to".to_owned(), "/one/1".to_owned()];
    assert_eq!(moved.callback, Some(Handed { paths, timeout_ms: None }));
    let none = child(
        "  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: waitForCallback, \
         serviceParams: {Input: {}}}\n",
    );
    assert_eq!(none.callback, Some(Handed::default()), "whoever else has the token may use it");
}

#[test]
fn an_answer_ends_a_step_whose_child_has_the_token_and_silence_does_in_time() {
    let source = flow(&LIMITED.replace("pattern: sync", "pattern: waitForCallback"));
    let mut run = Run::new(&source, &json!({}));
    run.settle();
    run.end("T", Ok(json!({"a": 1})));
    assert_eq!(run.outcome, Some(Ok(json!({"a": 1}))));
    let mut silent = Run::new(&source, &json!({}));
    silent.settle();
    silent.end("T", Err(Failure::new(Failure::TIMEOUT, "")));
    assert_eq!(silent.outcome, Some(Ok(json!({"h": 1}))));
    let mut refused = Run::new(&source.replace("FnF.TaskTimeout", "FnF.RuntimeError"), &json!({}));
    refused.settle();
    refused.end("T", Err(Failure::new(Failure::START_REFUSED, "there is no flow `c`")));
    assert_eq!(refused.outcome, Some(Ok(json!({"h": 1}))));
}

#[test]
fn an_operation_starts_the_flow_that_its_parameters_name() {
    let step = |params: &str, more: &str| {
        format!("  - {{type: task, name: T, action: 'fnf:StartExecution', serviceParams: {params}{more}}}\n")
    };
    let child = |params: &str, more: &str| {
        let work = begun(&step(params, more), &json!({"flow": "d", "x": 1, "text": "{\"z\": 2}"}));
        let Work::Child(child) = work else { panic!("{work:?}") };
        child
    };
    let started = child("{FlowName: c}", "");
    assert_eq!((&*started.definition.name, started.wait), ("c", false));
    assert_eq!(started.input.to_value().expect("decodes")["x"], 1);
    let found = child("{FlowName: $.flow, Input: $.text, ExecutionName: e}", ", pattern: sync");
    assert_eq!((&*found.definition.name, found.wait), ("d", true));
    assert_eq!((found.input.get(), found.continue_id.as_deref()), (r#"{"z":2}"#, Some("e")));
    assert_eq!(parse(&flow(&step("{FlowName: c}", ""))).children(), ["c"]);
    assert_eq!(parse(&flow(&step("{FlowName: $.flow}", ""))).children(), Vec::<String>::new());
    for (params, why) in [
        ("{}", "does not say which flow it starts"),
        ("{Input: {}}", "does not say which flow it starts"),
        ("{FlowName: a.b}", "`a.b` is no name of a flow"),
        ("{FlowName: [c]}", "is no name of a flow"),
        ("{FlowName: 7}", "is no name of a flow"),
    ] {
        let found = mistakes(&flow(&step(params, "")));
        assert!(found.contains(why) && found.contains("FlowName: NAME"), "{params}: {found}");
    }
    let nameless = "  - {type: task, name: T, action: 'fnf:StartExecution'}\n";
    assert!(mistakes(&flow(nameless)).contains("does not say which flow it starts"));
    let mut lost = Run::new(&flow(&step("{FlowName: $.none}", "")), &json!({}));
    lost.settle();
    let Some(Err(failure)) = lost.outcome else { panic!("{:?}", lost.outcome) };
    assert_eq!(failure.error, "FnF.InvalidInput");
    assert!(failure.message.contains("`FlowName` of `T` must be the name of a flow"), "{failure}");
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
            run.wakes.push_back(Wake::StepEnded {
                tag,
                outcome: Ok(output.into()),
                from_outside: false,
                attempts: 1,
            });
        }
        run.lenient = true;
        run.settle();
        assert_eq!(run.outcome, None);
        assert_eq!(run.open.values().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["U", "U~limit"]);
        run.end("U", Ok(json!({"from": "U"})));
        assert_eq!(run.outcome, Some(Ok(json!({"from": "U"}))));
    }
}
