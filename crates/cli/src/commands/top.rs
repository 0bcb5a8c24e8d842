//! `riverrun queue top`: queues and workers, live.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use riverrun_wire::http::{QueueItem, WorkerItem};

use crate::args::QueueTop;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::Session;
use crate::printer::{Printer, bold, dim};
use crate::show;

/// What the counters of a queue showed at the last look.
type Counters = HashMap<(String, String), (u64, u64)>;

/// Starts and ends of a queue in each second.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Attempts begun.
    pub started: f64,
    /// Steps ended.
    pub ended: f64,
}

/// Draws queues and workers again and again: on a terminal in place, elsewhere once or as often as asked.
pub async fn top(printer: &Printer, session: &Session, args: &QueueTop) -> Result<Exit, CliError> {
    let live = printer.is_screen();
    let mut left = args.count.or((!live).then_some(1));
    let mut before: Option<(Instant, Counters)> = None;
    loop {
        let looked = Instant::now();
        let queues = session.client.queues(None).await?.items;
        let workers = session.client.workers().await?.items;
        if printer.is_json() {
            printer.json(&serde_json::json!({ "queues": queues, "workers": workers }));
        } else {
            let paces = paces(&queues, looked, before.as_ref());
            let text = frame(session, &queues, &workers, &paces);
            if live {
                printer.screen(&text);
            } else {
                printer.text(&text);
            }
        }
        let counters = queues.iter().map(|queue| (name(queue), (queue.started, queue.ended))).collect();
        before = Some((looked, counters));
        if let Some(left) = &mut left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(Exit::Ok);
            }
        }
        let next = args.every.max(Duration::from_millis(50)).saturating_sub(looked.elapsed());
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            // Who watches leaves so.
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
        }
    }
}

fn name(queue: &QueueItem) -> (String, String) {
    (queue.namespace.clone(), queue.queue.clone())
}

fn paces(
    queues: &[QueueItem],
    now: Instant,
    before: Option<&(Instant, Counters)>,
) -> HashMap<(String, String), Pace> {
    let Some((then, counters)) = before else { return HashMap::new() };
    let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
    let pace = |queue: &QueueItem| {
        let (started, ended) = counters.get(&name(queue)).copied().unwrap_or_default();
        // A server that was started again counts from nothing.
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (name(queue), Pace { started: rate(queue.started, started), ended: rate(queue.ended, ended) })
    };
    queues.iter().map(pace).collect()
}

fn frame(
    session: &Session,
    queues: &[QueueItem],
    workers: &[WorkerItem],
    paces: &HashMap<(String, String), Pace>,
) -> String {
    let waiting: usize = queues.iter().map(|queue| queue.waiting).sum();
    let running: u32 = queues.iter().map(|queue| queue.running).sum();
    let minute: u64 = queues.iter().map(|queue| queue.last_minute).sum();
    let slots: u32 = workers.iter().map(|worker| worker.slots).sum();
    let head = format!(
        "{}  {}  {}",
        bold(&format!("{waiting} waiting, {running} running, {minute} done in the last minute")),
        dim(&format!("workers {}, slots {slots}", workers.len())),
        dim(session.client.url())
    );
    let mut text =
        format!("{head}\n\n{}", show::queues_live(queues, |queue| paces.get(&name(queue)).copied()));
    if !workers.is_empty() {
        text.push('\n');
        text.push_str(&show::workers(workers));
    }
    text
}
