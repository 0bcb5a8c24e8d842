//! Queues over HTTP: unique tasks, limits, batches, pause and drain, dead letters, outcomes that go when they are read.

use std::time::Duration;

use riverrun_kernel::Failure;
use riverrun_server::Limits;
use riverrun_wire::worker::{FromWorker, Offer};
use riverrun_wire::workflow::Act;
use serde_json::{Value, json};

use crate::support::{Server, Worker};

fn ping(more: Value) -> Value {
    let mut body = json!({"definition": "ping", "kind": "task"});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

async fn queue(server: &Server, name: &str) -> Value {
    server.get(&format!("/v1/queues?queue={name}")).await.body["items"][0].clone()
}

async fn fail(worker: &mut Worker, seq: u64, offer: &Offer, error: &str) {
    let (attempt, token) = (offer.attempt, offer.token);
    let failure = Failure::new(error, "no");
    worker.say(&[FromWorker::Failed { seq, attempt, token, failure, acts: 0 }]).await;
}

#[tokio::test]
async fn a_unique_task_is_queued_once_until_it_has_ended() {
    let server = Server::new().await;
    let first = server.start(ping(json!({"unique": true, "input": {"a": 1, "b": 2}}))).await;
    first.is(201);
    let again = server.start(ping(json!({"unique": true, "input": {"b": 2, "a": 1.0}}))).await;
    again.is(202);
    assert_eq!(again.run_id(), first.run_id());
    assert_eq!(again.body["duplicate"], true);
    let other = server.start(ping(json!({"unique": true, "input": {"a": 2}}))).await;
    assert_ne!(other.run_id(), first.run_id());
    let mut worker = server.worker(&["ping"]).await;
    let offers = [worker.offer().await, worker.offer().await];
    for offer in &offers {
        worker.done(offer, json!(null)).await;
    }
    server.get(&format!("/v1/runs/{}?wait=20s", first.run_id())).await.is(200);
    let later = server.start(ping(json!({"unique": true, "input": {"a": 1, "b": 2}}))).await;
    later.is(201);
    assert_ne!(later.run_id(), first.run_id());
}

#[tokio::test]
async fn a_unique_key_stands_for_any_input() {
    let server = Server::new().await;
    let first = server.start(ping(json!({"unique_key": "nightly", "input": {"n": 1}}))).await;
    let again = server.start(ping(json!({"unique_key": "nightly", "input": {"n": 2}}))).await;
    assert_eq!((again.run_id(), &again.body["duplicate"]), (first.run_id(), &json!(true)));
    let both = server.start(ping(json!({"unique": true, "continue_id": "x"}))).await;
    both.is_problem(400, "invalid_request");
    let long = server.start(ping(json!({"unique_key": "x".repeat(300)}))).await;
    assert!(long.is_problem(400, "invalid_request").detail().contains("240"));
}

#[tokio::test]
async fn a_batch_starts_all_in_order_or_nothing() {
    let server = Server::new().await;
    let runs: Vec<Value> = (0..300).map(|n| ping(json!({"input": {"n": n}, "queue": "bulk"}))).collect();
    let answer = server.post("/v1/runs/batch", json!({"runs": runs})).await;
    answer.is(200);
    let items = answer.body["items"].as_array().expect("items").clone();
    assert_eq!(items.len(), 300);
    for n in [0, 17, 299] {
        let run = server.get(&format!("/v1/runs/{}", items[n]["run_id"].as_str().expect("an id"))).await;
        assert_eq!(run.body["input"]["n"], n);
    }
    assert_eq!(queue(&server, "bulk").await["waiting"], 300);
    let bad = json!({"runs": [ping(json!({"queue": "other"})), ping(json!({"priority": 10}))]});
    let refused = server.post("/v1/runs/batch", bad).await;
    assert!(refused.is_problem(400, "invalid_request").detail().starts_with("runs[1]: priority"));
    assert_eq!(queue(&server, "other").await["waiting"], 0);
}

#[tokio::test]
async fn each_start_of_a_batch_has_its_own_answer() {
    let server = Server::new().await;
    let one = json!({"definition": "sleeper", "continue_id": "k", "input": {"n": 1}});
    let other = json!({"definition": "sleeper", "continue_id": "k", "input": {"n": 2}});
    let answer = server.post("/v1/runs/batch", json!({"runs": [one, one, other]})).await;
    let items = &answer.is(200).body["items"];
    assert_eq!(items[0]["run_id"], items[1]["run_id"]);
    assert_eq!((&items[0]["existing"], &items[1]["existing"]), (&Value::Null, &json!(true)));
    assert_eq!(items[2]["error"]["code"], "key_mismatch");
}

#[tokio::test]
async fn a_queue_is_paused_resumed_drained_and_emptied() {
    let server = Server::new().await;
    let paused = server.post("/v1/queues/pause", json!({"queue": "mail/a b"})).await;
    assert_eq!(paused.is(200).body["paused"], true);
    let mut worker = server.worker(&["ping"]).await;
    let run = server.start(ping(json!({"queue": "mail/a b"}))).await.run_id();
    let shown = server.get(&format!("/v1/runs/{run}")).await;
    assert_eq!(shown.body["waiting"]["kind"], "limit", "{}", shown.text);
    assert_eq!(shown.body["waiting"]["name"], "queue mail/a b: paused");
    assert_eq!(shown.body["queue"], "mail/a b");
    server.post("/v1/queues/resume", json!({"queue": "mail/a b"})).await.is(200);
    let offer = worker.offer().await;
    let waits = server.start(ping(json!({"queue": "other"}))).await.run_id();
    let other = worker.offer().await;
    assert_eq!(other.attempt.run.to_string(), waits);
    let early = server.post("/v1/queues/drain", json!({"queue": "mail/a b", "wait": "20ms"})).await;
    assert_eq!(early.body["running"], 1);
    let drained = server.post("/v1/queues/drain", json!({"queue": "mail/a b", "wait": "20s"}));
    let ended = worker.done(&offer, json!(null));
    let (drained, _) = tokio::join!(drained, ended);
    assert_eq!((&drained.body["running"], &drained.body["paused"]), (&json!(0), &json!(true)));
    for _ in 0..5 {
        server.start(ping(json!({"queue": "mail/a b"}))).await.is(201);
    }
    let emptied = server.post("/v1/queues/empty", json!({"queue": "mail/a b"})).await;
    assert_eq!(emptied.is(200).body["changed"], 5);
    assert_eq!(server.get("/v1/runs/count?state=cancelled").await.body["count"], 5);
    let left = queue(&server, "mail%2Fa%20b").await;
    assert_eq!((&left["waiting"], &left["ended"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn limits_are_set_shown_and_lifted() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    let set = server.post("/v1/queues/limit", json!({"queue": "q", "max_running": 1, "rate": "100/s"})).await;
    set.is(200);
    let shown = queue(&server, "q").await;
    assert_eq!((&shown["max_running"], &shown["rate"]), (&json!(1), &json!("100/s")));
    let runs = json!({"runs": [ping(json!({"queue": "q"})), ping(json!({"queue": "q"}))]});
    let ids = server.post("/v1/runs/batch", runs).await.body["items"].clone();
    let first = worker.offer().await;
    let waiting = server.get(&format!("/v1/runs/{}", ids[1]["run_id"].as_str().expect("an id"))).await;
    assert_eq!(waiting.body["waiting"]["name"], "queue q: 1 of 1 running");
    server.post("/v1/queues/limit", json!({"queue": "q", "max_running": null})).await.is(200);
    let second = worker.offer().await;
    assert_ne!(first.attempt, second.attempt);
    assert_eq!(queue(&server, "q").await["rate"], "100/s");
    for (body, word) in [
        (json!({"queue": "q", "rate": "fast"}), "30/s"),
        (json!({"queue": "q", "max_running": 0}), "pause"),
        (json!({"max_running": 1}), "concurrency_key"),
        (json!({"queue": "q", "concurrency_key": "k"}), "one of them"),
    ] {
        let refused = server.post("/v1/queues/limit", body).await;
        assert!(refused.is_problem(400, "invalid_request").detail().contains(word), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_concurrency_key_holds_tasks_back_by_name() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    let limited = ping(json!({"max_running": 1}));
    server.start(limited.clone()).await.is(201);
    let second = server.start(limited).await.run_id();
    worker.offer().await;
    let shown = server.get(&format!("/v1/runs/{second}")).await;
    assert_eq!(shown.body["waiting"]["name"], "key ping: 1 of 1 running");
    let refused = server.start(json!({"definition": "quick", "concurrency_key": "k"})).await;
    refused.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn dead_letters_are_listed_retried_and_deleted() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    let mut seq = 0;
    for (queue, error) in [("a", "Boom"), ("a", "Bang"), ("b", "Boom")] {
        server.start(ping(json!({"queue": queue}))).await.is(201);
        let offer = worker.offer().await;
        seq += 1;
        fail(&mut worker, seq, &offer, error).await;
        worker.acknowledged(seq).await;
    }
    let server = &server;
    let dead = |query: &'static str| async move {
        let answer = server.get(&format!("/v1/dead{query}")).await;
        answer.is(200).body["items"].as_array().expect("items").len()
    };
    assert_eq!((dead("").await, dead("?queue=a").await, dead("?error=Boom").await), (3, 2, 2));
    let retried = server.post("/v1/dead/retry", json!({"queue": "a", "error": "Bang"})).await;
    assert_eq!(retried.is(200).body["changed"], 1);
    let offer = worker.offer().await;
    assert_eq!(offer.attempt.attempt, 1, "a step of its own");
    let deleted = server.post("/v1/dead/delete", json!({})).await;
    assert_eq!(deleted.is(200).body["changed"], 2);
    assert_eq!(dead("").await, 0);
}

#[tokio::test]
async fn a_part_of_a_group_is_retried_with_the_group_and_executed_once() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping", "sum"]).await;
    let part = |n: u64| ping(json!({"input": {"n": n}}));
    let then = json!({"definition": "sum", "kind": "task", "into": "numbers"});
    let group = server.post("/v1/groups", json!({"runs": [part(1), part(2)], "then": then})).await.run_id();
    let (one, two) = (worker.offer().await, worker.offer().await);
    fail(&mut worker, 1, &one, "Boom").await;
    worker.acknowledged(1).await;
    let dead = one.attempt.run;
    let early = server.post("/v1/dead/retry", json!({"run": dead})).await;
    assert!(early.is_problem(409, "wrong_state").detail().contains(&group), "{}", early.text);
    let none = server.post("/v1/dead/retry", json!({})).await;
    assert_eq!(none.is(200).body["changed"], 0, "its group has not ended");
    fail(&mut worker, 2, &two, "Boom").await;
    let ended = server.get(&format!("/v1/runs/{group}?wait=20s")).await;
    assert_eq!(ended.body["state"], "failed", "{}", ended.text);

    let retried = server.post("/v1/dead/retry", json!({"definition": "ping"})).await;
    assert_eq!(retried.is(200).body["changed"], 2);
    for n in [3, 4] {
        let offer = worker.offer().await;
        assert!([one.attempt.run, two.attempt.run].contains(&offer.attempt.run), "the same runs");
        let (attempt, token) = (offer.attempt, offer.token);
        let output = json!(1).into();
        worker.say(&[FromWorker::Done { seq: n, attempt, token, output, acts: 0 }]).await;
    }
    let offer = worker.offer().await;
    assert_eq!((offer.function.as_str(), offer.input.get()), ("sum", r#"{"numbers":[1,1]}"#));
    let (attempt, token) = (offer.attempt, offer.token);
    worker.say(&[FromWorker::Done { seq: 5, attempt, token, output: json!(2).into(), acts: 0 }]).await;
    let ended = server.get(&format!("/v1/runs/{group}?wait=20s")).await;
    assert_eq!(ended.body["output"], 2, "{}", ended.text);
    assert_eq!(server.get("/v1/dead").await.body["items"], json!([]));
}

/// A task that has ended and whose outcome goes when it was read.
async fn read_once(server: &Server) -> String {
    let mut worker = server.worker(&["ping"]).await;
    let run = server.start(ping(json!({"result_ttl": 0}))).await.run_id();
    let offer = worker.offer().await;
    let seq = worker.done(&offer, json!({"pong": true})).await;
    worker.acknowledged(seq).await;
    run
}

#[tokio::test]
async fn an_outcome_with_no_time_to_live_is_gone_once_it_was_read() {
    let limits = Limits { read_grace: Duration::ZERO, ..Limits::default() };
    let server = Server::limited(limits).await;
    let run = read_once(&server).await;
    let read = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(read.is(200).body["output"], json!({"pong": true}));
    while server.get(&format!("/v1/runs/{run}")).await.status != 404 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn everybody_who_asks_within_the_grace_gets_an_outcome_that_goes_when_it_is_read() {
    let server = Server::new().await;
    let run = read_once(&server).await;
    for _ in 0..20 {
        let read = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
        assert_eq!(read.is(200).body["output"], json!({"pong": true}));
    }
}

#[tokio::test]
async fn a_task_shows_its_progress_and_what_follows_gets_its_output() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping", "store"]).await;
    let then = json!({"definition": "store", "kind": "task", "input": {"table": "t"}, "into": "row"});
    let run = server.start(ping(json!({"then": then}))).await.run_id();
    let offer = worker.offer().await;
    let status = json!({"done": 1, "total": 2});
    worker.progress(&offer, 1, vec![Act::Status { status: status.clone().into() }]).await;
    loop {
        let shown = server.get(&format!("/v1/runs/{run}")).await;
        if shown.body["status"] == status {
            break;
        }
        tokio::task::yield_now().await;
    }
    worker
        .say(&[FromWorker::Done {
            seq: 2,
            attempt: offer.attempt,
            token: offer.token,
            output: json!([1, 2]).into(),
            acts: 0,
        }])
        .await;
    let next = worker.offer().await;
    assert_eq!(next.function, "store");
    assert_eq!(
        serde_json::from_str::<Value>(next.input.get()).expect("JSON"),
        json!({"table": "t", "row": [1, 2]})
    );
}

#[tokio::test]
async fn a_group_and_a_chain_have_the_results_of_their_parts() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping", "sum"]).await;
    let part = |n: u64| ping(json!({"input": {"n": n}}));
    let then = json!({"definition": "sum", "kind": "task", "into": "numbers"});
    let group = server.post("/v1/groups", json!({"runs": [part(1), part(2)], "then": then})).await;
    assert_eq!(
        (&group.is(201).body["kind"], &group.body["definition"]),
        (&json!("builtin"), &json!("group"))
    );
    for _ in 0..2 {
        let offer = worker.offer().await;
        let input: Value = serde_json::from_str(offer.input.get()).expect("JSON");
        worker.done(&offer, input["n"].clone()).await;
    }
    let offer = worker.offer().await;
    assert_eq!((offer.function.as_str(), offer.input.get()), ("sum", r#"{"numbers":[1,2]}"#));
    worker.done(&offer, json!(3)).await;
    let ended = server.get(&format!("/v1/runs/{}?wait=20s", group.run_id())).await;
    assert_eq!(ended.body["output"], 3, "{}", ended.text);

    let next = json!({"definition": "sum", "kind": "task"});
    let chain = server.post("/v1/chains", json!({"runs": [part(7), next]})).await;
    let offer = worker.offer().await;
    worker.done(&offer, json!({"x": 1})).await;
    let offer = worker.offer().await;
    assert_eq!(offer.input.get(), r#"{"x":1}"#);
    worker.done(&offer, json!("end")).await;
    let ended = server.get(&format!("/v1/runs/{}?wait=20s", chain.run_id())).await;
    assert_eq!(ended.body["output"], "end");

    let bad = server.post("/v1/chains", json!({"runs": [part(1), {"definition": "nowhere"}]})).await;
    assert!(bad.is_problem(404, "unknown_definition").detail().starts_with("runs[1]"), "{}", bad.text);
    let direct = server.start(json!({"definition": "group", "kind": "builtin"})).await;
    direct.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn what_cannot_follow_is_refused_before_anything_starts() {
    let server = Server::new().await;
    for (then, word) in [
        (json!({"definition": "nowhere"}), "nowhere"),
        (json!({"definition": "ping", "kind": "task", "continue_id": "x"}), "continue_id"),
        (json!({"definition": "ping", "kind": "task", "input": [1], "into": "x"}), "object"),
    ] {
        let refused = server.start(ping(json!({"then": then}))).await;
        assert!(refused.status >= 400 && refused.detail().contains(word), "{}", refused.text);
    }
    server.start(ping(json!({"into": "x"}))).await.is_problem(400, "invalid_request");
    assert_eq!(server.get("/v1/runs/count").await.body["count"], 0);
}

#[tokio::test]
async fn a_retry_policy_says_what_is_never_tried_again() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    let retries = json!({"max": 5, "interval": "1ms", "never": ["Fatal"], "jitter": false});
    let run = server.start(ping(json!({"retries": retries}))).await.run_id();
    let offer = worker.offer().await;
    fail(&mut worker, 1, &offer, "Flaky").await;
    let offer = worker.offer().await;
    assert_eq!(offer.attempt.attempt, 2);
    fail(&mut worker, 2, &offer, "Fatal").await;
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!((&ended.body["state"], &ended.body["error"]["type"]), (&json!("failed"), &json!("Fatal")));
}

#[tokio::test]
async fn an_emptied_queue_has_nothing_left_that_was_not_started() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    let started = server.start(ping(json!({"queue": "mail"}))).await.run_id();
    let executing = worker.offer().await;
    let again = json!({"queue": "mail", "retries": {"max": 1, "interval": "1h", "jitter": false}});
    let retried = server.start(ping(again)).await.run_id();
    let offer = worker.offer().await;
    worker.fail(&offer, Failure::new("Busy", "no")).await;
    server.post("/v1/queues/pause", json!({"queue": "mail"})).await.is(200);
    let mut gone = vec![retried];
    for more in
        [json!({}), json!({"delay": "1h"}), json!({"run_at": "2099-01-01T00:00:00Z"}), json!({"priority": 9})]
    {
        let mut start = ping(json!({"queue": "mail"}));
        start.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gone.push(server.start(start).await.run_id());
    }
    let elsewhere = server.start(ping(json!({"queue": "other", "delay": "1h"}))).await.run_id();
    let answer = server.post("/v1/queues/empty", json!({"queue": "mail"})).await;
    assert_eq!(answer.body, json!({"changed": 5}));
    for run in gone {
        assert_eq!(server.get(&format!("/v1/runs/{run}")).await.body["state"], "cancelled");
    }
    assert_eq!(server.get(&format!("/v1/runs/{elsewhere}")).await.body["state"], "queued");
    worker.done(&executing, json!(1)).await;
    assert_eq!(server.get(&format!("/v1/runs/{started}?wait=20s")).await.body["state"], "succeeded");
    assert_eq!(server.post("/v1/queues/empty", json!({"queue": "mail"})).await.body["changed"], 0);
}

#[tokio::test]
async fn what_needs_attention_is_found_and_nothing_else() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    let dead = server.start(ping(json!({}))).await.run_id();
    let offer = worker.offer().await;
    let seq = worker.fail(&offer, Failure::new("Bad", "no")).await;
    worker.acknowledged(seq).await;
    let often = json!({"max": 9, "interval": "1ms", "max_interval": "1ms"});
    let retried = server.start(ping(json!({"retries": {"max": 9, "interval": "1h"}}))).await.run_id();
    let offer = worker.offer().await;
    let seq = worker.fail(&offer, Failure::new("Once", "no")).await;
    worker.acknowledged(seq).await;
    let failing = server.start(ping(json!({"retries": often}))).await.run_id();
    for _ in 0..4 {
        let offer = worker.offer().await;
        worker.fail(&offer, Failure::new("Again", "no")).await;
    }
    let offer = worker.offer().await;
    let later = Failure { retry_after_ms: Some(3_600_000), ..Failure::new("Again", "no") };
    let seq = worker.fail(&offer, later).await;
    worker.acknowledged(seq).await;
    server.post("/v1/queues/pause", json!({"queue": "held"})).await.is(200);
    let held = server.start(ping(json!({"queue": "held"}))).await.run_id();
    let unserved = server.start(json!({"definition": "nobody-has-it", "kind": "task"})).await.run_id();
    let delayed = server.start(ping(json!({"delay": "1h"}))).await.run_id();
    let failed_flow = server.ended("failing").await.run_id();
    for _ in 0..2 {
        let page = server.get("/v1/runs?needs_attention=true").await;
        let found: Vec<&str> = page.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["run_id"].as_str().unwrap())
            .collect();
        for run in [&dead, &failing, &unserved] {
            assert!(found.contains(&run.as_str()), "{run} is missing: {}", page.text);
        }
        assert_eq!(found.len(), 3, "none of {retried}, {held}, {delayed}, {failed_flow}: {}", page.text);
        assert_eq!(server.get("/v1/runs/count?needs_attention=true").await.body["count"], 3);
        assert_eq!(
            server.get("/v1/runs?needs_attention=true&limit=1").await.body["items"].as_array().unwrap().len(),
            1
        );
        server.engine.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn metrics_tell_of_queues_and_schedules() {
    let server = Server::new().await;
    let mut worker = server.worker(&["ping"]).await;
    for _ in 0..2 {
        server.start(ping(json!({"queue": "mail"}))).await.is(201);
    }
    let (first, _executing) = (worker.offer().await, worker.offer().await);
    let seq = worker.fail(&first, Failure::new("Bad", "no")).await;
    worker.acknowledged(seq).await;
    server.start(json!({"definition": "nobody-has-it", "kind": "task", "queue": "mail"})).await.is(201);
    let schedule = json!({"name": "s", "when": "@every 1s", "start": ping(json!({"queue": "by the clock"}))});
    server.put("/v1/schedules", schedule).await.is(201);
    let figure = |text: &str, name: &str| {
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let text = loop {
        let text = server.get("/metrics").await.text;
        if figure(&text, "riverrun_schedules_fired_total").is_some_and(|fired| fired >= 1.0) {
            break text;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(figure(&text, "riverrun_schedules"), Some(1.0));
    let of =
        |what: &str| figure(&text, &format!("riverrun_queue_{what}{{namespace=\"default\",queue=\"mail\"}}"));
    let counts = ["waiting", "unserved", "running", "started_total", "ended_total", "failed_total"].map(of);
    assert_eq!(counts, [1.0, 1.0, 1.0, 2.0, 1.0, 1.0].map(Some), "{text}");
    assert!(of("oldest_seconds").is_some());
    assert_eq!(text.matches("# TYPE riverrun_queue_waiting gauge").count(), 1);
}
