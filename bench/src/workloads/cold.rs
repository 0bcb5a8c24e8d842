//! From the start of the process to its first answer, with nothing kept yet, and the memory of a server that has nothing to do.

use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::report::{Figure, Report, lower};
use crate::settings::{Settings, Subject};
use crate::systems::dbos::{self, Dbos};
use crate::systems::restate::{self, Restate};
use crate::systems::riverrun::{Riverrun, Workers};
use crate::systems::{Stand, Used};

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let mut report = Report::new("Cold start and idle memory");
    for _ in 0..settings.rounds {
        if settings.wants(Subject::Riverrun) {
            let riverrun = Riverrun::start(settings, Workers::Python(2)).await?;
            report.add("Riverrun", figures(riverrun.cold_start, &riverrun.stand));
        }
        if settings.wants(Subject::Restate) {
            let start = Instant::now();
            let restate = Restate::start(settings).await?;
            report.add(restate::NAME, figures(start.elapsed(), &restate.stand));
        }
        if settings.wants(Subject::Dbos) {
            let start = Instant::now();
            let mut dbos = Dbos::start(settings)?;
            dbos.program.ask(&json!({"do": "steps", "clients": 1, "count": 1, "steps": 1}))?;
            let used =
                Used { engine: dbos.program.process.usage(), worker: crate::process::Usage::default() };
            report.add(dbos::NAME, of(start.elapsed(), used));
        }
    }
    report.finish(settings)
}

fn figures(start: Duration, stand: &Stand) -> Vec<Figure> {
    of(start, stand.used())
}

fn of(start: Duration, used: Used) -> Vec<Figure> {
    vec![
        lower("to the first answer ms", start.as_secs_f64() * 1e3),
        lower("engine resident MB", used.engine.resident as f64 / 1e6),
        lower("worker resident MB", used.worker.resident as f64 / 1e6),
    ]
}
