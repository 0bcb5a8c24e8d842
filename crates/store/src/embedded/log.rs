//! The log: batches, numbered without gaps and chained by their checksums.

use riverrun_kernel::{Now, PartitionId, PartitionRow, Record};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Writer, damaged, fetch, sql};
use crate::codec::{self, Large};
use crate::{AppendError, Batch, BatchId, Epoch, StoreError};

/// How many bits of a batch's place in the table are its number; the partition stands above them.
const NUMBER_BITS: u32 = 48;

/// What is kept of a partition besides its log: one sealed value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Base {
    /// The highest epoch given out.
    pub(super) epoch: u64,
    /// Who it was given to, for people.
    pub(super) node: String,
    /// The last batch that was trimmed away, the number of the record after it, and its checksum.
    pub(super) trimmed: u64,
    pub(super) next_record: u64,
    pub(super) chain: u32,
    /// How many open runs the rows hold: a damaged index must not hide one.
    pub(super) open_runs: u64,
    /// How many schedules they hold.
    #[serde(default)]
    pub(super) schedules: u64,
    /// The moment of the newest checkpoint.
    pub(super) now: Now,
    /// The kernel's own row.
    pub(super) row: Option<PartitionRow>,
}

/// Where a partition's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) batch: u64,
    pub(super) next_record: u64,
    pub(super) chain: u32,
}

/// A batch as it stands in its table.
pub(super) struct Row {
    pub(super) batch: u64,
    epoch: u64,
    pub(super) first: u64,
    records: u64,
    pub(super) chain: u32,
    value: Vec<u8>,
}

impl Base {
    pub(super) fn new() -> Self {
        Base { next_record: 1, ..Base::default() }
    }

    /// The end of a log of which nothing is kept.
    pub(super) fn head(&self) -> Head {
        Head { batch: self.trimmed, next_record: self.next_record, chain: self.chain }
    }

    pub(super) fn read(connection: &Connection, partition: PartitionId) -> Result<Self, StoreError> {
        let sealed: Option<Vec<u8>> = connection
            .prepare_cached("SELECT value FROM partitions WHERE id = ?")
            .and_then(|mut statement| statement.query_row([partition.0], |row| row.get(0)).optional())
            .map_err(sql)?;
        let Some(sealed) = sealed else {
            return Err(damaged(format!("the row of partition {} is missing", partition.0)));
        };
        let value = codec::unseal(&[b"partition", &partition.0.to_le_bytes()], &sealed).ok_or_else(|| {
            damaged(format!("the row of partition {} does not match its checksum", partition.0))
        })?;
        codec::decode(value, &super::no_blobs)
    }

    pub(super) fn write(&self, connection: &Connection, partition: PartitionId) -> rusqlite::Result<()> {
        let owner: [&[u8]; 2] = [b"partition", &partition.0.to_le_bytes()];
        let value = codec::seal(&owner, codec::encode(None, self, &mut Vec::new()));
        connection
            .prepare_cached("INSERT OR REPLACE INTO partitions (id, value) VALUES (?, ?)")?
            .execute(params![partition.0, value])
            .map(|_| ())
    }
}

impl Row {
    /// The checksum of this row, on top of that of the row before it.
    pub(super) fn sum(&self, before: u32, partition: PartitionId) -> u32 {
        let numbers = [self.batch, self.epoch, self.first, self.records].map(u64::to_le_bytes);
        codec::checksum(
            &[&before.to_le_bytes(), &partition.0.to_le_bytes(), numbers.as_flattened()],
            &self.value,
        )
    }
}

fn place(partition: PartitionId, batch: u64) -> i64 {
    ((u64::from(partition.0) << NUMBER_BITS) | batch) as i64
}

fn number(place: i64) -> u64 {
    place as u64 & ((1 << NUMBER_BITS) - 1)
}

/// Writes batches in one transaction; the new ends of the logs come back in the order of the batches.
pub(super) fn append(writer: &mut Writer, batches: &[Batch]) -> rusqlite::Result<Vec<(PartitionId, Head)>> {
    let mut heads: Vec<(PartitionId, Head)> = Vec::with_capacity(batches.len());
    let transaction = writer.connection.transaction()?;
    for batch in batches {
        let before = heads
            .iter()
            .rev()
            .find(|(of, _)| *of == batch.partition)
            .map_or(writer.partitions[usize::from(batch.partition.0)].head, |(_, head)| *head);
        let content = (batch.now, batch.first, &*batch.records);
        heads.push((batch.partition, add(&transaction, batch.partition, batch.epoch.0, before, content)?));
    }
    transaction.commit()?;
    Ok(heads)
}

/// Adds one batch, given by its moment, the number of its first record and its records. Returns the new end.
pub(super) fn add(
    connection: &Connection,
    partition: PartitionId,
    epoch: u64,
    before: Head,
    (now, first, records): (Now, u64, &[Record]),
) -> rusqlite::Result<Head> {
    let mut large = Vec::new();
    let value = codec::encode_batch(now, records, &mut large);
    let mut row =
        Row { batch: before.batch + 1, epoch, first, records: records.len() as u64, chain: 0, value };
    row.chain = row.sum(before.chain, partition);
    keep_blobs(connection, partition, &large)?;
    insert(connection, partition, &row)?;
    Ok(Head { batch: row.batch, next_record: row.first + row.records, chain: row.chain })
}

fn insert(connection: &Connection, partition: PartitionId, row: &Row) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO log (place, epoch, first, records, chain, value) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            place(partition, row.batch),
            row.epoch as i64,
            row.first as i64,
            row.records as i64,
            row.chain,
            row.value
        ])
        .map(|_| ())
}

/// Keeps large values once each, and those that were about to go.
pub(super) fn keep_blobs(
    connection: &Connection,
    home: PartitionId,
    large: &[Large],
) -> rusqlite::Result<()> {
    for (run, hash, value) in large {
        let mut bytes = Vec::new();
        let owner: [&[u8]; 3] = [b"blob", &run.to_bytes(), hash];
        bytes.extend(codec::encode(None, &value.get(), &mut Vec::new()));
        connection
            .prepare_cached(
                "INSERT INTO blobs (run, hash, home, value) VALUES (?, ?, ?, ?)
                 ON CONFLICT (run, hash) DO UPDATE SET doomed = NULL WHERE doomed IS NOT NULL",
            )?
            .execute(params![run.to_bytes(), hash, home.0, codec::seal(&owner, bytes)])?;
    }
    Ok(())
}

/// Reads the log from batch `after` on and checks numbers and checksums. Returns where it ends.
pub(super) fn read(
    connection: &Connection,
    partition: PartitionId,
    base: &Base,
    each: &mut dyn FnMut(Batch, Head) -> Result<(), StoreError>,
) -> Result<Head, StoreError> {
    let mut head = base.head();
    let mut statement = connection
        .prepare_cached("SELECT place, epoch, first, records, chain, value FROM log WHERE place BETWEEN ? AND ? ORDER BY place")
        .map_err(sql)?;
    let mut rows =
        statement.query([place(partition, 0), place(partition, (1 << NUMBER_BITS) - 1)]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let row = row_of(row).map_err(sql)?;
        head = check(partition, head, &row)?;
        let (now, records) = codec::decode_batch(&row.value, &fetch(connection))
            .map_err(|error| at_batch(partition, row.batch, error))?;
        if records.len() as u64 != row.records {
            return Err(damaged(format!("batch {} of partition {} is incomplete", row.batch, partition.0)));
        }
        let batch = Batch {
            partition,
            epoch: Epoch(row.epoch),
            id: BatchId(row.batch),
            now,
            first: row.first,
            records,
        };
        each(batch, head)?;
    }
    Ok(head)
}

fn at_batch(partition: PartitionId, batch: u64, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(text) => damaged(format!("batch {batch} of partition {}: {text}", partition.0)),
        other => other,
    }
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        batch: number(row.get(0)?),
        epoch: row.get::<_, i64>(1)? as u64,
        first: row.get::<_, i64>(2)? as u64,
        records: row.get::<_, i64>(3)? as u64,
        chain: row.get::<_, i64>(4)? as u32,
        value: row.get(5)?,
    })
}

/// Whether a row continues the log, and the end that it makes.
fn check(partition: PartitionId, head: Head, row: &Row) -> Result<Head, StoreError> {
    let of = partition.0;
    // Numbers of records may jump ahead after a repair. A batch that is missing shows by its own number and by the chain.
    if row.batch != head.batch + 1 || row.first < head.next_record {
        return Err(damaged(format!(
            "the log of partition {of} has a gap: batch {} (record {}) follows batch {} (records up to {})",
            row.batch,
            row.first,
            head.batch,
            head.next_record - 1
        )));
    }
    if row.sum(head.chain, partition) != row.chain {
        return Err(damaged(format!("batch {} of partition {of} does not match its checksum", row.batch)));
    }
    Ok(Head { batch: row.batch, next_record: row.first + row.records, chain: row.chain })
}

/// Where the log ends, without reading all of it: what stands before its last batch is checked when it is read.
pub(super) fn head(connection: &Connection, partition: PartitionId, base: &Base) -> Result<Head, StoreError> {
    let last = connection
        .prepare_cached(
            "SELECT place, epoch, first, records, chain, X'' FROM log WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            let range = [place(partition, 0), place(partition, (1 << NUMBER_BITS) - 1)];
            statement.query_row(range, row_of).optional()
        })
        .map_err(sql)?;
    Ok(last.map_or(base.head(), |row| Head {
        batch: row.batch,
        next_record: row.first + row.records,
        chain: row.chain,
    }))
}

/// The first batch that the log still has.
pub(super) fn first(connection: &Connection, partition: PartitionId) -> Result<Option<Row>, StoreError> {
    connection
        .prepare_cached("SELECT place, epoch, first, records, chain, value FROM log WHERE place BETWEEN ? AND ? ORDER BY place LIMIT 1")
        .and_then(|mut statement| {
            let range = [place(partition, 0), place(partition, (1 << NUMBER_BITS) - 1)];
            statement.query_row(range, row_of).optional()
        })
        .map_err(sql)
}

/// When a batch was decided.
pub(super) fn moment(connection: &Connection, row: &Row) -> Result<Now, StoreError> {
    codec::decode_batch(&row.value, &fetch(connection)).map(|(now, _)| now)
}

/// The checksum and epoch of one batch, if the log still has it.
pub(super) fn find(
    connection: &Connection,
    partition: PartitionId,
    batch: u64,
) -> Result<Option<(u32, Epoch)>, StoreError> {
    connection
        .prepare_cached("SELECT chain, epoch FROM log WHERE place = ?")
        .and_then(|mut statement| {
            let found = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, i64>(0)? as u32, Epoch(row.get::<_, i64>(1)? as u64)))
            };
            statement.query_row([place(partition, batch)], found).optional()
        })
        .map_err(sql)
}

/// Removes batches all of whose records have numbers below `below`, and notes in `base` where the log begins now.
pub(super) fn trim(
    connection: &Connection,
    partition: PartitionId,
    base: &mut Base,
    below: u64,
) -> rusqlite::Result<()> {
    let range = (place(partition, 0), place(partition, (1 << NUMBER_BITS) - 1));
    let last = connection
        .prepare_cached(
            "SELECT place, epoch, first, records, chain, X'' FROM log
             WHERE place BETWEEN ? AND ? AND first + records <= ? ORDER BY place DESC LIMIT 1",
        )?
        .query_row(params![range.0, range.1, below as i64], row_of)
        .optional()?;
    let Some(last) = last else { return Ok(()) };
    connection
        .prepare_cached("DELETE FROM log WHERE place BETWEEN ? AND ?")?
        .execute([range.0, place(partition, last.batch)])?;
    base.trimmed = last.batch;
    base.next_record = last.first + last.records;
    base.chain = last.chain;
    Ok(())
}

/// The number of a batch, and its records if they decode.
pub(super) type Readable = (u64, Option<Vec<Record>>);

/// The batches from `from` on with the records of those that decode: what stands behind a damage.
pub(super) fn readable(
    connection: &Connection,
    partition: PartitionId,
    from: u64,
) -> Result<Vec<Readable>, StoreError> {
    let query = "SELECT place, value FROM log WHERE place BETWEEN ? AND ? ORDER BY place";
    let range = [place(partition, from), place(partition, (1 << NUMBER_BITS) - 1)];
    let rows = super::read::all(connection, query, params![range[0], range[1]], |row| {
        Ok((number(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
    })?;
    let records = |value: &[u8]| codec::decode_batch(value, &fetch(connection)).map(|(_, records)| records);
    Ok(rows.into_iter().map(|(batch, value)| (batch, records(&value).ok())).collect())
}

/// Removes batches from `batch` on: only a repair does that.
pub(super) fn cut(connection: &Connection, partition: PartitionId, batch: u64) -> rusqlite::Result<usize> {
    connection.execute(
        "DELETE FROM log WHERE place BETWEEN ? AND ?",
        [place(partition, batch), place(partition, (1 << NUMBER_BITS) - 1)],
    )
}

/// How the caller of an append has to understand an error of the database.
pub(super) fn append_error(error: &rusqlite::Error) -> AppendError {
    use rusqlite::ErrorCode::{
        ConstraintViolation, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, TooBig,
    };
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(DiskFull) => AppendError::Refused(format!("{text}: make room on the disk that holds the store")),
        Some(ConstraintViolation | DatabaseBusy | DatabaseLocked | OutOfMemory | TooBig) => {
            AppendError::Refused(text)
        }
        _ => AppendError::Broken(text),
    }
}
