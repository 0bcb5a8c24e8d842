//! W2: throughput. Runs of three steps from 64 clients, each of which waits for its run's end before it starts the next.

use std::io;
use std::net::SocketAddr;

use serde_json::json;

use crate::http::Request;
use crate::load::{Load, Otherwise, closed_loop};
use crate::numbers::percentile;
use crate::process::{Usage, own_cpu};
use crate::report::{Figure, Report, costs, higher, lower};
use crate::settings::{Settings, Subject};
use crate::systems::dbos::{self, Dbos};
use crate::systems::restate::{self, Restate};
use crate::systems::riverrun::{self, Riverrun, Workers};
use crate::systems::{Stand, Used};

/// Steps of a run.
const STEPS: usize = 3;
/// Clients.
pub const CLIENTS: usize = 64;
/// Runs in a round.
const RUNS: usize = 2_000;
/// Runs of DBOS in a round: it is slower, and its figures do not change with the number.
const DBOS_RUNS: usize = 500;

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(RUNS);
    let mut report = Report::new(format!("W2: {count} runs of {STEPS} steps, {CLIENTS} at once"));
    if settings.wants(Subject::Riverrun) {
        let riverrun = Riverrun::start(settings, Workers::Python(settings.children)).await?;
        riverrun.deploy("three", &riverrun::calls("bench/step", STEPS)).await?;
        let request = |_: usize, _: usize| riverrun::run("three");
        rounds(settings, &mut report, "Riverrun, flow, Python", &riverrun.stand, count, request).await?;
    }
    if settings.wants(Subject::Rust) {
        let riverrun = Riverrun::start(settings, Workers::Rust(CLIENTS)).await?;
        let request = |_: usize, _: usize| riverrun::run_steps(STEPS);
        rounds(settings, &mut report, "Riverrun, workflow, Rust", &riverrun.stand, count, request).await?;
    }
    if settings.wants(Subject::Restate) {
        let restate = Restate::start(settings).await?;
        let request = |round, number| restate::kept_steps(STEPS, &format!("{round}-{number}"));
        rounds(settings, &mut report, restate::NAME, &restate.stand, count, request).await?;
    }
    if settings.wants(Subject::Dbos) {
        let count = count.min(DBOS_RUNS);
        let mut dbos = Dbos::start(settings)?;
        let ask = |count: usize| json!({"do": "steps", "clients": CLIENTS, "count": count, "steps": STEPS});
        dbos.program.ask(&ask(50))?;
        for _ in 0..settings.rounds {
            let before = dbos.program.process.usage();
            let answer = dbos.program.ask(&ask(count))?;
            let used = Used { engine: dbos.program.process.usage().since(before), worker: Usage::default() };
            let rate = count as f64 / answer["wall_s"].as_f64().unwrap_or(f64::INFINITY);
            report.add(dbos::NAME, figures(rate, &dbos::numbers(&answer, "latencies_ms"), used, 0.0, count));
        }
    }
    report.finish(settings)
}

async fn rounds(
    settings: &Settings,
    report: &mut Report,
    name: &str,
    stand: &Stand,
    count: usize,
    request: impl Fn(usize, usize) -> Request + Copy + 'static,
) -> io::Result<()> {
    load(stand.address, count / 10, move |number| request(0, number)).await?;
    for round in 1..=settings.rounds {
        let (before, client) = (stand.used(), own_cpu());
        let load = load(stand.address, count, move |number| request(round, number)).await?;
        let (used, client) = (stand.used().since(before), own_cpu() - client);
        report.add(name, figures(load.rate(), &load.latencies_ms(), used, client, count));
    }
    Ok(())
}

async fn load(
    address: SocketAddr,
    count: usize,
    request: impl Fn(usize) -> Request + 'static,
) -> io::Result<Load> {
    closed_loop(address, CLIENTS, count, request, Otherwise::Stop, |_, _| ()).await
}

fn figures(rate: f64, latencies: &[f64], used: Used, client: f64, count: usize) -> Vec<Figure> {
    let mut figures = vec![
        higher("steps/s", rate * STEPS as f64),
        higher("runs/s", rate),
        lower("p50 ms", percentile(latencies, 50.0)),
        lower("p99 ms", percentile(latencies, 99.0)),
    ];
    figures.extend(costs(used, client, count));
    figures
}
