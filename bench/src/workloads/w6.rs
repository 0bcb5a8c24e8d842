//! W6: a long history. A million finished runs: how long starts take while checkpoints are written, what lists, filters and looks at one run
//! cost then, how much disk it is, and how long a server needs to start on it. Peers are not measured here.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use serde_json::json;

use crate::http::{Connection, Request};
use crate::load::{Otherwise, closed_loop};
use crate::numbers::percentile;
use crate::process::own_cpu;
use crate::report::{Figure, Report, costs, higher, lower};
use crate::settings::Settings;
use crate::systems::riverrun::{Riverrun, Workers};
use crate::workloads::w2::CLIENTS;

/// Runs.
const RUNS: usize = 1_000_000;
/// How many different labels they have.
const LABELS: usize = 1_000;
/// How often each read is tried.
const READS: usize = 50;
/// Ids that are kept to be read again.
const KEPT: usize = 1_000;

/// Measures it, once whatever the number of rounds.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(RUNS);
    let mut report = Report::new(format!("W6: {count} finished runs"));
    let mut riverrun = Riverrun::start(settings, Workers::None).await?;
    riverrun.deploy("pass", "version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: P\n").await?;
    let (mut figures, ids) = fill(&riverrun, count).await?;
    figures.extend(reads(&riverrun, &ids, "").await?);
    figures.push(lower("disk bytes/run", size(riverrun.data())? as f64 / count as f64));
    figures.push(lower("resident MB", riverrun.stand.used().engine.resident as f64 / 1e6));
    riverrun.stand.engine.end()?;
    let start = riverrun.restart().await?;
    figures.push(lower("start after SIGTERM ms", start.as_secs_f64() * 1e3));
    figures.push(lower("resident MB after that", riverrun.stand.used().engine.resident as f64 / 1e6));
    figures.push(lower("disk bytes/run after that", size(riverrun.data())? as f64 / count as f64));
    figures.extend(reads(&riverrun, &ids, "restarted: ").await?);
    let some = count.min(50_000);
    fill(&riverrun, some).await?;
    riverrun.stand.engine.kill();
    let start = riverrun.restart().await?;
    figures.push(lower("start after SIGKILL ms", start.as_secs_f64() * 1e3));
    report.add("Riverrun, flow", figures);
    report.finish(settings)
}

/// Starts runs that end at once. Ids of some of them come back.
async fn fill(riverrun: &Riverrun, count: usize) -> io::Result<(Vec<Figure>, Vec<String>)> {
    let (before, client) = (riverrun.stand.used(), own_cpu());
    let request = |number: usize| {
        let labels = json!({"customer": format!("c{}", number % LABELS)});
        Request::post("/v1/runs", &json!({"definition": "pass", "input": {"n": number}, "labels": labels}))
    };
    let ids = Rc::new(RefCell::new(Vec::new()));
    let kept = ids.clone();
    let every = (count / KEPT).max(1);
    let seen = move |number: usize, answer: crate::http::Answer| {
        if number.is_multiple_of(every) {
            kept.borrow_mut().push(answer.json()["run_id"].as_str().unwrap_or_default().to_owned());
        }
    };
    let load = closed_loop(riverrun.stand.address, CLIENTS, count, request, Otherwise::Stop, seen).await?;
    let latencies = load.latencies_ms();
    let mut figures = vec![
        higher("started and finished/s", load.rate()),
        lower("start p50 ms", percentile(&latencies, 50.0)),
        lower("start p99 ms", percentile(&latencies, 99.0)),
        lower("start p99.9 ms", percentile(&latencies, 99.9)),
        lower("start max ms", percentile(&latencies, 100.0)),
    ];
    let used = riverrun.stand.used().since(before);
    figures.extend(costs(used, own_cpu() - client, count));
    Ok((figures, ids.take()))
}

/// The medians of reads.
async fn reads(riverrun: &Riverrun, ids: &[String], when: &str) -> io::Result<Vec<Figure>> {
    let mut connection = Connection::new(riverrun.stand.address);
    let mut figures = Vec::new();
    let lists = [
        ("list newest 100 ms", "/v1/runs"),
        ("list definition + state ms", "/v1/runs?definition=pass&state=succeeded"),
        ("list state without match ms", "/v1/runs?state=failed"),
        ("list one label ms", "/v1/runs?label=customer%3Dc77"),
        ("count ms", "/v1/runs/count?definition=pass"),
    ];
    for (name, path) in lists {
        let paths = vec![path.to_owned(); READS];
        figures.push(lower(format!("{when}{name}"), middle(&mut connection, &paths).await?));
    }
    let step = (ids.len() / READS).max(1);
    let paths: Vec<_> = ids.iter().step_by(step).map(|id| format!("/v1/runs/{id}")).collect();
    figures.push(lower(format!("{when}get one ms"), middle(&mut connection, &paths).await?));
    let paths: Vec<_> = ids.iter().step_by(step).map(|id| format!("/v1/runs/{id}/journal")).collect();
    figures.push(lower(format!("{when}journal of one ms"), middle(&mut connection, &paths).await?));
    Ok(figures)
}

async fn middle(connection: &mut Connection, paths: &[String]) -> io::Result<f64> {
    let mut times = Vec::new();
    for path in paths {
        let start = Instant::now();
        connection.send(&Request::get(path)).await?.accepted()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(percentile(&times, 50.0))
}

/// The bytes of the files in a directory.
fn size(directory: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.metadata()?;
        sum += if found.is_dir() { size(&entry.path())? } else { found.len() };
    }
    Ok(sum)
}
