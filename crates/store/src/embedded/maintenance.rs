//! The write-ahead log, kept short by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::{Broken, Shared, Writer, schema, sql, unavailable};
use crate::StoreError;

/// How often the thread looks.
const PERIOD: Duration = Duration::from_millis(250);

/// Pages in the write-ahead log from which their transfer is worth a sync: 4 MiB.
const WORTH: i64 = 1024;

/// Pages in the write-ahead log from which writers are held up for the end of the transfer: 8 MiB. Only a complete
/// transfer lets SQLite begin the file anew, and with steady writing none is complete unless they wait.
const TOO_LONG: i64 = 2048;

/// How long the write-ahead log's file is made before there is anything in it: as long as it may become, and a little.
const RESERVED: u64 = 9 << 20;

/// Owns the thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Maintenance {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    pub(super) fn start(shared: Arc<Shared>, broken: Broken) -> Result<Self, StoreError> {
        let connection = schema::connect(&shared.dir)?;
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::downgrade(&shared);
        let thread = std::thread::Builder::new()
            .name("store-maintenance".into())
            .spawn(move || {
                while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                    if broken.get().is_none() {
                        look(&connection, &shared);
                    }
                }
                // The last one out leaves a short log behind, so that the next start is quick.
                if broken.get().is_none()
                    && let Err(error) = truncate(&connection)
                {
                    tracing::debug!(%error, "the write-ahead log stays as it is");
                }
            })
            .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Maintenance { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's maintenance thread panicked");
        }
    }
}

fn look(connection: &Connection, shared: &Weak<Shared>) {
    let Some(shared) = shared.upgrade() else { return };
    match shorten(connection, &shared) {
        Ok(()) => {}
        Err(error @ StoreError::Broken(_)) => {
            tracing::error!(%error, "the write-ahead log could not be moved into the database; nothing more is written");
            shared.writer().heed(&error);
        }
        Err(error) => {
            tracing::warn!(%error, "the write-ahead log could not be moved into the database; trying again");
        }
    }
}

fn shorten(connection: &Connection, shared: &Shared) -> Result<(), StoreError> {
    if transfer(connection, "NOOP")?.pending() < WORTH {
        return Ok(());
    }
    let wal = transfer(connection, "PASSIVE")?;
    if wal.pages >= TOO_LONG && wal.pending() > 0 {
        let _held_up = shared.writer();
        transfer(connection, "PASSIVE")?;
    }
    Ok(())
}

/// The write-ahead log after a transfer: its pages, and how many of them are in the database.
struct Wal {
    pages: i64,
    moved: i64,
}

impl Wal {
    fn pending(&self) -> i64 {
        self.pages - self.moved
    }
}

fn transfer(connection: &Connection, mode: &str) -> Result<Wal, StoreError> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok(Wal { pages: row.get(1)?, moved: row.get(2)? })
        })
        .map_err(sql)
}

/// Writes the write-ahead log again, as it is, and syncs it: before the first transfer, since a database that holds part of
/// a transfer is whole only together with the log. A process before this one may have failed to sync it, and then the
/// system shows what was written, takes it for written, and writes it no more.
pub(super) fn rewrite(dir: &Path) -> Result<(), StoreError> {
    let path = schema::write_ahead_log(dir);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unavailable("open", &path, &error)),
    };
    let mut chunk = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut chunk, offset).map_err(|error| unavailable("read", &path, &error))?;
        if read == 0 {
            break;
        }
        file.write_all_at(&chunk[..read], offset).map_err(|error| failed("write", &path, &error))?;
        offset += read as u64;
    }
    if offset == 0 {
        return Ok(());
    }
    file.sync_data().map_err(|error| failed("sync", &path, &error))
}

/// A write or sync that failed: for want of room, or because the storage is broken.
fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    if error.kind() == ErrorKind::StorageFull {
        return unavailable(what, path, error);
    }
    StoreError::Broken(format!("cannot {what} {}: {error}", path.display()))
}

/// Moves everything into the database and empties the write-ahead log.
pub(super) fn truncate(connection: &Connection) -> Result<(), StoreError> {
    let wal = transfer(connection, "TRUNCATE")?;
    if wal.pending() > 0 {
        return Err(StoreError::Unavailable("the write-ahead log is in use".into()));
    }
    Ok(())
}

/// Makes the file of the empty write-ahead log long beforehand: to sync what is written into a file takes half the time of a sync that
/// has to make it longer as well. SQLite takes zeros for a log that has not begun. Without this it works as well, only slower.
pub(super) fn reserve(dir: &Path) {
    let path = schema::write_ahead_log(dir);
    let written = OpenOptions::new().write(true).open(&path).and_then(|file| {
        // That it is empty must be on the disk first: of an older log behind the first zeros, a loss of power could leave a part.
        file.sync_all()?;
        fill(&file).inspect_err(|_| {
            // Room that is scarce is not for zeros.
            let _ = file.set_len(0);
        })
    });
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "the write-ahead log grows as it is written");
    }
}

fn fill(file: &File) -> io::Result<()> {
    // A page at a time: what is written at once the system may also cache as one, and then writes it back as one, for ever.
    let page = [0; 4096];
    for offset in (0..RESERVED).step_by(page.len()) {
        file.write_all_at(&page, offset)?;
    }
    file.sync_all()
}

/// Commits without a sync of its own. What a checkpoint writes can be written again from the log as long as the log is not
/// trimmed, and both happen in one transaction: when power fails both are lost, or neither. The next append syncs it along.
pub(super) fn relaxed<T>(
    writer: &mut Writer,
    work: impl FnOnce(&mut Writer) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    writer.connection.pragma_update(None, "synchronous", "NORMAL").map_err(sql)?;
    let answer = work(writer);
    if let Err(error) = writer.connection.pragma_update(None, "synchronous", "FULL") {
        writer.broken.get_or_init(|| format!("appends could not be made durable again: {error}"));
    }
    answer
}
