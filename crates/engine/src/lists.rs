//! Lists and counts: rows of the store, and what is newer in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use riverrun_kernel::{Holdup, Key, KeyId, PartitionId, RunId, RunSummary, WaitKind};
use riverrun_store::{Count, Cursor, KeyFilter, Page, RunFilter};
use tokio::time::timeout;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::mismatch;
use crate::sequencer::{Answer, Ask, Dirty, Query};

/// A list waits so long for what is being written. Then runs that this is about are shown as running, and new ones are not shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// A call that failed so often and is tried again needs attention.
const MANY_ATTEMPTS: u32 = 5;
/// Runs read at a time for a count that cannot be left to the store.
const COUNT_PAGE: usize = 1_000;

impl Engine {
    /// A page of runs, newest first.
    pub async fn list(
        &self,
        filter: RunFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<RunSummary>, EngineError> {
        if is_narrowed(&filter) {
            return self.list_narrowed(filter, after, limit).await;
        }
        let mut page = self.page(filter, after, limit).await?;
        self.look_closer(&mut page.items).await?;
        Ok(page)
    }

    /// A page as rows and memory have it. Rows do not know which limit holds a run back.
    async fn page(
        &self,
        filter: RunFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<RunSummary>, EngineError> {
        // Memory first: a run that a checkpoint moves in between is then in the page once, as it was.
        let dirty = self.dirty(&filter).await?;
        let without: HashSet<RunId> = dirty.ids.into_iter().collect();
        let rows = self.blocking(move |store| store.list(&filter, after, limit, &without)).await?;
        Ok(merge(rows, dirty.matching, after, limit))
    }

    /// A page for a filter that rows cannot answer alone: they are looked at more closely, and some are left out.
    async fn list_narrowed(
        &self,
        filter: RunFilter,
        mut after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<RunSummary>, EngineError> {
        let mut items: Vec<RunSummary> = Vec::new();
        loop {
            let mut found = Vec::new();
            let mut next = None;
            for filter in as_rows_say(&filter) {
                let page = self.page(filter, after, limit).await?;
                // What lies beyond the end of one of the pages may have others before it.
                next = next.max(page.next);
                found.extend(page.items);
            }
            found.sort_by_key(|run| std::cmp::Reverse((run.created, run.id)));
            found.retain(|run| next.is_none_or(|next| (run.created, run.id) >= (next.created, next.id)));
            let holdups = self.look_closer(&mut found).await?;
            for run in found {
                if !is_meant(&filter, &run, holdups.get(&run.id)) {
                    continue;
                }
                if items.len() == limit {
                    let last = items.last().map(|run| Cursor { created: run.created, id: run.id });
                    return Ok(Page { items, next: last });
                }
                items.push(run);
            }
            after = next;
            if after.is_none() {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// Asks what holds up runs that wait for a worker, and puts the limit's name where it is a limit.
    async fn look_closer(&self, items: &mut [RunSummary]) -> Result<HashMap<RunId, Holdup>, EngineError> {
        let mut shares: BTreeMap<PartitionId, Vec<RunId>> = BTreeMap::new();
        for run in items.iter().filter(|run| waits_for(run, &[WaitKind::Worker, WaitKind::Retry])) {
            shares.entry(self.node.partition_of_run(run.id)).or_default().push(run.id);
        }
        let mut found: HashMap<RunId, Holdup> = HashMap::new();
        for (partition, runs) in shares {
            let ask = Ask::Query(Query::Holdups(runs.clone()));
            // Where the disk is slow or stuck, rows have to do.
            let Ok(answer) = timeout(PATIENCE, self.node.ask_freely(partition, ask)).await else { continue };
            match answer? {
                Answer::Holdups(holdups) => {
                    found.extend(
                        runs.into_iter().zip(holdups).filter_map(|(run, holdup)| Some((run, holdup?))),
                    );
                }
                other => return Err(mismatch(&other)),
            }
        }
        for run in items {
            let waiting = run.waiting.as_mut().filter(|waiting| waiting.kind == WaitKind::Worker);
            if let (Some(waiting), Some(Holdup::Limit(limit))) = (waiting, found.get(&run.id)) {
                (waiting.kind, waiting.name) = (WaitKind::Limit, limit.clone());
            }
        }
        Ok(found)
    }

    /// How many runs.
    pub async fn count(&self, filter: RunFilter, cap: u64) -> Result<Count, EngineError> {
        if is_narrowed(&filter) {
            return self.count_listed(filter, cap).await;
        }
        let dirty = self.dirty(&filter).await?;
        let in_memory = dirty.matching.len() as u64;
        let without: HashSet<RunId> = dirty.ids.into_iter().collect();
        let in_rows = self.blocking(move |store| {
            if without.is_empty() {
                return store.count(&filter, cap);
            }
            // Which of the dirty runs the store would count is not known, so they are left out one by one.
            let mut count = 0;
            let mut after = None;
            loop {
                let page = store.list(&filter, after, COUNT_PAGE, &without)?;
                count += page.items.len() as u64;
                after = page.next;
                if after.is_none() || count > cap {
                    return Ok(Count { count, capped: false });
                }
            }
        });
        let in_rows = in_rows.await?;
        let count = in_memory + in_rows.count;
        Ok(Count { count: count.min(cap), capped: in_rows.capped || count > cap })
    }

    /// The same by looking at each.
    async fn count_listed(&self, filter: RunFilter, cap: u64) -> Result<Count, EngineError> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.list(filter.clone(), after, COUNT_PAGE).await?;
            count += page.items.len() as u64;
            after = page.next;
            if after.is_none() || count > cap {
                return Ok(Count { count: count.min(cap), capped: count > cap });
            }
        }
    }

    /// A page of keys, in the order of their ids.
    pub async fn keys(
        &self,
        filter: KeyFilter,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<Key>, EngineError> {
        let mut dirty: BTreeMap<KeyId, Option<Key>> = BTreeMap::new();
        for answer in self.node.ask_all_freely(&|| Ask::Query(Query::DirtyKeys)) {
            match answer.await? {
                Answer::DirtyKeys(keys) => dirty.extend(keys),
                other => return Err(mismatch(&other)),
            }
        }
        let wanted = |id: &KeyId| {
            *id.namespace == *filter.namespace
                && filter.definition.as_deref().is_none_or(|definition| *id.definition == *definition)
                && after.as_ref().is_none_or(|after| id > after)
        };
        let mut keys: BTreeMap<KeyId, Key> = dirty
            .iter()
            .filter(|(id, _)| wanted(id))
            .filter_map(|(id, key)| Some((id.clone(), key.clone()?)))
            .collect();
        let mut from = after.clone();
        // Rows that memory overrules may fill whole pages, so pages are read until enough is left of them.
        loop {
            let (page_filter, page_after) = (filter.clone(), from.clone());
            let page =
                self.blocking(move |store| store.keys(&page_filter, page_after.as_ref(), limit)).await?;
            let last = page.last().map(|key| key.id.clone());
            let full = page.len() >= limit;
            let fresh = page.into_iter().filter(|key| !dirty.contains_key(&key.id));
            keys.extend(fresh.map(|key| (key.id.clone(), key)));
            let reached = last.as_ref().is_some_and(|last| keys.range(..=last).count() >= limit);
            if !full || reached {
                break;
            }
            from = last;
        }
        let now = crate::node::wall();
        Ok(keys.into_values().filter(|key| !key.is_expired(now)).take(limit).collect())
    }

    async fn dirty(&self, filter: &RunFilter) -> Result<Dirty, EngineError> {
        let mut all = Dirty::default();
        let ask = || Ask::Query(Query::DirtyRuns(Box::new(filter.clone())));
        for (answer, partition) in self.node.ask_all_freely(&ask).into_iter().zip(0..) {
            let answer = if let Ok(answer) = timeout(PATIENCE, answer).await {
                answer
            } else {
                // The disk is slow or stuck: what is durable is known all the same.
                let ask = Ask::Query(Query::DurableRuns(Box::new(filter.clone())));
                self.node.ask_freely(PartitionId(partition), ask).await
            };
            match answer? {
                Answer::DirtyRuns(dirty) => {
                    all.ids.extend(dirty.ids);
                    all.matching.extend(dirty.matching);
                }
                other => return Err(mismatch(&other)),
            }
        }
        Ok(all)
    }
}

/// Whether rows cannot say alone which runs a filter means.
fn is_narrowed(filter: &RunFilter) -> bool {
    filter.attention || matches!(filter.waiting, Some(WaitKind::Worker | WaitKind::Limit))
}

/// The filters that rows are read with: to them a limit looks like a missing worker.
fn as_rows_say(filter: &RunFilter) -> Vec<RunFilter> {
    match filter.waiting {
        Some(WaitKind::Worker | WaitKind::Limit) => [WaitKind::Worker, WaitKind::Limit]
            .map(|waiting| RunFilter { waiting: Some(waiting), ..filter.clone() })
            .into(),
        _ => vec![filter.clone()],
    }
}

/// Whether a filter means a run that was looked at more closely.
fn is_meant(filter: &RunFilter, run: &RunSummary, holdup: Option<&Holdup>) -> bool {
    let waits = filter.waiting.is_none_or(|kind| waits_for(run, &[kind]));
    waits && (!filter.attention || needs_attention(run, holdup))
}

/// Whether a person should look at a run: a dead letter, one that waits for repair, one that nobody serves, one that fails again and again.
fn needs_attention(run: &RunSummary, holdup: Option<&Holdup>) -> bool {
    match run.waiting.as_ref().map(|waiting| waiting.kind) {
        None | Some(WaitKind::Repair) => true,
        Some(WaitKind::Worker) => holdup == Some(&Holdup::Unserved),
        Some(WaitKind::Retry) => run.attempts >= MANY_ATTEMPTS || holdup == Some(&Holdup::Unserved),
        Some(_) => false,
    }
}

fn waits_for(run: &RunSummary, kinds: &[WaitKind]) -> bool {
    run.waiting.as_ref().is_some_and(|waiting| kinds.contains(&waiting.kind))
}

/// One page of what the store and memory have, newest first.
fn merge(
    rows: Page<RunSummary>,
    memory: Vec<RunSummary>,
    after: Option<Cursor>,
    limit: usize,
) -> Page<RunSummary> {
    let place = |run: &RunSummary| (run.created, run.id);
    let mut items = memory;
    items.retain(|run| after.is_none_or(|after| place(run) < (after.created, after.id)));
    let more_rows = rows.next.is_some();
    // What lies beyond the last row read may have rows of the next page before it.
    if more_rows && let Some(last) = rows.items.last() {
        items.retain(|run| place(run) > place(last));
    }
    items.extend(rows.items);
    items.sort_by_key(|run| std::cmp::Reverse(place(run)));
    let cut = items.len() > limit;
    items.truncate(limit);
    let last = items.last().map(|run| Cursor { created: run.created, id: run.id });
    Page { next: last.filter(|_| cut || more_rows), items }
}
