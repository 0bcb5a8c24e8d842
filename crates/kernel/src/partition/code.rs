//! Workflow runs: what their code reports, and what it is told. See [`crate::workflow`].

use super::Partition;
use super::life::Phase;
use crate::command::{Refusal, Reply};
use crate::driver::{Drivers, Tag};
use crate::effect::{Body, Effect};
use crate::entry::Entry;
use crate::ids::{AttemptId, RunId, StepId, Token};
use crate::workflow::{Act, BODY, Event, Fact};

impl Partition {
    /// Takes in what the code of a run did and asks for.
    pub(super) fn progress(
        &mut self,
        attempt: AttemptId,
        token: Token,
        first: u64,
        acts: Vec<Act>,
        drivers: &dyn Drivers,
    ) -> Result<Reply, Refusal> {
        let run = attempt.run;
        let valid = token == self.lease_token(attempt);
        let Some(state) = self.state(run).filter(|_| valid) else {
            return Err(if valid { Refusal::UnknownRun(run) } else { Refusal::LeaseLost(attempt) });
        };
        if state.running_body() != Some(attempt) {
            // A task has nothing but a status to tell.
            if state.running_attempt(attempt.step) == Some(attempt.attempt)
                && acts.iter().all(|act| matches!(act, Act::Status(_)))
            {
                for act in acts {
                    self.take_act(run, act, drivers);
                }
                return Ok(Reply::Done);
            }
            let closed = state.phase.is_closed();
            return Err(if closed { Refusal::RunClosed(run) } else { Refusal::LeaseLost(attempt) });
        }
        let taken = state.code.as_ref().map_or(0, |code| code.taken);
        if first == 0 || first > taken + 1 {
            return Err(Refusal::OutOfOrder { got: first, expected: taken + 1 });
        }
        let mut known = taken + 1 - first;
        for act in acts {
            if act.counts() && known > 0 {
                known -= 1;
            } else {
                self.take_act(run, act, drivers);
            }
        }
        Ok(Reply::Done)
    }

    fn take_act(&mut self, run: RunId, act: Act, drivers: &dyn Drivers) {
        match act {
            Act::Ran { tag, path, outcome } => self.emit(run, Entry::StepRan { tag, path, outcome }),
            Act::Starting { tag, path } => self.emit(run, Entry::StepStarting { tag, path }),
            Act::Begin { tag, path, work } => self.begin_step(run, tag, path, work, drivers),
            // The body is no step that code can know.
            Act::Abort { tag } if tag != BODY => self.abort_step(run, tag),
            Act::Abort { .. } => {}
            Act::Status(status) => self.emit(run, Entry::StatusPublished { status }),
        }
    }

    /// The code waits, and nothing of it is left in its worker.
    pub(super) fn parked(&mut self, attempt: AttemptId, seen: u64) {
        let AttemptId { run, step, attempt } = attempt;
        let Some(state) = self.state(run) else { return };
        let ready = state.code.as_ref().is_some_and(|code| code.news > seen);
        let waits = ready || state.steps.len() > 1;
        self.emit(run, Entry::AttemptParked { step, attempt, ready });
        if !waits {
            self.suspend(run, "its code waits for nothing that its journal knows of: it must only await what the workflow's context gives");
        }
    }

    /// The code does not do what the journal says.
    pub(super) fn unreplayable(&mut self, attempt: AttemptId, reason: &str) {
        let AttemptId { run, step, attempt } = attempt;
        self.emit(run, Entry::AttemptParked { step, attempt, ready: true });
        self.suspend(run, reason);
    }

    /// Holds a run for a person. One that is being cancelled anyway ends.
    pub(super) fn suspend(&mut self, run: RunId, reason: &str) {
        match self.state(run).map(|state| state.phase) {
            Some(Phase::Cancelling) => self.close(run, super::close::Closing::Cancelled),
            _ => self.emit(run, Entry::RunSuspended { reason: reason.to_owned() }),
        }
    }

    /// Where the code stands that is offered with a step.
    pub(super) fn body_offered(&self, run: RunId, step: StepId) -> Option<Body> {
        let state = self.state(run)?;
        let code = state.code.as_ref().filter(|code| code.body == Some(step))?;
        Some(Body { fresh: !code.acted && code.news == 0, at: state.entries })
    }

    /// Asks the worker that executes a run's code to let it go.
    pub(super) fn park(&mut self, run: RunId) {
        let Some(attempt) = self.state(run).and_then(super::state::RunState::running_body) else { return };
        if let Some(worker) = self.holders.get(&attempt).copied() {
            self.effect(Effect::Park { worker, attempt });
        }
    }

    /// What an entry is to the code that is executing, before it is folded.
    pub(super) fn fact(&self, run: RunId, entry: &Entry) -> Option<(AttemptId, Fact)> {
        let state = self.state(run)?;
        let attempt = state.running_body()?;
        let tag = |step: &StepId| -> Option<Tag> {
            state.steps.get(step).map(|step| step.tag).filter(|tag| *tag != BODY)
        };
        let fact = match entry {
            Entry::StepRan { tag, .. } | Entry::StepStarting { tag, .. } => Fact::Recorded(*tag),
            Entry::StepSucceeded { step, output, .. } => Fact::Ended(tag(step)?, Ok(output.clone())),
            Entry::StepFailed { step, failure, .. } => Fact::Ended(tag(step)?, Err(failure.clone())),
            Entry::StepCancelled { step } => Fact::Aborted(tag(step)?),
            Entry::CancelRequested { .. } => Fact::CancelRequested,
            _ => return None,
        };
        Some((attempt, fact))
    }

    /// Tells the worker that executes the code. One that is not connected asks for what it missed when it is back.
    pub(super) fn tell(&mut self, attempt: AttemptId, fact: Fact) {
        let at = self.state(attempt.run).map_or(0, |state| state.entries);
        if let Some(worker) = self.holders.get(&attempt).copied() {
            self.effect(Effect::Tell { worker, attempt, event: Event { at, fact } });
        }
    }
}
