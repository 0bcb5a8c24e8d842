//! Starts and their keys: the table of `continue_id`, row by row, through the wire.

use std::sync::Arc;

use riverrun_server::ServerConfig;
use riverrun_store::{AppendError, Batch, Fault, FaultStore, Faults, MemoryStore, NoFaults};
use serde_json::{Value, json};

use crate::support::Server;

fn with(mut base: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}

#[tokio::test]
async fn a_first_start_creates_generation_one() {
    let server = Server::new().await;
    let answer = server.start(json!({"definition": "sleeper", "continue_id": "a"})).await;
    answer.is(201);
    assert_eq!(answer.body["reused"], false);
    assert_eq!(answer.body["attached"], false);
    assert_eq!(answer.body["generation"], 1);
    assert_eq!(answer.body["continue_id"], "a");
    assert_eq!(answer.body["definition"], "sleeper");
    assert_eq!(answer.body["kind"], "flow");
    assert_eq!(answer.body["input"], json!({}));
    assert_eq!(answer.headers["location"], format!("/v1/runs/{}", answer.run_id()));
    let created = answer.body["created_at"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.len() == "2026-11-21T00:00:00.000Z".len(), "{created}");
}

#[tokio::test]
async fn a_run_in_flight_is_attached_to_rejected_or_restarted() {
    let server = Server::new().await;
    let body = json!({"definition": "sleeper", "continue_id": "a", "input": {"x": 1}});
    let first = server.start(body.clone()).await;
    first.is(201);

    let again = server.start(body.clone()).await;
    again.is(202);
    assert_eq!(again.run_id(), first.run_id());
    assert_eq!(again.body["attached"], true);

    let rejected = server.start(with(body.clone(), json!({"on_running": "reject"}))).await;
    rejected.is_problem(409, "key_rejected");
    assert_eq!(rejected.body["run_id"], first.body["run_id"]);

    let restarted = server.start(with(body, json!({"on_running": "restart"}))).await;
    restarted.is(201);
    assert_ne!(restarted.run_id(), first.run_id());
    assert_eq!(restarted.body["generation"], 2);
}

#[tokio::test]
async fn attaching_with_wait_answers_with_the_result() {
    let server = Server::new().await;
    let body = json!({"definition": "calling", "continue_id": "a"});
    server.start(body.clone()).await.is(201);
    let mut worker = server.worker(&["shop/work"]).await;
    let offer = worker.offer().await;
    let waiting = server.start(with(body, json!({"wait": "20s"})));
    let (answer, _) = tokio::join!(waiting, worker.done(&offer, json!({"n": 1})));
    answer.is(200);
    assert_eq!(answer.body["state"], "succeeded");
}

#[tokio::test]
async fn a_success_is_reused_run_again_or_rejected() {
    let server = Server::new().await;
    let body = json!({"definition": "quick", "continue_id": "a", "wait": "20s"});
    let first = server.start(body.clone()).await;
    first.is(200);
    assert_eq!(first.body["reused"], false);

    let reused = server.start(body.clone()).await;
    reused.is(200);
    assert_eq!(reused.body["reused"], true);
    assert_eq!(reused.run_id(), first.run_id());
    assert_eq!(reused.headers["idempotency-replayed"], "true");
    assert_eq!(reused.body["output"], first.body["output"]);

    let rejected = server.start(with(body.clone(), json!({"on_success": "reject"}))).await;
    rejected.is_problem(409, "key_rejected");

    let rerun = server.start(with(body, json!({"on_success": "rerun"}))).await;
    rerun.is(200);
    assert_eq!(rerun.body["generation"], 2);
    assert_eq!(rerun.body["reused"], false);
}

#[tokio::test]
async fn a_failure_is_run_again_resumed_or_returned() {
    let server = Server::new().await;
    let body = json!({"definition": "failing", "continue_id": "a", "wait": "20s"});
    let first = server.start(body.clone()).await;
    // Waited for, and failed: the call worked, the run did not.
    first.is(200);
    assert_eq!(first.body["state"], "failed");
    assert_eq!(first.body["error"]["type"], "NoLuck");

    let returned = server.start(with(body.clone(), json!({"on_failure": "return"}))).await;
    returned.is(200);
    assert_eq!(returned.body["reused"], true);
    assert_eq!(returned.run_id(), first.run_id());

    let resumed = server.start(with(body.clone(), json!({"on_failure": "resume"}))).await;
    resumed.is(200);
    assert_eq!(resumed.run_id(), first.run_id());
    assert_eq!(resumed.body["reused"], false);

    let rerun = server.start(body).await;
    rerun.is(200);
    assert_ne!(rerun.run_id(), first.run_id());
    assert_eq!(rerun.body["generation"], 2);
}

#[tokio::test]
async fn failures_in_a_row_end_at_max_generations_and_force_passes() {
    let server = Server::new().await;
    let body = json!({"definition": "failing", "continue_id": "a", "wait": "20s", "max_generations": 2});
    server.start(body.clone()).await.is(200);
    server.start(body.clone()).await.is(200);
    let refused = server.start(body.clone()).await;
    refused.is_problem(409, "too_many_generations");
    assert_eq!(refused.body["failures"], 2);
    server.start(with(body, json!({"force": true}))).await.is(200);
}

#[tokio::test]
async fn a_cancelled_run_is_returned_unless_asked_otherwise() {
    let server = Server::new().await;
    let body = json!({"definition": "sleeper", "continue_id": "a"});
    let first = server.start(body.clone()).await;
    server.post(&format!("/v1/runs/{}/cancel", first.run_id()), json!({"reason": "enough"})).await.is(200);
    let ended = server.get(&format!("/v1/runs/{}?wait=20s", first.run_id())).await;
    assert_eq!(ended.body["state"], "cancelled");

    let returned = server.start(body.clone()).await;
    returned.is(200);
    assert_eq!(returned.body["reused"], true);
    let rerun = server.start(with(body, json!({"on_failure": "rerun"}))).await;
    rerun.is(201);
    assert_eq!(rerun.body["generation"], 2);
}

#[tokio::test]
async fn another_input_is_refused_with_both_fingerprints() {
    let server = Server::new().await;
    let body = json!({"definition": "quick", "continue_id": "a", "input": {"n": 1}, "wait": "20s"});
    let first = server.start(body.clone()).await;
    let other = with(body.clone(), json!({"input": {"n": 2}}));
    let refused = server.start(other.clone()).await;
    refused.is_problem(422, "key_mismatch");
    assert_eq!(refused.body["run_id"], first.body["run_id"]);
    let (stored, given) = (&refused.body["stored_fingerprint"], &refused.body["given_fingerprint"]);
    assert_eq!(stored.as_str().unwrap().len(), 64);
    assert_ne!(stored, given);

    let ignored = server.start(with(other.clone(), json!({"on_input": "ignore"}))).await;
    assert_eq!((ignored.status, ignored.run_id()), (200, first.run_id()));
    let chosen =
        json!({"definition": "quick", "continue_id": "b", "wait": "20s", "fingerprint_paths": ["/id"]});
    server.start(with(chosen.clone(), json!({"input": {"id": 1, "at": 1}}))).await.is(200);
    let same = server.start(with(chosen, json!({"input": {"id": 1, "at": 2}}))).await;
    assert_eq!(same.body["reused"], true);
    let forced = server.start(with(other, json!({"force": true}))).await;
    forced.is(200);
    assert_eq!(forced.body["generation"], 2);
}

#[tokio::test]
async fn numbers_beyond_doubles_are_different_inputs_and_come_back_exactly() {
    let server = Server::new().await;
    let start =
        |n: &str| format!(r#"{{"definition":"quick","continue_id":"big","input":{{"n":{n}}},"wait":"20s"}}"#);
    let first = server.post_text("/v1/runs", start("9007199254740992")).await;
    first.is(200);
    server.post_text("/v1/runs", start("9007199254740993")).await.is_problem(422, "key_mismatch");
    let huge = "123456789012345678901234567890";
    let answer = server.post_text("/v1/runs", start(huge).replace("big", "huge")).await;
    assert!(answer.text.contains(huge), "{}", answer.text);
    let journal = server.get(&format!("/v1/runs/{}/journal", answer.run_id())).await;
    assert!(journal.text.contains(huge), "{}", journal.text);
}

#[tokio::test]
async fn a_failed_key_takes_new_input_when_allowed() {
    let server = Server::new().await;
    let body = json!({"definition": "failing", "continue_id": "a", "input": {"n": 1}, "wait": "20s"});
    server.start(body.clone()).await.is(200);
    let other = with(body, json!({"input": {"n": 2}, "on_failure": "rerun"}));
    server.start(other.clone()).await.is_problem(422, "key_mismatch");
    let taken = server.start(with(other, json!({"allow_new_input": true}))).await;
    taken.is(200);
    assert_eq!(taken.body["generation"], 2);
}

#[tokio::test]
async fn a_purged_result_is_gone_unless_run_again() {
    let server = Server::new().await;
    let body = json!({"definition": "quick", "continue_id": "a", "wait": "20s"});
    let first = server.start(body.clone()).await;
    server.delete(&format!("/v1/runs/{}", first.run_id())).await.is(204);
    let gone = server.start(body.clone()).await;
    gone.is_problem(410, "key_purged");
    assert_eq!(gone.body["run_id"], first.body["run_id"]);
    let rerun = server.start(with(body, json!({"rerun_purged": true}))).await;
    rerun.is(200);
    assert_eq!(rerun.body["generation"], 2);
}

#[tokio::test]
async fn a_b_a_are_two_runs_and_a_null_key_never_matches() {
    let server = Server::new().await;
    let start = async |key: Value| {
        let body = json!({"definition": "quick", "continue_id": key, "wait": "20s"});
        server.start(body).await.run_id()
    };
    let (a, b, again) = (start(json!("A")).await, start(json!("B")).await, start(json!("A")).await);
    assert_ne!(a, b);
    assert_eq!(a, again);
    assert_ne!(start(Value::Null).await, start(Value::Null).await);
    assert_ne!(start(json!("")).await, start(json!("")).await);
}

#[tokio::test]
async fn ttl_zero_forgets_at_completion() {
    let server = Server::new().await;
    let body = json!({"definition": "quick", "continue_id": "a", "ttl": 0, "wait": "20s"});
    let (first, second) = (server.start(body.clone()).await, server.start(body).await);
    assert_ne!(first.run_id(), second.run_id());
    assert_eq!(second.body["reused"], false);
}

#[tokio::test]
async fn the_idempotency_key_header_is_the_same_key_and_returns_failures() {
    let server = Server::new().await;
    let body = json!({"definition": "failing", "wait": "20s"});
    let first = server.start_with_key("k-1", body.clone()).await;
    first.is(200);
    assert_eq!(first.body["continue_id"], "k-1");
    let again = server.start_with_key("\"k-1\"", body.clone()).await;
    again.is(200);
    assert_eq!(again.body["reused"], true);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let by_body =
        server.start(with(body.clone(), json!({"continue_id": "k-1", "on_failure": "return"}))).await;
    assert_eq!(by_body.run_id(), first.run_id());
    let equal = server.start_with_key("k-1", with(body.clone(), json!({"continue_id": "k-1"}))).await;
    equal.is(200);
    let differing = server.start_with_key("k-1", with(body, json!({"continue_id": "k-2"}))).await;
    differing.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_clients_own_run_id_makes_a_start_repeatable() {
    let server = Server::new().await;
    let id = "run_01kv2a7bcd000000000000000a";
    let body = json!({"definition": "quick", "run_id": id, "wait": "20s"});
    let first = server.start(body.clone()).await;
    first.is(200);
    assert_eq!(first.run_id(), id);
    let again = server.start(body.clone()).await;
    again.is(200);
    assert_eq!(again.body["reused"], true);
    server.start(with(body.clone(), json!({"input": {"other": 1}}))).await.is_problem(409, "run_id_taken");
    server.start(with(body, json!({"continue_id": "a"}))).await.is_problem(400, "invalid_request");
    server.start(json!({"definition": "quick", "run_id": "run_x"})).await.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_thousand_identical_starts_make_one_run_and_a_thousand_equal_answers() {
    let server = Arc::new(Server::new().await);
    let mut worker = server.worker(&["shop/work"]).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let server = server.clone();
        calls.spawn(async move {
            let body =
                json!({"definition": "calling", "continue_id": "once", "input": {"n": 1}, "wait": "20s"});
            server.start(body).await
        });
    }
    let offer = worker.offer().await;
    let report = worker.done(&offer, json!({"answer": 42})).await;
    worker.acknowledged(report).await;
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        answer.is(200);
        let body = &answer.body;
        answers.push((
            body["run_id"].clone(),
            body["state"].clone(),
            body["output"].clone(),
            body["ended_at"].clone(),
        ));
    }
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{:?}", answers[0]);
    assert_eq!(answers[0].1, "succeeded");
    let count = server.get("/v1/runs/count?continue_id=once").await;
    assert_eq!(count.body, json!({"count": 1, "capped": false}));
}

#[tokio::test]
async fn mistyped_options_are_named_with_what_was_probably_meant() {
    let server = Server::new().await;
    let wrong = server.start(json!({"definition": "quick", "continu_id": "a"})).await;
    wrong.is_problem(400, "invalid_request");
    assert!(wrong.detail().contains("did you mean `continue_id`?"), "{}", wrong.detail());
    let wrong = server.start(json!({"definition": "quick", "continue_id": "a", "on_failure": "retur"})).await;
    wrong.is_problem(400, "invalid_request");
    assert!(wrong.detail().contains("did you mean `return`?"), "{}", wrong.detail());
    for (body, says) in [
        (json!({}), "definition"),
        (json!({"definition": "quick", "wait": "soon"}), "not a duration"),
        (
            json!({"definition": "quick", "delay": "1s", "run_at": "2026-11-21T00:00:00Z"}),
            "exclude each other",
        ),
        (json!({"definition": "quick", "run_at": "tomorrow"}), "RFC 3339"),
        (json!({"definition": "quick", "priority": 3}), "option of tasks"),
        (json!({"definition": "jobs", "kind": "task", "priority": 10}), "0 to 9"),
        (json!({"definition": "quick", "input": 3}), "object"),
        (json!({"definition": 3}), "invalid type"),
    ] {
        let wrong = server.start(body.clone()).await;
        wrong.is_problem(400, "invalid_request");
        assert!(wrong.detail().contains(says), "{body}: {}", wrong.detail());
    }
    let long = server.start(json!({"definition": "quick", "continue_id": "x".repeat(256)})).await;
    long.is_problem(400, "over_limit");
    let wait = server.start(json!({"definition": "quick", "wait": "2h"})).await;
    wait.is_problem(400, "over_limit");
    assert_eq!(wait.body["limit"], "max_wait");
    let unknown = server.start(json!({"definition": "quikc"})).await;
    unknown.is_problem(404, "unknown_definition");
    assert!(unknown.detail().contains("quick"), "{}", unknown.detail());
}

#[tokio::test]
async fn a_task_waits_for_its_worker_with_its_options() {
    let server = Server::new().await;
    let body = json!({
        "definition": "mail/send", "kind": "task", "input": {"to": "a"}, "queue": "mail", "priority": 7,
        "retries": {"max": 2, "interval": "10ms"}, "labels": {"team": "billing"},
    });
    let started = server.start(body).await;
    started.is(201);
    assert_eq!(started.body["kind"], "task");
    assert_eq!(started.body["labels"], json!({"team": "billing"}));
    let queues = server.get("/v1/queues").await;
    let queue = &queues.body["items"][0];
    assert_eq!(
        (&queue["queue"], &queue["functions"][0]["function"], &queue["waiting"]),
        (&json!("mail"), &json!("mail/send"), &json!(1))
    );
    assert_eq!((&queue["workers"], &queue["unserved"]), (&json!(0), &json!(true)));
    let shown = server.get(&format!("/v1/runs/{}", started.run_id())).await;
    assert_eq!(shown.body["waiting"]["kind"], "worker", "{}", shown.text);
}

struct Broken;

impl Faults for Broken {
    fn append(&mut self, _: &[Batch]) -> Option<Fault<AppendError>> {
        Some(Fault { error: AppendError::Broken("sync failed".to_owned()), written: false })
    }
}

#[tokio::test]
async fn a_durable_start_is_answered_with_its_run_even_if_the_storage_breaks_while_it_waits() {
    let store = Arc::new(FaultStore::new(MemoryStore::new(1, [7; 32]), NoFaults));
    let server = Server::on(store.clone(), ServerConfig::default()).await;
    let first =
        server.start(json!({"definition": "sleeper", "continue_id": "a", "force": true, "wait": "20s"}));
    let second = async {
        while server.get("/v1/runs").await.body["items"].as_array().is_none_or(Vec::is_empty) {
            tokio::task::yield_now().await;
        }
        store.set_faults(Broken);
        server.start(json!({"definition": "sleeper"})).await
    };
    let (first, second) = tokio::join!(first, second);
    second.is_problem(503, "unavailable");
    first.is(202);
    assert_eq!(first.body["definition"], "sleeper");
    assert_eq!(first.body["generation"], 1);
    assert_eq!(first.headers["location"], format!("/v1/runs/{}", first.run_id()));
}
