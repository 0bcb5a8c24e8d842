//! The polling flow of the seed, word for word as section 12 of the language's reference tells it.

use riverrun_kernel::Failure;
use serde_json::{Value, json};

use crate::harness::{Run, parse};

pub const POLLING: &str = r#"version: v1
type: flow
steps:
  - type: task
    name: StartJob
    resourceArn: acs:fc:cn-hangzhou:{accountID}:services/fnf-demo/functions/StartJob
  - type: pass
    name: Init
    outputMappings:
      - target: try_count
        source: 0
  - type: wait
    name: Wait10s
    duration: 10
  - type: task
    name: GetJobStatus
    resourceArn: acs:fc:cn-hangzhou:{accountID}:services/fnf-demo/functions/GetJobStatus
    inputMappings:
      - target: job_id
        source: $local.job_id
      - target: delay
        source: $input.delay
      - target: try_count
        source: $local.try_count
  - type: choice
    name: CheckJobComplete
    inputMappings:
      - target: status
        source: $local.job_status
      - target: try_count
        source: $local.try_count
    choices:
      - condition: $.status == "success"
        goto: JobSucceeded
      - condition: $.try_count > 3
        goto: JobFailed
      - condition: $.status == "running"
        goto: Wait10s
  - type: succeed
    name: JobSucceeded
  - type: fail
    name: JobFailed
"#;

/// The job is done at the `success`-th question.
fn stub(success: u64) -> impl Fn(&str, &Value, u32) -> Result<Value, Failure> {
    move |function, input, _| match function {
        "fnf-demo/StartJob" => Ok(json!({"job_id": "J"})),
        "fnf-demo/GetJobStatus" => {
            let tries = input["try_count"].as_u64().expect("a count") + 1;
            let status = if tries >= success { "success" } else { "running" };
            Ok(json!({"job_id": input["job_id"], "job_status": status, "try_count": tries}))
        }
        other => panic!("`{other}` has no stub"),
    }
}

#[test]
fn a_job_that_succeeds_at_the_second_question() {
    let mut run = Run::new(POLLING, &json!({"delay": 20}));
    let output = run.finish(&stub(2)).expect("it succeeds");
    assert_eq!(output, json!({"job_id": "J", "try_count": 2, "job_status": "success"}));
    assert_eq!(
        run.log(),
        r#"call StartJob fnf-demo/StartJob {"delay":20}
sleep Wait10s 10000
call GetJobStatus fnf-demo/GetJobStatus {"job_id":"J","delay":20,"try_count":0}
sleep Wait10s#2 10000
call GetJobStatus#2 fnf-demo/GetJobStatus {"job_id":"J","delay":20,"try_count":1}"#
    );
    assert_eq!(
        run.notes,
        [
            "StepEntered StartJob",
            "StepExited StartJob",
            "StepEntered Init",
            "StepExited Init",
            "StepEntered Wait10s",
            "StepExited Wait10s",
            "StepEntered GetJobStatus",
            "StepExited GetJobStatus",
            "StepEntered CheckJobComplete",
            r#"StepExited CheckJobComplete {"branch":2,"goto":"Wait10s"}"#,
            "StepEntered Wait10s",
            "StepExited Wait10s",
            "StepEntered GetJobStatus",
            "StepExited GetJobStatus",
            "StepEntered CheckJobComplete",
            r#"StepExited CheckJobComplete {"branch":0,"goto":"JobSucceeded"}"#,
            "StepEntered JobSucceeded",
            "StepExited JobSucceeded",
        ]
    );
}

#[test]
fn the_local_of_the_flow_grows_as_the_reference_says() {
    let mut run = Run::new(POLLING, &json!({"delay": 20}));
    let local = |run: &Run| run.cells.get(&2).map(ToString::to_string);
    run.settle();
    assert_eq!(local(&run), None);
    run.end("StartJob", Ok(json!({"job_id": "J"})));
    assert_eq!(local(&run).as_deref(), Some(r#"{"job_id":"J","try_count":0}"#));
    run.end("Wait10s", Ok(Value::Null));
    assert_eq!(local(&run).as_deref(), Some(r#"{"job_id":"J","try_count":0}"#));
    run.end("GetJobStatus", Ok(json!({"job_id": "J", "job_status": "running", "try_count": 1})));
    // The choice's mapped `status` does not leak into it.
    assert_eq!(local(&run).as_deref(), Some(r#"{"job_id":"J","try_count":1,"job_status":"running"}"#));
}

#[test]
fn a_job_that_never_succeeds_fails_after_four_questions() {
    let mut run = Run::new(POLLING, &json!({"delay": 1000}));
    let failure = run.finish(&stub(99)).expect_err("it fails");
    assert_eq!(failure.error, "Failed");
    assert_eq!(failure.message, "the flow came to `JobFailed`");
    let count = |word: &str| run.log.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("sleep Wait10s"), count("call GetJobStatus")), (4, 4));
    assert!(run.log.last().expect("a line").ends_with(r#"{"job_id":"J","delay":1000,"try_count":3}"#));
}

#[test]
fn success_is_asked_for_before_the_count() {
    let output = Run::new(POLLING, &json!({"delay": 20})).finish(&stub(4)).expect("it succeeds");
    assert_eq!(output["try_count"], 4);
}

#[test]
fn its_functions_are_named_once_each() {
    let flow = parse(POLLING);
    assert_eq!(flow.functions(), ["fnf-demo/StartJob", "fnf-demo/GetJobStatus"]);
    assert_eq!((flow.children(), flow.timeout_ms()), (Vec::<String>::new(), None));
}
