//! Ending runs: the last entry, and everybody who has to know.

use super::Partition;
use crate::callback;
use crate::command::{RunOptions, StartRun};
use crate::definition::DefinitionRef;
use crate::driver::OnParentEnd;
use crate::entry::Entry;
use crate::ids::{RunId, StepId};
use crate::json::Json;
use crate::message::Message;
use crate::run::Failure;

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Closing {
    Succeeded(Json),
    Failed(Failure),
    TimedOut,
    Cancelled,
    Expired,
}

impl From<Result<Json, Failure>> for Closing {
    fn from(outcome: Result<Json, Failure>) -> Self {
        match outcome {
            Ok(output) => Closing::Succeeded(output),
            Err(failure) => Closing::Failed(failure),
        }
    }
}

impl Partition {
    /// Ends a run. Its open steps are given up; children that it must wait for delay the end.
    pub(super) fn close(&mut self, run: RunId, closing: Closing) {
        let Some(state) = self.state(run) else { return };
        if state.phase.is_closed() {
            return;
        }
        let steps: Vec<StepId> = state.steps.keys().copied().collect();
        for step in steps {
            self.cancel_step(run, step, 0);
        }
        let Some(state) = self.state(run) else { return };
        let mut awaited = false;
        let mut cancelled = Vec::new();
        for (child, link) in &state.children {
            match link.on_parent_end {
                OnParentEnd::Cancel => cancelled.push(*child),
                OnParentEnd::Wait => awaited = true,
                OnParentEnd::Abandon => {}
            }
        }
        let already_ending = state.ending.is_some();
        if !already_ending {
            for child in cancelled {
                self.post(Message::CancelRun { run: child, reason: format!("its parent {run} ended") });
            }
        }
        // Time limits and cancellation do not wait for anybody.
        if let (true, Some(outcome)) = (awaited, closing.outcome()) {
            if !already_ending {
                self.emit(run, Entry::RunEnding { outcome });
            }
            return;
        }
        self.emit(
            run,
            match closing {
                Closing::Succeeded(output) => Entry::RunSucceeded { output },
                Closing::Failed(failure) => Entry::RunFailed { failure },
                Closing::TimedOut => Entry::RunTimedOut,
                Closing::Cancelled => Entry::RunCancelled,
                Closing::Expired => Entry::RunExpired,
            },
        );
        self.start_next(run);
        self.call_back(run);
        self.tell_parent(run);
        self.follow(run);
    }

    /// Starts what is to follow a success, in the same commit.
    fn start_next(&mut self, run: RunId) {
        let Some(state) = self.state(run) else { return };
        let (Some(next), Some(Ok(output))) = (&state.created.options.then, &state.outcome) else { return };
        let what = (next.definition.clone(), next.input_with(output), next.options.clone());
        self.start_after(run, b"next", 0, what);
    }

    /// Has the address that wants to know told of the end, in the same commit.
    fn call_back(&mut self, run: RunId) {
        let Some(state) = self.state(run) else { return };
        let Some(url) = &state.created.options.callback_url else { return };
        let what = callback::delivery(url, state.view(self.now));
        // One that was reopened ends more than once, and its journal is longer each time.
        let which = state.entries;
        self.start_after(run, b"call back", u32::try_from(which).unwrap_or(u32::MAX), what);
    }

    /// Starts a run behind one that has ended. Its id is derived, so that the same decision gives the same run.
    fn start_after(
        &mut self,
        run: RunId,
        purpose: &[u8],
        which: u32,
        (definition, input, options): (DefinitionRef, Json, RunOptions),
    ) {
        let slot = options.limiter(&definition).map_or(run.slot(), |limiter| limiter.slot());
        let entropy = self.token(purpose, run, StepId(0), which).0;
        let entropy = u64::from_be_bytes(entropy[..8].try_into().expect("a token has 16 bytes"));
        let start = StartRun {
            run: RunId::new(u64::try_from(self.now.wall.0).unwrap_or_default(), slot, entropy),
            client_id: false,
            definition,
            input,
            key: None,
            parent: None,
            options,
        };
        self.post(Message::StartChild(Box::new(start)));
    }

    /// Tells the steps that wait for its end.
    fn tell_parent(&mut self, run: RunId) {
        let Some(state) = self.state(run) else { return };
        let (parent, awaited) = (state.created.parent, state.created.options.report_to);
        let Some(outcome) = state.outcome.clone() else { return };
        if let Some(step) = awaited {
            self.post(Message::CompleteStep { run: step.run, step: step.step, outcome: outcome.clone() });
        }
        let Some(parent) = parent else { return };
        self.post(Message::ChildEnded { run: parent.run, step: parent.step, child: run, outcome });
    }

    /// Starts the run that waits for the end of this one and its attempts.
    pub(super) fn follow(&mut self, run: RunId) {
        if self.is_over(run) {
            self.schedules.wake_behind(run);
        }
        let Some(created) = self.state(run).filter(|state| state.is_settled()).map(|state| &state.created)
        else {
            return;
        };
        let runs = created.key.as_ref().and_then(|created| self.key_runs.get(&created.key.id));
        self.to_advance.extend(runs.into_iter().flatten());
    }

    /// Goes on with an end that waited for children.
    pub(super) fn finish_ending(&mut self, run: RunId) {
        if let Some(outcome) = self.state(run).and_then(|state| state.ending.clone()) {
            self.close(run, outcome.into());
        }
    }

    /// Ends a cancelled run once nothing of it executes.
    pub(super) fn finish_cancel(&mut self, run: RunId) {
        let Some(state) = self.state(run) else { return };
        let over = state.steps.is_empty() || state.code.is_some() && state.body().is_none();
        if state.phase == super::life::Phase::Cancelling && over {
            self.close(run, Closing::Cancelled);
        }
    }
}

impl Closing {
    fn outcome(&self) -> Option<Result<Json, Failure>> {
        match self {
            Closing::Succeeded(output) => Some(Ok(output.clone())),
            Closing::Failed(failure) => Some(Err(failure.clone())),
            Closing::TimedOut | Closing::Cancelled | Closing::Expired => None,
        }
    }
}
