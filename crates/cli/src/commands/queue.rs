//! `riverrun queue`: list, show, pause, drain, empty and limit queues, and see to dead letters.

use std::time::{Duration, Instant};

use riverrun_wire::http::{Changed, DeadQuery, Duration as WireDuration, LimitBody, QueueBody, QueueItem};

use crate::args::{
    Dead, DeadChange, DeadFilter, DeadList, OneQueue, Queue, QueueDrain, QueueEmpty, QueueLimit,
};
use crate::commands::top;
use crate::error::CliError;
use crate::exit::Exit;
use crate::house::{Session, with};
use crate::input;
use crate::printer::{Printer, dim};
use crate::show;

/// The longest time that one request waits for a queue to drain.
const WAIT: Duration = Duration::from_secs(20);

/// Does one of the commands.
pub async fn queue(printer: &Printer, command: Queue) -> Result<Exit, CliError> {
    match command {
        Queue::List(args) => with(printer, &args.target, async |session| list(printer, session).await).await,
        Queue::Show(args) => {
            with(printer, &args.target, async |session| show_one(printer, session, &args).await).await
        }
        Queue::Pause(args) => {
            with(printer, &args.target, async |session| steer(printer, session, &args, "pause").await).await
        }
        Queue::Resume(args) => {
            with(printer, &args.target, async |session| steer(printer, session, &args, "resume").await).await
        }
        Queue::Drain(args) => {
            with(printer, &args.queue.target, async |session| drain(printer, session, &args).await).await
        }
        Queue::Empty(args) => {
            with(printer, &args.queue.target, async |session| empty(printer, session, &args).await).await
        }
        Queue::Limit(args) => {
            with(printer, &args.target, async |session| limit(printer, session, &args).await).await
        }
        Queue::Top(args) => {
            with(printer, &args.target, async |session| top::top(printer, session, &args).await).await
        }
        Queue::Dead(Dead::List(args)) => {
            with(printer, &args.target, async |session| dead(printer, session, &args).await).await
        }
        Queue::Dead(Dead::Retry(args)) => change_dead(printer, &args, "retry").await,
        Queue::Dead(Dead::Delete(args)) => change_dead(printer, &args, "delete").await,
    }
}

async fn list(printer: &Printer, session: &Session) -> Result<Exit, CliError> {
    let queues = session.client.queues(None).await?;
    if printer.is_json() {
        printer.json(&queues);
    } else if queues.items.is_empty() {
        printer.note("no queue has anything in it, and none was used since the server was started");
    } else {
        printer.text(&show::queues(&queues.items));
    }
    hint_unserved(printer, &queues.items);
    Ok(Exit::Ok)
}

/// Says what nobody takes, and what to do about it.
fn hint_unserved(printer: &Printer, queues: &[QueueItem]) {
    for queue in queues.iter().filter(|queue| queue.unserved) {
        let unserved = queue.functions.iter().filter(|function| function.unserved);
        let names: Vec<&str> = unserved.map(|function| function.function.as_str()).collect();
        printer.note(&dim(&format!(
            "queue {}: no worker takes {}; `riverrun worker FOLDER` starts one",
            queue.queue,
            names.join(", ")
        )));
    }
}

async fn show_one(printer: &Printer, session: &Session, args: &OneQueue) -> Result<Exit, CliError> {
    let queues = session.client.queues(Some(&args.queue)).await?;
    for queue in &queues.items {
        if printer.is_json() {
            printer.json(queue);
        } else {
            printer.text(&show::queue(queue));
        }
    }
    hint_unserved(printer, &queues.items);
    Ok(Exit::Ok)
}

fn body(session: &Session, args: &OneQueue, wait: Option<Duration>) -> QueueBody {
    let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    QueueBody {
        queue: args.queue.clone(),
        namespace: Some(session.client.namespace().to_owned()),
        wait: wait.map(|wait| WireDuration::from_ms(ms(wait))),
    }
}

async fn steer(printer: &Printer, session: &Session, args: &OneQueue, what: &str) -> Result<Exit, CliError> {
    let queue = session.client.steer_queue(what, &body(session, args, None)).await?;
    told(printer, &queue);
    Ok(Exit::Ok)
}

/// Says how a queue stands after a change.
fn told(printer: &Printer, queue: &QueueItem) {
    if printer.is_json() {
        printer.json(queue);
    } else {
        let how = if queue.paused { "is paused" } else { "goes on" };
        let QueueItem { queue: name, waiting, running, .. } = queue;
        printer.note(&format!("queue {name} {how}: {waiting} waiting, {running} running"));
    }
}

async fn drain(printer: &Printer, session: &Session, args: &QueueDrain) -> Result<Exit, CliError> {
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    loop {
        let left = deadline.map_or(WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
        let body = body(session, &args.queue, Some(left.min(WAIT)));
        let queue = session.client.steer_queue("drain", &body).await?;
        let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if queue.running == 0 || over {
            if printer.is_live() {
                printer.end_live();
            }
            told(printer, &queue);
            return Ok(if queue.running == 0 { Exit::Ok } else { Exit::StillOpen });
        }
        if printer.is_live() {
            printer.live(&format!("{} still running in {}", queue.running, queue.queue));
        }
    }
}

async fn empty(printer: &Printer, session: &Session, args: &QueueEmpty) -> Result<Exit, CliError> {
    let name = &args.queue.queue;
    if !args.yes {
        let queues = session.client.queues(Some(name)).await?;
        let waiting: usize = queues.items.iter().map(|queue| queue.waiting).sum();
        return Err(CliError::usage(
            format!(
                "{waiting} in queue {name} would be cancelled, and what of it is delayed or waits for another try"
            ),
            "say --yes to do it",
        ));
    }
    let mut all = Changed { changed: 0, more: true };
    while all.more {
        let part = session.client.empty_queue(&body(session, &args.queue, None)).await?;
        all = Changed { changed: all.changed + part.changed, more: part.more && part.changed > 0 };
        if printer.is_live() && all.more {
            printer.live(&format!("{} cancelled", all.changed));
        }
    }
    if printer.is_live() {
        printer.end_live();
    }
    tell_changed(printer, &all, "cancelled");
    Ok(Exit::Ok)
}

fn tell_changed(printer: &Printer, changed: &Changed, what: &str) {
    if printer.is_json() {
        printer.json(changed);
    } else {
        printer.note(&format!("{} {what}", changed.changed));
    }
}

async fn limit(printer: &Printer, session: &Session, args: &QueueLimit) -> Result<Exit, CliError> {
    if args.max_running.is_none() && args.rate.is_none() {
        return Err(CliError::usage(
            "there is nothing to set",
            "give --max-running N or --rate 30/s, or `none` to lift one",
        ));
    }
    let named = |wanted: bool| wanted.then(|| args.name.clone());
    let body = LimitBody {
        queue: named(!args.key),
        concurrency_key: named(args.key),
        namespace: Some(session.client.namespace().to_owned()),
        max_running: args.max_running.map(|limit| limit.0),
        rate: args.rate.map(|limit| limit.0.map(|rate| rate.to_string())),
    };
    let changed = session.client.limit(&body).await?;
    if printer.is_json() {
        printer.json(&changed);
    } else {
        let what = if args.key { "concurrency key" } else { "queue" };
        printer.note(&format!("the limits of {what} {} are set", args.name));
    }
    Ok(Exit::Ok)
}

fn dead_query(session: &Session, filter: &DeadFilter) -> DeadQuery {
    DeadQuery {
        namespace: Some(session.client.namespace().to_owned()),
        queue: filter.queue.clone(),
        definition: filter.definition.clone(),
        error: filter.error.clone(),
        ..DeadQuery::default()
    }
}

async fn dead(printer: &Printer, session: &Session, args: &DeadList) -> Result<Exit, CliError> {
    let query = DeadQuery {
        limit: Some(args.limit),
        cursor: args.after.clone(),
        ..dead_query(session, &args.filter)
    };
    let page = session.client.dead(&query).await?;
    if printer.is_json() {
        printer.json(&page);
    } else if page.items.is_empty() {
        printer.note("no dead letters");
    } else {
        printer.text(&show::dead(&page.items));
    }
    if let Some(cursor) = page.next_cursor.filter(|_| !printer.is_json()) {
        printer.note(&dim(&format!("there are more: --after {cursor}")));
    }
    Ok(Exit::Ok)
}

async fn change_dead(printer: &Printer, args: &DeadChange, what: &str) -> Result<Exit, CliError> {
    let run = args.run.as_ref().map(|run| input::run_id(run, &args.target)).transpose()?;
    with(printer, &args.target, async |session| {
        let done = if what == "retry" { "go on" } else { "removed" };
        if let Some(run) = run {
            let query = DeadQuery { run: Some(run), ..DeadQuery::default() };
            let changed = session.client.change_dead(what, &query).await?;
            tell_changed(printer, &changed, done);
            return Ok(Exit::Ok);
        }
        let query = dead_query(session, &args.filter);
        let mut all = Changed { changed: 0, more: false };
        loop {
            let part = session.client.change_dead(what, &query).await?;
            all.changed += part.changed;
            if !part.more || part.changed == 0 {
                tell_changed(printer, &all, done);
                return Ok(Exit::Ok);
            }
        }
    })
    .await
}
