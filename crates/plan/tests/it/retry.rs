//! Retry and catch: section 7, and what the kernel is handed.

use riverrun_kernel::driver::{RetryPolicy, Work};
use riverrun_kernel::{Failure, Json};
use serde_json::{Value, json};

use crate::harness::{Run, flow, run};

fn call(task: &str) -> riverrun_kernel::driver::Call {
    let mut run = Run::new(
        &flow(&format!(
            "  - type: task\n    name: T\n    resourceArn: s/t\n{task}  - {{type: pass, name: H}}\n"
        )),
        &json!({}),
    );
    run.settle();
    match run.open.into_values().next().expect("a step is open").1 {
        Work::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn policies_go_to_the_kernel_in_its_own_names() {
    let call = call(
        "    timeoutSeconds: 7\n    retry:\n      - errors: [FnF.TaskTimeout, MyError]\n        intervalSeconds: 10\n        maxIntervalSeconds: 60\n        maxAttempts: 5\n        multiplier: 1.5\n      - errors: [FC.Unknown]\n      - errors: [Early, FnF.ALL]\n        maxAttempts: 0\n",
    );
    assert_eq!(call.timeout_ms, Some(7000));
    let policy = |errors: &[&str], max_retries, interval_ms, multiplier, max_interval_ms| RetryPolicy {
        errors: errors.iter().map(|error| (*error).to_owned()).collect(),
        max_retries,
        interval_ms,
        multiplier,
        max_interval_ms,
        ..RetryPolicy::default()
    };
    assert_eq!(
        call.retry,
        [
            policy(&["FnF.TaskTimeout", "MyError", "Timeout"], 5, 10_000, 1.5, 60_000),
            policy(&["FC.Unknown", "WorkerCrashed", "UnknownOutcome"], 3, 1000, 2.0, 86_400_000),
            policy(&[], 0, 1000, 2.0, 86_400_000),
        ]
    );
}

fn caught(task: &str, failure: Failure) -> Result<Value, Failure> {
    let source = flow(&format!(
        "  - type: task\n    name: T\n    resourceArn: s/t\n{task}  - {{type: succeed, name: Done, outputMappings: [{{target: by, source: none}}]}}\n  - {{type: pass, name: First, outputMappings: [{{target: by, source: first}}], end: true}}\n  - {{type: pass, name: Second, outputMappings: [{{target: by, source: second}}]}}\n"
    ));
    run(&source, &json!({}), &move |_, _, _| Err(failure.clone())).0
}

const CATCH: &str = "    catch:\n      - {errors: [FnF.TaskTimeout, A], goto: First}\n      - {errors: [FC.Unknown, FnF.InvalidLocal], goto: Second}\n";

#[test]
fn the_first_catch_that_matches_is_taken() {
    assert_eq!(caught(CATCH, Failure::new("A", "")), Ok(json!({"by": "first"})));
    assert_eq!(caught(CATCH, Failure::new(Failure::TIMEOUT, "")), Ok(json!({"by": "first"})));
    assert_eq!(caught(CATCH, Failure::new(Failure::WORKER_CRASHED, "")), Ok(json!({"by": "second"})));
    assert_eq!(caught(CATCH, Failure::new(Failure::UNKNOWN_OUTCOME, "")), Ok(json!({"by": "second"})));
}

#[test]
fn all_catches_everything() {
    let all = "    catch: [{errors: [FnF.ALL], goto: Second}]\n";
    assert_eq!(caught(all, Failure::new("Whatever", "")), Ok(json!({"by": "second"})));
}

#[test]
fn what_nothing_catches_fails_the_run_under_the_language_s_name() {
    assert_eq!(caught(CATCH, Failure::new("B", "m")), Err(Failure::new("B", "m")));
    let timeout = caught("", Failure::new(Failure::TIMEOUT, "took 5 s"));
    assert_eq!(timeout, Err(Failure::new("FnF.TaskTimeout", "took 5 s")));
    assert_eq!(caught("", Failure::new(Failure::WORKER_CRASHED, "")).expect_err("fails").error, "FC.Unknown");
}

#[test]
fn error_mappings_show_the_error_and_only_when_something_was_caught() {
    let task = "    catch: [{errors: [FnF.ALL], goto: Done}]\n    errorMappings: [{target: e, source: $local.error}, {target: c, source: $local.cause}, {target: d, source: $local.code}, {target: k, source: 5}]\n";
    let failure =
        Failure { details: Some(Json::trusted(r#"{"traceback":"Traceback"}"#)), ..Failure::new("A", "bad") };
    assert_eq!(
        caught(task, failure),
        Ok(json!({"e": "A", "c": "bad\nTraceback", "d": "A", "k": 5, "by": "none"}))
    );
    let without =
        "    catch: [{errors: [FnF.ALL], goto: Done}]\n    outputMappings: [{target: o, source: 1}]\n";
    assert_eq!(caught(without, Failure::new("A", "bad")), Ok(json!({"by": "none"})));
}

#[test]
fn a_result_that_is_no_object_is_invalid_local_and_can_be_caught() {
    for result in [json!(5), json!([1]), json!("text"), json!(null), json!("[1]")] {
        let source = flow(&format!(
            "  - type: task\n    name: T\n    resourceArn: s/t\n{CATCH}  - {{type: fail, name: First}}\n  - {{type: pass, name: Second, outputMappings: [{{target: by, source: second}}]}}\n"
        ));
        let given = result.clone();
        assert_eq!(
            run(&source, &json!({}), &move |_, _, _| Ok(given.clone())).0,
            Ok(json!({"by": "second"}))
        );
        let bare = flow("  - {type: task, name: T, resourceArn: s/t}\n");
        let failure = run(&bare, &json!({}), &move |_, _, _| Ok(result.clone())).0.expect_err("fails");
        assert_eq!(failure.error, "FnF.InvalidLocal");
        assert!(failure.message.starts_with("the result of `T` must be a JSON object, but is "), "{failure}");
    }
}

#[test]
fn a_result_that_is_the_text_of_an_object_is_that_object() {
    let source = flow("  - {type: task, name: T, resourceArn: s/t}\n");
    assert_eq!(run(&source, &json!({}), &|_, _, _| Ok(json!("{\"a\": 1}"))).0, Ok(json!({"a": 1})));
}

#[test]
fn a_policy_for_invalid_local_tries_the_function_again() {
    let source = flow(
        "  - {type: task, name: T, resourceArn: s/t, retry: [{errors: [FnF.InvalidLocal], intervalSeconds: 10, maxAttempts: 2}]}\n",
    );
    let stub =
        |_: &str, _: &Value, asked: u32| Ok(if asked < 2 { json!(asked) } else { json!({"ok": asked}) });
    let (outcome, log) = run(&source, &json!({}), &stub);
    assert_eq!(outcome, Ok(json!({"ok": 2})));
    assert_eq!(
        log,
        "call T s/t {}\nsleep T~1~wait 10000\ncall T~2 s/t {}\nsleep T~2~wait 20000\ncall T~3 s/t {}"
    );
    let never = |_: &str, _: &Value, _: u32| Ok(json!(0));
    assert_eq!(run(&source, &json!({}), &never).0.expect_err("fails").error, "FnF.InvalidLocal");
}

const CHILD: &str = "  - type: task\n    name: T\n    resourceArn: acs:fnf:::flow/audit\n    pattern: sync\n    retry:\n      - {errors: [NeedsRetry], intervalSeconds: 30, maxAttempts: 2}\n    catch:\n      - {errors: [NeedsRetry, Unknown, FnF.RuntimeError], goto: H}\n  - {type: pass, name: A, outputMappings: [{target: a, source: 1}], end: true}\n  - {type: pass, name: H, outputMappings: [{target: h, source: 1}]}\n";

#[test]
fn a_child_s_error_is_retried_and_then_caught() {
    let twice = |_: &str, _: &Value, asked: u32| {
        if asked < 2 { Err(Failure::new("NeedsRetry", "")) } else { Ok(json!({"c": 1})) }
    };
    let (outcome, log) = run(&flow(CHILD), &json!({"x": 1}), &twice);
    assert_eq!(outcome, Ok(json!({"c": 1, "a": 1})));
    assert_eq!(
        log,
        "child T audit {\"x\":1}\nsleep T~1~wait 30000\nchild T~2 audit {\"x\":1}\nsleep T~2~wait 60000\nchild T~3 audit {\"x\":1}"
    );
    let always = |_: &str, _: &Value, _: u32| Err(Failure::new("NeedsRetry", ""));
    assert_eq!(run(&flow(CHILD), &json!({}), &always).0, Ok(json!({"h": 1})));
    for error in ["Unknown", Failure::TIMEOUT, Failure::CANCELLED, Failure::START_REFUSED] {
        let stub = move |_: &str, _: &Value, _: u32| Err(Failure::new(error, ""));
        assert_eq!(run(&flow(CHILD), &json!({}), &stub).0, Ok(json!({"h": 1})), "{error}");
    }
}

#[test]
fn a_visit_after_a_goto_counts_retries_afresh() {
    let source = flow(
        "  - {type: task, name: T, resourceArn: 'acs:fnf:::flow/c', pattern: sync, retry: [{errors: [E], maxAttempts: 1}], catch: [{errors: [E], goto: Again}]}\n  - {type: succeed, name: S}\n  - {type: choice, name: Again, choices: [{condition: $.seen != 1, goto: Mark}], default: {goto: S}}\n  - {type: pass, name: Mark, outputMappings: [{target: seen, source: 1}]}\n  - {type: choice, name: Back, choices: [{condition: 'true', goto: T}]}\n",
    );
    let (_, log) = run(&source, &json!({}), &|_, _, _| Err(Failure::new("E", "")));
    let paths: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("child"))
        .map(|line| line.split(' ').nth(1).expect("a path"))
        .collect();
    assert_eq!(paths, ["T", "T~2", "T#2", "T#2~2"]);
}
