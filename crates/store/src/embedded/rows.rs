//! Rows, as a checkpoint writes them.

use std::collections::BTreeMap;

use riverrun_kernel::{
    Definition, Entry, JournalRow, KeyId, KeyRow, PartitionId, RunId, RunRow, RunSummary, Wall,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::log::{self, Base};
use super::{fetch, read, schedules};
use crate::codec::{self, Large};
use crate::{Checkpoint, StoreError};

/// Journal lines of one run are kept together: at most so many in a row.
const CHUNK_LINES: usize = 256;

/// A line of a journal within its chunk.
pub(super) type Line = (u64, Wall, Entry);

/// Writes one checkpoint within the caller's transaction.
pub(super) fn write(
    connection: &Connection,
    home: PartitionId,
    base: &mut Base,
    next_record: u64,
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    let rows = &checkpoint.rows;
    for run in &rows.deleted_runs {
        let was_open = delete_run(connection, *run, next_record)?;
        base.open_runs = base.open_runs.saturating_sub(u64::from(was_open));
    }
    for row in &rows.runs {
        let was_open = put_run(connection, home, row)?;
        base.open_runs = (base.open_runs + u64::from(row.stub.is_some())).saturating_sub(u64::from(was_open));
    }
    let mut journals: BTreeMap<RunId, BTreeMap<u64, &JournalRow>> = BTreeMap::new();
    for line in &rows.journal {
        journals.entry(line.run).or_default().insert(line.seq, line);
    }
    for (run, lines) in journals {
        put_journal(connection, home, run, lines)?;
    }
    for key in &rows.deleted_keys {
        delete_key(connection, key).map_err(super::sql)?;
    }
    for row in &rows.keys {
        put_key(connection, row).map_err(super::sql)?;
    }
    schedules::write(connection, home, base, rows)?;
    for definition in &rows.definitions {
        put_definition(connection, definition).map_err(super::sql)?;
    }
    base.now = checkpoint.now;
    if rows.partition.is_some() {
        base.row.clone_from(&rows.partition);
    }
    log::trim(connection, home, base, checkpoint.trim_below)
        .and_then(|()| drop_doomed(connection, home, base.next_record))
        .and_then(|()| base.write(connection, home))
        .map_err(super::sql)
}

/// What a sealed value of a run belongs to.
pub(super) fn run_owner<'a>(run: &'a [u8; 16], column: &'a [u8]) -> [&'a [u8]; 3] {
    [b"run", run, column]
}

/// Whether the run was open before.
fn put_run(connection: &Connection, home: PartitionId, row: &RunRow) -> Result<bool, StoreError> {
    let id = row.summary.id;
    let run = id.to_bytes();
    let mut large: Vec<Large> = Vec::new();
    let seal = |column: &[u8], value| codec::seal(&run_owner(&run, column), value);
    let summary = seal(b"summary", codec::encode(None, &row.summary, &mut large));
    let stub = row.stub.as_ref();
    let stub = stub.map(|stub| seal(b"stub", codec::encode(None, stub, &mut large)));
    let rest = seal(b"rest", codec::encode(Some(id), &(row.last, &row.state), &mut large));

    let before = former(connection, id)?;
    if let Some((labelled, _)) = &before {
        drop_labels(connection, labelled).map_err(super::sql)?;
    }
    log::keep_blobs(connection, home, &large)
        .and_then(|()| {
            let expires = row.summary.expires.map(|expires| expires.0);
            let values = params![summary, stub, rest, expires];
            upsert_run(connection, home, &Columns::of(&row.summary), &run, values)
        })
        .and_then(|()| put_labels(connection, &row.summary))
        .map_err(super::sql)?;
    Ok(before.is_some_and(|(_, open)| open))
}

fn upsert_run(
    connection: &Connection,
    home: PartitionId,
    columns: &Columns,
    run: &[u8; 16],
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<()> {
    let mut all = params![
        run,
        home.0,
        columns.namespace,
        columns.definition,
        columns.kind,
        columns.created,
        columns.continue_id,
        columns.parent,
        columns.state,
        columns.waiting,
        columns.ended
    ]
    .to_vec();
    all.extend(values);
    connection
        .prepare_cached(
            "INSERT INTO runs (run, home, namespace, definition, kind, created, continue_id, parent,
                               state, waiting, ended, summary, stub, rest, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (run) DO UPDATE SET home = ?2, namespace = ?3, definition = ?4, kind = ?5, created = ?6,
                continue_id = ?7, parent = ?8, state = ?9, waiting = ?10, ended = ?11, summary = ?12, stub = ?13, rest = ?14, expires = ?15",
        )?
        .execute(all.as_slice())
        .map(|_| ())
}

/// What the row of a run said so far: the summary that its labels came from, and whether it was open.
fn former(connection: &Connection, id: RunId) -> Result<Option<(RunSummary, bool)>, StoreError> {
    let row = connection
        .prepare_cached("SELECT summary, stub IS NOT NULL FROM runs WHERE run = ?")
        .and_then(|mut statement| {
            statement
                .query_row([id.to_bytes()], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(super::sql)?;
    row.map(|(sealed, open)| Ok((read::summary(id, &sealed)?, open))).transpose()
}

/// What lists filter by: every column repeats what the summary says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) namespace: String,
    pub(super) definition: String,
    pub(super) kind: String,
    pub(super) created: i64,
    pub(super) continue_id: Option<String>,
    pub(super) parent: Option<[u8; 16]>,
    pub(super) state: String,
    pub(super) waiting: Option<String>,
    pub(super) ended: Option<i64>,
}

impl Columns {
    pub(super) fn of(run: &RunSummary) -> Self {
        Columns {
            namespace: run.definition.namespace.to_string(),
            definition: run.definition.name.to_string(),
            kind: run.definition.kind.to_string(),
            created: run.created.0,
            continue_id: run.key.as_ref().map(|key| key.id.continue_id.to_string()),
            parent: run.parent.map(|parent| parent.run.to_bytes()),
            state: run.state.to_string(),
            waiting: run.waiting.as_ref().map(|waiting| word(&waiting.kind)),
            ended: run.ended.map(|ended| ended.0),
        }
    }
}

/// The one word that a unit variant is written as.
pub(super) fn word(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn put_labels(connection: &Connection, run: &RunSummary) -> rusqlite::Result<()> {
    let namespace = &run.definition.namespace;
    for (name, value) in &run.labels {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO labels (namespace, name, value, created, run) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![namespace, name, value, run.created.0, run.id.to_bytes()])?;
    }
    Ok(())
}

fn drop_labels(connection: &Connection, run: &RunSummary) -> rusqlite::Result<()> {
    let namespace = &run.definition.namespace;
    for (name, value) in &run.labels {
        connection
            .prepare_cached("DELETE FROM labels WHERE namespace = ? AND name = ? AND value = ? AND created = ? AND run = ?")?
            .execute(params![namespace, name, value, run.created.0, run.id.to_bytes()])?;
    }
    Ok(())
}

/// Whether the run was there and open. Its blobs stay until the log holds no record that may refer to them.
fn delete_run(connection: &Connection, run: RunId, next_record: u64) -> Result<bool, StoreError> {
    let before = former(connection, run)?;
    if let Some((summary, _)) = &before {
        drop_labels(connection, summary).map_err(super::sql)?;
    }
    let id = run.to_bytes();
    let delete = |table: &str| connection.prepare_cached(table)?.execute([id]);
    delete("DELETE FROM runs WHERE run = ?")
        .and_then(|_| delete("DELETE FROM journal WHERE run = ?"))
        .and_then(|_| {
            connection
                .prepare_cached("UPDATE blobs SET doomed = ? WHERE run = ? AND doomed IS NULL")?
                .execute(params![next_record as i64, id])
        })
        .map_err(super::sql)?;
    Ok(before.is_some_and(|(_, open)| open))
}

fn drop_doomed(connection: &Connection, home: PartitionId, log_begins: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM blobs WHERE home = ? AND doomed <= ? AND doomed IS NOT NULL")?
        .execute(params![home.0, log_begins as i64])
        .map(|_| ())
}

/// Adds lines, in chunks. A line that is there already is replaced: a checkpoint may be made again.
fn put_journal(
    connection: &Connection,
    home: PartitionId,
    run: RunId,
    lines: BTreeMap<u64, &JournalRow>,
) -> Result<(), StoreError> {
    let first = lines.keys().next().copied().unwrap_or_default();
    let new = lines.into_iter().map(|(seq, line)| (seq, (seq, line.at, line.entry.clone())));
    let mut all: BTreeMap<u64, Line> = BTreeMap::new();
    for chunk in read::chunks(connection, run, first.saturating_sub(1))? {
        connection
            .prepare_cached("DELETE FROM journal WHERE id = ?")
            .and_then(|mut statement| statement.execute([chunk.id]))
            .map_err(super::sql)?;
        let old = chunk.lines(run, &fetch(connection))?;
        all.extend(old.into_iter().map(|line| (line.0, line)));
    }
    all.extend(new);
    let all: Vec<Line> = all.into_values().collect();
    for lines in all.chunks(CHUNK_LINES) {
        put_chunk(connection, home, run, lines).map_err(super::sql)?;
    }
    Ok(())
}

fn put_chunk(connection: &Connection, home: PartitionId, run: RunId, lines: &[Line]) -> rusqlite::Result<()> {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return Ok(());
    };
    let mut large = Vec::new();
    let value = codec::encode(Some(run), &lines, &mut large);
    log::keep_blobs(connection, home, &large)?;
    let value =
        codec::seal(&chunk_owner(&run.to_bytes(), &first.0.to_le_bytes(), &last.0.to_le_bytes()), value);
    connection
        .prepare_cached("INSERT INTO journal (run, first, last, value) VALUES (?, ?, ?, ?)")?
        .execute(params![run.to_bytes(), first.0 as i64, last.0 as i64, value])
        .map(|_| ())
}

/// What a chunk of a journal belongs to.
pub(super) fn chunk_owner<'a>(run: &'a [u8; 16], first: &'a [u8; 8], last: &'a [u8; 8]) -> [&'a [u8]; 4] {
    [b"journal", run, first, last]
}

fn put_key(connection: &Connection, row: &KeyRow) -> rusqlite::Result<()> {
    let id = &row.key.id;
    let value = codec::seal(&key_owner(id), codec::encode(None, row, &mut Vec::new()));
    connection
        .prepare_cached("INSERT OR REPLACE INTO keys (namespace, definition, version, continue_id, value) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![id.namespace, id.definition, id.version, id.continue_id, value])
        .map(|_| ())
}

/// What a key's row belongs to.
pub(super) fn key_owner(id: &KeyId) -> [&[u8]; 5] {
    let parts = [&id.namespace, &id.definition, &id.version, &id.continue_id].map(|part| part.as_bytes());
    [b"key", parts[0], parts[1], parts[2], parts[3]]
}

fn delete_key(connection: &Connection, id: &KeyId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM keys WHERE namespace = ? AND definition = ? AND version = ? AND continue_id = ?",
        )?
        .execute(params![id.namespace, id.definition, id.version, id.continue_id])
        .map(|_| ())
}

fn put_definition(connection: &Connection, definition: &Definition) -> rusqlite::Result<()> {
    let reference = &definition.reference;
    let value = codec::seal(&[b"definition"], codec::encode(None, definition, &mut Vec::new()));
    connection
        .prepare_cached("INSERT OR REPLACE INTO definitions (namespace, kind, name, version, value) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![
            reference.namespace,
            reference.kind.to_string(),
            reference.name,
            reference.version,
            value
        ])
        .map(|_| ())
}
