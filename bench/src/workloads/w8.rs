//! W8: idle pick-up. A task is submitted to a system in which nothing goes on: how long until its function begins, by its own clock, and
//! how long until the client that waits has its answer.

use std::io;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::http::{Connection, Request};
use crate::numbers::percentile;
use crate::report::{Figure, Report, lower};
use crate::settings::{Settings, Subject};
use crate::systems::program::numbers;
use crate::systems::redis::{Kind, Queue};
use crate::systems::riverrun::{self, Riverrun, Workers};

/// Tasks in a round.
const TASKS: usize = 1_000;
/// Before each task nothing goes on for so long.
const PAUSE: Duration = Duration::from_millis(5);
/// Tasks before the first that counts.
const FIRST: usize = 20;

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(TASKS);
    let mut report = Report::new(format!("W8: idle pick-up of {count} tasks"));
    if settings.wants(Subject::Riverrun) {
        let riverrun = Riverrun::start(settings, Workers::Python(2)).await?;
        own(settings, &mut report, "Riverrun, Python", &riverrun, "clock", count).await?;
        let mut client = riverrun::client(settings, &riverrun)?;
        client.ask(&ask(FIRST))?;
        for _ in 0..settings.rounds {
            let answer = client.ask(&ask(count))?;
            let (begun, answered) = (numbers(&answer, "begun_ms"), numbers(&answer, "answered_ms"));
            report.add("Riverrun, Python, its Python client", figures(&begun, &answered));
        }
    }
    if settings.wants(Subject::Rust) {
        let riverrun = Riverrun::start(settings, Workers::Rust(2)).await?;
        own(settings, &mut report, "Riverrun, Rust", &riverrun, "rust_clock", count).await?;
    }
    for kind in Kind::ALL.into_iter().filter(|kind| settings.wants(kind.subject())) {
        let mut queue = Queue::start(settings, kind)?;
        queue.serve(settings)?;
        for _ in 0..settings.rounds {
            let answer = queue.client.ask(&ask(count))?;
            let (begun, answered) = (numbers(&answer, "begun_ms"), numbers(&answer, "answered_ms"));
            report.add(kind.name(), figures(&begun, &answered));
        }
    }
    report.finish(settings)
}

fn ask(count: usize) -> serde_json::Value {
    json!({"do": "pickup", "count": count, "pause_s": PAUSE.as_secs_f64()})
}

async fn own(
    settings: &Settings,
    report: &mut Report,
    name: &str,
    riverrun: &Riverrun,
    task: &str,
    count: usize,
) -> io::Result<()> {
    let request = Request::post("/v1/runs", &json!({"definition": task, "kind": "task", "wait": "60s"}));
    let mut connection = Connection::new(riverrun.stand.address);
    one_by_one(&mut connection, &request, FIRST).await?;
    for _ in 0..settings.rounds {
        let (begun, answered) = one_by_one(&mut connection, &request, count).await?;
        report.add(name, figures(&begun, &answered));
    }
    Ok(())
}

async fn one_by_one(
    connection: &mut Connection,
    request: &Request,
    count: usize,
) -> io::Result<(Vec<f64>, Vec<f64>)> {
    let (mut begun, mut answered) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        tokio::time::sleep(PAUSE).await;
        let sent = unix_seconds();
        let run = connection.send(request).await?.accepted()?.json();
        answered.push((unix_seconds() - sent) * 1e3);
        let began = run["output"].as_f64();
        let began = began.ok_or_else(|| io::Error::other(format!("the task did not succeed: {run}")))?;
        begun.push((began - sent) * 1e3);
    }
    Ok((begun, answered))
}

/// The present moment, in seconds since 1970: what the tasks read, too.
pub fn unix_seconds() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

fn figures(begun: &[f64], answered: &[f64]) -> Vec<Figure> {
    vec![
        lower("begun p99 ms", percentile(begun, 99.0)),
        lower("begun p50 ms", percentile(begun, 50.0)),
        lower("answered p99 ms", percentile(answered, 99.0)),
        lower("answered p50 ms", percentile(answered, 50.0)),
    ]
}
