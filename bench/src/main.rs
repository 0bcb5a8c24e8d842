//! Measures Riverrun beside its peers: one command per workload, medians of several rounds, results appended to `RESULTS.md`.
//!
//! Each system is started anew for each workload and ended after it. The client, this program, runs on the same machine, on one
//! thread; what it costs stands in the results.

mod http;
mod load;
mod machine;
mod numbers;
mod process;
mod report;
mod settings;
mod systems;
mod worker;
mod workloads;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::Settings;
use crate::workloads::{cold, flows, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10};

/// Measures Riverrun beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// One durable step after another, and a run of one step
    W1(Settings),
    /// 2,000 runs of 3 steps, 64 at once
    W2(Settings),
    /// Enqueue and finish 20,000 no-op tasks
    W3(Settings),
    /// 10,000 runs asleep
    W4 {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        sleep: w4::Sleep,
    },
    /// kill -9 of the engine in the middle of W2
    W5(Settings),
    /// A million finished runs
    W6(Settings),
    /// The task queue beside RQ and Celery: 20,000 no-op tasks, one by one and in bulk
    W7(Settings),
    /// Idle pick-up
    W8(Settings),
    /// A million queued tasks
    W9(Settings),
    /// A million delayed tasks
    W10 {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        span: w10::Span,
    },
    /// Pass steps, a foreach over 10,000 items, the check of a long flow
    Flows(Settings),
    /// Cold start and idle memory
    Cold(Settings),
    /// The Rust worker that the others start
    #[command(hide = true)]
    Worker {
        /// The server's address
        server: String,
        /// Attempts at once
        slots: u32,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let workload = Arguments::parse().workload;
    // What was started ends with this program, so it must not be ended before it can see to that.
    let result = tokio::select! {
        result = run(workload) => result,
        _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        () = told_to_end() => Err(io::Error::other("told to end")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!(
                "riverrun-bench: {error}; the logs of the systems are in the work directory"
            ));
            ExitCode::FAILURE
        }
    }
}

async fn run(workload: Workload) -> io::Result<()> {
    match workload {
        Workload::W1(settings) => w1::run(&settings).await,
        Workload::W2(settings) => w2::run(&settings).await,
        Workload::W3(settings) => w3::run(&settings).await,
        Workload::W4 { settings, sleep } => w4::run(&settings, sleep).await,
        Workload::W5(settings) => w5::run(&settings).await,
        Workload::W6(settings) => w6::run(&settings).await,
        Workload::W7(settings) => w7::run(&settings).await,
        Workload::W8(settings) => w8::run(&settings).await,
        Workload::W9(settings) => w9::run(&settings).await,
        Workload::W10 { settings, span } => w10::run(&settings, span).await,
        Workload::Flows(settings) => flows::measure(&settings).await,
        Workload::Cold(settings) => cold::run(&settings).await,
        Workload::Worker { server, slots } => worker::run(&server, slots).await,
    }
}

async fn told_to_end() {
    if let Ok(mut signal) = signal(SignalKind::terminate()) {
        signal.recv().await;
    }
}
