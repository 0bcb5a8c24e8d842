//! Journals, event streams and logs.

use reqwest::Method;
use riverrun_wire::worker::FromWorker;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server};

fn types(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_journal_shows_flat_entries_without_the_interpreters_own() {
    let server = Server::new().await;
    let run = server.ended("quick").await.run_id();
    let journal = server.get(&format!("/v1/runs/{run}/journal")).await;
    journal.is(200);
    let names = types(&journal.body["items"]);
    assert_eq!(names.first(), Some(&"RunCreated"));
    assert_eq!(names.last(), Some(&"RunSucceeded"));
    assert!(!names.contains(&"Advanced"));
    assert_eq!(journal.body["complete"], true);
    let first = &journal.body["items"][0];
    assert_eq!(first["seq"], 1);
    assert_eq!(first["definition"]["name"], "quick");
    assert!(first["at"].as_str().unwrap().ends_with('Z'));
    let internal = server.get(&format!("/v1/runs/{run}/journal?internal=true")).await;
    assert!(types(&internal.body["items"]).contains(&"Advanced"));
}

#[tokio::test]
async fn a_journal_is_read_in_parts() {
    let server = Server::new().await;
    let run = server.ended("quick").await.run_id();
    let whole = server.get(&format!("/v1/runs/{run}/journal?internal=true")).await;
    let mut parts = Vec::new();
    let mut after = 0;
    loop {
        let part = server.get(&format!("/v1/runs/{run}/journal?internal=true&limit=1&after={after}")).await;
        parts.extend(part.body["items"].as_array().unwrap().clone());
        after = part.body["next_after"].as_u64().unwrap();
        if part.body["complete"] == true {
            break;
        }
    }
    assert_eq!(Value::Array(parts), whole.body["items"]);
}

/// The events of a stream, each as (event, id, data), until it ends.
async fn events(server: &Server, path: &str, last: Option<u64>) -> Vec<(String, u64, Value)> {
    let mut request = server.request(Method::GET, path);
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = tokio::time::timeout(PATIENCE, response.text()).await.unwrap().unwrap();
    text.split("\n\n")
        .filter(|block| block.lines().any(|line| line.starts_with("data:")))
        .map(|block| {
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            (field("event:"), field("id:").parse().unwrap(), serde_json::from_str(&field("data:")).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn an_event_stream_follows_a_run_to_its_end_and_resumes_behind_the_last_event() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let offer = worker.offer().await;
    let path = format!("/v1/runs/{run}/events");
    let (all, _) = tokio::join!(events(&server, &path, None), worker.done(&offer, json!({})));
    let names: Vec<&str> =
        all.iter().map(|(event, _, data)| data["type"].as_str().unwrap_or(event)).collect();
    assert_eq!(names.first(), Some(&"RunCreated"));
    assert_eq!(names[names.len() - 2..], ["RunSucceeded", "end"]);
    assert_eq!(all.last().unwrap().2["state"], "succeeded");
    let entries = &all[..all.len() - 1];
    assert!(entries.windows(2).all(|pair| pair[0].1 < pair[1].1));
    assert!(entries.iter().all(|(event, id, data)| event == "entry" && data["seq"] == *id));

    let middle = all[2].1;
    let rest = events(&server, &path, Some(middle)).await;
    assert_eq!(rest, all[3..]);
    let end = events(&server, &path, all.last().map(|event| event.1)).await;
    assert_eq!(end.len(), 1);
    assert_eq!(end[0].0, "end");
}

#[tokio::test]
async fn a_tokens_secret_never_reaches_the_journal() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let offer = worker.offer().await;
    let report = worker.done(&offer, json!({})).await;
    worker.acknowledged(report).await;
    let journal = server.get(&format!("/v1/runs/{run}/journal?internal=true")).await;
    assert!(!journal.text.contains(&offer.token.to_string()));
}

#[tokio::test]
async fn output_of_attempts_is_kept_within_bounds_and_only_from_who_has_them() {
    let limits = riverrun_server::Limits { max_run_log: 1_000, ..Default::default() };
    let server = Server::limited(limits).await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let offer = worker.offer().await;
    let mut stranger = server.worker(&["other"]).await;
    let log = |text: String| FromWorker::Log { attempt: offer.attempt, stream: "stdout".to_owned(), text };
    stranger.say(&[log("not mine".to_owned())]).await;
    worker.say(&[log("hello\n".to_owned()), log("x".repeat(900)), log("last".to_owned())]).await;
    let report = worker.done(&offer, json!({})).await;
    worker.acknowledged(report).await;
    let logs = server.get(&format!("/v1/runs/{run}/logs?attempt={}", offer.attempt)).await;
    logs.is(200);
    assert_eq!(logs.body["durable"], false);
    assert_eq!(logs.body["dropped_bytes"], 906, "{}", logs.text);
    let texts: Vec<&str> =
        logs.body["items"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["last"]);
}
