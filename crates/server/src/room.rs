//! Room for large bodies: how much of them is read at once, over all connections, so that many slow ones cannot fill the memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to this size need no room: their number is bounded by the number of connections.
pub(crate) const SMALL: usize = 64 << 10;

/// What one permit stands for, since a semaphore has few enough of them only for larger units.
const UNIT: usize = 1 << 10;

/// The room that there is.
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Room(Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Waits until there is room for a body of so many bytes, and keeps it until the answer is dropped. The first to ask is the first to be
    /// served, so that no large body waits for ever behind smaller ones.
    pub async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        // It is never closed.
        self.0.clone().acquire_many_owned(units).await.ok()
    }
}
