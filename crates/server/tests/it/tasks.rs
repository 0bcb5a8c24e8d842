//! Tasks as workers announce them: who has them, and what they take.

use std::sync::Arc;

use riverrun_engine::Settings;
use riverrun_server::ServerConfig;
use riverrun_store::{MemoryStore, Store};
use serde_json::{Value, json};

use crate::support::Server;

const HELLO: &str = r#"/demo_api/hello {"type": "object", "properties": {"str_info": {"type": "string"}, "times": {"type": "integer", "default": 1}},
    "required": ["str_info"], "additionalProperties": false}"#;

fn strict() -> Settings {
    Settings { accept_unknown_tasks: false, ..Settings::default() }
}

fn hello(input: Value) -> Value {
    json!({"definition": "/demo_api/hello", "kind": "task", "input": input})
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_once_with_the_parameter_and_what_is_expected() {
    let server = Server::new().await;
    let _worker = server.worker(&[HELLO]).await;
    for (input, parameter, expected) in [
        (json!({"str_info": 5}), "str_info", json!("a string")),
        (json!({}), "str_info", json!("a string")),
        (json!(null), "str_info", json!("a string")),
        (json!({"str_info": "x", "times": "2"}), "times", json!("an integer")),
        (json!({"str_info": "x", "tmies": 2}), "tmies", json!(null)),
        (json!([]), "", json!("an object")),
    ] {
        for answer in [
            server.start(hello(input.clone())).await,
            server.post("/v1/calls", json!({"task": "/demo_api/hello", "params": input})).await,
        ] {
            answer.is_problem(422, "invalid_params");
            assert_eq!((&answer.body["parameter"], &answer.body["expected"]), (&json!(parameter), &expected));
            assert_eq!(answer.body["errors"][0]["parameter"], parameter);
            assert!(
                answer.detail().contains("(str_info: string, times: integer = 1)"),
                "{}",
                answer.detail()
            );
        }
    }
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
    server.start(hello(json!({"str_info": "x", "times": 2}))).await.is(201);
    let shown = server.get("/v1/definitions?name=/demo_api/hello").await;
    assert_eq!(shown.body["parameters"]["required"], json!(["str_info"]), "{}", shown.text);
}

#[tokio::test]
async fn while_two_versions_are_connected_either_is_taken() {
    let server = Server::new().await;
    let old = server.worker(&[HELLO]).await;
    let _new = server.worker(&[&HELLO.replace("str_info", "text")]).await;
    server.start(hello(json!({"str_info": "x"}))).await.is(201);
    server.start(hello(json!({"text": "x"}))).await.is(201);
    drop(old);
    loop {
        let answer = server.start(hello(json!({"str_info": "x"}))).await;
        if answer.status != 201 {
            answer.is_problem(422, "invalid_params");
            break;
        }
    }
    server.start(hello(json!({"text": "x"}))).await.is(201);
}

#[tokio::test]
async fn a_task_is_known_from_its_first_worker_on_also_after_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(1, [7; 32]));
    let server = Server::set(store.clone(), strict(), ServerConfig::default()).await;
    let unknown = server.start(hello(json!({"str_info": "x"}))).await;
    unknown.is_problem(404, "unknown_task");
    assert!(unknown.detail().contains("--accept-unknown-tasks"), "{}", unknown.detail());
    drop(server.worker(&[HELLO, "plain"]).await);
    server.start(hello(json!({"str_info": "x"}))).await.is(201);
    server.stop.cancel();
    server.engine.shutdown().await;

    let server = Server::set(store, strict(), ServerConfig::default()).await;
    server.start(hello(json!({"str_info": "x"}))).await.is(201);
    server.start(hello(json!({"str_info": 1}))).await.is_problem(422, "invalid_params");
    let both = json!({"runs": [hello(json!({"str_info": "x"})), hello(json!({"str_info": 1}))]});
    let refused = server.post("/v1/runs/batch", both).await;
    assert!(refused.is_problem(422, "invalid_params").detail().starts_with("runs[1]: "), "{}", refused.text);
    server.start(json!({"definition": "plain", "kind": "task", "input": [1]})).await.is(201);
    let slip = server.start(json!({"definition": "palin", "kind": "task"})).await;
    slip.is_problem(404, "unknown_task");
    assert!(slip.detail().contains("Did you mean `plain`?"), "{}", slip.detail());
}

const SEND: &str = r#"mail/send with {"queue": "mail", "priority": 3, "retries": 2, "timeout": "30s", "at_most_once": true,
    "max_running": 4, "queue_ttl": "1h", "result_ttl": "2h", "of a newer release": [1]}"#;

/// Leaves the task alone.
const TELLING: &str = "version: v1
type: flow
steps:
  - {type: task, name: Tell, resourceArn: mail/send, serviceParams: {InvocationType: Async}}
";

/// What the journals of all runs of the task say of how it is run.
async fn journals(server: &Server) -> Vec<String> {
    let runs = server.get("/v1/runs?definition=mail/send").await;
    let mut texts = Vec::new();
    for run in runs.body["items"].as_array().unwrap() {
        let path = format!("/v1/runs/{}/journal?internal=true", run["run_id"].as_str().unwrap());
        texts.push(server.get(&path).await.text);
    }
    texts
}

#[tokio::test]
async fn what_a_task_says_of_its_runs_holds_however_it_is_started() {
    let server = Server::new().await;
    let mut worker = server.worker(&[SEND, "first"]).await;
    let send = || json!({"definition": "mail/send", "kind": "task"});
    server.start(send()).await.is(201);
    server.post("/v1/runs/batch", json!({"runs": [send()]})).await.is(200);
    server.post("/v1/calls", json!({"task": "mail/send", "wait": "0s"})).await.is(201);
    server.post("/v1/groups", json!({"runs": [send()]})).await.is(201);
    server.post("/baichuan/task_create", json!({"handler": "mail/send", "params": {}})).await.is(200);
    let daily = json!({"name": "daily", "when": "@daily", "start": send()});
    server.put("/v1/schedules", daily).await.is(201);
    server.post("/v1/schedules/trigger", json!({"name": "daily"})).await.is(201);
    server.engine.deploy("default", "telling", TELLING).await.unwrap();
    server.start(json!({"definition": "telling"})).await.is(201);
    server.start(json!({"definition": "first", "kind": "task", "then": send()})).await.is(201);
    loop {
        let offer = worker.offer().await;
        if offer.function == "first" {
            worker.done(&offer, json!({})).await;
            break;
        }
    }
    let journals = loop {
        let journals = journals(&server).await;
        if journals.len() == 8 && journals.iter().all(|journal| journal.contains("StepBegun")) {
            break journals;
        }
    };
    for journal in journals {
        for option in [
            r#""queue":"mail""#,
            r#""priority":3"#,
            r#""max_retries":2"#,
            r#""timeout_ms":30000"#,
            r#""at_most_once":true"#,
            r#""max_running":4"#,
            r#""queue_ttl_ms":3600000"#,
        ] {
            assert!(journal.contains(option), "{option} is not in {journal}");
        }
    }
}

#[tokio::test]
async fn what_a_start_says_goes_before_what_the_task_says() {
    let server = Server::new().await;
    let mut worker = server.worker(&[SEND]).await;
    let own = json!({
        "definition": "mail/send", "kind": "task", "queue": "default", "priority": 0, "retries": 0, "at_most_once": false,
        "timeout": "5s", "concurrency_key": "mine",
    });
    server.start(own).await.is(201);
    assert_eq!(worker.offer().await.timeout_ms, Some(5_000));
    let journal = journals(&server).await.remove(0);
    for option in [
        r#""queue":"default""#,
        r#""priority":0"#,
        r#""max_retries":0"#,
        r#""at_most_once":false"#,
        r#""key":"mine","max_running":4"#,
    ] {
        assert!(journal.contains(option), "{option} is not in {journal}");
    }
    assert!(
        !journal.contains(r#""at_most_once":true"#) && !journal.contains(r#""queue":"mail""#),
        "{journal}"
    );
}

#[tokio::test]
async fn what_a_task_says_of_its_runs_outlives_workers_and_restarts_until_a_worker_says_otherwise() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(1, [7; 32]));
    let server = Server::set(store.clone(), strict(), ServerConfig::default()).await;
    drop(server.worker(&["mail/send"]).await);
    drop(server.worker(&[SEND]).await);
    server.stop.cancel();
    server.engine.shutdown().await;

    let server = Server::set(store, strict(), ServerConfig::default()).await;
    let send = json!({"definition": "mail/send", "kind": "task"});
    server.start(send.clone()).await.is(201);
    let queues = server.get("/v1/queues").await;
    assert_eq!(queues.body["items"][0]["queue"], "mail", "{}", queues.text);
    let mut worker = server.worker(&["mail/send"]).await;
    worker.offer().await;
    server.start(send).await.is(201);
    assert_eq!(worker.offer().await.timeout_ms, None);
}

#[tokio::test]
async fn options_that_mean_nothing_refuse_the_worker_with_the_function_and_the_option() {
    let server = Server::new().await;
    for (options, problem) in [
        (r#"{"priority": 10}"#, "option priority of the function `mail/send`: priority is 10"),
        (r#"{"retries": "often"}"#, "option retries of the function `mail/send`"),
        (r#"{"rate": "fast"}"#, "option rate of the function `mail/send`"),
        (r#"{"queue": "a\nb"}"#, "option queue of the function `mail/send`"),
        (r#"{"max_running": 0}"#, "max_running is 0"),
        (r#"{"timeout": "soon"}"#, "`soon` is not a duration"),
    ] {
        let (code, message) = server.refused_worker(&[&format!("mail/send with {options}")]).await;
        assert_eq!(code, "invalid_options");
        assert!(message.contains(problem), "{message}");
    }
}
