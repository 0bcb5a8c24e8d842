//! The database: its tables, its settings, and what identifies it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use riverrun_kernel::PartitionId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::log::Base;
use super::{sql, unavailable};
use crate::{StoreError, codec};

/// The version of the tables. A higher one was written by a newer Riverrun.
const FORMAT: i64 = 2;

/// The oldest SQLite without the data race between a WAL reset and a checkpoint.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Every value is sealed with a checksum (see `codec`), every text column repeats what a value says, for lists.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE partitions (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE log (
    place INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, first INTEGER NOT NULL, records INTEGER NOT NULL,
    chain INTEGER NOT NULL, value BLOB NOT NULL
) STRICT;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run BLOB NOT NULL UNIQUE, home INTEGER NOT NULL,
    namespace TEXT NOT NULL, definition TEXT NOT NULL, kind TEXT NOT NULL, created INTEGER NOT NULL,
    continue_id TEXT, parent BLOB, state TEXT NOT NULL, waiting TEXT, ended INTEGER,
    summary BLOB NOT NULL, stub BLOB, rest BLOB NOT NULL
) STRICT;
CREATE INDEX runs_by_time ON runs (namespace, created, run, state, kind, ended);
CREATE INDEX runs_by_definition ON runs (namespace, definition, created, run, state, kind, ended);
CREATE INDEX runs_not_succeeded ON runs (namespace, created, run, state, definition, kind, ended) WHERE state <> 'succeeded';
CREATE INDEX runs_by_waiting ON runs (namespace, waiting, created, run) WHERE waiting IS NOT NULL;
CREATE INDEX runs_by_key ON runs (namespace, continue_id, created, run) WHERE continue_id IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (namespace, parent, created, run) WHERE parent IS NOT NULL;
CREATE INDEX runs_open ON runs (home) WHERE stub IS NOT NULL;
CREATE TABLE labels (
    namespace TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, created INTEGER NOT NULL, run BLOB NOT NULL,
    PRIMARY KEY (namespace, name, value, created, run)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    id INTEGER PRIMARY KEY, run BLOB NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, value BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_by_run ON journal (run, last);
CREATE TABLE keys (
    namespace TEXT NOT NULL, definition TEXT NOT NULL, version TEXT NOT NULL, continue_id TEXT NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (namespace, definition, version, continue_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE definitions (
    namespace TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (namespace, kind, name, version)
) STRICT;
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY, run BLOB NOT NULL, hash BLOB NOT NULL, home INTEGER NOT NULL, doomed INTEGER, value BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX blobs_by_run ON blobs (run, hash);
CREATE INDEX blobs_doomed ON blobs (home, doomed) WHERE doomed IS NOT NULL;
";

/// What format 2 added.
const SCHEDULES: &str = "
CREATE TABLE schedules (
    namespace TEXT NOT NULL, name TEXT NOT NULL, home INTEGER NOT NULL, stub BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
";

/// When runs expire that say so themselves, in the order of all lists.
const EXPIRY: &str = "
ALTER TABLE runs ADD COLUMN expires INTEGER;
CREATE INDEX runs_expiring ON runs (namespace, created, run, expires) WHERE expires IS NOT NULL;
";

/// What a database is, for as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Made anew with the database and by each repair.
    pub(super) incarnation: [u8; 16],
    /// The deployment's secret.
    pub(super) secret: [u8; 32],
    /// How many partitions the id space is split into.
    pub(super) partitions: u16,
}

/// Makes the directory and an empty database file, both readable by their owner only, and makes their names durable.
pub(super) fn prepare(dir: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|error| unavailable("create", dir, &error))?;
    let path = database(dir);
    if path.exists() || is_empty(dir) {
        tighten(dir);
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .and_then(|file| file.sync_all())
        .map_err(|error| unavailable("create", &path, &error))?;
    sync_dir(dir)?;
    dir.canonicalize().map_err(|error| unavailable("find", dir, &error))?.parent().map_or(Ok(()), sync_dir)
}

fn is_empty(dir: &Path) -> bool {
    dir.read_dir().is_ok_and(|mut entries| entries.next().is_none())
}

/// Closes a directory that was there before to everybody but its owner. To be asked only for a directory that is the store's:
/// one with other files in it serves somebody else too.
fn tighten(dir: &Path) {
    let others = 0o077;
    let tightened = dir.metadata().and_then(|found| {
        let mode = found.permissions().mode();
        if mode & others == 0 {
            Ok(())
        } else {
            fs::set_permissions(dir, Permissions::from_mode(mode & !others))
        }
    });
    if let Err(error) = tightened {
        // Another user owns it, as with volumes of containers. The files in it are private all the same.
        tracing::debug!(dir = %dir.display(), %error, "the directory stays open to others");
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| unavailable("sync", dir, &error))
}

/// The database file of a store's directory.
pub(super) fn database(dir: &Path) -> std::path::PathBuf {
    dir.join("riverrun.db")
}

/// SQLite's write-ahead log, beside the database.
pub(super) fn write_ahead_log(dir: &Path) -> std::path::PathBuf {
    dir.join("riverrun.db-wal")
}

/// Opens a connection with the settings that every one of them has.
pub(super) fn connect(dir: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(StoreError::Unavailable(format!(
            "this binary was built with SQLite {}, which can damage a database in WAL mode; 3.51.3 or later is needed",
            rusqlite::version()
        )));
    }
    let connection = Connection::open(database(dir)).map_err(sql)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(sql)?;
    // SQLite would transfer the write-ahead log when the last connection closes, even after a failed sync.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;
             PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
        )
        .map_err(sql)?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(super) fn connect_to_read(dir: &Path) -> Result<Connection, StoreError> {
    let connection = connect(dir)?;
    connection.pragma_update(None, "query_only", true).map_err(sql)?;
    Ok(connection)
}

/// Makes the tables of a new database, or checks those of an existing one. `partitions` counts for a new one only.
pub(super) fn identify(connection: &mut Connection, partitions: u16) -> Result<Identity, StoreError> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    if tables == 0 {
        return create(connection, partitions);
    }
    let format: i64 = connection
        .query_row("SELECT value FROM meta WHERE name = 'format'", [], |row| row.get(0))
        .map_err(|error| match sql(error) {
            StoreError::Unavailable(text) => {
                StoreError::Corrupt(format!("this is not a Riverrun store: {text}"))
            }
            other => other,
        })?;
    if format > FORMAT {
        return Err(StoreError::NewerVersion(format!(
            "the store has format {format}, and this version of Riverrun ({}) reads formats up to {FORMAT}; \
             use the version that wrote it, or a newer one",
            env!("CARGO_PKG_VERSION")
        )));
    }
    if format < 2 {
        let transaction = connection.transaction().map_err(sql)?;
        transaction.execute_batch(SCHEDULES).map_err(sql)?;
        transaction.execute("UPDATE meta SET value = ? WHERE name = 'format'", [FORMAT]).map_err(sql)?;
        transaction.commit().map_err(sql)?;
    }
    add_expiry(connection).map_err(sql)?;
    let sealed: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = 'identity'", [], |row| row.get(0))
        .optional()
        .map_err(sql)?;
    let value = sealed.as_deref().and_then(|sealed| codec::unseal(&[b"identity"], sealed));
    let value = value.ok_or_else(|| StoreError::Corrupt("the store's identity is damaged".into()))?;
    codec::decode(value, &super::no_blobs)
}

/// Brings the table of a store that was made before runs could have an expiry of their own up to date. Versions from then go on reading it.
fn add_expiry(connection: &Connection) -> rusqlite::Result<()> {
    let query = "SELECT count(*) FROM pragma_table_info('runs') WHERE name = 'expires'";
    let columns: i64 = connection.query_row(query, [], |row| row.get(0))?;
    if columns == 0 { connection.execute_batch(EXPIRY) } else { Ok(()) }
}

fn create(connection: &mut Connection, partitions: u16) -> Result<Identity, StoreError> {
    let identity = Identity { incarnation: random()?, secret: random()?, partitions: partitions.max(1) };
    let transaction = connection.transaction().map_err(sql)?;
    transaction.execute_batch(TABLES).map_err(sql)?;
    transaction.execute_batch(SCHEDULES).map_err(sql)?;
    transaction.execute_batch(EXPIRY).map_err(sql)?;
    transaction.execute("INSERT INTO meta VALUES ('format', ?)", [FORMAT]).map_err(sql)?;
    write_identity(&transaction, &identity)?;
    for partition in 0..identity.partitions {
        Base::new().write(&transaction, PartitionId(partition)).map_err(sql)?;
    }
    transaction.commit().map_err(sql)?;
    Ok(identity)
}

pub(super) fn write_identity(connection: &Connection, identity: &Identity) -> Result<(), StoreError> {
    let value = codec::seal(&[b"identity"], codec::encode(None, identity, &mut Vec::new()));
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('identity', ?)", params![value]).map_err(sql)?;
    Ok(())
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Unavailable(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}
