//! W4: sleepers. Many runs that sleep durably: the memory of each, and how late they wake.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::http::{Answer, Connection, Request};
use crate::load::{Otherwise, closed_loop};
use crate::numbers::percentile;
use crate::report::{Figure, Report, higher, lower};
use crate::settings::{Settings, Subject};
use crate::systems::Used;
use crate::systems::dbos::{self, Dbos};
use crate::systems::restate::{self, Restate};
use crate::systems::riverrun::{Riverrun, Workers};
use crate::workloads::w2::CLIENTS;

/// Sleepers unless another number is given.
const SLEEPERS: usize = 10_000;
/// Sleepers of DBOS: it starts about a hundred a second.
const DBOS_SLEEPERS: usize = 1_000;
/// How long the last of them may take to wake.
const LIMIT: Duration = Duration::from_mins(10);
/// A page of a list.
const PAGE: usize = 1_000;

/// What only this workload is told.
#[derive(Debug, Clone, Copy, Args)]
pub struct Sleep {
    /// How long each run sleeps, in seconds; longer than it takes to start them all
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub sleep: u32,
}

/// Measures it.
pub async fn run(settings: &Settings, sleep: Sleep) -> io::Result<()> {
    let count = settings.count.unwrap_or(SLEEPERS);
    let mut report = Report::new(format!("W4: {count} runs asleep for {} s", sleep.sleep));
    for _ in 0..settings.rounds {
        if settings.wants(Subject::Riverrun) {
            let figures = riverrun(settings, count, sleep.sleep).await?;
            report.add("Riverrun, flow", figures);
        }
        if settings.wants(Subject::Restate) {
            report.add(restate::NAME, restate(settings, count, sleep.sleep).await?);
        }
        if settings.wants(Subject::Dbos) {
            report.add(dbos::NAME, dbos(settings, count.min(DBOS_SLEEPERS), sleep.sleep)?);
        }
    }
    report.finish(settings)
}

async fn riverrun(settings: &Settings, count: usize, sleep: u32) -> io::Result<Vec<Figure>> {
    let mut riverrun = Riverrun::start(settings, Workers::None).await?;
    let source =
        format!("version: v1\ntype: flow\nsteps:\n  - type: wait\n    name: Nap\n    duration: {sleep}\n");
    riverrun.deploy("nap", &source).await?;
    let before = riverrun.stand.used();
    let request = Request::post("/v1/runs", &json!({"definition": "nap"}));
    let one = move |_| request.clone();
    let load = closed_loop(riverrun.stand.address, CLIENTS, count, one, Otherwise::Stop, |_, _| ()).await?;
    let asleep = riverrun.stand.used();
    let rest = at_rest(&riverrun, count, sleep).await?;
    riverrun.until("riverrun_runs_succeeded_total", count as f64, LIMIT).await?;
    let after = riverrun.stand.used();
    let late = lateness(&riverrun, f64::from(sleep) * 1e3).await?;
    let mut figures = figures(count, load.wall, before, asleep, &late);
    if let Some(rest) = rest {
        let grown = rest.engine.resident as f64 - before.engine.resident as f64;
        figures.push(lower("memory per sleeper at rest, bytes", grown / count as f64));
    }
    figures.push(lower(
        "engine CPU ms per sleeper",
        (after.engine.cpu - before.engine.cpu) * 1e3 / count as f64,
    ));
    figures.push(lower("engine peak MB", after.engine.peak as f64 / 1e6));
    riverrun.stand.engine.kill();
    Ok(figures)
}

/// What the engine uses once a checkpoint has left nothing of the sleepers but stubs; `None` if they wake before.
async fn at_rest(riverrun: &Riverrun, count: usize, sleep: u32) -> io::Result<Option<Used>> {
    let limit = Instant::now() + Duration::from_secs(u64::from(sleep)) / 2;
    while riverrun.metric("riverrun_runs_sleeping").await? < count as f64 {
        if Instant::now() > limit {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was freed is given back to the system a little later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(Some(riverrun.stand.used()))
}

/// By how many milliseconds each run woke late, and was ended.
async fn lateness(riverrun: &Riverrun, sleep_ms: f64) -> io::Result<Vec<f64>> {
    let moment = |run: &Value, name: &str| -> io::Result<f64> {
        let text = run[name].as_str().unwrap_or_default();
        let stamp: jiff::Timestamp = text.parse().map_err(io::Error::other)?;
        Ok(stamp.as_millisecond() as f64)
    };
    let mut late = Vec::new();
    let mut cursor = String::new();
    let mut connection = Connection::new(riverrun.stand.address);
    loop {
        let path = format!("/v1/runs?definition=nap&limit={PAGE}{cursor}");
        let page = connection.send(&Request::get(&path)).await?.accepted()?.json();
        for run in page["items"].as_array().into_iter().flatten() {
            late.push(moment(run, "ended_at")? - moment(run, "created_at")? - sleep_ms);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(late),
        }
    }
}

async fn restate(settings: &Settings, count: usize, sleep: u32) -> io::Result<Vec<Figure>> {
    let restate = Restate::start(settings).await?;
    let before = restate.stand.used();
    let milliseconds = json!(u64::from(sleep) * 1000);
    let request = move |number: usize| restate::send("nap", &milliseconds, &format!("nap-{number}"));
    let ids = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let taken = ids.clone();
    let seen = move |_: usize, answer: Answer| {
        taken.borrow_mut().push(answer.json()["invocationId"].as_str().unwrap_or_default().to_owned());
    };
    let load = closed_loop(restate::INGRESS, CLIENTS, count, request, Otherwise::Stop, seen).await?;
    let asleep = restate.stand.used();
    restate.until_idle("nap").await?;
    let late = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let taken = late.clone();
    let ids = ids.take();
    let request = move |number: usize| Request::get(&format!("/restate/invocation/{}/output", ids[number]));
    let seen = move |_: usize, answer: Answer| taken.borrow_mut().extend(answer.json().as_f64());
    closed_loop(restate::INGRESS, 16, count, request, Otherwise::Stop, seen).await?;
    let late = late.take();
    Ok(figures(count, load.wall, before, asleep, &late))
}

fn dbos(settings: &Settings, count: usize, sleep: u32) -> io::Result<Vec<Figure>> {
    let mut dbos = Dbos::start(settings)?;
    let used =
        |dbos: &Dbos| Used { engine: dbos.program.process.usage(), worker: crate::process::Usage::default() };
    let before = used(&dbos);
    let start = Instant::now();
    dbos.program.tell(&json!({"do": "naps", "count": count, "seconds": sleep}))?;
    let answer = dbos.program.answer()?;
    let after = used(&dbos);
    let wall = Duration::from_secs_f64(answer["start_s"].as_f64().unwrap_or(start.elapsed().as_secs_f64()));
    // Its sleepers are never all asleep at the same moment, so the peak stands for the memory.
    let mut peak = after;
    peak.engine.resident = after.engine.peak;
    Ok(figures(count, wall, before, peak, &dbos::numbers(&answer, "late_ms")))
}

fn figures(count: usize, wall: Duration, before: Used, asleep: Used, late: &[f64]) -> Vec<Figure> {
    let grown = |before: u64, asleep: u64| (asleep as f64 - before as f64) / count as f64;
    let engine = grown(before.engine.resident, asleep.engine.resident);
    let worker = grown(before.worker.resident, asleep.worker.resident);
    vec![
        lower("late p99 ms", percentile(late, 99.0)),
        lower("late p50 ms", percentile(late, 50.0)),
        lower("late max ms", percentile(late, 100.0)),
        lower("memory per sleeper, bytes", engine + worker),
        lower("of these in the engine", engine),
        higher("started/s", count as f64 / wall.as_secs_f64()),
    ]
}
