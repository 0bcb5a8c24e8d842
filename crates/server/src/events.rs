//! Server-sent events: a run's journal as it becomes durable.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use riverrun_engine::Watch;
use riverrun_kernel::{JournalRow, RunId};
use riverrun_wire::http::{JournalQuery, Run};

use crate::app::Shared;
use crate::extract::{Params, RunPath};
use crate::journal::{is_shown, line};
use crate::problem::Refused;

/// Entries read at once.
const READ: usize = 256;

/// `GET /v1/runs/{run}/events`: an `entry` event for each journal entry, whose id is its number, and an `end` event with the run when it is closed.
/// A client that comes back with `Last-Event-ID` misses nothing.
pub(crate) async fn events(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    headers: HeaderMap,
    Params(query): Params<JournalQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let after = last_seen(&headers)?.or(query.after).unwrap_or(0);
    // Asked for before the answer begins, so that an unknown run is a 404 and no empty stream.
    app.engine.run(run).await?;
    let feed = Feed {
        watch: app.engine.watch(run),
        run,
        after,
        internal: query.internal,
        read: VecDeque::new(),
        complete: false,
        ended: false,
        app: app.clone(),
    };
    let keep_alive = KeepAlive::new().interval(app.config.limits.keep_alive);
    let stream = unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    });
    Ok(Sse::new(stream).keep_alive(keep_alive))
}

fn last_seen(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        Refused::invalid("Last-Event-ID is not a number: send the id of the last event that came")
    })
}

/// One client's place in a journal.
struct Feed {
    app: Shared,
    watch: Watch,
    run: RunId,
    /// The last entry that was read.
    after: u64,
    internal: bool,
    read: VecDeque<JournalRow>,
    /// All entries were read, and the run is closed.
    complete: bool,
    ended: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(row) = self.read.pop_front() {
                if self.internal || is_shown(&row) {
                    return Some(entry(&row));
                }
            }
            if self.ended {
                return None;
            }
            if self.complete {
                self.ended = true;
                return Some(self.end().await);
            }
            if let Err(refused) = self.read_on().await? {
                self.ended = true;
                return Some(event("end", self.after, refused.problem()));
            }
        }
    }

    /// Reads what is new, and waits where nothing is. `None` when the server stops: the stream ends without an `end`, and the
    /// client comes back.
    async fn read_on(&mut self) -> Option<Result<(), Refused>> {
        let journal = match self.app.engine.journal(self.run, self.after, READ).await {
            Ok(journal) => journal,
            Err(error) => return Some(Err(error.into())),
        };
        self.complete = journal.complete;
        let Some(last) = journal.rows.last() else {
            if self.complete {
                return Some(Ok(()));
            }
            tokio::select! {
                () = self.watch.changed() => return Some(Ok(())),
                () = self.app.stopping.cancelled() => return None,
            }
        };
        self.after = last.seq;
        self.read.extend(journal.rows);
        Some(Ok(()))
    }

    async fn end(&self) -> Event {
        match self.app.engine.run(self.run).await {
            Ok(view) => event("end", self.after, &Run::from(view)),
            Err(error) => event("end", self.after, Refused::from(error).problem()),
        }
    }
}

fn entry(row: &JournalRow) -> Event {
    match line(row) {
        Ok(line) => event("entry", row.seq, &line),
        Err(refused) => event("error", row.seq, refused.problem()),
    }
}

fn event(name: &str, id: u64, data: &impl serde::Serialize) -> Event {
    // JSON text holds no line break, and the values were JSON before.
    let text = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    Event::default().event(name).id(id.to_string()).data(text)
}
