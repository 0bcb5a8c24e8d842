//! Turns: what was decided together, written together and let out together; and the four ways in which a write fails.

use std::sync::Arc;

use riverrun_kernel::driver::Work;
use riverrun_kernel::schedule::ScheduleEntry;
use riverrun_kernel::{Effect, Entry, Now, Record, WorkerId};
use riverrun_store::{AppendError, Batch, BatchId, StoreError};

use crate::error::EngineError;

use super::recovery::Stage;
use super::types::{Answer, Ask, Io, Output, Request, Standing};
use super::{Asked, Loads, RESEND_MS, Sequencer, TURN_MS};

/// Estimated bytes decided and not yet written after which nothing more is decided.
const AHEAD_BYTES: u64 = 32 << 20;
/// Turns decided and not yet written after which nothing more is decided.
const AHEAD_TURNS: usize = 64;

/// What is decided at one moment.
#[derive(Debug)]
pub(super) struct Turn<H> {
    /// The moment; set by the first command.
    now: Option<Now>,
    /// When that was on the monotonic clock.
    since: u64,
    /// What is to be written, from the end of the turn until it is handed to the store.
    pub(super) batch: Option<Batch>,
    /// The first of its records and how many there are, if there are any.
    logged: Option<(u64, u64)>,
    outputs: Vec<Output<H>>,
    bytes: u64,
}

impl<H> Default for Turn<H> {
    fn default() -> Self {
        Turn { now: None, since: 0, batch: None, logged: None, outputs: Vec::new(), bytes: 0 }
    }
}

impl<H> Turn<H> {
    pub(super) fn is_empty(&self) -> bool {
        self.now.is_none() && self.outputs.is_empty()
    }

    pub(super) fn answer(&mut self, to: Option<H>, answer: Result<Answer, EngineError>) {
        if let Some(to) = to {
            self.outputs.push(Output::Answer { to, answer });
        }
    }

    pub(super) fn push(&mut self, output: Output<H>) {
        self.outputs.push(output);
    }
}

/// Turns that are being written.
#[derive(Debug)]
pub(super) struct Flight<H> {
    turns: Vec<Turn<H>>,
    /// The same that the store has, should it be asked to write them again.
    pub(super) batches: Arc<[Batch]>,
    /// Nobody knows whether it was written: ask.
    pub(super) lookup_wanted: bool,
}

impl<H> Sequencer<H> {
    /// The moment of the turn that is forming.
    pub(super) fn turn_now(&mut self) -> Now {
        if let Some(now) = self.forming.now {
            return now;
        }
        let now = self.now();
        self.forming.now = Some(now);
        self.forming.since = self.clock.mono;
        now
    }

    pub(super) fn may_decide(&self) -> bool {
        self.sealed.len() < AHEAD_TURNS
            && self.sealed.iter().map(|turn| turn.bytes).sum::<u64>() < AHEAD_BYTES
    }

    /// Whether there is something to write, and nothing is being written.
    pub(super) fn may_append(&self) -> bool {
        let decided = || !self.kernel.decided_records().is_empty();
        self.in_flight.is_none() && (decided() || self.sealed.iter().any(|turn| turn.batch.is_some()))
    }

    /// Closes the forming turn when it is old or large. Checked after every command; the size is known only to the kernel, so
    /// the count of outputs stands for it.
    pub(super) fn seal_if_grown(&mut self) {
        let old = self.forming.now.is_some() && self.clock.mono >= self.forming.since + TURN_MS;
        if old || self.forming.outputs.len() >= super::ASKS_PER_RUN {
            self.seal();
        }
    }

    /// Closes the forming turn: its records become a batch, its effects join its outputs.
    fn seal(&mut self) {
        if self.forming.is_empty() {
            return;
        }
        let mut turn = std::mem::take(&mut self.forming);
        if let Some(now) = turn.now {
            let decided = self.kernel.take_decided();
            for effect in decided.effects {
                self.route(effect, &mut turn);
            }
            if !decided.records.is_empty() {
                turn.bytes = weigh(&decided.records);
                self.count(&decided.records);
                turn.logged = Some((decided.first, decided.records.len() as u64));
                turn.batch = Some(Batch {
                    partition: self.config.id,
                    epoch: self.epoch,
                    id: self.next_batch,
                    now,
                    first: decided.first,
                    records: decided.records,
                });
                self.next_batch = BatchId(self.next_batch.0 + 1);
            }
        }
        if turn.batch.is_some() || !turn.outputs.is_empty() {
            self.sealed.push_back(turn);
        }
    }

    /// A read sees everything that was decided before it, so its answer leaves with the last turn that decided something.
    pub(super) fn answer_read(&mut self, to: Option<H>, answer: Result<Answer, EngineError>) {
        let last = if self.forming.now.is_some() {
            Some(&mut self.forming)
        } else {
            let flying = self.in_flight.as_mut().and_then(|flight| flight.turns.last_mut());
            self.sealed.back_mut().or(flying)
        };
        match (last, to) {
            (Some(turn), to) => turn.answer(to, answer),
            (None, Some(to)) => self.out.push(Output::Answer { to, answer }),
            (None, None) => {}
        }
    }

    fn route(&mut self, effect: Effect, turn: &mut Turn<H>) {
        match effect {
            Effect::Offer { worker, offer } => turn.push(Output::Offer { worker, offer }),
            Effect::Stop { worker, attempt, grace_ms } => {
                turn.push(Output::Stop { worker, attempt, grace_ms });
            }
            Effect::Tell { worker, attempt, event } => turn.push(Output::Tell { worker, attempt, event }),
            Effect::Park { worker, attempt } => turn.push(Output::Park { worker, attempt }),
            Effect::Evict { worker } => turn.push(Output::Evict(worker)),
            Effect::Send { to, seq, message } => turn.push(Output::Send { to, seq, message }),
            Effect::Changed { run, closed } => turn.push(Output::Changed { run, closed }),
            // These three stay inside: what they lead to comes after this turn anyway.
            Effect::Load { run } => {
                self.loads.want(riverrun_kernel::Needs { runs: vec![run], ..Default::default() });
            }
            Effect::LoadSchedule { id } => {
                self.loads.want(riverrun_kernel::Needs { schedules: vec![id], ..Default::default() });
            }
            Effect::Continue { run } => {
                let ask = Ask::Command(riverrun_kernel::Command::Continue { run });
                self.incoming.push_back(Asked { to: None, ask });
            }
        }
    }

    fn count(&mut self, records: &[Record]) {
        for record in records {
            let entry = match record {
                Record::Run(_, entry) => entry,
                Record::Schedule(_, entry) => {
                    self.tally.count_schedule(entry);
                    continue;
                }
                _ => continue,
            };
            let closed = match entry {
                Entry::RunCreated(_) => {
                    self.tally.runs_started += 1;
                    continue;
                }
                Entry::RunSucceeded { .. } => 0,
                Entry::RunFailed { .. } => 1,
                Entry::RunTimedOut => 2,
                Entry::RunCancelled => 3,
                Entry::RunExpired => 4,
                _ => continue,
            };
            self.tally.runs_closed[closed] += 1;
        }
    }

    /// Writes what was decided, unless something is being written; what needs no write is let out.
    pub(super) fn flush(&mut self) {
        if self.in_flight.is_some() {
            return self.seal_if_grown();
        }
        self.seal();
        let mut turns: Vec<_> = self.sealed.drain(..).collect();
        let batches: Arc<[Batch]> = turns.iter_mut().filter_map(|turn| turn.batch.take()).collect();
        if batches.is_empty() {
            return self.release(turns);
        }
        self.in_flight = Some(Flight { turns, batches: batches.clone(), lookup_wanted: false });
        self.out.push(Output::Request(Request { life: self.life, io: Io::Append(batches) }));
    }

    fn release(&mut self, turns: Vec<Turn<H>>) {
        let outputs = turns.iter().flat_map(|turn| &turn.outputs);
        let evicted: Vec<WorkerId> = outputs
            .filter_map(|output| match output {
                Output::Evict(worker) => Some(*worker),
                _ => None,
            })
            .collect();
        for turn in turns {
            if let Some((first, records)) = turn.logged {
                self.tally.batches += 1;
                self.tally.records += records;
                self.checkpoints.logged(first, records, turn.bytes, self.clock.mono);
            }
            for output in turn.outputs {
                match &output {
                    Output::Send { to, seq, message } => {
                        if self.outbox.is_empty() {
                            self.resend_at = self.clock.mono + RESEND_MS;
                        }
                        self.outbox.insert((*to, *seq), message.clone());
                    }
                    Output::Request(_) => self.checkpoints.issued(),
                    // The worker lost its lease while this was being written: the attempt is somebody else's by now.
                    Output::Offer { worker, .. } if evicted.contains(worker) => continue,
                    _ => {}
                }
                self.out.push(output);
            }
        }
    }

    pub(super) fn appended(&mut self, result: Result<(), AppendError>) {
        let Some(mut flight) = self.in_flight.take() else { return };
        match result {
            Ok(()) => {
                self.serve();
                self.release(flight.turns);
            }
            Err(AppendError::Unknown(_)) => {
                flight.lookup_wanted = true;
                self.in_flight = Some(flight);
                self.back_off();
            }
            Err(AppendError::Refused(reason)) => {
                self.in_flight = Some(flight);
                self.reload(reason);
            }
            Err(AppendError::Fenced) => {
                self.in_flight = Some(flight);
                self.fence();
            }
            Err(AppendError::Broken(reason)) => {
                self.in_flight = Some(flight);
                self.end(Standing::Broken(reason));
            }
        }
    }

    pub(super) fn look_up_again(&mut self) {
        if let Some(flight) = &mut self.in_flight
            && flight.lookup_wanted
            && let Some(last) = flight.batches.last()
        {
            flight.lookup_wanted = false;
            let io = Io::HasBatch(last.id);
            self.out.push(Output::Request(Request { life: self.life, io }));
        }
    }

    pub(super) fn looked_up(&mut self, result: Result<bool, StoreError>) {
        match result {
            Ok(true) => self.appended(Ok(())),
            Ok(false) => {
                // It is not there and never will be: the same again, under the same numbers.
                let Some(flight) = &self.in_flight else { return };
                let io = Io::Append(flight.batches.clone());
                self.out.push(Output::Request(Request { life: self.life, io }));
            }
            Err(StoreError::Fenced) => self.fence(),
            Err(StoreError::Corrupt(reason) | StoreError::Broken(reason)) => {
                self.end(Standing::Broken(reason));
            }
            Err(error) => self.appended(Err(AppendError::Unknown(error.to_string()))),
        }
    }

    // ---- when memory cannot be trusted any more

    pub(super) fn fence(&mut self) {
        self.end(Standing::Fenced);
    }

    pub(super) fn end(&mut self, standing: Standing) {
        self.standing = standing;
        self.forget();
        self.turn_away();
    }

    /// The store refused a write: memory is ahead of it and is dropped. It is read again, and writes are tried later.
    fn reload(&mut self, reason: String) {
        self.standing = Standing::ReadOnly(reason.clone());
        self.tally.reloads += 1;
        self.back_off();
        self.forget();
        self.stage = Stage::after_refusal(reason);
        self.standing = Standing::Recovering;
    }

    /// Drops memory. Whoever waits for something that was decided and not written is answered.
    fn forget(&mut self) {
        let error = EngineError::Unavailable(self.unavailable());
        let flight = self.in_flight.take().map(|flight| flight.turns).unwrap_or_default();
        let forming = std::mem::take(&mut self.forming);
        let sealed = std::mem::take(&mut self.sealed);
        for turn in flight.into_iter().chain(sealed).chain([forming]) {
            for output in turn.outputs {
                if let Output::Answer { to, .. } = output {
                    self.answer(Some(to), error.clone());
                }
            }
        }
        self.life += 1;
        self.loads = Loads::default();
        self.blocked.clear();
        self.held.clear();
        self.outbox.clear();
        self.tick_queued = false;
        self.checkpoints.forget();
        let waiting = std::mem::take(&mut self.waiting);
        let internal = |asked: &Asked<H>| asked.to.is_some();
        let incoming = std::mem::take(&mut self.incoming);
        self.incoming = waiting.into_iter().chain(incoming).filter(internal).collect();
        self.out.push(Output::Forgotten);
    }
}

/// About how many bytes records take in the log.
pub(super) fn weigh(records: &[Record]) -> u64 {
    records.iter().map(weight).sum()
}

fn weight(record: &Record) -> u64 {
    let text = match record {
        Record::Run(_, entry) => match entry {
            Entry::RunCreated(created) => created.input.get().len(),
            Entry::StepSucceeded { output, .. }
            | Entry::StepRan { outcome: Ok(output), .. }
            | Entry::RunEnding { outcome: Ok(output) }
            | Entry::RunSucceeded { output } => output.get().len(),
            Entry::StepBegun { work: Work::Call(call) | Work::Body(call), .. } => call.input.get().len(),
            Entry::StepBegun { work: Work::Child(child), .. } => child.input.get().len(),
            Entry::SignalReceived { payload, .. } => payload.get().len(),
            Entry::StatusPublished { status } => status.get().len(),
            Entry::Advanced { cells, .. } => {
                cells.iter().map(|(_, text)| text.as_ref().map_or(0, |text| text.len())).sum()
            }
            _ => 0,
        },
        Record::DefinitionDeployed(definition) => definition.source.len(),
        Record::Schedule(_, entry) => match &**entry {
            ScheduleEntry::Set { spec, .. } => spec.target.input.get().len(),
            _ => 0,
        },
        _ => 0,
    };
    64 + text as u64
}

#[cfg(test)]
mod tests {
    use riverrun_kernel::{Json, RunId, Slot};

    use super::*;

    #[test]
    fn what_code_executed_weighs_what_it_returned() {
        let ran = |output: &str| {
            let outcome = Ok(Json::trusted(format!("\"{output}\"")));
            let entry = Entry::StepRan { tag: 0, path: "a".to_owned(), outcome };
            weight(&Record::Run(RunId::new(0, Slot(0), 0), entry))
        };
        assert_eq!(ran(&"x".repeat(1_000)) - ran(""), 1_000);
    }
}
