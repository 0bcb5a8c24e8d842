//! The workflow that is hammered beside the flow, and its worker: this test program, started once more.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use riverrun_worker::sdk::{CancellationToken, Ctx, Result, Worker};
use serde_json::{Map, Value, json};

use super::history::History;

/// The workflow's name.
pub const NAME: &str = "hammered-code";
/// Where the worker finds the server, and the history.
const SERVER: &str = "RIVERRUN_HAMMER_SERVER";
const HISTORY: &str = "RIVERRUN_HAMMER_HISTORY";

/// Starts a worker with the workflow.
pub fn start_worker(url: &str, history: &Path, log: std::fs::File) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--exact", "hammer::code::a_worker_in_rust", "--ignored", "--nocapture"])
        .env(SERVER, url)
        .env(HISTORY, history)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

/// The other half of the hammer.
#[tokio::test]
#[ignore = "started by the test that kills it"]
async fn a_worker_in_rust() {
    let (Ok(server), Some(history)) = (std::env::var(SERVER), std::env::var_os(HISTORY)) else { return };
    let history: &'static History = Box::leak(Box::new(History::open(Path::new(&history))));
    let worker = Worker::builder(&server)
        .workflow(NAME, move |ctx, input| hammered(ctx, input, history))
        .slots(16)
        .build()
        .expect("a worker");
    let shutdown = CancellationToken::new();
    let working = tokio::spawn(worker.run(shutdown.clone()));
    let mut asked =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
    asked.recv().await;
    shutdown.cancel();
    working.await.expect("it does not panic").expect("it ends well");
}

/// Two steps, a wait that parks the code in some runs, and a third step. The same output as the flow's.
async fn hammered(ctx: Ctx, input: Value, history: &'static History) -> Result<Value> {
    let number = input["n"].as_u64().unwrap_or_default();
    let run = ctx.run_id();
    let mut output = Map::new();
    for step in 1..=3_u64 {
        if step == 3 {
            ctx.sleep(Duration::from_millis(number % 7 * 10)).await?;
        }
        let name = format!("after{step}");
        let value = ctx
            .step(&name, || async {
                let whom = format!("{run}/{name}");
                history.note("begin", &whom);
                tokio::time::sleep(Duration::from_millis(number % 5)).await;
                history.note("end", &whom);
                Ok(number * 10 + step)
            })
            .await?;
        output.insert(name.clone(), json!(value));
    }
    Ok(Value::Object(output))
}
