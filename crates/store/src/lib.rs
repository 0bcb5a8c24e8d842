//! Where a partition keeps its log and its rows: the [`Store`] trait, its backends, and the suite they all pass.
//!
//! A store persists what the kernel decided and never decides itself. Every call is blocking and may be made from any
//! thread; the engine gives it threads. Main type: [`Store`].

mod codec;
mod embedded;
mod error;
mod fault;
mod memory;
mod types;

pub use embedded::{Backup, EmbeddedStore, Manifest, QueryError, Repaired, Snapshot};
pub use error::{AppendError, StoreError};
pub use fault::{Fault, FaultStore, Faults, NoFaults};
pub use memory::MemoryStore;
pub use types::{
    Batch, BatchId, Checkpoint, Count, Cursor, Epoch, KeyFilter, Page, Recovered, RunFilter, Verified,
};

use riverrun_kernel::{JournalRow, Json, Key, KeyId, LoadedRows, Needs, PartitionId, RunId, RunSummary};

/// One durable home of partitions.
///
/// Only the owner of a partition, the node with the highest epoch, can write; everybody can read. Reads see rows only: what the log
/// holds beyond them is in its owner's memory.
pub trait Store: Send + Sync {
    /// What the deployment's tokens are derived from: 256 random bits, made once with the store.
    fn secret(&self) -> [u8; 32];

    /// How many partitions there are: fixed when the store was made.
    fn partitions(&self) -> u16;

    /// Takes ownership of a partition. The returned epoch is higher than every earlier one, whose owners are fenced from now on.
    fn acquire(&self, partition: PartitionId, node: &str) -> Result<Epoch, StoreError>;

    /// Confirms ownership. `Fenced` when another node has acquired the partition. A node of a fleet asks from time to time, so that
    /// one that writes nothing notices too. Who has a store to itself need not: the embedded store's directory is locked for as long
    /// as its process lives, and nobody else can acquire anything in it.
    fn renew(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError>;

    /// Gives ownership up.
    fn release(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError>;

    /// Makes batches durable: all of them or none, in order, before it returns `Ok`.
    fn append(&self, batches: &[Batch]) -> Result<(), AppendError>;

    /// Settles [`AppendError::Unknown`]: whether the batch is there.
    fn has_batch(&self, partition: PartitionId, epoch: Epoch, batch: BatchId) -> Result<bool, StoreError>;

    /// Writes rows and moves the trim point, together.
    fn checkpoint(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        checkpoint: &Checkpoint,
    ) -> Result<(), StoreError>;

    /// Streams what a new owner needs: first every definition, the partition's row, the stubs of open runs and of schedules, then the log's tail in order.
    /// A gap, a wrong checksum or a tail shorter than what was acknowledged is `Corrupt`.
    fn recover(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(Recovered) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Reads the rows of runs, keys and schedules, large values included. What has no row is answered with `None`. A run comes with its
    /// key, asked for or not.
    fn load(&self, partition: PartitionId, needs: &Needs) -> Result<LoadedRows, StoreError>;

    /// Reads at most `limit` lines of a run's journal with `seq > after`, in order, large values included.
    fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<JournalRow>, StoreError>;

    /// Reads a page of run rows, newest first by (created, id). Runs in `without` are left out.
    fn list(
        &self,
        filter: &RunFilter,
        after: Option<Cursor>,
        limit: usize,
        without: &std::collections::HashSet<RunId>,
    ) -> Result<Page<RunSummary>, StoreError>;

    /// Counts run rows, up to `cap`.
    fn count(&self, filter: &RunFilter, cap: u64) -> Result<Count, StoreError>;

    /// The namespaces that have run rows or key rows, in order.
    fn namespaces(&self) -> Result<Vec<String>, StoreError>;

    /// Reads a page of key rows in the order of their ids.
    fn keys(&self, filter: &KeyFilter, after: Option<&KeyId>, limit: usize) -> Result<Vec<Key>, StoreError>;

    /// Reads one large value of a run by its hash.
    fn blob(&self, run: RunId, hash: [u8; 32]) -> Result<Option<Json>, StoreError>;

    /// Reads everything and checks every checksum and number.
    fn verify(&self) -> Result<Verified, StoreError>;

    /// Copies everything that is durable at one moment into a file, for a backup. Writers go on meanwhile.
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Err(StoreError::Unavailable("this kind of store has no backups of its own".to_owned()))
    }
}

/// What fuzz targets reach of the format: only in builds for them, which cargo-fuzz marks.
#[cfg(fuzzing)]
pub mod fuzzing {
    use riverrun_kernel::{Now, Record};

    use crate::{StoreError, codec};

    /// Decodes a batch whose large values are all empty.
    pub fn decode_batch(bytes: &[u8]) -> Result<(Now, Vec<Record>), StoreError> {
        codec::decode_batch(bytes, &|_, _| Ok("{}".to_owned()))
    }

    /// Encodes a batch; what is too large stays out.
    pub fn encode_batch(now: Now, records: &[Record]) -> Vec<u8> {
        codec::encode_batch(now, records, &mut Vec::new())
    }
}
