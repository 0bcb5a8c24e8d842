//! The embedded store: one directory, no server. SQLite underneath, used log first.
//!
//! One connection writes; it is behind a mutex, so that an append is one transaction and one sync. Several read. A thread
//! of its own moves what is in the write-ahead log into the database. SQLite vouches for atomicity; numbers and checksums
//! of our own vouch for what a file system or a hand in the directory may do to it: a tail that was lost, a file that was
//! exchanged, a page that was damaged are refused, never read as less.
//!
//! Main type: [`EmbeddedStore`].

mod backup;
mod derive;
mod list;
mod lock;
mod log;
mod maintenance;
mod notes;
mod read;
mod repair;
mod rows;
mod schedules;
mod schema;
mod verify;
mod views;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use riverrun_kernel::{JournalRow, Json, Key, KeyId, LoadedRows, Needs, PartitionId, RunId, RunSummary};
use rusqlite::{Connection, TransactionBehavior};

pub use self::backup::{Backup, Manifest, Snapshot};
use self::lock::DirectoryLock;
use self::log::{Base, Head};
use self::maintenance::Maintenance;
use self::notes::{Note, Notes};
pub use self::repair::Repaired;
use self::schema::Identity;
pub use self::views::QueryError;
use crate::memory::{follows, no_such_partition};
use crate::{
    AppendError, Batch, BatchId, Checkpoint, Count, Cursor, Epoch, KeyFilter, Page, Recovered, RunFilter,
    Store, StoreError, Verified,
};

/// A store in one directory. One process at a time can open it.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// Stops before the lock is given up.
    _maintenance: Maintenance,
    _lock: DirectoryLock,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    identity: Identity,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
    notes: Notes,
}

/// The one connection that writes, and what it would otherwise have to look up.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    partitions: Vec<Partition>,
    broken: Broken,
}

/// Why nothing may be written any more by this process: a write or sync failed. Not even closing may write then. A transfer
/// of the write-ahead log would rely on what the system only believes to be on the disk, and leave a database of which
/// one part is there and the other is not.
type Broken = Arc<OnceLock<String>>;

/// A partition, as its writer knows it.
#[derive(Debug)]
struct Partition {
    base: Base,
    head: Head,
    owned: bool,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, or makes one of a single partition.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(dir, 1)
    }

    /// Opens the store in `dir`, or makes one of so many partitions. An existing store keeps its number.
    pub fn open_with(dir: impl AsRef<Path>, partitions: u16) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        schema::prepare(dir)?;
        let lock = DirectoryLock::take(dir)?;
        backup::remove_leftovers(dir);
        maintenance::rewrite(dir)?;
        let mut connection = schema::connect(dir)?;
        let identity = schema::identify(&mut connection, partitions)?;
        maintenance::truncate(&connection)?;
        maintenance::reserve(dir);
        let notes = Notes::open(dir, identity.incarnation)?;
        let partitions = (0..identity.partitions)
            .map(|id| Partition::read(&connection, PartitionId(id), &notes))
            .collect::<Result<Vec<_>, _>>()?;
        for (id, known) in (0..).map(PartitionId).zip(&partitions) {
            note(&notes, id, known.head);
        }
        let broken = Broken::default();
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            identity,
            writer: Mutex::new(Writer { connection, partitions, broken: Arc::clone(&broken) }),
            readers: Mutex::default(),
            notes,
        });
        Ok(EmbeddedStore {
            _maintenance: Maintenance::start(Arc::clone(&shared), broken)?,
            shared,
            _lock: lock,
        })
    }

    /// Whether there is a store in `dir`.
    pub fn is_in(dir: impl AsRef<Path>) -> bool {
        schema::database(dir.as_ref()).is_file()
    }

    /// Says what is missing from the store in `dir`. With `accept_loss` it goes on without: each log ends before its first
    /// damage, what was acknowledged after that is gone, and open runs that may have gone on in it are suspended. Nothing is changed when nothing is missing.
    pub fn repair(dir: impl AsRef<Path>, accept_loss: bool) -> Result<Vec<Repaired>, StoreError> {
        repair::repair(dir.as_ref(), accept_loss)
    }

    /// Answers a query in SQL from the rows of the store in `dir`, which another process may have open. It can only read. There are
    /// views with readable columns: `runs`, `steps`, `journal`, `keys`, `schedules`, `definitions`, `labels`. `each` gets the names of the columns
    /// and the values of a row; the names also come back.
    pub fn query(
        dir: impl AsRef<Path>,
        text: &str,
        each: &mut dyn FnMut(&[String], Vec<serde_json::Value>),
    ) -> Result<Vec<String>, QueryError> {
        views::query(dir.as_ref(), text, each)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// How a list with this filter is answered: the steps of SQLite's plan, to see which index it takes.
    pub fn explain(&self, filter: &RunFilter) -> Result<Vec<String>, StoreError> {
        self.read(|connection| list::explain(connection, filter))
    }

    fn check(&self, partition: PartitionId) -> Result<(), StoreError> {
        if partition.0 < self.shared.identity.partitions {
            return Ok(());
        }
        let text = no_such_partition(partition, self.shared.identity.partitions);
        Err(StoreError::Unavailable(text))
    }

    fn owned(&self, partition: PartitionId, epoch: Epoch) -> Result<MutexGuard<'_, Writer>, StoreError> {
        self.check(partition)?;
        let writer = self.shared.writer();
        if writer.partitions[usize::from(partition.0)].is_owner(epoch) {
            Ok(writer)
        } else {
            Err(StoreError::Fenced)
        }
    }

    /// Makes sure that reads go through a connection of their own, which goes back afterwards.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let pooled = self.shared.readers().pop();
        let connection = pooled.map_or_else(|| schema::connect_to_read(&self.shared.dir), Ok)?;
        // One transaction, so that all parts of an answer are of one moment.
        let transaction = connection.unchecked_transaction().map_err(sql)?;
        let answer = read(&transaction);
        drop(transaction);
        self.shared.readers().push(connection);
        answer
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partition {
    /// Reads where a partition stands, and compares it with what was acknowledged.
    fn read(connection: &Connection, id: PartitionId, notes: &Notes) -> Result<Self, StoreError> {
        let base = Base::read(connection, id)?;
        let head = log::head(connection, id, &base)?;
        if let Some(note) = notes.read(id)? {
            witness(connection, id, &base, head, note)?;
        }
        Ok(Partition { base, head, owned: false })
    }

    fn is_owner(&self, epoch: Epoch) -> bool {
        self.owned && self.base.epoch == epoch.0
    }
}

/// Compares a log with what was noted to be acknowledged.
fn witness(
    connection: &Connection,
    id: PartitionId,
    base: &Base,
    head: Head,
    note: Note,
) -> Result<(), StoreError> {
    if head.batch < note.batch {
        return Err(damaged(format!(
            "the log of partition {} ends with batch {}, and batch {} was acknowledged: its end is lost. \
             `riverrun store repair` says what is missing; with --accept-loss it goes on without that",
            id.0, head.batch, note.batch
        )));
    }
    let found = if note.batch == base.trimmed {
        Some(base.chain)
    } else {
        log::find(connection, id, note.batch)?.map(|(chain, _)| chain)
    };
    if found.is_some_and(|chain| chain != note.chain) {
        return Err(damaged(format!(
            "batch {} of partition {} is not the one that was acknowledged: the database was exchanged. Put the right one \
             back, or go on with this one by `riverrun store repair --accept-loss`",
            note.batch, id.0
        )));
    }
    Ok(())
}

impl Writer {
    /// Runs one transaction that changes a partition's base; memory follows only if it is committed.
    fn change<T>(
        &mut self,
        partition: PartitionId,
        change: impl FnOnce(&Connection, &mut Base, Head) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(reason) = self.broken.get() {
            return Err(StoreError::Broken(reason.clone()));
        }
        let result = self.transact(partition, change);
        if let Err(error) = &result {
            self.heed(error);
        }
        result
    }

    fn transact<T>(
        &mut self,
        partition: PartitionId,
        change: impl FnOnce(&Connection, &mut Base, Head) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let known = &mut self.partitions[usize::from(partition.0)];
        let mut base = known.base.clone();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let answer = change(&transaction, &mut base, known.head)?;
        transaction.commit().map_err(sql)?;
        known.base = base;
        Ok(answer)
    }

    /// Writes nothing more once writing or syncing has failed anywhere: the system may count pages as written that are not.
    fn heed(&mut self, error: &StoreError) {
        if let StoreError::Broken(reason) = error {
            self.broken.get_or_init(|| reason.clone());
        }
    }

    fn check_batches(&self, batches: &[Batch]) -> Result<(), AppendError> {
        let mut ends: Vec<(u64, u64)> =
            self.partitions.iter().map(|known| (known.head.batch, known.head.next_record)).collect();
        for batch in batches {
            let place = usize::from(batch.partition.0);
            let known = self.partitions.get(place).filter(|known| known.is_owner(batch.epoch));
            if known.is_none() {
                return Err(AppendError::Fenced);
            }
            follows(batch, ends[place].0, ends[place].1)?;
            ends[place] = (batch.id.0, batch.first + batch.records.len() as u64);
        }
        Ok(())
    }
}

impl Store for EmbeddedStore {
    fn secret(&self) -> [u8; 32] {
        self.shared.identity.secret
    }

    fn partitions(&self) -> u16 {
        self.shared.identity.partitions
    }

    fn acquire(&self, partition: PartitionId, node: &str) -> Result<Epoch, StoreError> {
        self.check(partition)?;
        let mut writer = self.shared.writer();
        let epoch = writer.change(partition, |connection, base, _| {
            base.epoch += 1;
            node.clone_into(&mut base.node);
            base.write(connection, partition).map_err(sql)?;
            Ok(Epoch(base.epoch))
        })?;
        writer.partitions[usize::from(partition.0)].owned = true;
        Ok(epoch)
    }

    fn renew(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        self.owned(partition, epoch).map(drop)
    }

    fn release(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        self.owned(partition, epoch)?.partitions[usize::from(partition.0)].owned = false;
        Ok(())
    }

    fn append(&self, batches: &[Batch]) -> Result<(), AppendError> {
        let mut writer = self.shared.writer();
        if let Some(reason) = writer.broken.get() {
            return Err(AppendError::Broken(reason.clone()));
        }
        writer.check_batches(batches)?;
        let heads = log::append(&mut writer, batches).map_err(|error| {
            let error = log::append_error(&error);
            if let AppendError::Broken(reason) = &error {
                writer.broken.get_or_init(|| reason.clone());
            }
            error
        })?;
        for (partition, head) in heads {
            writer.partitions[usize::from(partition.0)].head = head;
            note(&self.shared.notes, partition, head);
        }
        Ok(())
    }

    fn has_batch(&self, partition: PartitionId, epoch: Epoch, batch: BatchId) -> Result<bool, StoreError> {
        self.check(partition)?;
        let writer = self.shared.writer();
        let found = log::find(&writer.connection, partition, batch.0)?;
        let trimmed = writer.partitions[usize::from(partition.0)].base.trimmed;
        // A number that was used and is gone has been trimmed, so its records are in rows.
        Ok(found.map_or((1..=trimmed).contains(&batch.0), |(_, wrote)| wrote == epoch))
    }

    fn checkpoint(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        checkpoint: &Checkpoint,
    ) -> Result<(), StoreError> {
        let mut writer = self.owned(partition, epoch)?;
        maintenance::relaxed(&mut writer, |writer| {
            writer.change(partition, |connection, base, head| {
                rows::write(connection, partition, base, head.next_record, checkpoint)
            })
        })
    }

    fn recover(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(Recovered) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check(partition)?;
        self.read(|connection| read::recover(connection, partition, each).map(|_| ()))
    }

    fn load(&self, partition: PartitionId, needs: &Needs) -> Result<LoadedRows, StoreError> {
        self.check(partition)?;
        self.read(|connection| read::load(connection, needs))
    }

    fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<JournalRow>, StoreError> {
        self.read(|connection| read::journal(connection, run, after, limit))
    }

    fn list(
        &self,
        filter: &RunFilter,
        after: Option<Cursor>,
        limit: usize,
        without: &HashSet<RunId>,
    ) -> Result<Page<RunSummary>, StoreError> {
        self.read(|connection| list::list(connection, filter, after, limit, without))
    }

    fn count(&self, filter: &RunFilter, cap: u64) -> Result<Count, StoreError> {
        self.read(|connection| list::count(connection, filter, cap))
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.read(read::namespaces)
    }

    fn keys(&self, filter: &KeyFilter, after: Option<&KeyId>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.read(|connection| read::keys(connection, filter, after, limit))
    }

    fn blob(&self, run: RunId, hash: [u8; 32]) -> Result<Option<Json>, StoreError> {
        self.read(|connection| read::blob(connection, run, hash))
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        let shared = &self.shared;
        self.read(|connection| verify::verify(connection, &shared.identity, &shared.notes))
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.unnamed_copy()
    }
}

/// Notes where a durable log ends. It is durable whatever becomes of the note, which may lag.
fn note(notes: &Notes, partition: PartitionId, head: Head) {
    let note = Note { batch: head.batch, chain: head.chain };
    if let Err(error) = notes.write(partition, note) {
        tracing::warn!(%error, "what was acknowledged could not be noted");
    }
}

/// Says where the damage is.
fn damaged(text: impl Into<String>) -> StoreError {
    StoreError::Corrupt(text.into())
}

/// Finds blobs in the database.
fn fetch(connection: &Connection) -> impl Fn(RunId, [u8; 32]) -> Result<String, StoreError> + '_ {
    use rusqlite::OptionalExtension;
    move |run, hash| {
        let sealed: Option<Vec<u8>> = connection
            .prepare_cached("SELECT value FROM blobs WHERE run = ? AND hash = ?")
            .and_then(|mut statement| {
                let values = rusqlite::params![run.to_bytes(), hash];
                statement.query_row(values, |row| row.get(0)).optional()
            })
            .map_err(sql)?;
        let sealed = sealed.ok_or_else(|| damaged(format!("a large value of {run} is missing")))?;
        read::blob_text(run, hash, &sealed)
    }
}

/// For values that never refer to blobs.
fn no_blobs(run: RunId, _: [u8; 32]) -> Result<String, StoreError> {
    Err(damaged(format!("a value refers to a large value of {run}, and has none")))
}

/// How the caller has to understand an error of the database.
fn sql(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    use rusqlite::ffi::{SQLITE_IOERR_READ, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_SHORT_READ};
    let text = error.to_string();
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    match (&error, error.sqlite_error_code()) {
        (_, Some(DatabaseCorrupt | NotADatabase)) => damaged(text),
        _ if extended == SQLITE_IOERR_SHORT_READ => damaged(text),
        // The index of the write-ahead log could not be made longer. It is no part of what is kept.
        _ if extended == SQLITE_IOERR_SHMSIZE => StoreError::Unavailable(format!(
            "{text}: riverrun.db-shm cannot be extended; make room on the disk that holds the store"
        )),
        (_, Some(SystemIoFailure)) if extended != SQLITE_IOERR_READ => StoreError::Broken(text),
        (rusqlite::Error::SqliteFailure(..), _) => StoreError::Unavailable(text),
        // Any other error is about what was found: a column of another type, no row where there is always one.
        _ => damaged(text),
    }
}

/// An operation on a file that failed.
fn unavailable(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn failed(code: i32) -> StoreError {
        sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_failed_sync_outside_an_append_breaks_every_later_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = EmbeddedStore::open(dir.path()).expect("a store");
        let epoch = store.acquire(PartitionId(0), "a").expect("an epoch");
        let error = failed(ffi::SQLITE_IOERR_FSYNC);
        assert!(matches!(error, StoreError::Broken(_)), "{error}");
        let result = store.shared.writer().change(PartitionId(0), |_, _, _| Err::<(), _>(error.clone()));
        assert_eq!(result, Err(error));
        assert!(matches!(store.append(&[]), Err(AppendError::Broken(_))));
        let checkpoint = store.checkpoint(PartitionId(0), epoch, &Checkpoint::default());
        assert!(matches!(checkpoint, Err(StoreError::Broken(_))), "{checkpoint:?}");
    }

    #[test]
    fn a_failed_read_and_a_full_disk_may_go_away() {
        for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_FULL, ffi::SQLITE_BUSY] {
            assert!(matches!(failed(code), StoreError::Unavailable(_)), "{code}");
        }
    }
}
