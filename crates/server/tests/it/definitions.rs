//! Deploying and reading definitions.

use std::sync::Arc;

use reqwest::Method;
use riverrun_engine::Settings;
use riverrun_server::ServerConfig;
use riverrun_store::{MemoryStore, Store};
use serde_json::json;

use crate::support::{QUICK, Server};

#[tokio::test]
async fn a_flow_is_deployed_once_and_read_back() {
    let server = Server::new().await;
    let body = json!({"name": "mine", "source": QUICK});
    let first = server.post("/v1/definitions", body.clone()).await;
    first.is(201);
    assert_eq!(first.body["created"], true);
    assert_eq!(first.body["warnings"], json!([]));
    let version = first.body["version"].as_str().unwrap().to_owned();
    let again = server.post("/v1/definitions", body).await;
    again.is(200);
    assert_eq!((&again.body["created"], &again.body["version"]), (&json!(false), &json!(version)));

    let read = server.get("/v1/definitions?name=mine").await;
    assert_eq!(read.body["source"], QUICK);
    let read = server.get(&format!("/v1/definitions?name=mine&version={version}")).await;
    assert_eq!(read.body["version"], *version);
    server.get("/v1/definitions?name=mine&version=000000000000").await.is_problem(404, "unknown_definition");
    let unknown = server.get("/v1/definitions?name=mien").await;
    unknown.is_problem(404, "unknown_definition");
    assert!(unknown.detail().contains("did you mean `mine`?"), "{}", unknown.detail());
    let list = server.get("/v1/definitions").await;
    let names: Vec<&str> =
        list.body["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"mine") && names.contains(&"quick"), "{names:?}");
}

#[tokio::test]
async fn a_yaml_body_takes_its_name_from_the_query() {
    let server = Server::new().await;
    let send = |path: &'static str| {
        let request = server.request(Method::POST, path).header("content-type", "text/yaml; charset=utf-8");
        server.send(request.body(QUICK))
    };
    send("/v1/definitions?name=yaml&namespace=team").await.is(201);
    assert_eq!(server.get("/v1/definitions?name=yaml&namespace=team").await.body["namespace"], "team");
    send("/v1/definitions").await.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn all_mistakes_of_a_flow_come_at_once_with_their_places() {
    let server = Server::new().await;
    let source = "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: A\n    goto: Nowhere\n  - type: wait\n    name: B\n    duration: soon\n";
    let answer = server.post("/v1/definitions", json!({"name": "bad", "source": source})).await;
    answer.is_problem(422, "invalid_definition");
    let found = answer.body["diagnostics"].as_array().unwrap();
    assert!(found.len() >= 2, "{}", answer.text);
    for diagnostic in found {
        assert_eq!(diagnostic["severity"], "error");
        assert!(diagnostic["line"].as_u64().unwrap() >= 1);
        assert!(diagnostic["column"].as_u64().unwrap() >= 1);
        assert!(diagnostic["excerpt"].as_str().unwrap().contains('^'), "{diagnostic}");
    }
    // The place is marked under the line itself.
    let nowhere = found
        .iter()
        .find(|one| one["excerpt"].as_str().unwrap().starts_with("6 |     goto: Nowhere\n  |     ^"))
        .expect(&answer.text);
    assert_eq!(nowhere["line"], 6);
    server.get("/v1/definitions?name=bad").await.is_problem(404, "unknown_definition");
}

#[tokio::test]
async fn a_definition_that_is_used_is_deleted_by_force_only() {
    let server = Server::new().await;
    let path = "/v1/definitions?name=sleeper";
    let run = server.start(json!({"definition": "sleeper"})).await.run_id();
    let refused = server.delete(path).await;
    assert!(refused.is_problem(409, "definition_in_use").detail().contains(&run), "{}", refused.text);
    server.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.is(200);
    let put = json!({"name": "s", "when": "@daily", "start": {"definition": "sleeper"}});
    server.put("/v1/schedules", put).await.is(201);
    let refused = server.delete(path).await;
    assert!(
        refused.is_problem(409, "definition_in_use").detail().contains("schedule `s`"),
        "{}",
        refused.text
    );
    server.delete(&format!("{path}&force=true")).await.is(204);
    server.get(path).await.is_problem(404, "unknown_definition");
    server.delete(path).await.is_problem(404, "unknown_definition");
    server.start(json!({"definition": "sleeper"})).await.is_problem(404, "unknown_definition");
    server.delete("/v1/definitions?name=quick").await.is(204);
    server.post("/v1/definitions", json!({"name": "quick", "source": QUICK})).await.is(201);
    server.ended("quick").await;
}

#[tokio::test]
async fn an_announced_task_is_forgotten_when_no_worker_has_it_and_known_again_when_one_has() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let strict = || Settings { accept_unknown_tasks: false, ..Settings::default() };
    let server = Server::set(store.clone(), strict(), ServerConfig::default()).await;
    let path = "/v1/definitions?name=ping";
    let ping = || json!({"definition": "ping", "kind": "task"});
    let worker = server.worker(&["ping"]).await;
    let refused = server.delete(path).await;
    assert!(refused.is_problem(409, "definition_in_use").detail().contains("worker"), "{}", refused.text);
    drop(worker);
    let queued = server.start(ping()).await.run_id();
    loop {
        let refused = server.delete(path).await;
        if refused.detail().contains(&queued) {
            break;
        }
        refused.is_problem(409, "definition_in_use");
    }
    server.post(&format!("/v1/runs/{queued}/cancel"), json!({})).await.is(200);
    server.delete(path).await.is(204);
    server.get(path).await.is_problem(404, "unknown_definition");
    assert!(!server.get("/v1/definitions").await.text.contains("ping"));
    server.start(ping()).await.is_problem(404, "unknown_task");

    server.engine.shutdown().await;
    let server = Server::set(store, strict(), ServerConfig::default()).await;
    server.get(path).await.is_problem(404, "unknown_definition");
    let _worker = server.worker(&["ping"]).await;
    server.get(path).await.is(200);
    server.start(ping()).await.is(201);
}
