//! Histories of flow runs over HTTP.

use serde_json::{Value, json};

use crate::support::Server;

fn types(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_history_tells_what_every_step_saw() {
    let server = Server::new().await;
    let run = server.ended("quick").await.run_id();
    let history = server.get(&format!("/v1/runs/{run}/history")).await;
    history.is(200);
    let expected = [
        "ExecutionStarted",
        "StepEntered",
        "StepStarted",
        "StepSucceeded",
        "StepExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(types(&history.body), expected);
    assert_eq!(history.body["complete"], true);
    let entered = &history.body["items"][1];
    assert_eq!(entered["event_id"], 2);
    assert_eq!(entered["schedule_event_id"], 1);
    assert_eq!(entered["step_name"], "Hello");
    assert_eq!(entered["event_detail"], json!({"input": {}, "local": {}}));
    assert!(entered["time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_history_is_read_in_parts_and_from_anywhere() {
    let server = Server::new().await;
    let run = server.ended("quick").await.run_id();
    let path = format!("/v1/runs/{run}/history");
    let whole = server.get(&path).await.body;
    let (mut parts, mut after) = (Vec::new(), 0);
    loop {
        let part = server.get(&format!("{path}?limit=2&after={after}")).await.body;
        parts.extend(part["items"].as_array().unwrap().clone());
        after = part["next_after"].as_u64().unwrap();
        if part["complete"] == true {
            break;
        }
    }
    assert_eq!(Value::Array(parts), whole["items"]);
    // An earlier part once more, although the place was read past.
    let again = server.get(&format!("{path}?limit=1&after=3")).await.body;
    assert_eq!(again["items"][0], whole["items"][3]);
    server.get(&format!("{path}?limit=0")).await.is(400);
    server.get("/v1/runs/run_01kv2a7bcd000000000000000z/history").await.is(404);
}

#[tokio::test]
async fn whoever_waits_for_an_event_gets_it_when_it_comes() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let offer = worker.offer().await;
    let path = format!("/v1/runs/{run}/history");
    let begun = server.get(&path).await.body;
    assert_eq!(types(&begun).last(), Some(&"TaskStarted"));
    assert_eq!(begun["complete"], false);
    let waiting = format!("{path}?wait=20s&after={}", begun["next_after"]);
    let (news, _) = tokio::join!(server.get(&waiting), worker.done(&offer, json!({"n": 1})));
    assert_eq!(types(&news.body)[0], "TaskSucceeded");
    assert_eq!(news.body["items"][0]["event_detail"], json!({"output": {"n": 1}}));
}

#[tokio::test]
async fn only_flows_have_a_history() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let start = json!({"definition": "shop/work", "kind": "task", "input": {}});
    let run = server.start(start).await.run_id();
    let offer = worker.offer().await;
    worker.done(&offer, json!({})).await;
    let refused = server.get(&format!("/v1/runs/{run}/history")).await;
    refused.is_problem(400, "invalid_request");
    assert!(refused.detail().contains("journal"), "{}", refused.detail());
}
