//! What was acknowledged, noted outside the database: the witness against a log that became shorter.
//!
//! After each commit the batch's number and checksum are written here, without a sync of its own. A note can lag behind
//! the log (the machine lost power before the page was written back), never be ahead of it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use riverrun_kernel::PartitionId;

use super::unavailable;
use crate::{StoreError, codec};

const MAGIC: &[u8; 8] = b"RRACKED\x01";
const HEADER: usize = 28;
const SLOT: usize = 16;

/// The side file.
#[derive(Debug)]
pub(super) struct Notes {
    file: File,
    path: PathBuf,
}

/// The last batch of a partition that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) batch: u64,
    pub(super) chain: u32,
}

impl Notes {
    /// Opens the side file of the database with this incarnation. Notes about another database are `Corrupt`.
    pub(super) fn open(dir: &Path, incarnation: [u8; 16]) -> Result<Self, StoreError> {
        let notes = Self::file(dir)?;
        match notes.incarnation()? {
            Some(found) if found == incarnation => {}
            Some(_) => {
                return Err(StoreError::Corrupt(format!(
                    "{} belongs to another database than the one beside it: one of them was exchanged. Put the right one back, \
                     or accept what is in the database with `riverrun store repair --accept-loss`",
                    notes.path.display()
                )));
            }
            None => notes.reset(incarnation)?,
        }
        Ok(notes)
    }

    /// Which database the side file in `dir` says that it belongs to.
    pub(super) fn found(dir: &Path) -> Result<Option<[u8; 16]>, StoreError> {
        Self::file(dir)?.incarnation()
    }

    /// Forgets everything and begins anew for this incarnation.
    pub(super) fn renew(dir: &Path, incarnation: [u8; 16]) -> Result<(), StoreError> {
        Self::file(dir)?.reset(incarnation)
    }

    fn file(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("acknowledged");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unavailable("open", &path, &error))?;
        Ok(Notes { file, path })
    }

    fn reset(&self, incarnation: [u8; 16]) -> Result<(), StoreError> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(incarnation);
        let header = codec::seal(&[], header);
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all_at(&header, 0))
            .and_then(|()| self.file.sync_all())
            .map_err(|error| unavailable("write", &self.path, &error))
    }

    /// Notes that a batch is durable and about to be acknowledged.
    pub(super) fn write(&self, partition: PartitionId, note: Note) -> std::io::Result<()> {
        let mut slot = Vec::with_capacity(SLOT);
        slot.extend(note.batch.to_le_bytes());
        slot.extend(note.chain.to_le_bytes());
        let slot = codec::seal(&[&partition.0.to_le_bytes()], slot);
        self.file.write_all_at(&slot, place(partition))
    }

    /// What was noted last. A slot that is unwritten or damaged says nothing: the note lags.
    pub(super) fn read(&self, partition: PartitionId) -> Result<Option<Note>, StoreError> {
        let mut slot = [0; SLOT];
        if !self.read_at(&mut slot, place(partition))? {
            return Ok(None);
        }
        let Some(value) = codec::unseal(&[&partition.0.to_le_bytes()], &slot) else {
            if slot != [0; SLOT] {
                tracing::warn!(file = %self.path.display(), partition = partition.0, "the note of what was acknowledged is damaged and not used");
            }
            return Ok(None);
        };
        let (batch, rest) = value.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let chain = rest.first_chunk::<4>().unwrap_or(&[0; 4]);
        Ok(Some(Note { batch: u64::from_le_bytes(*batch), chain: u32::from_le_bytes(*chain) }))
    }

    fn incarnation(&self) -> Result<Option<[u8; 16]>, StoreError> {
        let mut header = [0; HEADER];
        if !self.read_at(&mut header, 0)? {
            return Ok(None);
        }
        let value = codec::unseal(&[], &header).and_then(|value| value.strip_prefix(MAGIC));
        Ok(value.and_then(|value| value.try_into().ok()))
    }

    /// Whether there was so much to read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<bool, StoreError> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(unavailable("read", &self.path, &error)),
        }
    }
}

fn place(partition: PartitionId) -> u64 {
    (HEADER + 4 + usize::from(partition.0) * SLOT) as u64
}
