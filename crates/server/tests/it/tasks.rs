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
