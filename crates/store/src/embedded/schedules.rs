//! The rows of schedules: a stub that recovery streams, and the rest that is read when the schedule fires or is shown.

use riverrun_kernel::schedule::{Schedule, ScheduleId, ScheduleRow, ScheduleStub};
use riverrun_kernel::{PartitionId, Rows};
use rusqlite::{Connection, OptionalExtension, params};

use super::log::Base;
use super::{damaged, no_blobs, read as rows, sql};
use crate::{Recovered, StoreError, codec};

/// What a sealed value of a schedule belongs to.
fn owner<'a>(id: &'a ScheduleId, column: &'a [u8]) -> [&'a [u8]; 4] {
    [b"schedule", id.namespace.as_bytes(), id.name.as_bytes(), column]
}

fn unsealed<'a>(id: &ScheduleId, column: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    codec::unseal(&owner(id, column), sealed)
        .ok_or_else(|| damaged(format!("the row of schedule `{}` does not match its checksum", id.name)))
}

/// Writes what a checkpoint has of schedules.
pub(super) fn write(
    connection: &Connection,
    home: PartitionId,
    base: &mut Base,
    rows: &Rows,
) -> Result<(), StoreError> {
    for id in &rows.deleted_schedules {
        base.schedules = base.schedules.saturating_sub(delete(connection, id).map_err(sql)? as u64);
    }
    for row in &rows.schedules {
        let replaced = delete(connection, &row.schedule.id).map_err(sql)? as u64;
        put(connection, home, row).map_err(sql)?;
        base.schedules = (base.schedules + 1).saturating_sub(replaced);
    }
    Ok(())
}

fn delete(connection: &Connection, id: &ScheduleId) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM schedules WHERE namespace = ? AND name = ?")?
        .execute(params![id.namespace, id.name])
}

fn put(connection: &Connection, home: PartitionId, row: &ScheduleRow) -> rusqlite::Result<()> {
    let id = &row.schedule.id;
    let none = &mut Vec::new();
    let stub = codec::seal(&owner(id, b"stub"), codec::encode(None, &row.stub, none));
    let value = codec::seal(&owner(id, b"value"), codec::encode(None, &(row.last, &row.schedule), none));
    connection
        .prepare_cached("INSERT INTO schedules (namespace, name, home, stub, value) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![id.namespace, id.name, home.0, stub, value])
        .map(|_| ())
}

/// A schedule's row, if it has one.
pub(super) fn read(connection: &Connection, id: &ScheduleId) -> Result<Option<ScheduleRow>, StoreError> {
    let found: Option<(Vec<u8>, Vec<u8>)> = connection
        .prepare_cached("SELECT stub, value FROM schedules WHERE namespace = ? AND name = ?")
        .and_then(|mut statement| {
            let values = params![id.namespace, id.name];
            statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(sql)?;
    found
        .map(|(sealed_stub, sealed)| {
            let (last, schedule) = value(id, &sealed)?;
            Ok(ScheduleRow { stub: stub(id, &sealed_stub)?, schedule, last })
        })
        .transpose()
}

fn stub(id: &ScheduleId, sealed: &[u8]) -> Result<ScheduleStub, StoreError> {
    codec::decode(unsealed(id, b"stub", sealed)?, &no_blobs)
}

/// A schedule from its sealed value, and the last record that it contains.
pub(super) fn value(id: &ScheduleId, sealed: &[u8]) -> Result<(u64, Schedule), StoreError> {
    let (last, schedule): (u64, Schedule) = codec::decode(unsealed(id, b"value", sealed)?, &no_blobs)?;
    if schedule.id == *id {
        return Ok((last, schedule));
    }
    Err(damaged(format!("the row of schedule `{}` holds `{}`", id.name, schedule.id.name)))
}

/// Streams the stubs of a partition's schedules.
pub(super) fn recover(
    connection: &Connection,
    partition: PartitionId,
    base: &Base,
    each: &mut dyn FnMut(Recovered) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT namespace, name, stub FROM schedules WHERE home = ? ORDER BY namespace, name")
        .map_err(sql)?;
    let mut found = statement.query([partition.0]).map_err(sql)?;
    let mut count = 0;
    while let Some(row) = found.next().map_err(sql)? {
        let id = id(row).map_err(sql)?;
        let sealed: Vec<u8> = row.get(2).map_err(sql)?;
        each(Recovered::Schedule(stub(&id, &sealed)?))?;
        count += 1;
    }
    if count == base.schedules {
        return Ok(());
    }
    let text = format!("partition {} has {} schedules, and {count} are found", partition.0, base.schedules);
    Err(damaged(text))
}

fn id(row: &rusqlite::Row<'_>) -> rusqlite::Result<ScheduleId> {
    Ok(ScheduleId { namespace: row.get::<_, String>(0)?.into(), name: row.get::<_, String>(1)?.into() })
}

/// Reads every row and checks it; how many there are.
pub(super) fn verify(connection: &Connection) -> Result<u64, StoreError> {
    let ids = rows::all(connection, "SELECT namespace, name FROM schedules", &[], id)?;
    for id in &ids {
        read(connection, id)?.ok_or_else(|| damaged(format!("schedule `{}` is in no index", id.name)))?;
    }
    Ok(ids.len() as u64)
}

/// The highest number of a record that any of these rows contains. A row that is damaged says nothing.
pub(super) fn highest(connection: &Connection, partition: PartitionId) -> Result<u64, StoreError> {
    let query = "SELECT namespace, name, value FROM schedules WHERE home = ?";
    let found =
        rows::all(connection, query, &[&partition.0], |row| Ok((id(row)?, row.get::<_, Vec<u8>>(2)?)))?;
    let last = |(id, sealed): &(ScheduleId, Vec<u8>)| value(id, sealed).map_or(0, |(last, _)| last);
    Ok(found.iter().map(last).max().unwrap_or(0))
}
