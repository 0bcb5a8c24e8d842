//! Checkpoints: rows in slices, written in the background while requests go on being decided; then the log is trimmed.

use riverrun_store::{Checkpoint, StoreError};

use super::Sequencer;
use super::types::{Io, Output, Request, Standing};

/// Runs whose rows are made at a time: about a millisecond's work.
const SLICE_RUNS: usize = 256;
/// Runs dropped from memory at a time.
const EVICT_RUNS: usize = 256;
/// A slice that could not be written is tried again after so long.
const RETRY_MS: u64 = 1_000;
/// A log of so small a part of the records that start a checkpoint is left as it is when nothing goes on.
const QUIET_PART: u64 = 100;
/// Sleepers are counted each time that so many records were logged.
const COUNT_EVERY: u64 = 16_384;
/// At so many times the size that starts a checkpoint, new work is refused.
const OVERFULL: u64 = 4;

/// Where the checkpoint stands.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// A checkpoint is under way, until no dirty row needs a record below this number.
    until: Option<u64>,
    /// One is wanted whatever the size of the log.
    wanted: bool,
    /// A slice was made and its write has not been answered.
    slice: bool,
    /// Its write was asked for.
    issued: bool,
    retry_at: u64,
    failed: bool,
    trimmed: u64,
    /// The first record of the newest batch: it stays in the log, which so never forgets its numbers.
    newest: u64,
    bytes: u64,
    /// When anything was logged last.
    logged_at: u64,
    /// What was logged since the sleepers were counted.
    uncounted: u64,
    crowded: bool,
}

impl Checkpoints {
    pub(super) fn has_slice(&self) -> bool {
        self.slice
    }

    pub(super) fn is_idle(&self) -> bool {
        self.until.is_none() && !self.slice && !self.wanted
    }

    pub(super) fn logged(&mut self, first: u64, records: u64, bytes: u64, at: u64) {
        self.newest = first;
        self.bytes += bytes;
        self.uncounted += records;
        self.logged_at = at;
    }

    pub(super) fn issued(&mut self) {
        self.issued = true;
    }

    /// Whether a write is out that must be answered before the rows are read.
    pub(super) fn is_writing(&self) -> bool {
        self.issued
    }

    pub(super) fn forget(&mut self) {
        *self = Checkpoints { issued: self.issued, trimmed: self.trimmed, ..Checkpoints::default() };
    }
}

impl<H> Sequencer<H> {
    /// Asks for a checkpoint, whatever the size of the log.
    pub fn request_checkpoint(&mut self) {
        self.checkpoints.wanted = true;
    }

    /// Whether a checkpoint is under way, or was asked for.
    pub fn is_checkpointing(&self) -> bool {
        !self.checkpoints.is_idle()
    }

    /// The name of the limit that the log has passed by so much that new work must wait.
    pub(super) fn overfull(&self) -> Option<&'static str> {
        if self.kernel.dirty_records() > OVERFULL * self.settings.checkpoint_records {
            Some("checkpoint_records")
        } else if self.checkpoints.bytes > OVERFULL * self.settings.checkpoint_bytes {
            Some("checkpoint_bytes")
        } else {
            None
        }
    }

    /// Whether the next slice can be made, or a checkpoint begun.
    pub(super) fn checkpoint_is_due(&self) -> bool {
        let checkpoints = &self.checkpoints;
        if checkpoints.slice || (checkpoints.failed && self.clock.mono < checkpoints.retry_at) {
            return false;
        }
        checkpoints.until.is_some() || checkpoints.wanted || self.log_is_long()
    }

    fn log_is_long(&self) -> bool {
        self.kernel.dirty_records() >= self.settings.checkpoint_records
            || self.checkpoints.bytes >= self.settings.checkpoint_bytes
            || self.kernel.loaded().0 > self.settings.max_loaded && self.kernel.dirty_records() > 0
            || self.checkpoints.crowded
            || self.quiet_at().is_some_and(|at| self.clock.mono >= at)
    }

    /// When the partition counts as quiet, should nothing be logged until then.
    fn quiet_at(&self) -> Option<u64> {
        let worth = self.kernel.dirty_records() > self.settings.checkpoint_records / QUIET_PART;
        (worth && self.in_flight.is_none())
            .then(|| self.checkpoints.logged_at.saturating_add(self.settings.checkpoint_quiet_ms))
    }

    /// When a checkpoint is to be begun or tried again, should nothing happen before.
    pub(super) fn checkpoint_deadline(&self) -> Option<u64> {
        let checkpoints = &self.checkpoints;
        match checkpoints {
            Checkpoints { slice: true, .. } => None,
            Checkpoints { failed: true, .. } => Some(checkpoints.retry_at),
            Checkpoints { until: None, .. } => self.quiet_at(),
            Checkpoints { until: Some(_), .. } => None,
        }
    }

    /// Counts the runs that only wait, now and then: they alone need so much memory that it is worth a checkpoint.
    fn count_sleepers(&mut self) {
        if self.checkpoints.uncounted >= COUNT_EVERY {
            self.checkpoints.uncounted = 0;
            self.checkpoints.crowded = self.kernel.waiting_dirty() >= self.settings.checkpoint_sleepers;
        }
    }

    /// Begins a checkpoint when it is time, and makes the next slice of one.
    pub(super) fn advance_checkpoint(&mut self) {
        if self.standing != Standing::Serving || self.checkpoints.slice {
            return;
        }
        if self.checkpoints.failed && self.clock.mono < self.checkpoints.retry_at {
            return;
        }
        self.checkpoints.failed = false;
        self.evict();
        self.count_sleepers();
        if self.checkpoints.until.is_none() {
            if !self.log_is_long() && !self.checkpoints.wanted {
                return;
            }
            self.checkpoints.until = Some(self.kernel.next_record());
            self.checkpoints.wanted = false;
            self.checkpoints.crowded = false;
            self.checkpoints.bytes = 0;
        }
        let until = self.checkpoints.until.unwrap_or_default();
        let trim = self.kernel.trim_point();
        let rows = if trim < until {
            self.kernel.checkpoint_slice(SLICE_RUNS)
        } else {
            riverrun_kernel::Rows::default()
        };
        if trim >= until {
            self.checkpoints.until = None;
            if trim.min(self.checkpoints.newest) <= self.checkpoints.trimmed {
                return;
            }
        }
        self.write_slice(Checkpoint {
            rows,
            now: self.now(),
            trim_below: trim.min(self.checkpoints.newest).max(self.checkpoints.trimmed),
        });
    }

    /// Has a slice written once everything that it contains is in the log.
    fn write_slice(&mut self, checkpoint: Checkpoint) {
        self.checkpoints.slice = true;
        self.checkpoints.trimmed = checkpoint.trim_below;
        let io = Io::Checkpoint(Box::new(checkpoint));
        self.forming.push(Output::Request(Request { life: self.life, io }));
    }

    /// Asks the store whether it takes writes again, by one that changes nothing.
    pub(super) fn probe(&mut self) {
        if self.checkpoints.slice {
            return;
        }
        let checkpoint =
            Checkpoint { now: self.now(), trim_below: self.checkpoints.trimmed, ..Checkpoint::default() };
        self.write_slice(checkpoint);
    }

    pub(super) fn checkpoint_written(&mut self, life: u64, result: Result<(), StoreError>) {
        self.checkpoints.issued = false;
        if life != self.life {
            return;
        }
        self.checkpoints.slice = false;
        match result {
            Ok(()) => {
                self.tally.checkpoints += 1;
                let now = self.now();
                self.kernel.checkpointed(now);
                if matches!(self.standing, Standing::ReadOnly(_)) {
                    self.serve();
                }
            }
            Err(StoreError::Fenced) => self.fence(),
            Err(StoreError::Corrupt(reason) | StoreError::Broken(reason)) => {
                self.end(Standing::Broken(reason));
            }
            Err(_) => {
                self.checkpoints.failed = true;
                self.checkpoints.retry_at = self.clock.mono + RETRY_MS;
                self.back_off();
            }
        }
    }

    /// Drops clean runs that wait for something far away, when there are too many in memory.
    fn evict(&mut self) {
        if self.kernel.loaded().0 > self.settings.max_loaded {
            self.kernel.evict(EVICT_RUNS);
        }
    }
}
