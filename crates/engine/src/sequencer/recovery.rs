//! From what the store has to a partition in memory: stubs and the partition's row, then the log's tail over the rows it touches.

use riverrun_kernel::{LoadedRows, Needs, Now, Partition, Record, Ticks};
use riverrun_store::{Batch, BatchId, Recovered, StoreError};

use super::Sequencer;
use super::types::{Io, Library, Output, Request, Standing};

/// How far a recovery has come.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// The store is to be read; with the reason why it refused a write, when that led here.
    #[default]
    Read,
    /// As [`Stage::Read`], after the store refused a write for this reason.
    ReadAgain(String),
    /// [`Io::Recover`] was asked for.
    Reading(Option<String>),
    /// The log's tail waits for the rows that it touches.
    Replay(Box<Replay>),
    /// It is over.
    Serve,
}

/// A log's tail on its way into memory.
#[derive(Debug)]
pub(super) struct Replay {
    tail: Vec<Batch>,
    /// The newest recorded moment.
    last: Now,
    refused: Option<String>,
}

impl Stage {
    pub(super) fn after_refusal(reason: String) -> Self {
        Stage::ReadAgain(reason)
    }

    pub(super) fn wants_retry(&self) -> bool {
        matches!(self, Stage::Read | Stage::ReadAgain(_))
    }
}

impl<H> Sequencer<H> {
    /// Asks for what the next step of the recovery wants.
    pub(super) fn advance_recovery(&mut self) {
        // A slice of rows that is still being written would be older than what is read now.
        if self.checkpoints.is_writing() || (self.life > 1 && self.clock.mono < self.retry_at) {
            return;
        }
        let refused = match std::mem::take(&mut self.stage) {
            Stage::Read => None,
            Stage::ReadAgain(reason) => Some(reason),
            stage => {
                self.stage = stage;
                return self.request_loads();
            }
        };
        self.stage = Stage::Reading(refused);
        self.out.push(Output::Request(Request { life: self.life, io: Io::Recover }));
    }

    /// Answers [`Io::Recover`]: `read` streams what the store has. An error is returned, and tried again later.
    pub fn recover(
        &mut self,
        library: &dyn Library,
        read: impl FnOnce(&mut dyn FnMut(Recovered) -> Result<(), StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let refused = match std::mem::take(&mut self.stage) {
            Stage::Reading(refused) => refused,
            _ => None,
        };
        self.kernel = Partition::new(self.config.clone());
        let mut replay = Replay { tail: Vec::new(), last: Now::default(), refused };
        let kernel = &mut self.kernel;
        let result = read(&mut |item| {
            match item {
                Recovered::Definition(definition) => library.learn(&definition),
                Recovered::Partition(row, now) => {
                    replay.last = now;
                    if let Some(row) = row {
                        kernel.recover_partition(row);
                    }
                }
                Recovered::Stub(stub) => kernel.recover_stub(stub),
                Recovered::Schedule(stub) => kernel.recover_schedule(stub),
                Recovered::Batch(batch) => {
                    learn(library, &batch.records);
                    if batch.now.ticks >= replay.last.ticks {
                        replay.last = batch.now;
                    }
                    replay.tail.push(batch);
                }
            }
            Ok(())
        });
        self.stage = Stage::Replay(Box::new(replay));
        if let Err(error) = &result {
            self.recovery_failed(error);
            return result;
        }
        self.replay();
        Ok(())
    }

    /// Folds the tail once everything that it touches is in memory; asks for that before.
    fn replay(&mut self) {
        let Stage::Replay(replay) = &self.stage else { return };
        for batch in &replay.tail {
            self.loads.want(self.kernel.replay_needs(&batch.records));
        }
        if !self.loads.is_empty() {
            return self.request_loads();
        }
        let Stage::Replay(replay) = std::mem::replace(&mut self.stage, Stage::Serve) else {
            return;
        };
        // A log of which every write was refused is empty, however many batches were decided for it.
        self.next_batch = BatchId(1);
        for batch in &replay.tail {
            self.kernel.replay(batch.now, batch.first, &batch.records);
            self.next_batch = BatchId(batch.id.0 + 1);
            let records = batch.records.len() as u64;
            let bytes = super::commits::weigh(&batch.records);
            self.checkpoints.logged(batch.first, records, bytes, self.clock.mono);
        }
        if !self.anchored {
            self.anchor(replay.last);
        }
        let now = self.turn_now();
        let active = self.kernel.recovered(now);
        self.loads.want(Needs { runs: active, ..Needs::default() });
        self.standing = match replay.refused {
            Some(reason) => Standing::ReadOnly(reason),
            None => Standing::Serving,
        };
    }

    /// Lets partition time go on after the newest recorded moment, by what the wall clock says has passed since. Once only: when
    /// memory is read again the monotonic clock has gone on all the while, and a wall clock that was set is not asked.
    fn anchor(&mut self, last: Now) {
        // A partition that was never written begins at nothing.
        let began = last != Now::default();
        let slept = if began { self.clock.wall.0.saturating_sub(last.wall.0).max(0) as u64 } else { 0 };
        self.ticks_base = Ticks(last.ticks.0.saturating_add(slept));
        self.mono_base = self.clock.mono;
        self.anchored = true;
    }

    pub(super) fn recovery_loaded(&mut self, rows: LoadedRows) {
        if let Stage::Replay(replay) = &self.stage {
            let now = replay.tail.first().map_or(replay.last, |batch| batch.now);
            self.kernel.recover_rows(now, rows);
        }
        self.replay();
    }

    /// The store could not be read: from the beginning, after a while.
    pub(super) fn recovery_failed(&mut self, error: &StoreError) {
        match error {
            StoreError::Fenced => return self.fence(),
            StoreError::Corrupt(reason) | StoreError::NewerVersion(reason) | StoreError::Broken(reason) => {
                return self.end(Standing::Broken(reason.clone()));
            }
            StoreError::Locked(_) | StoreError::Occupied(_) | StoreError::Unavailable(_) => {}
        }
        let refused = match std::mem::take(&mut self.stage) {
            Stage::Replay(replay) => replay.refused,
            _ => None,
        };
        self.stage = refused.map_or(Stage::Read, Stage::ReadAgain);
        self.loads = super::Loads::default();
        self.life += 1;
        self.back_off();
    }
}

fn learn(library: &dyn Library, records: &[Record]) {
    for record in records {
        if let Record::DefinitionDeployed(definition) = record {
            library.learn(definition);
        }
    }
}
