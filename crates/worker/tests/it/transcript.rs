//! The worker says what the transcript of `docs/worker-protocol` says.

use std::time::Duration;

use riverrun_wire::worker::{FromWorker, ToWorker};
use riverrun_worker::sdk::{Ctx, Error, Result, TaskCtx};
use serde_json::Value;

use crate::fake::{Fake, Peer, within};

#[tokio::test]
async fn the_worker_speaks_as_the_transcript() {
    let documented = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/worker-protocol");
    let transcript = std::fs::read_to_string(documented.join("session.jsonl")).expect("the transcript");
    let mut fake = Fake::new(&[]).await;
    fake.config.functions = documented.join("functions");
    fake.config.name = Some("host:4711".to_owned());
    fake.start();
    let mut peer = fake.accept().await;
    follow(&mut peer, &transcript).await;
}

#[tokio::test]
async fn the_sdk_speaks_as_the_transcript() {
    let documented = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/worker-protocol");
    let transcript = std::fs::read_to_string(documented.join("workflow.jsonl")).expect("the transcript");
    let mut fake = Fake::new(&[]).await;
    fake.start_functions(|worker| worker.workflow("order", order).task("ship", ship));
    let mut peer = fake.accept().await;
    follow(&mut peer, &transcript).await;
}

async fn order(ctx: Ctx, order: Value) -> Result<String> {
    let number = order["number"].as_u64().unwrap_or_default();
    let _: String = ctx.step("reserve", || async { Ok(format!("reservation of {number}")) }).await?;
    let charge = ctx.step("charge", || async { Err::<(), _>(Error::terminal("Declined", "no money")) });
    let charge = charge.at_most_once().await.expect_err("no money");
    ctx.sleep(Duration::from_hours(24)).await?;
    let address: String = ctx.signal("address").await?;
    ctx.set_status(&"shipping");
    let parcel: String = ctx.call("ship", &(number, address)).await?;
    Ok(format!("{parcel}, {}", charge.name()))
}

async fn ship(_: TaskCtx, (_, address): (u64, String)) -> Result<String> {
    Ok(format!("parcel to {address}"))
}

/// Says what the server says, and compares what the worker says.
async fn follow(peer: &mut Peer, transcript: &str) {
    for (number, line) in (1..).zip(transcript.lines()) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["from"] == "server" {
            let messages: Vec<ToWorker> = serde_json::from_value(line["messages"].clone()).expect("messages");
            peer.send(&messages).await;
            continue;
        }
        // How messages are spread over frames is a matter of timing.
        for expected in line["messages"].as_array().expect("an array") {
            let message = loop {
                match within(peer.read()).await.expect("a message") {
                    FromWorker::Beat {} => {}
                    message => break message,
                }
            };
            let said = serde_json::to_value(message).expect("JSON");
            assert_eq!(without_places(said), without_places(expected.clone()), "line {number}");
        }
    }
}

/// Without what differs from machine to machine and from process to process: where files are, tracebacks, what was drawn at random.
fn without_places(mut message: Value) -> Value {
    if let Some(process) = message.pointer_mut("/hello/incarnation/process") {
        *process = "…".into();
    }
    if let Some(details) = message.pointer_mut("/failed/failure/details/traceback") {
        *details = "…".into();
    }
    if let Some(functions) = message.pointer_mut("/hello/functions").and_then(Value::as_array_mut) {
        for function in functions.iter_mut().filter(|function| !function["broken"].is_null()) {
            let text = function["broken"].as_str().unwrap_or_default();
            let place = text.find("shop/").unwrap_or_default();
            function["broken"] = text[place..].into();
        }
        functions.sort_by_key(|function| function["name"].to_string());
    }
    message
}
