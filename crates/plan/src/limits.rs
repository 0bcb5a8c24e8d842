//! How much a flow and its runs may ask for.

use serde::{Deserialize, Serialize};

/// The limits of flows. [`Limits::default`] is generous, [`Limits::FNF`] is what the cloud service allows whose language this is.
///
/// A run keeps the limits that it began under: they are written into its state with its first decision, so that a server that is
/// started with others goes on with the run as it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Iterations of one foreach that run at the same time; further ones begin as these end.
    pub foreach_concurrency: u32,
    /// Bytes of a step's input, local and output together; more fails the step with `FnF.PayloadTooLarge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// Events of a run's history; more fails the run with `FnF.HistoryLimitExceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    /// Branches of a parallel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branches: Option<u64>,
    /// The longest time between two tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_interval_seconds: Option<u64>,
    /// How long a run may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_seconds: Option<u64>,
}

impl Limits {
    /// The cloud service's own.
    pub const FNF: Limits = Limits {
        foreach_concurrency: 100,
        payload_bytes: Some(32 * 1024),
        events: Some(5_000),
        wait_seconds: Some(2 * 86_400),
        branches: Some(100),
        retry_interval_seconds: Some(86_400),
        run_seconds: Some(365 * 86_400),
    };

    const STANDARD: Limits = Limits {
        foreach_concurrency: 100,
        payload_bytes: None,
        events: None,
        wait_seconds: None,
        branches: None,
        retry_interval_seconds: None,
        run_seconds: None,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::STANDARD
    }
}

/// Whether `value` is over `limit`.
pub(crate) fn is_over(value: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| value > limit)
}
