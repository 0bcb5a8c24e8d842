//! The Rust worker that is measured: a process of its own, started by the workloads.

use std::io;

use riverrun_worker::sdk::{Ctx, Error, TaskCtx, Worker};
use serde_json::{Value, json};

/// Executes the workflow `steps` and the task `rust_noop` for a server until the process is told to end.
pub async fn run(server: &str, slots: u32) -> io::Result<()> {
    let worker = Worker::builder(server)
        .slots(slots)
        .workflow("steps", steps)
        .task("rust_noop", noop)
        .build()
        .map_err(io::Error::other)?;
    worker.run_until_signal().await.map_err(io::Error::other)
}

/// So many durable steps, one after another.
async fn steps(ctx: Ctx, input: Value) -> Result<u64, Error> {
    let mut sum = 0;
    for _ in 0..input["steps"].as_u64().unwrap_or(0) {
        let done: Value = ctx.step("step", || async { Ok(json!({"i": 1})) }).await?;
        sum += done["i"].as_u64().unwrap_or(0);
    }
    Ok(sum)
}

async fn noop(_: TaskCtx, input: Value) -> Result<Value, Error> {
    Ok(input)
}
