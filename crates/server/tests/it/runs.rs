//! Showing, listing and steering runs.

use serde_json::{Value, json};

use crate::support::Server;

const NOBODY: &str = "run_01kv2a7bcd000000000000000z";

#[tokio::test]
async fn a_long_poll_answers_when_the_run_has_ended() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let offer = worker.offer().await;
    let path = format!("/v1/runs/{run}?wait=20s");
    let (answer, _) = tokio::join!(server.get(&path), worker.done(&offer, json!({"ok": true})));
    answer.is(200);
    assert_eq!(answer.body["state"], "succeeded");
    assert!(answer.body["ended_at"].is_string());
    assert!(answer.body.get("error").is_none());
}

#[tokio::test]
async fn a_long_poll_ends_with_the_run_as_it_stands() {
    let server = Server::new().await;
    let run = server.start(json!({"definition": "sleeper"})).await.run_id();
    let answer = server.get(&format!("/v1/runs/{run}?wait=50ms")).await;
    answer.is(200);
    assert_eq!(answer.body["state"], "suspended");
    assert_eq!(answer.body["waiting"]["kind"], "timer");
    assert!(answer.body["waiting"]["until"].as_str().unwrap().ends_with('Z'));
    assert_eq!(answer.body["steps"][0]["path"], "Long");
}

#[tokio::test]
async fn unknown_and_malformed_runs_are_told_apart() {
    let server = Server::new().await;
    for path in ["", "/journal", "/events", "/logs"] {
        server.get(&format!("/v1/runs/{NOBODY}{path}")).await.is_problem(404, "unknown_run");
        server.get(&format!("/v1/runs/nonsense{path}")).await.is_problem(400, "invalid_request");
    }
    for action in ["cancel", "pause", "resume"] {
        let answer = server.post(&format!("/v1/runs/{NOBODY}/{action}"), json!({})).await;
        answer.is_problem(404, "unknown_run");
    }
    server.delete(&format!("/v1/runs/{NOBODY}")).await.is_problem(404, "unknown_run");
}

#[tokio::test]
async fn lists_are_filtered_and_paged_without_gaps() {
    let server = Server::new().await;
    let mut started = Vec::new();
    for n in 0..5 {
        let body = json!({"definition": "sleeper", "labels": {"n": n.to_string(), "team": "a=b"}});
        started.push(server.start(body).await.run_id());
    }
    let failed = server.ended("failing").await.run_id();
    let ids = |answer: &Value| -> Vec<String> {
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["run_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut seen = Vec::new();
    let mut path = "/v1/runs?definition=sleeper&limit=2".to_owned();
    loop {
        let page = server.get(&path).await;
        page.is(200);
        seen.extend(ids(&page.body));
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/runs?definition=sleeper&limit=2&cursor={cursor}"),
            None => break,
        }
    }
    // Two of one millisecond may come in any order.
    seen.sort_unstable();
    let mut expected = started.clone();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    let one = |path: &'static str| async { ids(&server.get(path).await.body) };
    assert_eq!(one("/v1/runs?state=failed,timed_out").await, [failed.as_str()]);
    assert_eq!(one("/v1/runs?state=failed&state=succeeded").await, [failed.as_str()]);
    assert_eq!(one("/v1/runs?label=n=3&label=team=a%3Db").await, [started[3].clone()]);
    assert_eq!(one("/v1/runs?waiting=timer&label=n=0").await, [started[0].clone()]);
    assert_eq!(one("/v1/runs?kind=task").await, [] as [String; 0]);
    assert_eq!(one("/v1/runs?namespace=other").await, [] as [String; 0]);
    assert_eq!(one("/v1/runs?created_before=2020-01-01T00:00:00Z").await, [] as [String; 0]);
    let count = server.get("/v1/runs/count?created_from=2020-01-01T00:00:00Z").await;
    assert_eq!(count.body, json!({"count": 6, "capped": false}));
}

#[tokio::test]
async fn wrong_filters_are_refused_and_explained() {
    let server = Server::new().await;
    for (query, says) in [
        ("state=runing", "did you mean `running`"),
        ("label=team", "name=value"),
        ("definiton=x", "did you mean `definition`"),
        ("limit=0", "at least one"),
        ("limit=x", "invalid"),
        ("cursor=abc", "next_cursor"),
        ("created_from=now", "RFC 3339"),
        ("waiting=godot", "unknown variant"),
    ] {
        let answer = server.get(&format!("/v1/runs?{query}")).await;
        answer.is_problem(400, "invalid_request");
        let detail = answer.detail().to_lowercase();
        assert!(detail.contains(&says.to_lowercase()), "{query}: {detail}");
    }
    server.get("/v1/runs?limit=1001").await.is_problem(400, "over_limit");
}

#[tokio::test]
async fn a_run_is_paused_resumed_labelled_cancelled_and_deleted() {
    let server = Server::new().await;
    let run = server.start(json!({"definition": "sleeper"})).await.run_id();
    let act = async |action: &str| server.post(&format!("/v1/runs/{run}/{action}"), json!({})).await;
    act("pause").await.is(200);
    let shown = server.get(&format!("/v1/runs/{run}")).await;
    assert_eq!(shown.body["waiting"]["kind"], "pause", "{}", shown.text);
    act("resume").await.is(200);
    server.put(&format!("/v1/runs/{run}/labels"), json!({"labels": {"a": "b"}})).await.is(204);
    assert_eq!(server.get(&format!("/v1/runs/{run}")).await.body["labels"], json!({"a": "b"}));
    server.delete(&format!("/v1/runs/{run}")).await.is_problem(409, "wrong_state");
    let cancelled = act("cancel").await;
    cancelled.is(200);
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["state"], "cancelled");
    act("cancel").await.is(200);
    act("resume").await.is_problem(409, "wrong_state");
    server.delete(&format!("/v1/runs/{run}")).await.is(204);
    server.get(&format!("/v1/runs/{run}")).await.is_problem(404, "unknown_run");
}

#[tokio::test]
async fn deleting_with_cancel_ends_an_open_run_first() {
    let server = Server::new().await;
    let run = server.start(json!({"definition": "sleeper"})).await.run_id();
    server.delete(&format!("/v1/runs/{run}?cancel=true")).await.is(204);
    server.get(&format!("/v1/runs/{run}")).await.is_problem(404, "unknown_run");
}

#[tokio::test]
async fn signals_are_recorded_once_per_id() {
    let server = Server::new().await;
    let run = server.start(json!({"definition": "sleeper"})).await.run_id();
    let path = format!("/v1/runs/{run}/signal");
    for _ in 0..2 {
        server.post(&path, json!({"name": "go", "payload": {"n": 1}, "id": "s-1"})).await.is(204);
    }
    server.post(&path, json!({"payload": 1})).await.is_problem(400, "invalid_request");
    let journal = server.get(&format!("/v1/runs/{run}/journal")).await;
    let signals: Vec<&Value> = journal.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["type"] == "SignalReceived")
        .collect();
    assert_eq!(signals.len(), 1, "{}", journal.text);
    assert_eq!(signals[0]["payload"], json!({"n": 1}));
}

#[tokio::test]
async fn a_stopping_server_answers_long_polls_and_ends_in_time() {
    let server = Server::new().await;
    let run = server.start(json!({"definition": "sleeper"})).await.run_id();
    let path = format!("/v1/runs/{run}?wait=60s");
    let poll = server.get(&path);
    let stop = async {
        // The poll must have arrived: then two requests are open, it and the one that asks.
        while !server.get("/metrics").await.text.contains("riverrun_http_requests_open 2") {
            tokio::task::yield_now().await;
        }
        server.stop.cancel();
    };
    let (answer, ()) = tokio::join!(poll, stop);
    answer.is(200);
    assert_eq!(answer.body["state"], "suspended");
    tokio::time::timeout(crate::support::PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
}
