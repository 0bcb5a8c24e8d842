//! One process at a time: a lock on a file in the store's directory, which names its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::unavailable;
use crate::StoreError;

/// Held as long as the store is open. The operating system lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started has inherited it, and with it the lock,
        // until it executes its own program.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the store's directory is not unlocked before its file is closed");
        }
    }
}

impl DirectoryLock {
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unavailable("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(held(dir, &mut file))),
            Err(TryLockError::Error(error)) => return Err(unavailable("lock", &path, &error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| unavailable("write", &path, &error))?;
        Ok(DirectoryLock { file })
    }
}

fn held(dir: &Path, file: &mut File) -> String {
    let mut text = String::new();
    let holder = match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
        _ => "another process".to_owned(),
    };
    format!(
        "{} is in use by {holder}: talk to that server instead (--server), stop it, or choose another directory (--data)",
        dir.display()
    )
}
