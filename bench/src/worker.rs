//! The Rust worker that is measured: a process of its own, started by the workloads.

use std::fs::File;
use std::io::{self, Write};

use riverrun_worker::sdk::{Ctx, Error, TaskCtx, Worker};
use serde_json::{Value, json};

use crate::workloads::w8::unix_seconds;

/// Executes the workflow `steps` and the tasks of the queue's workloads for a server until the process is told to end.
pub async fn run(server: &str, slots: u32) -> io::Result<()> {
    let worker = Worker::builder(server)
        .slots(slots)
        .workflow("steps", steps)
        .task("rust_noop", noop)
        .task("rust_clock", clock)
        .task("rust_late", late)
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

/// When it began.
async fn clock(_: TaskCtx, _: Value) -> Result<f64, Error> {
    Ok(unix_seconds())
}

/// Notes by how many milliseconds it began after the moment that it was due.
async fn late(_: TaskCtx, input: Value) -> Result<(), Error> {
    let late = (unix_seconds() - input["due"].as_f64().unwrap_or_default()) * 1e3;
    let path = std::env::var_os("BENCH_MARKS").unwrap_or_default();
    let mut file = File::options().create(true).append(true).open(path).map_err(failed)?;
    file.write_all(format!("{late:.3}\n").as_bytes()).map_err(failed)
}

fn failed(error: io::Error) -> Error {
    Error::terminal("NoMark", error.to_string())
}
