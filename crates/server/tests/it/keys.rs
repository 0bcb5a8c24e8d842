//! Keys over the wire.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_key_shows_state_generations_hits_and_expiry() {
    let server = Server::new().await;
    let body = json!({"definition": "quick", "continue_id": "a/b ü", "wait": "20s", "ttl": "2h"});
    let run = server.start(body.clone()).await.run_id();
    server.start(body).await.is(200);
    let path = "/v1/keys?definition=quick&continue_id=a%2Fb%20%C3%BC";
    let key = server.get(path).await;
    key.is(200);
    assert_eq!(key.body["continue_id"], "a/b ü");
    assert_eq!(key.body["state"], "succeeded");
    assert_eq!((&key.body["generations"], &key.body["hits"]), (&json!(1), &json!(1)), "{}", key.text);
    assert_eq!(key.body["run_id"], *run);
    assert_eq!(key.body["ttl"], "2h");
    assert!(key.body["expires_at"].is_string());
    server.delete(path).await.is(204);
    server.get(path).await.is_problem(404, "unknown_key");
    server.delete(path).await.is_problem(404, "unknown_key");
    server.get("/v1/keys?continue_id=a").await.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_key_in_flight_is_forgotten_only_with_cancel() {
    let server = Server::new().await;
    let run = server.start(json!({"definition": "sleeper", "continue_id": "a"})).await.run_id();
    let path = "/v1/keys?definition=sleeper&continue_id=a";
    let key = server.get(path).await;
    assert_eq!((&key.body["state"], &key.body["expires_at"]), (&json!("in_flight"), &json!(null)));
    let refused = server.delete(path).await;
    refused.is_problem(409, "key_in_flight");
    assert_eq!(refused.body["run_id"], *run);
    server.delete(&format!("{path}&cancel=true")).await.is(204);
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["state"], "cancelled");
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let server = Server::new().await;
    for n in 0..5 {
        server.start(json!({"definition": "sleeper", "continue_id": format!("k{n}")})).await.is(201);
    }
    server.start(json!({"definition": "quick", "continue_id": "other", "wait": "20s"})).await.is(200);
    let mut seen = Vec::new();
    let mut path = "/v1/keys?definition=sleeper&limit=2".to_owned();
    loop {
        let page = server.get(&path).await;
        page.is(200);
        let items = page.body["items"].as_array().unwrap();
        seen.extend(items.iter().map(|key| key["continue_id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/keys?definition=sleeper&limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["k0", "k1", "k2", "k3", "k4"]);
    server.get("/v1/keys?cursor=kzz").await.is_problem(400, "invalid_request");
}
