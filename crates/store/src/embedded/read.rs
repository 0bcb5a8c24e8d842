//! Rows, as they are read back. Every value is checked against its checksum.

use riverrun_kernel::{
    Definition, JournalRow, Json, Key, KeyId, KeyRow, LoadedRows, Needs, PartitionId, RunId, RunRow,
    RunState, RunSummary, Stub,
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::log::{self, Base};
use super::rows::{self, Line};
use super::schedules;
use super::{damaged, fetch, no_blobs, sql};
use crate::codec::{self, Fetch};
use crate::{KeyFilter, Recovered, StoreError};

/// Some lines of a journal, as they stand in their table.
pub(super) struct Chunk {
    pub(super) id: i64,
    first: u64,
    last: u64,
    sealed: Vec<u8>,
}

impl Chunk {
    pub(super) fn lines(&self, run: RunId, fetch: &Fetch<'_>) -> Result<Vec<Line>, StoreError> {
        lines(run, self.first, self.last, &self.sealed, fetch)
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Chunk {
            id: row.get(0)?,
            first: row.get::<_, i64>(1)? as u64,
            last: row.get::<_, i64>(2)? as u64,
            sealed: row.get(3)?,
        })
    }
}

/// The lines of a chunk from its sealed value.
pub(super) fn lines(
    run: RunId,
    first: u64,
    last: u64,
    sealed: &[u8],
    fetch: &Fetch<'_>,
) -> Result<Vec<Line>, StoreError> {
    let owner = (run.to_bytes(), first.to_le_bytes(), last.to_le_bytes());
    let value = codec::unseal(&rows::chunk_owner(&owner.0, &owner.1, &owner.2), sealed);
    let value = value.ok_or_else(|| {
        damaged(format!("lines {first} to {last} of the journal of {run} do not match their checksum"))
    })?;
    codec::decode(value, fetch)
}

/// The chunks of a journal that hold lines after `after`, in order.
pub(super) fn chunks(connection: &Connection, run: RunId, after: u64) -> Result<Vec<Chunk>, StoreError> {
    all(
        connection,
        "SELECT id, first, last, value FROM journal WHERE run = ? AND last > ? ORDER BY last",
        params![run.to_bytes(), clamp(after)],
        Chunk::of,
    )
}

/// At most `limit` lines after `after`; chunks beyond that are not read.
pub(super) fn journal(
    connection: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<JournalRow>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT id, first, last, value FROM journal WHERE run = ? AND last > ? ORDER BY last")
        .map_err(sql)?;
    let mut rows = statement.query(params![run.to_bytes(), clamp(after)]).map_err(sql)?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next().map_err(sql)?
    {
        let lines = Chunk::of(row).map_err(sql)?.lines(run, &fetch(connection))?;
        let wanted = lines.into_iter().filter(|(seq, ..)| *seq > after);
        found.extend(wanted.map(|(seq, at, entry)| JournalRow { run, seq, at, entry }));
    }
    found.truncate(limit);
    Ok(found)
}

/// A number as SQLite holds it; nothing has more than 63 bits.
fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn all<T>(
    connection: &Connection,
    query: &str,
    values: &[&dyn ToSql],
    each: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(query).map_err(sql)?;
    let rows = statement.query_map(values, each).map_err(sql)?;
    rows.collect::<rusqlite::Result<Vec<T>>>().map_err(sql)
}

fn run_value<'a>(id: RunId, column: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    codec::unseal(&rows::run_owner(&id.to_bytes(), column), sealed)
        .ok_or_else(|| damaged(format!("the row of {id} does not match its checksum")))
}

/// The summary of a run from its sealed value.
pub(super) fn summary(id: RunId, sealed: &[u8]) -> Result<RunSummary, StoreError> {
    let summary: RunSummary = codec::decode(run_value(id, b"summary", sealed)?, &no_blobs)?;
    if summary.id == id { Ok(summary) } else { Err(damaged(format!("the row of {id} holds {}", summary.id))) }
}

/// The stub of a run from its sealed value.
pub(super) fn stub(id: RunId, sealed: &[u8]) -> Result<Stub, StoreError> {
    codec::decode(run_value(id, b"stub", sealed)?, &no_blobs)
}

/// The values of a run's row.
type RunValues = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

/// A run's row, if it has one.
pub(super) fn run(connection: &Connection, id: RunId) -> Result<Option<RunRow>, StoreError> {
    let found: Option<RunValues> = connection
        .prepare_cached("SELECT summary, stub, rest FROM runs WHERE run = ?")
        .and_then(|mut statement| {
            let values = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            statement.query_row([id.to_bytes()], values).optional()
        })
        .map_err(sql)?;
    let Some((shown, open, rest)) = found else {
        return Ok(None);
    };
    let (last, state): (u64, RunState) = codec::decode(run_value(id, b"rest", &rest)?, &fetch(connection))?;
    Ok(Some(RunRow {
        summary: summary(id, &shown)?,
        stub: open.map(|sealed| stub(id, &sealed)).transpose()?,
        state,
        last,
    }))
}

/// A key's row from its sealed value.
pub(super) fn key_row(id: &KeyId, sealed: &[u8]) -> Result<KeyRow, StoreError> {
    let value = codec::unseal(&rows::key_owner(id), sealed);
    let value = value.ok_or_else(|| {
        damaged(format!(
            "the row of key `{}` of {} does not match its checksum",
            id.continue_id, id.definition
        ))
    })?;
    codec::decode(value, &no_blobs)
}

fn key(connection: &Connection, id: &KeyId) -> Result<Option<KeyRow>, StoreError> {
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM keys WHERE namespace = ? AND definition = ? AND version = ? AND continue_id = ?")
        .and_then(|mut statement| {
            let values = params![id.namespace, id.definition, id.version, id.continue_id];
            statement.query_row(values, |row| row.get(0)).optional()
        })
        .map_err(sql)?;
    sealed.map(|sealed| key_row(id, &sealed)).transpose()
}

pub(super) fn load(connection: &Connection, needs: &Needs) -> Result<LoadedRows, StoreError> {
    let runs = needs.runs.iter().map(|id| Ok((*id, run(connection, *id)?)));
    let keys = needs.keys.iter().map(|id| Ok((id.clone(), key(connection, id)?)));
    let schedules = needs.schedules.iter().map(|id| Ok((id.clone(), schedules::read(connection, id)?)));
    let mut rows = LoadedRows {
        runs: runs.collect::<Result<_, StoreError>>()?,
        keys: keys.collect::<Result<_, StoreError>>()?,
        schedules: schedules.collect::<Result<_, StoreError>>()?,
    };
    for id in rows.keys_of_runs() {
        let found = key(connection, &id)?;
        rows.keys.push((id, found));
    }
    Ok(rows)
}

/// The identity of the key in a row that begins with its four texts.
pub(super) fn key_id(row: &Row<'_>) -> rusqlite::Result<KeyId> {
    Ok(KeyId {
        namespace: row.get::<_, String>(0)?.into(),
        definition: row.get::<_, String>(1)?.into(),
        version: row.get::<_, String>(2)?.into(),
        continue_id: row.get::<_, String>(3)?.into(),
    })
}

/// The namespaces of runs and keys: one step through an index for each, however many rows it has.
pub(super) fn namespaces(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let query = "WITH RECURSIVE
            of_runs (name) AS (SELECT min(namespace) FROM runs UNION ALL
                SELECT (SELECT min(namespace) FROM runs WHERE namespace > name) FROM of_runs WHERE name IS NOT NULL),
            of_keys (name) AS (SELECT min(namespace) FROM keys UNION ALL
                SELECT (SELECT min(namespace) FROM keys WHERE namespace > name) FROM of_keys WHERE name IS NOT NULL)
        SELECT name FROM of_runs WHERE name IS NOT NULL UNION SELECT name FROM of_keys WHERE name IS NOT NULL
        ORDER BY name";
    all(connection, query, &[], |row| row.get(0))
}

/// A page of keys, in the order of their ids.
pub(super) fn keys(
    connection: &Connection,
    filter: &KeyFilter,
    after: Option<&KeyId>,
    limit: usize,
) -> Result<Vec<Key>, StoreError> {
    let mut query =
        "SELECT namespace, definition, version, continue_id, value FROM keys WHERE namespace = ?".to_owned();
    let mut values: Vec<&dyn ToSql> = vec![&filter.namespace];
    if let Some(definition) = &filter.definition {
        query.push_str(" AND definition = ?");
        values.push(definition);
    }
    if let Some(seen) = after {
        query.push_str(" AND (namespace, definition, version, continue_id) > (?, ?, ?, ?)");
        values.extend(params![seen.namespace, seen.definition, seen.version, seen.continue_id]);
    }
    query.push_str(" ORDER BY namespace, definition, version, continue_id LIMIT ?");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    values.push(&limit);
    let found = all(connection, &query, &values, |row| Ok((key_id(row)?, row.get::<_, Vec<u8>>(4)?)))?;
    let keys = found.iter().map(|(id, sealed)| Ok(key_row(id, sealed)?.key));
    keys.collect()
}

/// A large value of a run that has not been deleted.
pub(super) fn blob(connection: &Connection, run: RunId, hash: [u8; 32]) -> Result<Option<Json>, StoreError> {
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM blobs WHERE run = ? AND hash = ? AND doomed IS NULL")
        .and_then(|mut statement| {
            statement.query_row(params![run.to_bytes(), hash], |row| row.get(0)).optional()
        })
        .map_err(sql)?;
    sealed.map(|sealed| Ok(Json::trusted(blob_text(run, hash, &sealed)?))).transpose()
}

/// A large value from its sealed value.
pub(super) fn blob_text(run: RunId, hash: [u8; 32], sealed: &[u8]) -> Result<String, StoreError> {
    let value = codec::unseal(&[b"blob", &run.to_bytes(), &hash], sealed);
    let value =
        value.ok_or_else(|| damaged(format!("a large value of {run} does not match its checksum")))?;
    codec::decode(value, &no_blobs)
}

/// Every definition.
pub(super) fn definitions(connection: &Connection) -> Result<Vec<Definition>, StoreError> {
    let found = all(
        connection,
        "SELECT value, name FROM definitions ORDER BY namespace, kind, name, version",
        &[],
        |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)),
    )?;
    let definitions = found.iter().map(|(sealed, name)| {
        definition(sealed).map_err(|error| match error {
            StoreError::Corrupt(text) => damaged(format!("definition `{name}`: {text}")),
            other => other,
        })
    });
    definitions.collect()
}

/// A definition from its sealed value.
pub(super) fn definition(sealed: &[u8]) -> Result<Definition, StoreError> {
    let value = codec::unseal(&[b"definition"], sealed);
    codec::decode(value.ok_or_else(|| damaged("it does not match its checksum"))?, &no_blobs)
}

/// Everything a new owner needs.
pub(super) fn recover(
    connection: &Connection,
    partition: PartitionId,
    each: &mut dyn FnMut(Recovered) -> Result<(), StoreError>,
) -> Result<log::Head, StoreError> {
    for definition in definitions(connection)? {
        each(Recovered::Definition(definition))?;
    }
    let base = Base::read(connection, partition)?;
    each(Recovered::Partition(base.row.clone(), base.now))?;
    let mut statement = connection
        .prepare_cached("SELECT run, stub FROM runs INDEXED BY runs_open WHERE home = ? AND stub IS NOT NULL ORDER BY run")
        .map_err(sql)?;
    let mut open = 0;
    let mut stubs = statement.query([partition.0]).map_err(sql)?;
    while let Some(row) = stubs.next().map_err(sql)? {
        let id = RunId::from_bytes(row.get(0).map_err(sql)?);
        let sealed: Vec<u8> = row.get(1).map_err(sql)?;
        each(Recovered::Stub(stub(id, &sealed)?))?;
        open += 1;
    }
    if open != base.open_runs {
        return Err(damaged(format!(
            "partition {} has {} open runs, and {open} are found",
            partition.0, base.open_runs
        )));
    }
    schedules::recover(connection, partition, &base, each)?;
    log::read(connection, partition, &base, &mut |batch, _| each(Recovered::Batch(batch)))
}
