//! The settings of a node.

use std::time::Duration;

use riverrun_kernel::{Config, PartitionId};
use riverrun_plan::Limits;

/// Settings of a node; each has the design's default. How many partitions there are is the store's to say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to call this node.
    pub node: String,
    /// See [`riverrun_kernel::Config`].
    pub lease_ms: u64,
    /// See [`riverrun_kernel::Config`].
    pub reconnect_grace_ms: u64,
    /// See [`riverrun_kernel::Config`].
    pub cancel_grace_ms: u64,
    /// See [`riverrun_kernel::Config`].
    pub max_signals: usize,
    /// See [`riverrun_kernel::Config`].
    pub max_signal_bytes: usize,
    /// See [`riverrun_kernel::Config`].
    pub max_entries: u64,
    /// What flows may ask for: refused when they are deployed, or when a run comes to it. A run keeps those that it began under.
    pub flow_limits: Limits,
    /// See [`riverrun_kernel::Config`]; of each partition.
    pub max_schedules: usize,
    /// Closed runs are removed after so long; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Commands that may wait per partition; more are refused with [`crate::EngineError::Busy`].
    pub max_waiting: usize,
    /// Bytes of input that may wait per partition.
    pub max_waiting_bytes: usize,
    /// Records in the log that start a checkpoint. At four times as many, new work is refused.
    pub checkpoint_records: u64,
    /// Bytes in the log that start a checkpoint, by estimate. At four times as many, new work is refused.
    pub checkpoint_bytes: u64,
    /// Tasks that no worker has ever announced can be started; they wait for one that has them.
    pub accept_unknown_tasks: bool,
    /// A partition for which nothing was recorded for so long begins a checkpoint, where the log has a hundredth of the records that start
    /// one anyway: what sleeps then costs little memory.
    pub checkpoint_quiet_ms: u64,
    /// So many runs that only wait and have no row start a checkpoint, too.
    pub checkpoint_sleepers: usize,
    /// Runs kept loaded in memory before clean, waiting ones are evicted.
    pub max_loaded: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            node: "node".to_owned(),
            lease_ms: 30_000,
            reconnect_grace_ms: 3_000,
            cancel_grace_ms: 300_000,
            max_signals: 10_000,
            max_signal_bytes: 64 << 20,
            max_entries: 1_000_000,
            flow_limits: Limits::default(),
            max_schedules: 1_000_000,
            retention: Some(Duration::from_hours(30 * 24)),
            max_waiting: 65_536,
            max_waiting_bytes: 256 << 20,
            checkpoint_records: 100_000,
            checkpoint_bytes: 64 << 20,
            accept_unknown_tasks: true,
            checkpoint_quiet_ms: 1_000,
            checkpoint_sleepers: 10_000,
            max_loaded: 100_000,
        }
    }
}

impl Settings {
    /// The kernel's settings of one partition.
    pub fn config(&self, id: PartitionId, partitions: u16, secret: [u8; 32]) -> Config {
        Config {
            lease_ms: self.lease_ms,
            reconnect_grace_ms: self.reconnect_grace_ms,
            cancel_grace_ms: self.cancel_grace_ms,
            max_signals: self.max_signals,
            max_signal_bytes: self.max_signal_bytes,
            max_entries: self.max_entries,
            max_schedules: self.max_schedules,
            ..Config::new(id, partitions, secret)
        }
    }
}
