//! W3: the task queue. No-op tasks are enqueued by 64 clients while workers execute them; the end is when the last one's result is kept.

use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{Answer, Request};
use crate::load::{Otherwise, closed_loop};
use crate::process::{Usage, own_cpu};
use crate::report::{Figure, Report, costs, higher};
use crate::settings::{Settings, Subject};
use crate::systems::Used;
use crate::systems::dbos::{self, Dbos};
use crate::systems::restate::{self, Restate};
use crate::systems::riverrun::{Riverrun, Workers};
use crate::workloads::w2::CLIENTS;

/// Tasks in a round.
const TASKS: usize = 20_000;
/// Tasks of DBOS in a round: it is slower, and its figures do not change with the number.
const DBOS_TASKS: usize = 500;
/// Attempts that the Rust worker has at once.
const SLOTS: usize = 256;
/// How long a round may take.
const LIMIT: Duration = Duration::from_mins(5);

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(TASKS);
    let mut report = Report::new(format!("W3: enqueue and finish {count} no-op tasks"));
    if settings.wants(Subject::Riverrun) {
        let riverrun = Riverrun::start(settings, Workers::Python(settings.children)).await?;
        tasks(settings, &mut report, "Riverrun, Python", &riverrun, "noop", count).await?;
    }
    if settings.wants(Subject::Rust) {
        let riverrun = Riverrun::start(settings, Workers::Rust(SLOTS)).await?;
        tasks(settings, &mut report, "Riverrun, Rust", &riverrun, "rust_noop", count).await?;
    }
    if settings.wants(Subject::Restate) {
        let restate = Restate::start(settings).await?;
        for round in 0..settings.rounds {
            let (before, client, start) = (restate.stand.used(), own_cpu(), Instant::now());
            let request =
                move |number: usize| restate::send("noop", &json!(number), &format!("{round}-{number}"));
            let load =
                closed_loop(restate::INGRESS, CLIENTS, count, request, Otherwise::Stop, nothing).await?;
            restate.until_idle("noop").await?;
            let (used, client) = (restate.stand.used().since(before), own_cpu() - client);
            report.add(restate::NAME, figures(start.elapsed(), load.wall, used, client, count));
        }
    }
    if settings.wants(Subject::Dbos) {
        let count = count.min(DBOS_TASKS);
        let mut dbos = Dbos::start(settings)?;
        for _ in 0..settings.rounds {
            let before = dbos.program.process.usage();
            let answer = dbos.program.ask(&json!({"do": "tasks", "count": count}))?;
            let used = Used { engine: dbos.program.process.usage().since(before), worker: Usage::default() };
            let time = |name: &str| Duration::from_secs_f64(answer[name].as_f64().unwrap_or_default());
            report.add(dbos::NAME, figures(time("wall_s"), time("enqueue_s"), used, 0.0, count));
        }
    }
    report.finish(settings)
}

async fn tasks(
    settings: &Settings,
    report: &mut Report,
    name: &str,
    riverrun: &Riverrun,
    task: &str,
    count: usize,
) -> io::Result<()> {
    let request = Request::post("/v1/runs", &json!({"definition": task, "kind": "task"}));
    for _ in 0..settings.rounds {
        let (before, client, start) = (riverrun.stand.used(), own_cpu(), Instant::now());
        let ended = riverrun.metric("riverrun_runs_succeeded_total").await?;
        let one = request.clone();
        let load = closed_loop(
            riverrun.stand.address,
            CLIENTS,
            count,
            move |_| one.clone(),
            Otherwise::Stop,
            nothing,
        )
        .await?;
        riverrun.until("riverrun_runs_succeeded_total", ended + count as f64, LIMIT).await?;
        let wall = start.elapsed();
        let (used, client) = (riverrun.stand.used().since(before), own_cpu() - client);
        report.add(name, figures(wall, load.wall, used, client, count));
    }
    Ok(())
}

fn nothing(_: usize, _: Answer) {}

fn figures(wall: Duration, enqueued: Duration, used: Used, client: f64, count: usize) -> Vec<Figure> {
    let mut figures = vec![
        higher("tasks/s", count as f64 / wall.as_secs_f64()),
        higher("enqueued/s", count as f64 / enqueued.as_secs_f64()),
    ];
    figures.extend(costs(used, client, count));
    figures
}
