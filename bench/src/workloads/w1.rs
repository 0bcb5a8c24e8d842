//! W1: the time of one durable step. A run of 100 steps one after another, nothing else going on; and a run of one step, from its start to
//! its answer.

use std::io;
use std::net::SocketAddr;

use serde_json::json;

use crate::http::Request;
use crate::load::{Otherwise, closed_loop};
use crate::numbers::percentile;
use crate::process::own_cpu;
use crate::report::{Figure, Report, costs, lower};
use crate::settings::{Settings, Subject};
use crate::systems::dbos::{self, Dbos};
use crate::systems::restate::{self, Restate};
use crate::systems::riverrun::{self, Riverrun, Workers};
use crate::systems::{Stand, Used};

/// Steps of a run.
const STEPS: usize = 100;
/// Runs of 100 steps in a round.
const RUNS: usize = 10;
/// Runs of one step in a round.
const SHORT_RUNS: usize = 200;

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let mut report = Report::new("W1: 100 durable steps one after another, and a run of one step");
    if settings.wants(Subject::Riverrun) {
        let riverrun = Riverrun::start(settings, Workers::Python(1)).await?;
        riverrun.deploy("hundred", &riverrun::calls("bench/step", STEPS)).await?;
        riverrun.deploy("one", &riverrun::calls("bench/step", 1)).await?;
        let (hundred, one) = (riverrun::run("hundred"), riverrun::run("one"));
        rounds(settings, &mut report, "Riverrun, flow, Python", &riverrun.stand, &hundred, &one).await?;
    }
    if settings.wants(Subject::Rust) {
        let riverrun = Riverrun::start(settings, Workers::Rust(1)).await?;
        let (hundred, one) = (riverrun::run_steps(STEPS), riverrun::run_steps(1));
        rounds(settings, &mut report, "Riverrun, workflow, Rust", &riverrun.stand, &hundred, &one).await?;
    }
    if settings.wants(Subject::Restate) {
        let restate = Restate::start(settings).await?;
        let (hundred, one) = (restate::steps(STEPS), restate::steps(1));
        rounds(settings, &mut report, restate::NAME, &restate.stand, &hundred, &one).await?;
    }
    if settings.wants(Subject::Dbos) {
        let mut dbos = Dbos::start(settings)?;
        let ask =
            |count: usize, steps: usize| json!({"do": "steps", "clients": 1, "count": count, "steps": steps});
        dbos.program.ask(&ask(3, STEPS))?;
        for _ in 0..settings.rounds {
            let before = dbos.program.process.usage();
            let long = dbos::numbers(&dbos.program.ask(&ask(RUNS, STEPS))?, "latencies_ms");
            let engine = dbos.program.process.usage().since(before);
            let short = dbos::numbers(&dbos.program.ask(&ask(SHORT_RUNS, 1))?, "latencies_ms");
            let used = Used { engine, worker: crate::process::Usage::default() };
            report.add(dbos::NAME, figures(&long, &short, used, 0.0));
        }
    }
    report.finish(settings)
}

async fn rounds(
    settings: &Settings,
    report: &mut Report,
    name: &str,
    stand: &Stand,
    hundred: &Request,
    one: &Request,
) -> io::Result<()> {
    load(stand.address, hundred, 3).await?;
    for _ in 0..settings.rounds {
        let (before, client) = (stand.used(), own_cpu());
        let long = load(stand.address, hundred, RUNS).await?;
        let (used, client) = (stand.used().since(before), own_cpu() - client);
        let short = load(stand.address, one, SHORT_RUNS).await?;
        report.add(name, figures(&long, &short, used, client));
    }
    Ok(())
}

async fn load(address: SocketAddr, request: &Request, count: usize) -> io::Result<Vec<f64>> {
    let request = request.clone();
    let load = closed_loop(address, 1, count, move |_| request.clone(), Otherwise::Stop, |_, _| ()).await?;
    Ok(load.latencies_ms())
}

/// From the latencies of long and short runs, in milliseconds.
fn figures(long: &[f64], short: &[f64], used: Used, client: f64) -> Vec<Figure> {
    let mut figures = vec![
        lower("ms/step", percentile(long, 50.0) / STEPS as f64),
        lower("one-step run p50 ms", percentile(short, 50.0)),
        lower("one-step run p99 ms", percentile(short, 99.0)),
    ];
    figures.extend(costs(used, client, RUNS));
    figures
}
