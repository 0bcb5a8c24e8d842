//! W7: the task queue beside RQ and Celery on Redis. Tasks that do nothing are enqueued, one by one and in bulk, while two processes execute
//! them; the end is when the last one's result is kept.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Request;
use crate::load::{Otherwise, closed_loop};
use crate::process::own_cpu;
use crate::report::{Figure, Report, costs, higher};
use crate::settings::{Settings, Subject};
use crate::systems::Used;
use crate::systems::program::number;
use crate::systems::redis::{Kind, Queue};
use crate::systems::riverrun::{self, Riverrun, Workers};
use crate::workloads::w2::CLIENTS;

/// Tasks in a round.
const TASKS: usize = 20_000;
/// Tasks of RQ in a round: it is slower, and its figures do not change with the number.
const RQ_TASKS: usize = 2_000;
/// The same where it forks for each.
const RQ_FORKING_TASKS: usize = 400;
/// Tasks in one call.
const BULK: usize = 500;
/// Clients that enqueue in bulk.
const BULK_CLIENTS: usize = 4;
/// Attempts that the Rust worker has at once.
pub const SLOTS: usize = 256;
/// How long a round may take.
const LIMIT: Duration = Duration::from_mins(10);

/// How tasks are enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// One by one, from 64 clients of this program.
    Single,
    /// So many in one call, from four clients of this program.
    Bulk,
    /// One by one, by one Python process.
    PythonSingle,
    /// So many in one call, by one Python process.
    PythonBulk,
}

/// A round's times.
struct Round {
    wall: Duration,
    enqueued: Duration,
    client: f64,
}

/// Measures it.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(TASKS);
    let mut report = Report::new(format!("W7: the task queue: {count} no-op tasks, two processes"));
    if settings.wants(Subject::Riverrun) {
        let riverrun = Riverrun::start(settings, Workers::Python(2)).await?;
        for how in [How::Single, How::Bulk, How::PythonSingle, How::PythonBulk] {
            own(settings, &mut report, &riverrun, "noop", how, count).await?;
        }
    }
    if settings.wants(Subject::Rust) {
        let riverrun = Riverrun::start(settings, Workers::Rust(SLOTS)).await?;
        for how in [How::Single, How::Bulk] {
            own(settings, &mut report, &riverrun, "rust_noop", how, count).await?;
        }
    }
    for kind in Kind::ALL.into_iter().filter(|kind| settings.wants(kind.subject())) {
        let count = match kind {
            Kind::RqForking => count.min(RQ_FORKING_TASKS),
            Kind::RqSimple => count.min(RQ_TASKS),
            Kind::Celery | Kind::CeleryTuned => count,
        };
        let mut queue = Queue::start(settings, kind)?;
        queue.serve(settings)?;
        for how in [How::PythonSingle, How::PythonBulk] {
            peer(settings, &mut report, &mut queue, kind, how, count)?;
        }
    }
    report.finish(settings)
}

async fn own(
    settings: &Settings,
    report: &mut Report,
    riverrun: &Riverrun,
    task: &str,
    how: How,
    count: usize,
) -> io::Result<()> {
    let mut client = match how {
        How::PythonSingle | How::PythonBulk => Some(riverrun::client(settings, riverrun)?),
        How::Single | How::Bulk => None,
    };
    let worker = if task == "noop" { "Riverrun, Python" } else { "Riverrun, Rust" };
    for round in 0..=settings.rounds {
        let before = riverrun.stand.used();
        let ended = riverrun.metric("riverrun_runs_succeeded_total").await?;
        let (start, cpu) = (Instant::now(), own_cpu());
        let mut seconds = 0.0;
        let enqueued = match (how, &mut client) {
            (_, Some(client)) => {
                let answer = client.ask(&how.command(count))?;
                seconds = number(&answer, "cpu_s");
                Duration::from_secs_f64(number(&answer, "wall_s"))
            }
            (How::Single, None) => {
                let body = json!({"definition": task, "kind": "task", "input": {"i": 1}});
                let request = Request::post("/v1/runs", &body);
                let one = move |_| request.clone();
                let address = riverrun.stand.address;
                closed_loop(address, CLIENTS, count, one, Otherwise::Stop, |_, _| ()).await?.wall
            }
            (_, None) => bulk(riverrun, task, count).await?,
        };
        riverrun.until("riverrun_runs_succeeded_total", ended + count as f64, LIMIT).await?;
        let times = Round { wall: start.elapsed(), enqueued, client: seconds + own_cpu() - cpu };
        let used = riverrun.stand.used().since(before);
        // The first round warms up.
        if round > 0 {
            report.add(&format!("{worker}, {}", how.name()), figures(&times, used, count));
        }
    }
    Ok(())
}

/// Enqueues so many tasks in pieces, and how long that took.
pub async fn bulk(riverrun: &Riverrun, task: &str, count: usize) -> io::Result<Duration> {
    let one = json!({"definition": task, "kind": "task", "input": {"i": 1}});
    let pieces = count.div_ceil(BULK);
    let request = move |piece: usize| {
        let size = BULK.min(count - piece * BULK);
        Request::post("/v1/runs/batch", &json!({"runs": vec![&one; size]}))
    };
    let address = riverrun.stand.address;
    // A server that has too much to write down says so, and is asked again.
    Ok(closed_loop(address, BULK_CLIENTS, pieces, request, Otherwise::Again, |_, _| ()).await?.wall)
}

fn peer(
    settings: &Settings,
    report: &mut Report,
    queue: &mut Queue,
    kind: Kind,
    how: How,
    count: usize,
) -> io::Result<()> {
    for _ in 0..settings.rounds {
        let before = queue.used();
        let ended = queue.ended()?;
        let start = Instant::now();
        let enqueued = queue.client.ask(&how.command(count))?;
        let waited = queue.client.ask(&json!({"do": "wait", "ended": ended + count as f64}))?;
        let times = Round {
            wall: start.elapsed(),
            enqueued: Duration::from_secs_f64(number(&enqueued, "wall_s")),
            client: number(&enqueued, "cpu_s") + number(&waited, "cpu_s"),
        };
        let used = queue.used().since(before);
        report.add(&format!("{}, {}", kind.name(), how.name()), figures(&times, used, count));
    }
    Ok(())
}

impl How {
    fn name(self) -> String {
        match self {
            How::Single => format!("one by one from {CLIENTS} clients"),
            How::Bulk => format!("{BULK} a call from {BULK_CLIENTS} clients"),
            How::PythonSingle => "one by one from Python".to_owned(),
            How::PythonBulk => format!("{BULK} a call from Python"),
        }
    }

    fn command(self, count: usize) -> Value {
        let bulk = if self == How::PythonBulk { BULK } else { 0 };
        json!({"do": "enqueue", "count": count, "bulk": bulk})
    }
}

fn figures(times: &Round, used: Used, count: usize) -> Vec<Figure> {
    let mut figures = vec![
        higher("tasks/s", count as f64 / times.wall.as_secs_f64()),
        higher("enqueued/s", count as f64 / times.enqueued.as_secs_f64()),
    ];
    figures.extend(costs(used, times.client, count));
    figures
}
