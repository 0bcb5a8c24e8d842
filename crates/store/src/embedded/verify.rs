//! Reading everything.

use riverrun_kernel::{PartitionId, RunId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::notes::Notes;
use super::rows::Columns;
use super::schema::Identity;
use super::{damaged, fetch, read, sql};
use crate::{StoreError, Verified};

/// Reads everything and checks it.
pub(super) fn verify(
    connection: &Connection,
    identity: &Identity,
    notes: &Notes,
) -> Result<Verified, StoreError> {
    integrity(connection)?;
    let mut found = Verified::default();
    for id in (0..identity.partitions).map(PartitionId) {
        super::Partition::read(connection, id, notes)?;
        read::recover(connection, id, &mut |piece| {
            found.batches += u64::from(matches!(piece, crate::Recovered::Batch(_)));
            Ok(())
        })?;
    }
    found.runs = runs(connection)?;
    found.journal = journals(connection)?;
    found.keys =
        each(connection, "SELECT namespace, definition, version, continue_id, value FROM keys", |row| {
            let id = read::key_id(row).map_err(sql)?;
            let key = read::key_row(&id, &bytes(row, 4)?)?.key;
            if key.id != id {
                return Err(damaged("the row of a key holds another one"));
            }
            Ok(1)
        })?;
    found.schedules = super::schedules::verify(connection)?;
    found.blobs = each(connection, "SELECT run, hash, value, doomed FROM blobs", |row| {
        let run = RunId::from_bytes(row.get(0).map_err(sql)?);
        let hash = row.get(1).map_err(sql)?;
        let text = read::blob_text(run, hash, &bytes(row, 2)?)?;
        if crate::codec::hash(&text) != hash {
            return Err(damaged(format!("a large value of {run} is not what its hash says")));
        }
        Ok(u64::from(row.get_ref(3).map_err(sql)? == ValueRef::Null))
    })?;
    Ok(found)
}

/// What SQLite itself can see: lost pages, rows missing from indexes.
fn integrity(connection: &Connection) -> Result<(), StoreError> {
    let found = read::all(connection, "PRAGMA integrity_check(10)", &[], |row| row.get::<_, String>(0))?;
    if found.iter().map(String::as_str).eq(["ok"]) {
        return Ok(());
    }
    Err(damaged(found.join("; ")))
}

fn bytes(row: &Row<'_>, column: usize) -> Result<Vec<u8>, StoreError> {
    row.get(column).map_err(sql)
}

/// The sum of what `check` says about each row.
fn each(
    connection: &Connection,
    query: &str,
    mut check: impl FnMut(&Row<'_>) -> Result<u64, StoreError>,
) -> Result<u64, StoreError> {
    let mut statement = connection.prepare(query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    let mut sum = 0;
    while let Some(row) = rows.next().map_err(sql)? {
        sum += check(row)?;
    }
    Ok(sum)
}

/// Checks the rows of runs: their values, the columns that repeat them, and their labels.
fn runs(connection: &Connection) -> Result<u64, StoreError> {
    let query = "SELECT run, namespace, definition, kind, created, continue_id, parent, state, waiting, ended FROM runs";
    let mut labels = 0;
    let count = each(connection, query, |row| {
        let id = RunId::from_bytes(row.get(0).map_err(sql)?);
        let run =
            read::run(connection, id)?.ok_or_else(|| damaged(format!("the row of {id} is in no index")))?;
        if columns(row).map_err(sql)? != Columns::of(&run.summary) {
            return Err(damaged(format!("the columns of {id} do not say what its row says")));
        }
        for (name, value) in &run.summary.labels {
            labels += connection
                .prepare_cached(
                    "SELECT count(*) FROM labels WHERE namespace = ? AND name = ? AND value = ? AND created = ? AND run = ?",
                )
                .and_then(|mut statement| {
                    let of = &run.summary;
                    let values = params![of.definition.namespace, name, value, of.created.0, id.to_bytes()];
                    statement.query_row(values, |row| row.get::<_, i64>(0))
                })
                .map_err(sql)?;
        }
        Ok(1)
    })?;
    let kept: i64 = connection.query_row("SELECT count(*) FROM labels", [], |row| row.get(0)).map_err(sql)?;
    if kept != labels {
        return Err(damaged(format!("{kept} labels are indexed, {labels} of them rightly")));
    }
    Ok(count)
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        namespace: row.get(1)?,
        definition: row.get(2)?,
        kind: row.get(3)?,
        created: row.get(4)?,
        continue_id: row.get(5)?,
        parent: row.get(6)?,
        state: row.get(7)?,
        waiting: row.get(8)?,
        ended: row.get(9)?,
    })
}

fn journals(connection: &Connection) -> Result<u64, StoreError> {
    each(connection, "SELECT DISTINCT run FROM journal", |row| {
        let run = RunId::from_bytes(row.get(0).map_err(sql)?);
        let lines = read::chunks(connection, run, 0)?;
        let counts = lines.iter().map(|chunk| Ok(chunk.lines(run, &fetch(connection))?.len() as u64));
        counts.sum()
    })
}
