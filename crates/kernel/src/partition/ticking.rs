//! What time alone does.

use super::Partition;
use super::close::Closing;
use super::index::Cause;
use super::life::Phase;
use super::state::StepStatus;
use crate::command::Reply;
use crate::driver::Work;
use crate::entry::Entry;
use crate::ids::{AttemptId, RunId, StepId};
use crate::json::Json;
use crate::run::Failure;
use crate::time::Due;

impl Partition {
    /// When the next timer, lease or grace is due on each clock: (partition time, wall time). The engine sends
    /// [`crate::Command::Tick`] then.
    pub fn next_due(&self) -> (Option<Due>, Option<Due>) {
        let timer = self.index.ticks.first().map(|(at, ..)| *at);
        let ticks = timer.into_iter().chain(self.next_expiry()).chain(self.index.lines.next_refill()).min();
        let date = self.index.wall.first().map(|(at, ..)| *at);
        let date = date.into_iter().chain(self.schedules.next_due()).min();
        (ticks.map(Due::Ticks), date.map(Due::Wall))
    }

    pub(super) fn tick(&mut self, limit: usize) -> Reply {
        self.expire_leases();
        self.index.lines.refill();
        for _ in 0..limit {
            if let Some((run, cause)) = self.take_due() {
                self.fire(run, cause);
            } else if !self.schedules.take_due(self.now.wall) {
                break;
            }
        }
        Reply::Done
    }

    /// Takes the next due moment out of the index, so that each is handled once.
    fn take_due(&mut self) -> Option<(RunId, Cause)> {
        if self.index.ticks.first().is_some_and(|(at, ..)| *at <= self.now.ticks) {
            return self.index.ticks.pop_first().map(|(_, run, cause)| (run, cause));
        }
        if self.index.wall.first().is_some_and(|(at, ..)| *at <= self.now.wall) {
            return self.index.wall.pop_first().map(|(_, run, cause)| (run, cause));
        }
        None
    }

    fn fire(&mut self, run: RunId, cause: Cause) {
        match cause {
            // Its row says what is due, and that is due soon.
            Cause::Stub => self.ask_for(run),
            Cause::Start => self.to_advance.push_back(run),
            Cause::QueueTtl => self.close(run, Closing::Expired),
            Cause::Deadline => self.close(run, Closing::TimedOut),
            Cause::CancelGrace => self.end_grace(run),
            Cause::Step(step) => self.fire_step(run, step),
        }
    }

    /// A cancelled run's attempts had their time: whatever still executes is left to drain.
    fn end_grace(&mut self, run: RunId) {
        let Some(state) = self.state(run).filter(|state| state.phase == Phase::Cancelling) else {
            return;
        };
        let steps: Vec<StepId> = state.steps.keys().copied().collect();
        for step in steps {
            self.cancel_step(run, step, 0);
        }
        self.close(run, Closing::Cancelled);
    }

    fn fire_step(&mut self, run: RunId, step: StepId) {
        let now = self.now;
        let Some(slot) = self.runs.get(&run) else { return };
        let Some(open) = slot.state.steps.get(&step) else {
            return;
        };
        let timeout = |what: &str| Failure::new(Failure::TIMEOUT, format!("{what} within its time limit"));
        match (&open.work, &open.status) {
            (Work::Sleep(_), _) => {
                self.emit(run, Entry::StepSucceeded { step, attempt: 0, output: Json::null() });
            }
            // The back-off is over: the step stands in its queue again.
            (Work::Call(_), StepStatus::Backoff { .. })
                if open.limit().is_none_or(|limit| !limit.reached(now)) =>
            {
                return self.index.ripen(&slot.state, step, now);
            }
            (Work::Call(call), StepStatus::Running { .. }) if !call.callback => {
                let attempt = AttemptId { run, step, attempt: open.attempts };
                self.stop_attempt(run, step, attempt.attempt, 0);
                return self.attempt_failed(attempt, timeout("the attempt did not end"), true);
            }
            _ => self.step_timed_out(run, step, timeout("it was not completed")),
        }
        self.finish_cancel(run);
        self.to_advance.push_back(run);
    }

    /// A wait took too long. A callback step's function may still be executing: it is told.
    fn step_timed_out(&mut self, run: RunId, step: StepId, failure: Failure) {
        let Some(state) = self.state(run) else { return };
        if state.gives_up() {
            return self.cancel_step(run, step, 0);
        }
        let running = state.running_attempt(step);
        self.emit(run, Entry::StepFailed { step, attempt: 0, failure, draining: false });
        if let Some(attempt) = running {
            self.stop_attempt(run, step, attempt, 0);
        }
    }
}
