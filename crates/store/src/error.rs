//! How a store fails, by what the caller can do about it.

/// Why an append did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another owner has a higher epoch: the caller owns nothing any more.
    #[error("another node owns the partition now")]
    Fenced,
    /// Certainly not written: disk full, a constraint. Worth trying again later.
    #[error("not written: {0}")]
    Refused(String),
    /// Nobody knows: look the batch up before anything else is appended.
    #[error("no answer whether it was written: {0}")]
    Unknown(String),
    /// The storage itself fails: the process must stop, and the next start repairs the tail before it serves.
    #[error("the storage is broken: {0}")]
    Broken(String),
}

/// Why any other call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another owner has a higher epoch.
    #[error("another node owns the partition now")]
    Fenced,
    /// Somebody else has the store open. The text says who, and what to do.
    #[error("{0}")]
    Locked(String),
    /// There is something where a new directory was to be made.
    #[error("{0}")]
    Occupied(String),
    /// Written by a newer version of Riverrun.
    #[error("{0}")]
    NewerVersion(String),
    /// What was read is not what was written. Loud, and final until repaired.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Writing or syncing failed, so that nobody knows what a disk will hold: the process must stop. Every later append says so too.
    #[error("the storage is broken: {0}")]
    Broken(String),
    /// Anything else that may go away: no space, no connection.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
}
