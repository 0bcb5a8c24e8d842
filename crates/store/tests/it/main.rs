//! Tests of this crate through its boundary.

mod conformance;
#[cfg(target_os = "linux")]
mod disk;
mod embedded;
mod random;
mod samples;

use std::sync::Arc;

use riverrun_store::{EmbeddedStore, FaultStore, MemoryStore, NoFaults, Store};
use tempfile::TempDir;

/// A place where a store is kept. What was opened before is dropped before it is opened again.
pub trait Home {
    /// Opens the store that is kept here, of two partitions.
    fn open(&self) -> Arc<dyn Store>;
}

struct InMemory(MemoryStore);

impl Home for InMemory {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }
}

struct BehindFaults(MemoryStore);

impl Home for BehindFaults {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(FaultStore::new(self.0.clone(), NoFaults))
    }
}

struct InDirectory(TempDir);

impl Home for InDirectory {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open_with(self.0.path(), 2).expect("the store opens"))
    }
}

fn in_directory() -> InDirectory {
    InDirectory(TempDir::new().expect("a temporary directory"))
}

conformance::suite!(memory, super::InMemory(super::MemoryStore::new(2, [7; 32])));
conformance::suite!(faults, super::BehindFaults(super::MemoryStore::new(2, [7; 32])));
conformance::suite!(directory, super::in_directory());
