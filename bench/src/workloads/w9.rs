//! W9: a long queue. A million tasks that nobody executes yet: what each weighs in the server's memory, how long a server needs to start on
//! them, and how fast they are given out then, beside a queue that is almost empty.

use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::report::{Figure, Report, higher, lower, plain};
use crate::settings::{Settings, Subject};
use crate::systems::program::number;
use crate::systems::redis::{Kind, Queue};
use crate::systems::riverrun::{Riverrun, Workers};
use crate::workloads::w7::{SLOTS, bulk};

/// Tasks.
const TASKS: usize = 1_000_000;
/// Tasks of peers: what each weighs does not depend on the number, and they are enqueued slowly.
const PEER_TASKS: usize = 50_000;
/// So many are given out while the rate is taken, and so many stand in a queue that is almost empty.
const SAMPLE: usize = 20_000;
/// The same of peers.
const PEER_SAMPLE: usize = 1_000;
/// How long all of them may take.
const LIMIT: Duration = Duration::from_mins(30);

/// Measures it, once whatever the number of rounds.
pub async fn run(settings: &Settings) -> io::Result<()> {
    let count = settings.count.unwrap_or(TASKS);
    let mut report = Report::new(format!("W9: {count} queued tasks"));
    if settings.wants(Subject::Riverrun) {
        let figures = own(settings, Workers::Python(2), "noop", count).await?;
        report.add("Riverrun, Python", figures);
    }
    if settings.wants(Subject::Rust) {
        let figures = own(settings, Workers::Rust(SLOTS), "rust_noop", count).await?;
        report.add("Riverrun, Rust", figures);
    }
    for kind in [Kind::RqSimple, Kind::Celery].into_iter().filter(|kind| settings.wants(kind.subject())) {
        report.add(kind.name(), peer(settings, kind, count.min(PEER_TASKS))?);
    }
    report.finish(settings)
}

async fn own(settings: &Settings, workers: Workers, task: &str, count: usize) -> io::Result<Vec<Figure>> {
    let sample = SAMPLE.min(count / 5);
    let mut riverrun = Riverrun::start(settings, Workers::None).await?;
    bulk(&riverrun, task, sample).await?;
    riverrun.employ(settings, workers).await?;
    let short = rate(&riverrun, sample).await?;
    drop(riverrun);

    let mut riverrun = Riverrun::start(settings, Workers::None).await?;
    let before = riverrun.stand.used().engine.resident as f64;
    let enqueued = bulk(&riverrun, task, count).await?;
    let after = riverrun.stand.used().engine;
    at_rest(&riverrun).await?;
    let each = |resident: f64| (resident - before) / count as f64;
    let rest = riverrun.stand.used().engine;
    let mut figures = vec![
        lower("bytes per queued task at rest", each(rest.resident as f64)),
        lower("bytes per queued task right after the last", each(after.resident as f64)),
        lower("bytes per queued task at most", each(rest.peak as f64)),
    ];
    riverrun.stand.engine.kill();
    let start = riverrun.restart().await?;
    let resident = riverrun.stand.used().engine.resident as f64;
    figures.push(lower("bytes per queued task after a restart", each(resident)));
    figures.push(lower("start after SIGKILL ms", start.as_secs_f64() * 1e3));
    figures.push(higher("enqueued/s", count as f64 / enqueued.as_secs_f64()));
    let (before, begun) = (riverrun.stand.used(), Instant::now());
    riverrun.employ(settings, workers).await?;
    let long = rate(&riverrun, sample).await?;
    riverrun.until("riverrun_runs_succeeded_total", count as f64, LIMIT).await?;
    let used = riverrun.stand.used().since(before);
    figures.push(higher("given out/s, long queue", long));
    figures.push(higher("given out/s, almost empty", short));
    figures.push(higher("until the last: finished/s", count as f64 / begun.elapsed().as_secs_f64()));
    figures.push(lower("engine CPU ms/task", used.engine.cpu * 1e3 / count as f64));
    figures.push(lower("engine peak MB", used.engine.peak as f64 / 1e6));
    Ok(figures)
}

/// Tasks finished per second, without the workers' beginning.
async fn rate(riverrun: &Riverrun, sample: usize) -> io::Result<f64> {
    let metric = "riverrun_runs_succeeded_total";
    riverrun.until(metric, sample as f64 / 10.0, LIMIT).await?;
    let (start, first) = (Instant::now(), riverrun.metric(metric).await?);
    // The end of a queue is another thing than its middle.
    riverrun.until(metric, sample as f64 * 0.9, LIMIT).await?;
    let last = riverrun.metric(metric).await?;
    Ok((last - first) / start.elapsed().as_secs_f64())
}

/// Waits until the server's memory does not change any more.
async fn at_rest(riverrun: &Riverrun) -> io::Result<()> {
    let begun = Instant::now();
    let mut last = 0;
    let mut same = 0;
    while same < 4 {
        if begun.elapsed() > LIMIT {
            return Err(io::Error::other("the server did not come to rest"));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = riverrun.stand.used().engine.resident;
        let written = riverrun.metric("riverrun_checkpoint_slices_total").await? as u64 + now / (1 << 20);
        same = if written == last { same + 1 } else { 0 };
        last = written;
    }
    Ok(())
}

fn peer(settings: &Settings, kind: Kind, count: usize) -> io::Result<Vec<Figure>> {
    let sample = PEER_SAMPLE.min(count / 5);
    let enqueue = |count: usize| json!({"do": "enqueue", "count": count, "bulk": 500});
    let mut queue = Queue::start(settings, kind)?;
    queue.client.ask(&enqueue(sample))?;
    let short = peer_rate(settings, &mut queue, sample)?;
    drop(queue);

    let mut queue = Queue::start(settings, kind)?;
    let before = number(&queue.count()?, "memory");
    let enqueued = queue.client.ask(&enqueue(count))?;
    let counted = queue.count()?;
    let each = (number(&counted, "memory") - before) / count as f64;
    let long = peer_rate(settings, &mut queue, sample)?;
    Ok(vec![
        lower("bytes per queued task at rest", each),
        higher("enqueued/s", count as f64 / number(&enqueued, "wall_s")),
        higher("given out/s, long queue", long),
        higher("given out/s, almost empty", short),
        plain("tasks in the queue", count as f64),
    ])
}

fn peer_rate(settings: &Settings, queue: &mut Queue, sample: usize) -> io::Result<f64> {
    queue.employ(settings)?;
    let mut until = |ended: f64| queue.client.ask(&json!({"do": "wait", "ended": ended}));
    let first = number(&until(sample as f64 / 10.0)?, "ended");
    let start = Instant::now();
    let last = number(&until(sample as f64 * 0.9)?, "ended");
    Ok((last - first) / start.elapsed().as_secs_f64())
}
