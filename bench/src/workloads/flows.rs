//! Flows: what the interpreter costs. 1,000 pass steps in one run, a foreach over 10,000 items with a task that does nothing, and the
//! check of a flow of 5,000 steps. Peers are not measured here.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{Connection, Request};
use crate::numbers::percentile;
use crate::report::{Figure, Report, lower};
use crate::settings::{Settings, Subject};
use crate::systems::riverrun::{Riverrun, Workers, run};

/// Pass steps in one run.
const STEPS: usize = 1_000;
/// How often that run is made.
const RUNS: usize = 50;
/// Items of the foreach.
const ITEMS: usize = 10_000;
/// Attempts that the worker has at once: as many as a foreach has out.
const SLOTS: usize = 100;
/// Steps of the flow that is checked.
const CHECKED: usize = 5_000;
/// How long the foreach may take.
const LIMIT: Duration = Duration::from_mins(5);

/// Measures it.
pub async fn measure(settings: &Settings) -> io::Result<()> {
    let items = settings.count.unwrap_or(ITEMS);
    let mut report = Report::new(format!(
        "Flows: {STEPS} pass steps, foreach over {items} items, {CHECKED} steps checked"
    ));
    for _ in 0..settings.rounds {
        if settings.wants(Subject::Rust) {
            let riverrun = Riverrun::start(settings, Workers::Rust(SLOTS)).await?;
            let mut figures = passes(&riverrun).await?;
            figures.extend(each(&riverrun, items).await?);
            figures.push(check(&riverrun).await?);
            report.add("Riverrun, Rust worker", figures);
        }
    }
    report.finish(settings)
}

/// Steps that do nothing, by name.
fn passing(count: usize) -> String {
    let mut source = "version: v1\ntype: flow\nsteps:\n".to_owned();
    for step in 1..=count {
        // Writing to a String cannot fail.
        let _ = writeln!(source, "  - type: pass\n    name: S{step}");
    }
    source
}

/// A run of many pass steps, from the start to the answer; an empty one beside it, so that one can see what the request costs.
async fn passes(riverrun: &Riverrun) -> io::Result<Vec<Figure>> {
    riverrun.deploy("passes", &passing(STEPS)).await?;
    riverrun.deploy("one", &passing(1)).await?;
    let mut connection = Connection::new(riverrun.stand.address);
    let mut figures = Vec::new();
    for (name, definition) in [("1,000 pass steps ms", "passes"), ("one pass step ms", "one")] {
        let mut times = Vec::new();
        let mut engine = Duration::ZERO;
        for _ in 0..RUNS {
            let (before, start) = (riverrun.stand.used(), Instant::now());
            connection.send(&run(definition)).await?.accepted()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            engine += Duration::from_secs_f64(riverrun.stand.used().since(before).engine.cpu);
        }
        figures.push(lower(name, percentile(&times, 50.0)));
        let cpu = engine.as_secs_f64() * 1e3 / RUNS as f64;
        figures.push(lower(format!("{name}: engine CPU"), cpu));
    }
    Ok(figures)
}

/// A foreach, from the start to the answer, by item.
async fn each(riverrun: &Riverrun, items: usize) -> io::Result<Vec<Figure>> {
    let source = "version: v1\ntype: flow\nsteps:\n  - type: foreach\n    name: Each\n    iterationMapping: {collection: $.items, item: item}\n    \
                  steps:\n      - {type: task, name: Nothing, resourceArn: rust_noop, inputMappings: [{target: item, source: $input.item}]}\n";
    riverrun.deploy("each", source).await?;
    let list: Vec<usize> = (0..items).collect();
    let start = json!({"definition": "each", "input": {"items": list}, "wait": "60s"});
    let mut connection = Connection::new(riverrun.stand.address);
    let (before, begun) = (riverrun.stand.used(), Instant::now());
    let mut answer = connection.send(&Request::post("/v1/runs", &start)).await?.accepted()?.json();
    while answer["state"] != "succeeded" {
        let state = answer["state"].as_str().unwrap_or_default();
        if begun.elapsed() > LIMIT || state == "failed" {
            return Err(io::Error::other(format!("the foreach is {state}: {answer}")));
        }
        let run = answer["run_id"].as_str().unwrap_or_default();
        answer =
            connection.send(&Request::get(&format!("/v1/runs/{run}?wait=60s"))).await?.accepted()?.json();
    }
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let engine = riverrun.stand.used().since(before).engine.cpu * 1e3;
    Ok(vec![
        lower("foreach ms/item", took / items as f64),
        lower("foreach engine CPU ms/item", engine / items as f64),
    ])
}

/// Deploying reads and checks the whole flow, and keeps it.
async fn check(riverrun: &Riverrun) -> io::Result<Figure> {
    let mut times = Vec::new();
    for round in 0..5 {
        // The name of a step differs, so that it is a version of its own.
        let source = format!("{}  - type: pass\n    name: Round{round}\n", passing(CHECKED - 1));
        let start = Instant::now();
        riverrun.deploy("long", &source).await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(lower("check and keep 5,000 steps ms", percentile(&times, 50.0)))
}
