//! W10: delayed tasks. A million of them, due at moments without order over an hour: how late, by its own clock, the function of each begins.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::http::Request;
use crate::load::{Otherwise, closed_loop};
use crate::numbers::percentile;
use crate::report::{Figure, Report, higher, lower, plain};
use crate::settings::{Settings, Subject};
use crate::systems::redis::{Kind, Queue};
use crate::systems::riverrun::{Riverrun, Workers};
use crate::workloads::w8::unix_seconds;

/// Tasks.
const TASKS: usize = 1_000_000;
/// Tasks of peers: Celery's workers keep all of them in their own memory, and both enqueue some hundreds a second.
const PEER_TASKS: usize = 5_000;
/// Tasks in one call, and clients that make calls.
const BULK: usize = 500;
const CLIENTS: usize = 4;
/// Attempts that the Rust worker has at once.
const SLOTS: usize = 64;
/// Enqueuing is given so many tasks a second, before the first of them is due.
const ENQUEUED: f64 = 6_000.0;
/// The same of peers.
const PEER_ENQUEUED: f64 = 100.0;

/// Those that are due are watched so many seconds longer, so that who is late is seen.
const LONGER: f64 = 5.0;

/// What only this workload is told.
#[derive(Debug, Clone, Copy, Args)]
pub struct Span {
    /// Over how long the tasks are due, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60.0)]
    pub span: f64,
    /// How long those that are due are watched, in minutes from the first; the rest never begins
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0)]
    pub minutes: f64,
}

/// When which task is due.
struct Plan {
    count: usize,
    first: f64,
    span: f64,
}

/// Measures it, once whatever the number of rounds.
pub async fn run(settings: &Settings, span: Span) -> io::Result<()> {
    let count = settings.count.unwrap_or(TASKS);
    let title =
        format!("W10: {count} delayed tasks over {} minutes, {} of them watched", span.span, span.minutes);
    let mut report = Report::new(title);
    if settings.wants(Subject::Rust) {
        report.add("Riverrun, Rust", own(settings, Workers::Rust(SLOTS), "rust_late", count, span).await?);
    }
    if settings.wants(Subject::Riverrun) {
        report.add("Riverrun, Python", own(settings, Workers::Python(2), "late", count, span).await?);
    }
    for kind in [Kind::RqSimple, Kind::Celery].into_iter().filter(|kind| settings.wants(kind.subject())) {
        report.add(kind.name(), peer(settings, kind, count.min(PEER_TASKS), span)?);
    }
    report.finish(settings)
}

async fn own(
    settings: &Settings,
    workers: Workers,
    task: &str,
    count: usize,
    span: Span,
) -> io::Result<Vec<Figure>> {
    fs::write(settings.marks(), "")?;
    let mut riverrun = Riverrun::start(settings, Workers::None).await?;
    riverrun.employ(settings, workers).await?;
    let before = riverrun.stand.used().engine;
    let plan = Plan::new(count, ENQUEUED, span);
    let (first, name) = (plan.first, task.to_owned());
    let request = move |piece: usize| {
        let numbers = piece * BULK..count.min((piece + 1) * BULK);
        let runs: Vec<_> = numbers.map(|number| delayed(&name, plan.due(number))).collect();
        Request::post("/v1/runs/batch", &json!({"runs": runs}))
    };
    let pieces = count.div_ceil(BULK);
    let address = riverrun.stand.address;
    let load = closed_loop(address, CLIENTS, pieces, request, Otherwise::Again, |_, _| ()).await?;
    let left = first - unix_seconds();
    let rest = riverrun.stand.used().engine;
    watch(first, span).await;
    let after = riverrun.stand.used().engine;
    let mut figures = figures(settings, count, span, left)?;
    figures.push(higher("enqueued/s", count as f64 / load.wall.as_secs_f64()));
    let grown = (rest.resident as f64 - before.resident as f64) / count as f64;
    figures.push(lower("bytes per delayed task", grown));
    figures.push(lower("engine CPU s, all told", after.cpu - before.cpu));
    figures.push(lower("engine peak MB", after.peak as f64 / 1e6));
    riverrun.stand.engine.kill();
    Ok(figures)
}

fn delayed(task: &str, due: f64) -> serde_json::Value {
    // A date has milliseconds here.
    let due = (due * 1e3).round() as i64;
    let date = jiff::Timestamp::from_millisecond(due).unwrap_or_default().to_string();
    json!({"definition": task, "kind": "task", "input": {"due": due as f64 / 1e3}, "run_at": date})
}

/// Until what is watched is over, and those that are late have had time.
async fn watch(first: f64, span: Span) {
    let end = first + span.minutes.min(span.span) * 60.0 + LONGER;
    tokio::time::sleep(Duration::from_secs_f64((end - unix_seconds()).max(0.0))).await;
}

fn peer(settings: &Settings, kind: Kind, count: usize, span: Span) -> io::Result<Vec<Figure>> {
    fs::write(settings.marks(), "")?;
    let mut queue = Queue::start(settings, kind)?;
    queue.employ_with_scheduler(settings)?;
    let plan = Plan::new(count, PEER_ENQUEUED, span);
    let due: Vec<f64> = (0..count).map(|number| plan.due(number)).collect();
    let start = Instant::now();
    queue.client.ask(&json!({"do": "late", "due": due, "path": settings.marks()}))?;
    let enqueued = start.elapsed();
    let left = plan.first - unix_seconds();
    let end = plan.first + span.minutes.min(span.span) * 60.0 + LONGER;
    std::thread::sleep(Duration::from_secs_f64((end - unix_seconds()).max(0.0)));
    let mut figures = figures(settings, count, span, left)?;
    figures.push(higher("enqueued/s", count as f64 / enqueued.as_secs_f64()));
    Ok(figures)
}

impl Plan {
    fn new(count: usize, rate: f64, span: Span) -> Plan {
        let first = unix_seconds() + 5.0 + count as f64 / rate;
        Plan { count, first, span: span.span * 60.0 }
    }

    /// Any moment of the span, and the same for the same number: numbers that follow each other are far apart.
    fn due(&self, number: usize) -> f64 {
        let mut mixed =
            (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        debug_assert!(number < self.count, "there are only so many");
        self.first + part * self.span
    }
}

fn figures(settings: &Settings, count: usize, span: Span, left: f64) -> io::Result<Vec<Figure>> {
    if left < 0.0 {
        return Err(io::Error::other(
            "the first tasks were due before the last were enqueued; ask for fewer",
        ));
    }
    let text = fs::read_to_string(settings.marks())?;
    let late: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let watched = span.minutes + LONGER / 60.0;
    let expected = count as f64 * (watched / span.span).min(1.0);
    Ok(vec![
        lower("late p99 ms", percentile(&late, 99.0)),
        lower("late p50 ms", percentile(&late, 50.0)),
        lower("late p99.9 ms", percentile(&late, 99.9)),
        lower("late max ms", percentile(&late, 100.0)),
        plain("begun", late.len() as f64),
        plain("due in the time watched, about", expected),
    ])
}
