//! Functions that have an address: what is sent, what an answer means, and what is not followed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use riverrun_server::{Address, CallConfig, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::support::Server;

/// The outer world.
#[derive(Clone)]
struct World {
    asked: Arc<Mutex<Vec<(Uri, HeaderMap, Value)>>>,
    /// How many are being answered now, and were at most.
    open: Arc<(AtomicUsize, AtomicUsize)>,
    /// `/held` is answered when there is a permit.
    gate: Arc<Semaphore>,
}

impl World {
    async fn answer(self, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        let body = serde_json::from_slice(&body).expect("JSON");
        let before = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((uri.clone(), headers, body));
            asked.iter().filter(|(known, ..)| known.path() == uri.path()).count()
        };
        match uri.path() {
            "/held" => {
                let open = self.open.0.fetch_add(1, Ordering::SeqCst) + 1;
                self.open.1.fetch_max(open, Ordering::SeqCst);
                self.gate.acquire().await.unwrap().forget();
                self.open.0.fetch_sub(1, Ordering::SeqCst);
                "{\"held\": true}".into_response()
            }
            "/empty" => StatusCode::NO_CONTENT.into_response(),
            "/text" => "hello".into_response(),
            "/large" => "x".repeat(5000).into_response(),
            "/busy" if before < 3 => {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "later").into_response()
            }
            "/busy" => "{\"tried\": 3}".into_response(),
            "/raised" => {
                let body = json!({"errorType": "OutOfStock", "errorMessage": "none left"}).to_string();
                ([("x-fc-error-type", "UnhandledInvocationError")], body).into_response()
            }
            "/code" => (StatusCode::FORBIDDEN, "{\"ErrorCode\": \"AccessDenied\"}").into_response(),
            "/moved" => (StatusCode::TEMPORARY_REDIRECT, [("location", "/text-object")]).into_response(),
            "/away" => {
                (StatusCode::PERMANENT_REDIRECT, [("location", "http://127.0.0.2:1/x")]).into_response()
            }
            "/found" => (StatusCode::FOUND, [("location", "/empty")]).into_response(),
            "/round" => (StatusCode::TEMPORARY_REDIRECT, [("location", "/round")]).into_response(),
            path => match path.strip_prefix("/status/").and_then(|code| code.parse().ok()) {
                Some(code) => StatusCode::from_u16(code).unwrap().into_response(),
                None => "{\"path\": true}".into_response(),
            },
        }
    }
}

async fn world() -> (String, World) {
    let world = World { asked: Arc::default(), open: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = world.clone();
    let answer = move |uri, headers, body| serving.clone().answer(uri, headers, body);
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (url, world)
}

async fn server(calls: CallConfig) -> Server {
    Server::with(ServerConfig { calls, ..ServerConfig::default() }).await
}

/// Runs a flow of one task that calls `target`; the ended run.
async fn called(server: &Server, target: &str, more: &str) -> Value {
    let source = format!(
        "version: v1\ntype: flow\nsteps:\n  - type: task\n    name: Call\n    resourceArn: {target}\n{more}"
    );
    server.engine.deploy("default", "one", &source).await.unwrap();
    server.start(json!({"definition": "one", "input": {"a": 1}, "wait": "20s"})).await.body
}

fn error(run: &Value) -> (&str, &str) {
    (run["error"]["type"].as_str().unwrap_or_default(), run["error"]["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn an_address_is_sent_the_input_and_gives_the_result() {
    let (url, world) = world().await;
    let server = server(CallConfig::default()).await;
    let run = called(&server, &format!("{url}/ok?x=1"), "").await;
    assert_eq!((&run["state"], &run["output"]), (&json!("succeeded"), &json!({"path": true})));
    {
        let asked = world.asked.lock().unwrap();
        let (uri, headers, body) = &asked[0];
        assert_eq!((uri.to_string().as_str(), body), ("/ok?x=1", &json!({"a": 1})));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["riverrun-run"], run["run_id"].as_str().unwrap());
        assert!(!headers["idempotency-key"].is_empty());
    }
    assert_eq!(called(&server, &format!("{url}/empty"), "").await["output"], json!({}));
    assert_eq!(called(&server, &format!("{url}/moved"), "").await["output"], json!({"path": true}));
    assert_eq!(error(&called(&server, &format!("{url}/text"), "").await).0, "FnF.InvalidLocal");
    assert_eq!(server.get("/v1/workers").await.body["items"], json!([]), "nobody has to know of the caller");
}

#[tokio::test]
async fn answers_that_are_no_results_have_the_names_that_flows_know() {
    let (url, _) = world().await;
    let server = server(CallConfig { max_answer: 4096, ..CallConfig::default() }).await;
    for (path, name) in [
        ("/status/429", "FC.ResourceExhausted"),
        ("/status/503", "FC.ResourceThrottled"),
        ("/status/500", "FC.InternalServerError"),
        ("/status/404", "FC.FunctionNotFound"),
        ("/status/400", "FC.InvalidArgument"),
        ("/raised", "OutOfStock"),
        ("/code", "FC.AccessDenied"),
        ("/away", "FC.InvalidArgument"),
        ("/found", "FC.InvalidArgument"),
        ("/round", "FC.InvalidArgument"),
        ("/large", "FC.InvalidArgument"),
    ] {
        let run = called(&server, &format!("{url}{path}?key=hunter2"), "").await;
        assert_eq!(error(&run).0, name, "{path}: {run}");
        assert!(!error(&run).1.contains("hunter2"), "{run}");
    }
    let nobody = called(&server, "http://127.0.0.1:1/x", "").await;
    assert_eq!(error(&nobody).0, "FC.InternalServerError", "{nobody}");
    let plain = called(&server, &url.replace("http:", "https:"), "").await;
    assert_eq!(error(&plain).0, "FC.InternalServerError", "who speaks no TLS is not spoken to: {plain}");
}

#[tokio::test]
async fn a_call_is_tried_again_when_the_other_side_asked_for_it() {
    let (url, world) = world().await;
    let server = server(CallConfig::default()).await;
    let retry = "    retry: [{errors: [FC.ResourceExhausted], intervalSeconds: 0, maxAttempts: 3}]\n";
    let run = called(&server, &format!("{url}/busy"), retry).await;
    assert_eq!(run["output"], json!({"tried": 3}), "{run}");
    let keys: Vec<_> = {
        let asked = world.asked.lock().unwrap();
        asked.iter().map(|(_, headers, _)| headers["idempotency-key"].clone()).collect()
    };
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
    let path = format!("/v1/runs/{}/journal", run["run_id"].as_str().unwrap());
    let journal = server.get(&path).await.body;
    let times: Vec<&str> = journal["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["type"] == "AttemptStarted" || entry["type"] == "AttemptFailed")
        .map(|entry| entry["at"].as_str().unwrap())
        .collect();
    let (failed, tried): (jiff::Timestamp, jiff::Timestamp) =
        (times[1].parse().unwrap(), times[2].parse().unwrap());
    assert!(tried.as_millisecond() - failed.as_millisecond() >= 990, "Retry-After: 1 was heeded: {times:?}");
}

#[tokio::test]
async fn no_more_are_out_at_once_than_the_limit_and_a_cancelled_one_is_let_go() {
    let (url, world) = world().await;
    let server = server(CallConfig { max_calls: 2, ..CallConfig::default() }).await;
    let source = format!(
        "version: v1\ntype: flow\nsteps:\n  - type: foreach\n    name: Each\n    iterationMapping: {{collection: $.items, item: item}}\n    \
         steps:\n      - {{type: task, name: Call, resourceArn: '{url}/held'}}\n"
    );
    server.engine.deploy("default", "many", &source).await.unwrap();
    let input = json!({"definition": "many", "input": {"items": [1, 2, 3, 4, 5]}});
    let run = server.start(input.clone()).await.run_id();
    while world.open.0.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    world.gate.add_permits(5);
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await.body;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(world.open.1.load(Ordering::SeqCst), 2);
    let held = server.start(input).await.run_id();
    while world.open.0.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    server.post(&format!("/v1/runs/{held}/cancel"), json!({})).await.is(200);
    let ended = server.get(&format!("/v1/runs/{held}?wait=20s")).await.body;
    assert_eq!(ended["state"], "cancelled", "{ended}");
}

#[tokio::test]
async fn time_limits_hold_and_hosts_that_are_not_allowed_are_not_called() {
    let (url, world) = world().await;
    let quick = Address {
        url: format!("{url}/held"),
        headers: vec![("x-key".to_owned(), "hunter2".to_owned())],
        timeout: Some(Duration::from_millis(50)),
    };
    let functions = BTreeMap::from([("shop/quick".to_owned(), quick)]);
    let calls =
        CallConfig { functions, allowed_hosts: vec!["127.0.0.1".to_owned()], ..CallConfig::default() };
    assert!(!format!("{calls:?}").contains("hunter2"));
    let server = server(calls).await;
    let late = called(&server, "shop/quick", "").await;
    assert_eq!(error(&late).0, "FnF.TaskTimeout", "{late}");
    assert_eq!(world.asked.lock().unwrap()[0].1["x-key"], "hunter2");
    let refused = called(&server, "http://localhost:1/x", "").await;
    assert!(error(&refused).1.contains("allowed_hosts"), "{refused}");
    let workers = server.get("/v1/workers").await.body;
    assert_eq!(workers["items"][0]["functions"], json!(["http:", "shop/quick"]));
}

#[tokio::test]
async fn a_message_stands_in_its_queue_for_whoever_takes_from_it() {
    let server = Server::new().await;
    let source = "version: v1\ntype: flow\nsteps:\n  - {type: task, name: Tell, resourceArn: 'acs:mns:::/queues/orders/messages'}\n";
    server.engine.deploy("default", "tell", source).await.unwrap();
    let told = server.start(json!({"definition": "tell", "input": {"n": 7}, "wait": "20s"})).await.body;
    assert_eq!(told["output"]["MessageBodyMD5"], "082865E8C663FE6EA89F4D99E6286EAB");
    let mut worker = server.worker(&["orders"]).await;
    let offer = worker.offer().await;
    assert_eq!(offer.input.to_value().unwrap(), json!({"Message": {"n": 7}}));
    worker.done(&offer, json!(null)).await;
    let message = told["output"]["MessageId"].as_str().unwrap();
    let sent = server.get(&format!("/v1/runs/{message}?wait=20s")).await.body;
    assert_eq!((&sent["kind"], &sent["definition"]), (&json!("task"), &json!("orders")));
}

#[tokio::test]
async fn an_address_that_a_child_flow_calls_gets_the_parent_s_token_and_nobody_else_sees_it() {
    let (url, world) = world().await;
    let server = server(CallConfig::default()).await;
    let steps = |steps: &str| format!("version: v1\ntype: flow\nsteps:\n{steps}");
    let hand = "  - {type: task, name: Hand, resourceArn: 'acs:fnf:::flow/CHILD', pattern: waitForCallback, \
                inputMappings: [{target: reply_to, source: $context.task.token}]}\n";
    let ask = format!("  - {{type: task, name: Ask, resourceArn: '{url}/ask'}}\n");
    let middle = "  - {type: task, name: Middle, action: 'fnf:StartExecution', pattern: sync, serviceParams: \
                  {FlowName: clerk, Input: {letter: {to: $.reply_to}}}}\n";
    for (name, source) in
        [("boss", hand.replace("CHILD", "middle")), ("middle", middle.to_owned()), ("clerk", ask)]
    {
        server.engine.deploy("default", name, &steps(&source)).await.unwrap();
    }
    let run = server.start(json!({"definition": "boss"})).await.run_id();
    let token = loop {
        let asked = world.asked.lock().unwrap().first().map(|(_, _, body)| body["letter"]["to"].clone());
        match asked {
            Some(token) => break token.as_str().unwrap().to_owned(),
            None => tokio::task::yield_now().await,
        }
    };
    let shown = server.get("/v1/runs").await.body.to_string();
    let mut told = shown.clone();
    let items: Value = serde_json::from_str(&shown).unwrap();
    for item in items["items"].as_array().unwrap() {
        let run = item["run_id"].as_str().unwrap();
        for what in ["", "/journal", "/history"] {
            told.push_str(&server.get(&format!("/v1/runs/{run}{what}")).await.body.to_string());
        }
    }
    let secret = token.rsplit('.').next().unwrap();
    assert!(told.contains(&format!("callback:{run}.")) && !told.contains(secret), "{told}");
    let name = told.split('"').find(|text| text.starts_with("callback:")).unwrap();
    server
        .post(&format!("/v1/callbacks/{name}"), json!({"output": {}}))
        .await
        .is_problem(404, "invalid_callback");
    server.post(&format!("/v1/callbacks/{token}"), json!({"output": {"yes": true}})).await;
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await.body;
    assert_eq!((&ended["state"], &ended["output"]), (&json!("succeeded"), &json!({"yes": true})));
}
