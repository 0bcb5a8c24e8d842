//! Lists and counts: which index answers which filter.
//!
//! The index is named in the query, so that what is fast does not depend on statistics. Every index ends with
//! (created, run), the order of all lists; the ones for general use also hold the columns that filters ask for, so that
//! runs that do not match are passed over without reading their rows.

use std::collections::HashSet;

use riverrun_kernel::{RunId, RunSummary, State};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::rows::word;
use super::{read, sql};
use crate::types::{ATTENTION, DEAD};
use crate::{Count, Cursor, Page, RunFilter, StoreError};

/// A query in the making.
struct Query {
    source: String,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Query {
    fn and(&mut self, condition: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    fn text(&self, columns: &str, end: &str) -> String {
        format!("SELECT {columns} FROM {} WHERE {} {end}", self.source, self.conditions.join(" AND "))
    }
}

/// The query for a filter, and whether its order comes from the table of labels.
fn query(filter: &RunFilter) -> (Query, &'static str) {
    let mut query = Query { source: String::new(), conditions: Vec::new(), values: Vec::new() };
    let by_label = filter.continue_id.is_none() && filter.parent.is_none() && !filter.labels.is_empty();
    let mut labels = filter.labels.iter();
    let order = if by_label { "l" } else { "r" };
    if by_label && let Some((name, value)) = labels.next() {
        // CROSS JOIN keeps SQLite from beginning with the runs.
        query.source = "labels l CROSS JOIN runs r ON r.run = l.run".into();
        query.and(
            "l.namespace = ? AND l.name = ? AND l.value = ?",
            [filter.namespace.clone().into(), name.clone().into(), value.clone().into()],
        );
    } else {
        query.source = format!("runs r INDEXED BY {}", index(filter));
    }
    query.and("r.namespace = ?", [filter.namespace.clone().into()]);
    columns(&mut query, filter, order);
    for (name, value) in labels {
        query.and(
            "EXISTS (SELECT 1 FROM labels m WHERE m.namespace = r.namespace AND m.name = ? AND m.value = ?
                     AND m.created = r.created AND m.run = r.run)",
            [name.clone().into(), value.clone().into()],
        );
    }
    (query, order)
}

/// The index with the fewest entries to look at.
fn index(filter: &RunFilter) -> &'static str {
    if filter.continue_id.is_some() {
        "runs_by_key"
    } else if filter.parent.is_some() {
        "runs_by_parent"
    } else if filter.expires_before.is_some() {
        "runs_expiring"
    } else if filter.waiting.is_some() {
        "runs_by_waiting"
    } else if without_succeeded(filter) {
        "runs_not_succeeded"
    } else if filter.definition.is_some() {
        "runs_by_definition"
    } else {
        "runs_by_time"
    }
}

fn without_succeeded(filter: &RunFilter) -> bool {
    filter.attention || (!filter.states.is_empty() && !filter.states.contains(&State::Succeeded))
}

fn columns(query: &mut Query, filter: &RunFilter, order: &str) {
    if let Some(definition) = &filter.definition {
        query.and("r.definition = ?", [definition.clone().into()]);
    }
    if let Some(kind) = filter.kind {
        query.and("r.kind = ?", [kind.to_string().into()]);
    }
    if !filter.states.is_empty() {
        let places = vec!["?"; filter.states.len()].join(", ");
        // The plus keeps SQLite from using the states for a search of their own, which would need a sort.
        query.and(
            format!("+r.state IN ({places})"),
            filter.states.iter().map(|state| state.to_string().into()),
        );
    }
    if without_succeeded(filter) {
        query.and("r.state <> 'succeeded'", []);
    }
    if filter.attention {
        let values = ATTENTION.iter().map(|kind| word(kind).into());
        let values = values.chain(DEAD.iter().map(|state| Value::from(state.to_string())));
        query.and("(r.waiting IN (?, ?, ?) OR (r.kind = 'task' AND r.state IN (?, ?)))", values);
    }
    if let Some(kind) = filter.waiting {
        query.and("r.waiting = ?", [word(&kind).into()]);
    }
    if let Some(id) = &filter.continue_id {
        query.and("r.continue_id = ?", [id.clone().into()]);
    }
    if let Some(parent) = filter.parent {
        query.and("r.parent = ?", [parent.to_bytes().to_vec().into()]);
    }
    if let Some(from) = filter.created_from {
        query.and(format!("{order}.created >= ?"), [from.0.into()]);
    }
    if let Some(before) = filter.created_before {
        query.and(format!("{order}.created < ?"), [before.0.into()]);
    }
    if let Some(before) = filter.expires_before {
        query.and("r.expires < ?", [before.0.into()]);
    }
    if let Some(before) = filter.ended_before {
        query.and("r.ended < ?", [before.0.into()]);
    }
}

/// The text and the values of a list's query.
fn list_query(filter: &RunFilter, after: Option<Cursor>) -> (String, Vec<Value>) {
    let (mut query, order) = query(filter);
    if let Some(seen) = after {
        query.and(
            format!("({order}.created, {order}.run) < (?, ?)"),
            [seen.created.0.into(), seen.id.to_bytes().to_vec().into()],
        );
    }
    let text = query.text("r.run, r.summary", &format!("ORDER BY {order}.created DESC, {order}.run DESC"));
    (text, query.values)
}

/// A page of runs, newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &RunFilter,
    after: Option<Cursor>,
    limit: usize,
    without: &HashSet<RunId>,
) -> Result<Page<RunSummary>, StoreError> {
    let (text, values) = list_query(filter, after);
    let mut statement = connection.prepare_cached(&text).map_err(sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(sql)?;
    let mut items: Vec<RunSummary> = Vec::new();
    while let Some(row) = rows.next().map_err(sql)? {
        let id = RunId::from_bytes(row.get(0).map_err(sql)?);
        if without.contains(&id) {
            continue;
        }
        if items.len() == limit {
            let next = items.last().map(|run| Cursor { created: run.created, id: run.id });
            return Ok(Page { items, next });
        }
        let sealed: Vec<u8> = row.get(1).map_err(sql)?;
        items.push(read::summary(id, &sealed)?);
    }
    Ok(Page { items, next: None })
}

/// The text and the values of a count's query; the last value is one more than the cap.
fn count_query(filter: &RunFilter, cap: u64) -> (String, Vec<Value>) {
    let (mut query, _) = query(filter);
    let text = format!("SELECT count(*) FROM ({})", query.text("1", "LIMIT ?"));
    let limit = i64::try_from(cap).unwrap_or(i64::MAX).saturating_add(1);
    query.values.push(limit.into());
    (text, query.values)
}

/// How many runs, up to a cap.
pub(super) fn count(connection: &Connection, filter: &RunFilter, cap: u64) -> Result<Count, StoreError> {
    let (text, values) = count_query(filter, cap);
    let found: i64 = connection
        .prepare_cached(&text)
        .and_then(|mut statement| statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)))
        .map_err(sql)?;
    let found = found as u64;
    Ok(Count { count: found.min(cap), capped: found > cap })
}

/// The steps of SQLite's plan for a list.
pub(super) fn explain(connection: &Connection, filter: &RunFilter) -> Result<Vec<String>, StoreError> {
    let (text, values) = list_query(filter, None);
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).map_err(sql)?;
    let steps = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(3)).map_err(sql)?;
    steps.collect::<rusqlite::Result<_>>().map_err(sql)
}
