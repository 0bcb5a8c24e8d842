//! The worker socket, with a worker that the test plays; calls and callbacks.

use std::sync::Arc;

use riverrun_kernel::{Failure, Lost};
use riverrun_server::{Limits, ServerConfig};
use riverrun_store::{AppendError, Batch, Fault, FaultStore, Faults, MemoryStore, NoFaults};
use riverrun_wire::worker::{Claim, FromWorker, Offer, ToWorker};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, Worker};

#[tokio::test]
async fn a_step_goes_to_a_worker_and_its_outcome_comes_back() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling", "input": {"n": 3}})).await.run_id();
    let offer = worker.offer().await;
    assert_eq!(
        (offer.function.as_str(), offer.definition.as_str(), offer.path.as_str()),
        ("shop/work", "calling", "Work")
    );
    let shown = server.get("/v1/workers").await;
    assert_eq!(shown.body["items"][0]["name"], "played");
    assert_eq!(shown.body["items"][0]["attempts"], json!([offer.attempt.to_string()]));
    let report = worker.done(&offer, json!({"sum": 6})).await;
    assert_eq!(worker.acknowledged(report).await, []);
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["state"], "succeeded");
}

#[tokio::test]
async fn many_reports_in_one_frame_are_acknowledged_in_order() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    for _ in 0..8 {
        server.start(json!({"definition": "calling"})).await.is(201);
    }
    let mut reports = Vec::new();
    for seq in 1..=8 {
        let offer = worker.offer().await;
        reports.push(FromWorker::Done {
            seq,
            attempt: offer.attempt,
            token: offer.token,
            output: json!({}).into(),
            acts: 0,
        });
    }
    worker.say(&reports).await;
    let mut last = 0;
    while last < 8 {
        if let Some(ToWorker::Ack { seq }) = worker.next().await {
            assert!(seq > last, "{seq} after {last}");
            last = seq;
        }
    }
    let count = server.get("/v1/runs/count?state=succeeded").await;
    assert_eq!(count.body["count"], 8);
}

#[tokio::test]
async fn the_same_report_again_is_a_success_and_another_outcome_is_refused() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    server.start(json!({"definition": "calling"})).await.is(201);
    let offer = worker.offer().await;
    let first = worker.done(&offer, json!({"a": 1})).await;
    assert_eq!(worker.acknowledged(first).await, []);
    let again = worker.done(&offer, json!({"a": 1})).await;
    worker.acknowledged(again).await;
    let other = worker.done(&offer, json!({"a": 2})).await;
    let refused = worker.acknowledged(other).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, other);
    assert!(["Conflict", "RunClosed", "LeaseLost"].contains(&refused[0].1.as_str()), "{refused:?}");
}

#[tokio::test]
async fn a_failure_and_a_lost_attempt_are_told_apart() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let offer = worker.offer().await;
    worker
        .say(&[FromWorker::Lost {
            seq: 1,
            attempt: offer.attempt,
            token: offer.token,
            reason: Lost::Returned,
        }])
        .await;
    let second = worker.offer().await;
    assert_eq!(second.attempt.attempt, 2);
    assert_eq!(second.idempotency_key, offer.idempotency_key);
    let failure = Failure::new("ValueError", "no such thing").not_retryable();
    worker
        .say(&[FromWorker::Failed { seq: 2, attempt: second.attempt, token: second.token, failure, acts: 0 }])
        .await;
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["state"], "failed", "{}", ended.text);
}

#[tokio::test]
async fn an_output_that_nobody_could_decode_fails_the_attempt() {
    let server = Server::new().await;
    let mut worker = server.worker(&["odd"]).await;
    let run = server.start(json!({"definition": "odd", "kind": "task"})).await.run_id();
    let offer = worker.offer().await;
    let text = format!(
        r#"[{{"done":{{"seq":1,"attempt":"{}","token":"{}","output":"\ud800"}}}}]"#,
        offer.attempt, offer.token
    );
    worker.stream.write_u32(u32::try_from(text.len()).unwrap()).await.unwrap();
    worker.stream.write_all(text.as_bytes()).await.unwrap();
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["error"]["type"], "InvalidOutput", "{}", ended.text);
}

#[tokio::test]
async fn goodbye_gives_attempts_back_at_once() {
    let server = Server::new().await;
    let mut first = server.worker(&["shop/work"]).await;
    server.start(json!({"definition": "calling"})).await.is(201);
    let offer = first.offer().await;
    first.say(&[FromWorker::Bye {}]).await;
    let mut second = server.worker(&["shop/work"]).await;
    let again = second.offer().await;
    assert_eq!((again.attempt.run, again.attempt.attempt), (offer.attempt.run, 2));
}

/// A store that takes no writes.
struct Full;

impl Faults for Full {
    fn append(&mut self, _: &[Batch]) -> Option<Fault<AppendError>> {
        Some(Fault { error: AppendError::Refused("no space left".to_owned()), written: false })
    }
}

#[tokio::test]
async fn a_goodbye_before_the_last_report_is_durable_counts_as_a_lost_connection() {
    let store = Arc::new(FaultStore::new(MemoryStore::new(1, [7; 32]), NoFaults));
    let server = Server::on(store.clone(), ServerConfig::default()).await;
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "calling"})).await.run_id();
    let Offer { attempt, token, .. } = worker.offer().await;
    let done = FromWorker::Done { seq: 1, attempt, token, output: json!({"sum": 6}).into(), acts: 0 };
    store.set_faults(Full);
    worker.say(&[done.clone(), FromWorker::Bye {}]).await;
    while let Some(message) = worker.next().await {
        assert!(!matches!(message, ToWorker::Ack { .. }), "nothing is durable: {message:?}");
    }
    store.set_faults(NoFaults);
    let mut worker = Worker::connect(server.address).await;
    let kept = worker.claim(&["shop/work"], vec![Claim { attempt, token }]).await;
    // What was handed in before the connection ended may have become durable meanwhile: then nothing is left to claim.
    if kept == [attempt] {
        worker.say(&[done]).await;
        assert_eq!(worker.acknowledged(1).await, []);
    }
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["state"], "succeeded", "{}", ended.text);
    let journal = server.get(&format!("/v1/runs/{run}/journal?internal=true")).await;
    let begun = journal.text.matches("AttemptStarted").count();
    assert_eq!(begun, 1, "nobody else was given what has ended: {}", journal.text);
}

#[tokio::test]
async fn offers_that_no_frame_holds_together_come_in_several() {
    let server = Server::limited(Limits { max_frame: 50_000, ..Default::default() }).await;
    let blob = "x".repeat(20_000);
    for _ in 0..8 {
        server.start(json!({"definition": "calling", "input": {"blob": blob}})).await.is(201);
    }
    let mut worker = Worker::connect(server.address).await;
    worker.max_frame = 50_000;
    worker.hello(&["shop/work"]).await;
    for _ in 0..8 {
        assert_eq!(worker.offer().await.input.to_value().unwrap()["blob"], blob);
    }
}

#[tokio::test]
async fn an_offer_that_no_frame_can_hold_fails_its_attempt_and_nothing_else() {
    let server = Server::limited(Limits { max_frame: 4_000, ..Default::default() }).await;
    let mut worker = server.worker(&["shop/work"]).await;
    let blob = json!({"blob": "x".repeat(8_000)});
    let large = server.start(json!({"definition": "calling", "input": blob})).await.run_id();
    let ended = server.get(&format!("/v1/runs/{large}?wait=20s")).await;
    assert_eq!(ended.body["error"]["type"], "InputTooLarge", "{}", ended.text);
    assert!(ended.text.contains("max_frame of 4000 bytes"), "{}", ended.text);
    server.start(json!({"definition": "calling", "input": {"n": 3}})).await.is(201);
    let offer = worker.offer().await;
    assert_eq!(offer.input.to_value().unwrap()["n"], 3);
    let report = worker.done(&offer, json!(null)).await;
    assert_eq!(worker.acknowledged(report).await, []);
}

#[tokio::test]
async fn a_worker_that_breaks_the_protocol_is_told_why() {
    let server = Server::limited(Limits { max_frame: 1_000, ..Default::default() }).await;
    let told = async |bytes: &[u8]| {
        let mut worker = Worker::connect(server.address).await;
        worker.stream.write_all(bytes).await.unwrap();
        let Some(ToWorker::Error { code, message }) = worker.next().await else {
            panic!("an error comes");
        };
        assert!(!message.is_empty());
        assert_eq!(worker.next().await, None);
        code
    };
    assert_eq!(told(b"\0\0\0\x0c[\"nonsense\"]").await, "bad_frame");
    assert_eq!(told(b"\xff\xff\xff\xff").await, "bad_frame");
    assert_eq!(told(b"\0\0\0\x0c[{\"beat\":{}}").await, "bad_frame");
    assert_eq!(told(b"\0\0\0\x0d[{\"beat\":{}}]").await, "no_hello");

    let mut worker = server.worker(&["shop/work"]).await;
    server.start(json!({"definition": "calling"})).await.is(201);
    let offer = worker.offer().await;
    worker.say(&[FromWorker::Stopped { seq: 2, attempt: offer.attempt, token: offer.token }]).await;
    let last = worker.next().await;
    assert!(matches!(&last, Some(ToWorker::Error { code, .. }) if code == "bad_sequence"), "{last:?}");
}

#[tokio::test]
async fn only_a_worker_connects_to_the_worker_socket() {
    let server = Server::new().await;
    let answer = server.get("/v1/worker").await;
    answer.is_problem(426, "upgrade_required");
}

#[tokio::test]
async fn workers_are_told_when_the_server_goes() {
    let server = Server::new().await;
    let mut worker = server.worker(&["shop/work"]).await;
    server.stop.cancel();
    assert_eq!(worker.next().await, Some(ToWorker::Going {}));
    assert_eq!(worker.next().await, None);
    tokio::time::timeout(crate::support::PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_that_never_reads_is_cut_off() {
    let limits = Limits { write_timeout: std::time::Duration::from_millis(100), ..Default::default() };
    let server = Server::limited(limits).await;
    let mut worker = server.worker(&["shop/work"]).await;
    // Far more than the buffers of both sides hold, offered and never read.
    let blob = "x".repeat(4 << 20);
    for _ in 0..8 {
        server
            .start(json!({"definition": "shop/work", "kind": "task", "input": {"blob": blob}}))
            .await
            .is(201);
    }
    let mut connected = true;
    while connected {
        let shown = server.get("/v1/workers").await;
        connected = !shown.body["items"].as_array().unwrap().is_empty();
    }
    worker.stream.shutdown().await.ok();
}

#[tokio::test]
async fn a_call_runs_a_task_and_answers_with_its_result() {
    let server = Server::new().await;
    let mut worker = server.worker(&["/demo_api/ping"]).await;
    let call = server.post("/v1/calls", json!({"task": "/demo_api/ping", "params": {"n": 1}}));
    let serve = async {
        let offer = worker.offer().await;
        assert_eq!(offer.input.to_value().expect("decodes"), json!({"n": 1}));
        worker.done(&offer, json!({"pong": 1})).await
    };
    let (answer, _) = tokio::join!(call, serve);
    answer.is(200);
    assert_eq!((&answer.body["state"], &answer.body["output"]), (&json!("succeeded"), &json!({"pong": 1})));
    let slip = server.post("/v1/calls", json!({"task": "/demo_api/pnig"})).await;
    slip.is_problem(404, "unknown_task");
    assert!(slip.detail().contains("Did you mean `/demo_api/ping`?"), "{}", slip.detail());
}

#[tokio::test]
async fn a_callback_completes_its_step_once() {
    let server = Server::new().await;
    let source = "version: v1\ntype: flow\nsteps:\n  - type: task\n    name: Ask\n    resourceArn: shop/work\n    pattern: waitForCallback\n    inputMappings:\n      - target: token\n        source: $context.task.token\n";
    server.post("/v1/definitions", json!({"name": "asking", "source": source})).await.is(201);
    let mut worker = server.worker(&["shop/work"]).await;
    let run = server.start(json!({"definition": "asking"})).await.run_id();
    let offer = worker.offer().await;
    let token = offer.callback.clone().expect("the function is given the token");
    let report = worker.done(&offer, json!(null)).await;
    worker.acknowledged(report).await;
    let path = format!("/v1/callbacks/{token}");
    for wrong in [json!({}), json!({"output": 1, "error": {"type": "E"}}), json!({"outptu": 1})] {
        server.post(&path, wrong).await.is_problem(400, "invalid_request");
    }
    server.post(&path, json!({"output": {"approved": true}})).await.is(204);
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(ended.body["state"], "succeeded", "{}", ended.text);
    let used = server.post(&path, json!({"output": 2})).await;
    used.is_problem(404, "invalid_callback");
    assert!(!used.text.contains(&token));
}
