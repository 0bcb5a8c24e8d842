//! Addresses that are told how runs have ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use riverrun_server::{CallConfig, CallbackConfig, CallbackSecret, ServerConfig};
use riverrun_wire::worker::PROTOCOL;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{PATIENCE, Server, Worker};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Who is told.
#[derive(Clone, Default)]
struct Receiver {
    told: Arc<Mutex<VecDeque<(Uri, HeaderMap, Value)>>>,
    /// What it answers, one after another; then 204.
    answers: Arc<Mutex<VecDeque<u16>>>,
    rung: Arc<Notify>,
}

impl Receiver {
    async fn next(&self) -> (Uri, HeaderMap, Value) {
        let wait = async {
            loop {
                let rung = self.rung.notified();
                if let Some(told) = self.told.lock().unwrap().pop_front() {
                    return told;
                }
                rung.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it is told in time")
    }
}

async fn receiver(answers: &[u16]) -> (String, Receiver) {
    let receiver = Receiver::default();
    receiver.answers.lock().unwrap().extend(answers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?key=of-mine", listener.local_addr().unwrap());
    let serving = receiver.clone();
    let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let receiver = serving.clone();
        async move {
            let body = serde_json::from_slice(&body).expect("JSON");
            receiver.told.lock().unwrap().push_back((uri, headers, body));
            receiver.rung.notify_one();
            let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(204);
            (StatusCode::from_u16(status).unwrap(), "as it\n  was asked to")
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (url, receiver)
}

async fn server() -> Server {
    let secrets = vec![CallbackSecret::parse(SECRET).unwrap()];
    let callbacks = CallbackConfig { secrets, ..CallbackConfig::default() };
    Server::with(ServerConfig { callbacks, ..ServerConfig::default() }).await
}

/// The run that tells how another has ended, once it has ended itself.
async fn delivery(server: &Server, of: &str) -> Value {
    let list = server.get(&format!("/v1/runs?label=callback_of={of}")).await;
    let run = list.body["items"][0]["run_id"].as_str().unwrap_or_else(|| panic!("{}", list.text)).to_owned();
    server.get(&format!("/v1/runs/{run}?wait=20s")).await.body
}

#[tokio::test]
async fn what_is_told_is_what_the_api_answers() {
    let server = server().await;
    let (url, receiver) = receiver(&[]).await;
    let rotated = CallbackSecret::parse(SECRET).unwrap();
    assert!(!format!("{rotated:?}").contains("MfKQ"));
    for (flow, state) in [("quick", "succeeded"), ("failing", "failed")] {
        let start = json!({"definition": flow, "callback_url": url, "labels": {"a": "b"}, "wait": "20s"});
        let run = server.start(start).await.run_id();
        let (uri, headers, body) = receiver.next().await;
        assert_eq!((uri.to_string().as_str(), &body["state"]), ("/hook?key=of-mine", &json!(state)));
        assert_eq!(body, server.get(&format!("/v1/runs/{run}")).await.body);
        assert!(body["callback_url"].as_str().unwrap().ends_with("/hook"), "without what may be a key");
        assert_eq!(headers["content-type"], "application/json");
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        let told = delivery(&server, &run).await;
        assert_eq!(told["run_id"], headers["webhook-id"].to_str().unwrap());
        assert_eq!((&told["state"], &told["output"]), (&json!("succeeded"), &json!({"status": 204})));
    }
    let items = server.get("/v1/definitions").await.body["items"].to_string();
    assert!(!items.contains("riverrun:"), "what tells is no task of anybody's: {items}");
}

#[tokio::test]
async fn an_address_that_wants_no_more_is_a_dead_letter_that_can_be_retried() {
    let server = server().await;
    let (url, receiver) = receiver(&[410]).await;
    let run = server.start(json!({"definition": "quick", "callback_url": url})).await.run_id();
    let (_, first, _) = receiver.next().await;
    let failed = delivery(&server, &run).await;
    assert_eq!((&failed["state"], &failed["error"]["type"]), (&json!("failed"), &json!("CallbackFailed")));
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("/hook answered 410 Gone: as it was asked to"), "{message}");
    assert!(!message.contains("of-mine"), "{message}");
    let dead = server.get("/v1/dead?queue=riverrun:callbacks").await;
    assert_eq!(dead.body["items"][0]["run_id"], failed["run_id"], "{}", dead.text);
    assert_eq!(server.post("/v1/dead/retry", json!({})).await.body["changed"], 1);
    let (_, second, _) = receiver.next().await;
    assert_eq!(first["webhook-id"], second["webhook-id"]);
    assert_eq!(delivery(&server, &run).await["state"], "succeeded");
    let logs = server.get(&format!("/v1/runs/{}/logs", failed["run_id"].as_str().unwrap())).await;
    assert!(logs.text.contains("410") && !logs.text.contains("of-mine"), "{}", logs.text);
}

#[tokio::test]
async fn an_address_that_cannot_be_told_is_refused_at_the_start() {
    let start = |url: &str| json!({"definition": "quick", "callback_url": url});
    let unsigned = Server::new().await;
    let answer = unsigned.start(start("https://example.com/")).await;
    assert!(answer.is_problem(400, "invalid_request").detail().contains("[callbacks]"), "{}", answer.text);

    let callbacks =
        CallbackConfig { secrets: vec![CallbackSecret::parse(SECRET).unwrap()], ..CallbackConfig::default() };
    let calls = CallConfig { allowed_hosts: vec!["ok.example".to_owned()], ..CallConfig::default() };
    let server = Server::with(ServerConfig { callbacks, calls, ..ServerConfig::default() }).await;
    for (url, reason) in [
        ("", "no address"),
        ("javascript:alert(1)", "https://HOST/PATH"),
        ("https://other.example/", "allowed_hosts"),
        ("https://me:hunter2@ok.example/", "holds a user"),
        (&format!("https://ok.example/{}", "x".repeat(3_000)), "max_callback_url"),
    ] {
        let then = json!({"definition": "quick", "then": start(url)});
        for answer in [server.start(start(url)).await, server.start(then).await] {
            let detail = answer.is_problem(400, "invalid_request").detail();
            assert!(detail.contains(reason) && !detail.contains("hunter2"), "{detail}");
        }
    }
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
}

#[tokio::test]
async fn nobody_else_starts_or_serves_what_tells() {
    let server = server().await;
    let own = json!({"definition": "riverrun:callback", "kind": "task", "input": {"url": "http://x/"}});
    let answer = server.start(own).await;
    assert!(answer.is_problem(400, "invalid_request").detail().contains("riverrun:"), "{}", answer.text);
    let call = server.post("/v1/calls", json!({"task": "riverrun:callback"})).await;
    assert_eq!(call.code(), "unknown_task", "{}", call.text);
    let mut worker = Worker::connect(server.address).await;
    let hello = json!({"hello": {
        "protocol": PROTOCOL, "name": "w", "namespace": "default", "slots": 1,
        "functions": [{"name": "riverrun:callback"}], "in_process": true
    }});
    worker.say(&[serde_json::from_value(hello).unwrap()]).await;
    let told = format!("{:?}", worker.next().await);
    assert!(told.contains("reserved_name"), "{told}");
}
