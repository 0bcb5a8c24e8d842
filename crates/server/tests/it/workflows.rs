//! The code of workflows over the worker socket, told by a played worker.

use std::fmt::Write;

use riverrun_wire::workflow::{Act, Call, Fact, Outcome};
use serde_json::json;

use crate::support::Server;

fn ran(tag: u64, path: &str) -> Act {
    Act::Ran { tag, path: path.to_owned(), outcome: Outcome::Output(json!(tag).into()) }
}

fn signal(tag: u64, name: &str) -> Act {
    Act::Signal { tag, path: name.to_owned(), name: name.to_owned(), timeout_ms: None }
}

#[tokio::test]
async fn code_is_offered_again_with_its_history_when_what_it_waits_for_has_happened() {
    let server = Server::new().await;
    let mut worker = server.worker(&["workflow order"]).await;
    let run = server.start(json!({"definition": "order", "input": {"n": 1}})).await.run_id();
    let offer = worker.offer().await;
    assert_eq!((offer.function.as_str(), offer.workflow.map(|body| body.fresh)), ("order", Some(true)));

    worker.progress(&offer, 1, vec![ran(0, "reserve"), signal(1, "paid")]).await;
    let events = worker.events().await;
    assert_eq!(events.iter().map(|event| &event.fact).collect::<Vec<_>>(), [&Fact::Recorded { tag: 0 }]);
    let seq = worker.park(&offer, events[0].at, 2).await;
    assert_eq!(worker.acknowledged(seq).await, []);
    let waiting = server.get(&format!("/v1/runs/{run}")).await;
    assert_eq!(
        (&waiting.body["state"], &waiting.body["waiting"]["kind"]),
        (&json!("suspended"), &json!("signal"))
    );

    server
        .post(&format!("/v1/runs/{run}/signal"), json!({"name": "paid", "payload": {"by": "card"}}))
        .await
        .is(204);
    let again = worker.offer().await;
    assert_eq!((again.attempt.attempt, again.workflow.map(|body| body.fresh)), (2, Some(false)));
    let history: Vec<Fact> = worker.history(&again).await.into_iter().map(|event| event.fact).collect();
    assert_eq!(
        history,
        [
            Fact::Ran { tag: 0, path: "reserve".to_owned(), outcome: Outcome::Output(json!(0).into()) },
            Fact::Begun { tag: 1, path: "paid".to_owned() },
            Fact::Ended { tag: 1, outcome: Outcome::Output(json!({"by": "card"}).into()) },
        ]
    );
    worker.done(&again, json!({"shipped": true})).await;
    let ended = server.get(&format!("/v1/runs/{run}?wait=20s")).await;
    assert_eq!(
        (&ended.body["state"], &ended.body["output"]),
        (&json!("succeeded"), &json!({"shipped": true}))
    );
}

#[tokio::test]
async fn a_long_history_comes_in_parts() {
    let server = Server::new().await;
    let mut worker = server.worker(&["workflow order"]).await;
    server.start(json!({"definition": "order"})).await.is(201);
    let offer = worker.offer().await;
    let text = "x".repeat(10_000);
    let big = |tag| Act::Ran { tag, path: format!("s{tag}"), outcome: Outcome::Output(json!(text).into()) };
    worker.progress(&offer, 1, (0..300).map(big).collect()).await;
    let seq =
        worker.progress(&offer, 301, (300..1_500).map(|tag| ran(tag, &format!("s{tag}"))).collect()).await;
    worker.acknowledged(seq).await;
    let history = worker.history(&offer).await;
    assert_eq!(history.len(), 1_500);
    assert!(history.windows(2).all(|pair| pair[0].at < pair[1].at));
}

#[tokio::test]
async fn an_act_that_cannot_be_ends_the_connection_with_the_reason() {
    let server = Server::new().await;
    let mut worker = server.worker(&["workflow order"]).await;
    server.start(json!({"definition": "order"})).await.is(201);
    let offer = worker.offer().await;
    let call = Call {
        function: "f".to_owned(),
        input: json!({}).into(),
        queue: String::new(),
        priority: 99,
        timeout_ms: None,
        retry: vec![],
        at_most_once: false,
    };
    worker.progress(&offer, 1, vec![Act::Call { tag: 0, path: "f".to_owned(), call: Box::new(call) }]).await;
    let mut said = String::new();
    while let Some(message) = worker.next().await {
        write!(said, "{message:?}").unwrap();
    }
    assert!(said.contains("bad_act") && said.contains("99"), "{said}");
}

#[tokio::test]
async fn a_workflow_stands_in_a_queue_and_takes_no_options_of_its_steps() {
    let server = Server::new().await;
    let options = json!({"definition": "order", "kind": "workflow", "queue": "slow", "priority": 7});
    let run = server.start(options).await;
    assert_eq!((run.status, &run.body["state"]), (201, &json!("queued")), "{}", run.text);
    let refused =
        server.start(json!({"definition": "order", "kind": "workflow", "at_most_once": true})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("at_most_once is an option of tasks"), "{}", refused.text);
    let listed = server.get("/v1/runs?kind=workflow").await;
    assert_eq!(listed.status, 200, "{}", listed.text);
}
