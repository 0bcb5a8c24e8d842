//! Deploying and reading definitions.

use reqwest::Method;
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
