//! The examples run, and do what they say.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{House, repository, until};

#[path = "../../../../examples/rust/order.rs"]
#[expect(dead_code, reason = "its `main` is for whoever runs it by itself")]
mod order;

#[test]
fn polling_asks_until_the_job_is_done() {
    let house = House::new();
    // The example's own flow with shorter waits: the story is the same, and the clock is the machine's.
    let flow = std::fs::read_to_string(repository("examples/polling/flow.yaml")).expect("the flow");
    house.write("polling/flow.yaml", &flow.replace("duration: 10", "duration: 1"));
    let functions = repository("examples/polling/functions");
    let run = |delay: u32| {
        let input = json!({"delay": delay}).to_string();
        house.run(&["run", "polling/flow.yaml", "--functions", &functions, "--input", &input])
    };

    let output = run(2).expect(0).json();
    assert_eq!((&output["job_status"], &output["try_count"]), (&json!("success"), &json!(2)), "{output}");
    assert_eq!(output.as_object().expect("an object").len(), 3, "{output}");

    run(1000).expect(1);
    let failed = house.run(&["runs", "list", "--state", "failed", "--json"]).expect(0).json();
    let id = failed["items"][0]["run_id"].as_str().expect("a run id").to_owned();
    let entries = house.journal(&id);
    let waits = entries.iter().filter(|entry| entry["type"] == "StepBegun" && is_wait(entry)).count();
    assert_eq!(waits, 4, "four waits, then it gives up");
}

fn is_wait(entry: &Value) -> bool {
    entry["path"].as_str().is_some_and(|path| path.starts_with("Wait10s"))
}

#[test]
fn nightly_answers_a_second_start_from_the_stored_result() {
    let house = House::new();
    let flow = repository("examples/nightly/flow.yaml");
    let args = ["run", &flow, "--input", r#"{"day": "2026-11-21"}"#, "--continue-id", "nightly-2026-11-21"];
    let first = house.run(&args).expect(0);
    assert_eq!(first.json()["orders"], 24);
    assert_eq!(house.run(&args).expect(0).stdout, first.stdout);
}

#[test]
fn retry_tries_again_and_catch_goes_elsewhere() {
    let house = House::new();
    let flow = repository("examples/retry/flow.yaml");
    let paid = house.run(&["run", &flow, "--input", r#"{"order": 7, "card": "good"}"#]).expect(0).json();
    assert_eq!((&paid["shipped"], &paid["tries"]), (&json!(true), &json!(3)), "{paid}");
    let unpaid = house.run(&["run", &flow, "--input", r#"{"order": 8, "card": "refused"}"#]).expect(0).json();
    assert_eq!(unpaid["shipped"], json!(false), "{unpaid}");
    assert!(unpaid["why"].as_str().is_some_and(|why| why.contains("card for order 8")), "{unpaid}");
}

#[test]
fn callback_waits_for_an_answer_from_outside() {
    let house = House::new();
    let flow = repository("examples/callback/flow.yaml");
    let server = house.server(&[]);
    let outbox = house.path("outbox");
    let input = json!({"what": "a new bicycle", "outbox": outbox}).to_string();
    let running = house.spawn(&["run", &flow, "--input", &input, "--server", &server.url]);
    let question = until("the question is asked", || {
        let text = std::fs::read_to_string(&outbox).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    });
    let token = question["token"].as_str().expect("a token");
    crate::support::request(
        &server.url,
        &format!("POST /v1/callbacks/{token}"),
        &[("content-type", "application/json")],
        r#"{"output": {"approved": true}}"#,
    );
    assert_eq!(running.wait().expect(0).json()["approved"], json!(true));
}

#[test]
fn tasks_run_by_name() {
    let house = House::new();
    let file = repository("examples/tasks/jobs.py");
    let hello = house.run(&["run", &format!("{file}:greet"), "--input", r#"{"name": "Ada"}"#]).expect(0);
    assert_eq!(hello.json(), json!("Hello, Ada!"));
    let missing = house.run(&["run", &format!("{file}:great")]).expect(2);
    assert!(missing.stderr.contains("is `greet` meant?"), "{}", missing.stderr);
}

/// The example as a process of its own, for the test that kills it.
#[tokio::test]
#[ignore = "started by the next test"]
async fn an_order() {
    order::place(1).await.expect("the order is shipped");
}

#[test]
fn an_order_in_rust_goes_on_where_it_was_killed() {
    let house = House::new();
    let server = house.server(&[]);
    let order = || {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "examples::an_order", "--ignored", "--nocapture"]);
        command.env("RIVERRUN_SERVER", &server.url).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let runs = || house.run(&["runs", "list", "--json"]).expect(0).json();
    let mut first = order().spawn().expect("a process");
    let run = until("the order is charged", || {
        let run = runs()["items"][0]["run_id"].as_str()?.to_owned();
        (house.show(&server.url, &run)["status"] == "charged").then_some(run)
    });
    first.kill().expect("it is killed");
    first.wait().expect("it ends");

    let second = order().output().expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.success() && said.contains("parcel to Dublin"), "{said}");
    assert_eq!(runs()["items"].as_array().map(Vec::len), Some(1), "the same order is the same run");
    let journal = house.journal(&run);
    let executed: Vec<_> = journal.iter().filter(|entry| entry["type"] == "StepRan").collect();
    let paths: Vec<_> = executed.iter().filter_map(|entry| entry["path"].as_str()).collect();
    assert_eq!(paths, ["reserve", "charge"]);
    let told = house.run(&["runs", "journal", &run]).expect(0).stdout;
    assert!(told.contains("executes its code, workflow:order"), "{told}");
    assert!(told.contains("reservation of a boat"), "{told}");
}
