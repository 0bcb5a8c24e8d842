//! Histories of flow runs: the journal, told in the flow language's own events.
//!
//! Every event follows from all entries before it, so a client that reads page after page would have the journal folded from its
//! beginning for each. [`Histories`] keeps the last few places that were read to.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::Json as Answer;
use axum::extract::State;
use riverrun_kernel::{DefinitionKind, Json, RunId};
use riverrun_plan::Flow;
use riverrun_plan::history::{Event, History};
use riverrun_wire::http::{HistoryEvent, HistoryQuery, HistoryView, time};
use tokio::time::{Instant, timeout_at};

use crate::app::{App, Shared};
use crate::definitions::unknown;
use crate::extract::{Params, RunPath};
use crate::graph::parse;
use crate::paging::{MAX_PAGE, page_size};
use crate::problem::Refused;

/// Places that are kept.
const KEPT: usize = 8;
/// A page ends where its events have grown so large.
const PAGE_BYTES: usize = 4 << 20;

/// `GET /v1/runs/{run}/history`
pub(crate) async fn history(
    State(app): State<Shared>,
    RunPath(run): RunPath,
    Params(query): Params<HistoryQuery>,
) -> Result<Answer<HistoryView>, Refused> {
    let after = query.after.unwrap_or(0);
    let limit = page_size(query.limit.or(Some(MAX_PAGE)))?;
    let deadline = app.wait_limit(query.wait)?.map(|wait| Instant::now() + wait);
    let mut watch = app.engine.watch(run);
    loop {
        let page = page(&app, run, after, limit).await?;
        let is_over = deadline.is_none_or(|deadline| Instant::now() >= deadline);
        if page.complete || !page.events.is_empty() || is_over || app.stopping.is_cancelled() {
            let next_after = page.events.last().map_or(after, |event| event.id);
            let items = page.events.into_iter().map(shown).collect();
            return Ok(Answer(HistoryView { items, next_after, complete: page.complete }));
        }
        tokio::select! {
            _ = timeout_at(deadline.unwrap_or_else(Instant::now), watch.changed()) => {}
            () = app.stopping.cancelled() => {}
        }
    }
}

fn shown(event: Event) -> HistoryEvent {
    HistoryEvent {
        event_id: event.id,
        schedule_event_id: event.caused_by,
        kind: event.kind.as_str().to_owned(),
        step_name: event.step,
        time: time(event.at),
        event_detail: Json::trusted(event.detail),
    }
}

/// Part of a history.
pub(crate) struct Page {
    /// Events, in order.
    pub events: Vec<Event>,
    /// The run is closed, and these are its last ones.
    pub complete: bool,
    /// It is as long as it may be: there may be more already.
    pub is_full: bool,
    /// The last event that was read, also where none comes after the number that was asked for.
    pub last: u64,
}

/// The events of a flow's run that come after a number, at most so many.
pub(crate) async fn page(app: &App, run: RunId, after: u64, limit: usize) -> Result<Page, Refused> {
    let mut place = match app.histories.take(run, after) {
        Some(place) => place,
        None => Place::first(app, run).await?,
    };
    let mut events = Vec::new();
    let mut bytes = 0;
    let (complete, is_full) = loop {
        while events.len() < limit && bytes < PAGE_BYTES {
            let Some(event) = place.told.pop_front() else { break };
            place.last = event.id;
            if event.id > after {
                bytes += event.detail.len();
                events.push(event);
            }
        }
        let is_full = events.len() >= limit || bytes >= PAGE_BYTES;
        if is_full && !(place.complete && place.told.is_empty()) {
            break (false, true);
        }
        if place.complete {
            break (true, is_full);
        }
        if !place.read_on(app).await? {
            break (place.complete, is_full);
        }
    };
    let last = place.last;
    if !complete {
        app.histories.keep(place);
    }
    Ok(Page { events, complete, is_full, last })
}

/// How far a history was read.
struct Place {
    run: RunId,
    flow: Flow,
    history: History,
    /// The last entry that was read.
    read: u64,
    /// Events of it that nobody has been told.
    told: VecDeque<Event>,
    /// The last event that somebody was told.
    last: u64,
    /// Every entry of a closed run was read.
    complete: bool,
}

impl Place {
    async fn first(app: &App, run: RunId) -> Result<Place, Refused> {
        let reference = app.engine.run(run).await?.summary.definition;
        if reference.kind != DefinitionKind::Flow {
            return Err(Refused::invalid(format!(
                "{run} is a run of the {} `{}`: only runs of flows have a history, every run has a journal",
                reference.kind, reference.name
            )));
        }
        let found = app.engine.definition(&reference.namespace, &reference.name, Some(&reference.version));
        let definition = found
            .ok_or_else(|| unknown(app, &reference.namespace, &reference.name, Some(&reference.version)))?;
        Ok(Place {
            run,
            flow: parse(&definition)?,
            history: History::default(),
            read: 0,
            told: VecDeque::new(),
            last: 0,
            complete: false,
        })
    }

    /// Reads on; whether there was something to read. A closed run may have more entries later: it may be resumed.
    async fn read_on(&mut self, app: &App) -> Result<bool, Refused> {
        let part = app.engine.journal(self.run, self.read, MAX_PAGE).await?;
        self.complete = part.complete;
        for row in &part.rows {
            self.read = row.seq;
            self.told.extend(self.history.take(&self.flow, row));
        }
        Ok(!part.rows.is_empty())
    }
}

/// The places that were read to last.
#[derive(Default)]
pub(crate) struct Histories(Mutex<VecDeque<Place>>);

impl Histories {
    /// A place from which the event after `after` can still be told: the last such one.
    fn take(&self, run: RunId, after: u64) -> Option<Place> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |place: &Place| place.run == run && place.last <= after;
        let best = (0..kept.len()).filter(|&at| fits(&kept[at])).max_by_key(|&at| kept[at].last)?;
        kept.remove(best)
    }

    fn keep(&self, place: Place) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(place);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}
