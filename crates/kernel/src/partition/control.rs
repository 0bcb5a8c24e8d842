//! What people ask of a run: cancel, pause, resume, delete, signal, complete from outside.

use super::Partition;
use super::close::Closing;
use super::life::Phase;
use super::state::RunState;
use crate::command::{CallbackToken, Refusal, Reply};
use crate::driver::Work;
use crate::entry::{Entry, Record};
use crate::ids::{RunId, StepId};
use crate::json::Json;
use crate::keys::{KeyId, KeyStatus};
use crate::limits::{LimiterChange, LimiterId};
use crate::run::{Failure, State};

impl Partition {
    fn shown_state(&self, run: RunId) -> State {
        self.summary(run).map_or(State::Cancelled, |summary| summary.state)
    }

    pub(super) fn cancel(&mut self, run: RunId, reason: String) -> Result<Reply, Refusal> {
        self.end(run, reason, None)
    }

    pub(super) fn stop(&mut self, run: RunId, failure: Failure) -> Result<Reply, Refusal> {
        self.end(run, failure.to_string(), Some(failure))
    }

    fn end(&mut self, run: RunId, reason: String, failure: Option<Failure>) -> Result<Reply, Refusal> {
        match self.slot(run)?.state.phase {
            Phase::Queued => {
                self.emit(run, Entry::CancelRequested { reason, failure });
                self.close(run, Closing::Cancelled);
            }
            Phase::Open => self.begin_cancel(run, reason, failure),
            _ => {}
        }
        Ok(Reply::State(self.shown_state(run)))
    }

    /// Cancels what waits in a queue: what has been begun meanwhile goes on.
    pub(super) fn withdraw(&mut self, queue: &str, runs: Vec<RunId>, reason: &str) -> Reply {
        let mut withdrawn = 0;
        for run in runs {
            let waits = self.state(run).is_some_and(|state| state.waits_in(queue));
            if waits && self.cancel(run, reason.to_owned()).is_ok() {
                withdrawn += 1;
            }
        }
        Reply::Withdrawn(withdrawn)
    }

    /// Running attempts are told and may clean up; everything else of the run stops now.
    fn begin_cancel(&mut self, run: RunId, reason: String, failure: Option<Failure>) {
        self.emit(run, Entry::CancelRequested { reason, failure });
        let Some(state) = self.state(run) else { return };
        let steps: Vec<(StepId, Option<u32>)> =
            state.steps.keys().map(|step| (*step, state.running_attempt(*step))).collect();
        let grace = self.config.cancel_grace_ms;
        let body = state.body();
        let begun = body.and_then(|body| state.steps.get(&body)).is_some_and(|body| body.attempts > 0);
        let cleans_up = begun && !state.is_held();
        for (step, running) in steps {
            match running {
                // Code that has begun may clean up, and waits for nothing of before meanwhile.
                None if body == Some(step) && cleans_up => {}
                Some(_) if body.is_some_and(|body| body != step) => self.cancel_step(run, step, grace),
                Some(attempt) => self.stop_attempt(run, step, attempt, grace),
                None => self.cancel_step(run, step, 0),
            }
        }
        self.finish_cancel(run);
    }

    pub(super) fn pause(&mut self, run: RunId) -> Result<Reply, Refusal> {
        let state = &self.slot(run)?.state;
        match state.phase {
            Phase::Queued | Phase::Open if state.paused.is_none() => {
                self.emit(run, Entry::RunPaused);
                self.park(run);
            }
            Phase::Queued | Phase::Open => {}
            _ => return Err(self.wrong_state(run, "only an open run can be paused")),
        }
        Ok(Reply::State(self.shown_state(run)))
    }

    pub(super) fn resume(&mut self, run: RunId) -> Result<Reply, Refusal> {
        let state = &self.slot(run)?.state;
        match state.phase {
            Phase::Queued | Phase::Open => {
                if state.is_held() {
                    self.emit(run, Entry::RunResumed);
                    self.to_advance.push_back(run);
                }
            }
            Phase::Failed | Phase::TimedOut => {
                if self.is_superseded(run) {
                    return Err(self.wrong_state(run, "its key has a newer run; start under the key instead"));
                }
                self.reopen(run);
            }
            Phase::Cancelling => return Err(self.wrong_state(run, "it is being cancelled; start a new run")),
            Phase::Succeeded | Phase::Cancelled | Phase::Expired => {
                return Err(self.wrong_state(run, "this state is final; start a new run"));
            }
        }
        Ok(Reply::State(self.shown_state(run)))
    }

    /// Whether the run's key has a newer run.
    pub(super) fn is_superseded(&self, run: RunId) -> bool {
        let key = self.state(run).and_then(|state| state.created.key.as_ref());
        key.and_then(|key| self.keys.get(&key.key.id)?.key.as_ref()).is_some_and(|found| found.run != run)
    }

    pub(super) fn reopen(&mut self, run: RunId) {
        self.emit(run, Entry::RunReopened);
        self.to_advance.push_back(run);
    }

    fn wrong_state(&self, run: RunId, hint: &'static str) -> Refusal {
        Refusal::WrongState { run, state: self.shown_state(run), hint }
    }

    /// Changes what is set for a queue or a concurrency key.
    pub(super) fn change_limit(&mut self, limiter: LimiterId, change: LimiterChange) -> Reply {
        let before = self.index.lines.settings(&limiter);
        let settings = before.changed(change);
        if settings != before {
            self.record(Record::LimitSet { limiter, settings });
        }
        Reply::Done
    }

    pub(super) fn delete(&mut self, run: RunId) -> Result<Reply, Refusal> {
        let state = &self.slot(run)?.state;
        if !state.phase.is_closed() {
            return Err(self.wrong_state(run, "only a closed run can be deleted; cancel it first"));
        }
        if !state.is_settled() {
            return Err(self
                .wrong_state(run, "an attempt of it may still be executing; try again when it has stopped"));
        }
        self.record(Record::RunDeleted(run));
        Ok(Reply::Done)
    }

    /// A signal from outside, which its sender can send again later.
    pub(super) fn signal(
        &mut self,
        run: RunId,
        name: String,
        payload: Json,
        id: Option<String>,
    ) -> Result<Reply, Refusal> {
        let state = &self.slot(run)?.state;
        let is_known = id.as_ref().is_some_and(|id| state.signal_ids.contains(id));
        if !state.phase.is_closed() && !is_known {
            let limit = self.config.max_signals;
            if state.signals.len() >= limit {
                return Err(Refusal::TooManySignals { run, name: "max_signals", limit });
            }
            let limit = self.config.max_signal_bytes;
            let bytes: usize =
                state.signals.iter().map(|(name, payload)| name.len() + payload.get().len()).sum();
            if bytes + name.len() + payload.get().len() > limit {
                return Err(Refusal::TooManySignals { run, name: "max_signal_bytes", limit });
            }
        }
        self.take_signal(run, name, payload, id)
    }

    /// A signal that must be taken in, whatever the limit: the run that sent it has gone on.
    pub(super) fn take_signal(
        &mut self,
        run: RunId,
        name: String,
        payload: Json,
        id: Option<String>,
    ) -> Result<Reply, Refusal> {
        let state = &self.slot(run)?.state;
        if id.as_ref().is_some_and(|id| state.signal_ids.contains(id)) {
            return Ok(Reply::Done);
        }
        if state.phase.is_closed() {
            return Err(Refusal::RunClosed(run));
        }
        let waits = |step: &super::state::Step| matches!(&step.work, Work::Signal { name: wanted, .. } if *wanted == name);
        let waiting = state.steps.iter().find(|(_, step)| waits(step)).map(|(step, _)| *step);
        let gives_up = state.gives_up();
        self.emit(run, Entry::SignalReceived { name, payload: payload.clone(), id });
        if let (Some(step), false) = (waiting, gives_up) {
            self.emit(run, Entry::StepSucceeded { step, attempt: 0, output: payload });
            self.to_advance.push_back(run);
        }
        Ok(Reply::Done)
    }

    pub(super) fn complete_callback(
        &mut self,
        token: CallbackToken,
        outcome: Result<Json, Failure>,
    ) -> Result<Reply, Refusal> {
        let CallbackToken { run, step, token } = token;
        if token != self.callback_token(run, step) {
            return Err(Refusal::InvalidCallback);
        }
        self.complete_step(run, step, outcome)
    }

    /// Completes a step that waits for its callback token: for whoever has shown the right to.
    pub(super) fn complete_step(
        &mut self,
        run: RunId,
        step: StepId,
        outcome: Result<Json, Failure>,
    ) -> Result<Reply, Refusal> {
        let state = self.state(run).ok_or(Refusal::InvalidCallback)?;
        let digest = super::state::digest(&outcome.as_ref());
        if state.reported.get(&(step, 0)) == Some(&digest) {
            // The answer was lost on its way, and the request was sent again.
            return Ok(Reply::Done);
        }
        if state.phase != Phase::Open || !awaits_callback(state, step) {
            return Err(Refusal::InvalidCallback);
        }
        // The function may still be executing: it drains, and its own outcome does not matter any more.
        self.emit(
            run,
            match outcome {
                Ok(output) => Entry::StepSucceeded { step, attempt: 0, output },
                Err(failure) => Entry::StepFailed { step, attempt: 0, failure, draining: false },
            },
        );
        self.to_advance.push_back(run);
        Ok(Reply::Done)
    }

    pub(super) fn delete_key(&mut self, key: KeyId, cancel: bool) -> Result<Reply, Refusal> {
        let found = self
            .keys
            .get(&key)
            .and_then(|slot| slot.key.as_ref())
            .filter(|found| !found.is_expired(self.now.wall));
        let Some(found) = found else {
            return Err(Refusal::UnknownKey(key));
        };
        let (run, in_flight) = (found.run, found.status == KeyStatus::InFlight);
        if in_flight && !cancel {
            return Err(Refusal::KeyInFlight { key, run });
        }
        if in_flight {
            self.cancel(run, "its key was deleted".to_owned())?;
        }
        self.record(Record::KeyDeleted(key));
        Ok(Reply::Done)
    }
}

/// Whether the step can be completed by its token: also while the function that was given it is queued or executing.
fn awaits_callback(state: &RunState, step: StepId) -> bool {
    state.steps.get(&step).is_some_and(|step| step.work.takes_callback())
}
