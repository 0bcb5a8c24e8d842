//! A store that fails on demand: a decorator for tests and simulations.
//!
//! It decides nothing by itself. What fails, when and how is asked of [`Faults`], call by call, so that a seed or a
//! script repeats the same failures. Main type: [`FaultStore`].

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use riverrun_kernel::{JournalRow, Json, Key, KeyId, LoadedRows, Needs, PartitionId, RunId, RunSummary};

use crate::{
    AppendError, Batch, BatchId, Checkpoint, Count, Cursor, Epoch, KeyFilter, Page, Recovered, RunFilter,
    Snapshot, Store, StoreError, Verified,
};

/// A failure to inject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault<E> {
    /// What the caller gets.
    pub error: E,
    /// Whether the call takes effect all the same. What fails then may fail too, unseen.
    pub written: bool,
}

/// Decides which calls fail.
pub trait Faults: Send {
    /// Asked before each append.
    fn append(&mut self, batches: &[Batch]) -> Option<Fault<AppendError>> {
        let _ = batches;
        None
    }

    /// Asked before each checkpoint.
    fn checkpoint(&mut self, partition: PartitionId, checkpoint: &Checkpoint) -> Option<Fault<StoreError>> {
        let _ = (partition, checkpoint);
        None
    }

    /// Asked before each look-up of a batch.
    fn has_batch(&mut self, partition: PartitionId, batch: BatchId) -> Option<StoreError> {
        let _ = (partition, batch);
        None
    }

    /// Asked before each load of rows.
    fn load(&mut self, partition: PartitionId, needs: &Needs) -> Option<StoreError> {
        let _ = (partition, needs);
        None
    }

    /// Asked before each change of ownership and each recovery of a partition.
    fn ownership(&mut self, partition: PartitionId) -> Option<StoreError> {
        let _ = partition;
        None
    }

    /// Asked before each other read: journals, lists, counts, keys, blobs.
    fn read(&mut self) -> Option<StoreError> {
        None
    }
}

/// Nothing fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// A store whose calls fail when [`Faults`] says so.
pub struct FaultStore<S> {
    inner: S,
    faults: Mutex<Box<dyn Faults>>,
}

impl<S: fmt::Debug> fmt::Debug for FaultStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Store> FaultStore<S> {
    /// Puts the decider before the store.
    pub fn new(inner: S, faults: impl Faults + 'static) -> Self {
        FaultStore { inner, faults: Mutex::new(Box::new(faults)) }
    }

    /// The store behind.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Lets another decider take over.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        *self.faults() = Box::new(faults);
    }

    fn faults(&self) -> MutexGuard<'_, Box<dyn Faults>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ownership(&self, partition: PartitionId) -> Result<(), StoreError> {
        self.faults().ownership(partition).map_or(Ok(()), Err)
    }

    fn read(&self) -> Result<(), StoreError> {
        self.faults().read().map_or(Ok(()), Err)
    }
}

impl<S: Store> Store for FaultStore<S> {
    fn secret(&self) -> [u8; 32] {
        self.inner.secret()
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn acquire(&self, partition: PartitionId, node: &str) -> Result<Epoch, StoreError> {
        self.ownership(partition)?;
        self.inner.acquire(partition, node)
    }

    fn renew(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        self.ownership(partition)?;
        self.inner.renew(partition, epoch)
    }

    fn release(&self, partition: PartitionId, epoch: Epoch) -> Result<(), StoreError> {
        self.ownership(partition)?;
        self.inner.release(partition, epoch)
    }

    fn append(&self, batches: &[Batch]) -> Result<(), AppendError> {
        let fault = self.faults().append(batches);
        let Some(fault) = fault else {
            return self.inner.append(batches);
        };
        if fault.written {
            let _unseen = self.inner.append(batches);
        }
        Err(fault.error)
    }

    fn has_batch(&self, partition: PartitionId, epoch: Epoch, batch: BatchId) -> Result<bool, StoreError> {
        let fault = self.faults().has_batch(partition, batch);
        fault.map_or(Ok(()), Err)?;
        self.inner.has_batch(partition, epoch, batch)
    }

    fn checkpoint(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        checkpoint: &Checkpoint,
    ) -> Result<(), StoreError> {
        let fault = self.faults().checkpoint(partition, checkpoint);
        let Some(fault) = fault else {
            return self.inner.checkpoint(partition, epoch, checkpoint);
        };
        if fault.written {
            let _unseen = self.inner.checkpoint(partition, epoch, checkpoint);
        }
        Err(fault.error)
    }

    fn recover(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(Recovered) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.ownership(partition)?;
        self.inner.recover(partition, each)
    }

    fn load(&self, partition: PartitionId, needs: &Needs) -> Result<LoadedRows, StoreError> {
        let fault = self.faults().load(partition, needs);
        fault.map_or(Ok(()), Err)?;
        self.inner.load(partition, needs)
    }

    fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<JournalRow>, StoreError> {
        self.read()?;
        self.inner.journal(run, after, limit)
    }

    fn list(
        &self,
        filter: &RunFilter,
        after: Option<Cursor>,
        limit: usize,
        without: &HashSet<RunId>,
    ) -> Result<Page<RunSummary>, StoreError> {
        self.read()?;
        self.inner.list(filter, after, limit, without)
    }

    fn count(&self, filter: &RunFilter, cap: u64) -> Result<Count, StoreError> {
        self.read()?;
        self.inner.count(filter, cap)
    }

    fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.read()?;
        self.inner.namespaces()
    }

    fn keys(&self, filter: &KeyFilter, after: Option<&KeyId>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.read()?;
        self.inner.keys(filter, after, limit)
    }

    fn blob(&self, run: RunId, hash: [u8; 32]) -> Result<Option<Json>, StoreError> {
        self.read()?;
        self.inner.blob(run, hash)
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        self.read()?;
        self.inner.verify()
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.read()?;
        self.inner.snapshot()
    }
}
