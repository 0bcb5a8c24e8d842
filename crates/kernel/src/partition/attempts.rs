//! Attempts: giving them out, taking their outcomes, stopping them.

use serde_json::Value;

use super::Partition;
use super::life::Phase;
use super::state::{Step, StepStatus, digest};
use crate::command::{AwaitedStep, Refusal, Reply, Report};
use crate::driver::{Call, RetryPolicy};
use crate::effect::{Effect, Offer, callback_name, callback_text, idempotency_key};
use crate::entry::{Entry, Lost};
use crate::ids::{AttemptId, RunId, StepId, Token, WorkerId};
use crate::json::Json;
use crate::run::Failure;
use crate::time::Ticks;

impl Partition {
    /// Gives the step at the head of a line to a worker. The record comes before the offer.
    pub(super) fn start_attempt(&mut self, run: RunId, step: StepId, worker: WorkerId) {
        let Some(state) = self.state(run) else { return };
        let Some(open) = state.steps.get(&step) else {
            return;
        };
        let attempt = AttemptId { run, step, attempt: open.attempts + 1 };
        let queued = state.is_queued();
        if queued {
            self.emit(run, Entry::RunStarted);
        }
        let Some(spec) = self.workers.get(&worker).map(|worker| worker.spec.clone()) else { return };
        let started = Entry::AttemptStarted {
            step,
            attempt: attempt.attempt,
            worker: spec.name.clone(),
            in_process: spec.in_process,
            incarnation: spec.incarnation.clone(),
        };
        self.emit(run, started);
        self.hold(attempt, worker);
        let Some(state) = self.state(run) else { return };
        let Some((open, call)) = state.steps.get(&step).and_then(|open| Some((open, open.call()?))) else {
            return;
        };
        let callback = call.callback.then(|| callback_text(run, step, self.callback_token(run, step)));
        let call = self.with_handed(with_callback(call, callback.as_deref()), &state.created.options.tokens);
        let offer = Offer {
            body: self.body_offered(run, step),
            attempt,
            token: self.lease_token(attempt),
            definition: state.created.definition.name.clone(),
            path: open.path.clone(),
            call,
            idempotency_key: idempotency_key(run, &open.path),
            callback,
        };
        self.effect(Effect::Offer { worker, offer: Box::new(offer) });
    }

    /// A call with the tokens that its run was handed by its ancestors.
    fn with_handed(&self, mut call: Call, tokens: &[AwaitedStep]) -> Call {
        let handed = tokens.iter().map(|AwaitedStep { run, step }| {
            (callback_name(*run, *step), callback_text(*run, *step, self.callback_token(*run, *step)))
        });
        let handed: Vec<(String, String)> =
            handed.filter(|(name, _)| call.input.get().contains(name.as_str())).collect();
        if !handed.is_empty()
            && let Ok(mut value) = call.input.to_value()
        {
            unseal(&mut value, &handed);
            call.input = Json::from(value);
        }
        call
    }

    /// Takes what a worker says about an attempt.
    pub(super) fn report(
        &mut self,
        attempt: AttemptId,
        token: Token,
        report: Report,
        acts: u64,
    ) -> Result<Reply, Refusal> {
        if token != self.lease_token(attempt) {
            return Err(Refusal::LeaseLost(attempt));
        }
        let AttemptId { run, step, attempt: number } = attempt;
        let Some(state) = self.state(run) else {
            self.let_go(attempt);
            return Err(Refusal::UnknownRun(run));
        };
        if let Some(recorded) = state.reported.get(&(step, number)) {
            let same = match &report {
                Report::Succeeded(output) => digest(&Ok(output)) == *recorded,
                Report::Failed(failure) => digest(&Err(failure)) == *recorded,
                // The function of a callback step returned nothing that counts.
                Report::Lost(_) | Report::Stopped | Report::Parked { .. } | Report::Unreplayable(_) => true,
            };
            self.let_go(attempt);
            return if same { Ok(Reply::AlreadyRecorded) } else { Err(Refusal::Conflict(attempt)) };
        }
        if state.draining.contains(&(step, number)) {
            self.attempt_stopped(attempt);
            return Ok(if report == Report::Stopped { Reply::Done } else { Reply::Superseded });
        }
        if state.running_attempt(step) != Some(number) {
            let closed = state.phase.is_closed();
            self.let_go(attempt);
            return Err(if closed { Refusal::RunClosed(run) } else { Refusal::LeaseLost(attempt) });
        }
        let taken = state.code.as_ref().map_or(0, |code| code.taken);
        if acts > taken {
            return Err(Refusal::OutOfOrder { got: acts + 1, expected: taken + 1 });
        }
        let is_body = state.body() == Some(step);
        let cancelling = state.phase == Phase::Cancelling;
        self.let_go(attempt);
        match report {
            Report::Succeeded(output) => self.attempt_succeeded(attempt, output),
            Report::Failed(failure) => self.attempt_failed(attempt, failure, false),
            Report::Parked { seen } if is_body => self.parked(attempt, seen),
            Report::Unreplayable(reason) if is_body => self.unreplayable(attempt, &reason),
            // Code that was told to stop has had its time to clean up.
            Report::Stopped if is_body && cancelling => {
                self.give_up(run, step, number);
                self.after_attempt(run);
            }
            Report::Lost(reason) => self.attempt_lost(attempt, reason),
            Report::Stopped | Report::Parked { .. } | Report::Unreplayable(_) => {
                self.attempt_lost(attempt, Lost::Bystander);
            }
        }
        Ok(Reply::Done)
    }

    fn attempt_succeeded(&mut self, attempt: AttemptId, output: Json) {
        let AttemptId { run, step, attempt } = attempt;
        let Some(state) = self.state(run) else { return };
        let callback = state.steps.get(&step).and_then(|step| step.call()).is_some_and(|call| call.callback);
        if callback && state.gives_up() {
            self.give_up(run, step, attempt);
        } else if callback {
            self.emit(run, Entry::CallReturned { step, attempt });
        } else {
            self.emit(run, Entry::StepSucceeded { step, attempt, output });
        }
        self.after_attempt(run);
    }

    /// An attempt failed. With `draining` the verdict is the partition's own, and the attempt may still be executing.
    pub(super) fn attempt_failed(&mut self, attempt: AttemptId, failure: Failure, draining: bool) {
        let AttemptId { run, step, attempt } = attempt;
        let Some(state) = self.state(run) else { return };
        let Some(open) = state.steps.get(&step) else {
            return;
        };
        let cleaned_up = state.phase == Phase::Cancelling && state.body() == Some(step);
        if state.gives_up() && draining {
            self.emit(run, Entry::StepCancelled { step });
        } else if state.gives_up() || cleaned_up {
            self.give_up(run, step, attempt);
        } else if let Some((policy, wait_ms)) = retry(open, &failure, self.chance(run, step, attempt)) {
            let retry_at = self.now.ticks.plus(wait_ms);
            self.emit(run, Entry::AttemptFailed { step, attempt, failure, policy, retry_at, draining });
        } else {
            self.emit(run, Entry::StepFailed { step, attempt, failure, draining });
        }
        self.after_attempt(run);
    }

    /// A number that nobody can foretell and every replay draws again: what jitter is made of.
    fn chance(&self, run: RunId, step: StepId, attempt: u32) -> u64 {
        let Token(bytes) = self.token(b"jitter", run, step, attempt);
        bytes[..8].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// An attempt ended without an outcome.
    pub(super) fn attempt_lost(&mut self, attempt: AttemptId, reason: Lost) {
        let AttemptId { run, step, attempt } = attempt;
        let Some(state) = self.state(run) else { return };
        let Some((open, call)) = state.steps.get(&step).and_then(|open| Some((open, open.call()?))) else {
            return;
        };
        let (charged, with_worker) = (reason.is_charged(), reason.is_with_worker());
        let crashes = open.crashes + u32::from(charged && !with_worker);
        let lost = open.lost + u32::from(with_worker);
        let given_up = charged && is_too_often(crashes, lost, call.max_crashes.max(1));
        // In a run that is to be repaired the store may have forgotten what this attempt did.
        let may_have_begun =
            !reason.is_before_begin() || (reason == Lost::Unclaimed && state.repair.is_some());
        let is_body = state.body() == Some(step);
        let failure = if state.gives_up() {
            self.give_up(run, step, attempt);
            return self.after_attempt(run);
        } else if is_body && given_up {
            // Code is mended and tried again, so it is no failure of the run.
            self.emit(run, Entry::AttemptLost { step, attempt, reason, with_worker });
            self.suspend(run, &died("its code", crashes, lost));
            return self.after_attempt(run);
        } else if call.at_most_once && may_have_begun {
            let text = "the attempt may have run, its outcome is not known, and the step is at_most_once";
            Some(Failure::new(Failure::UNKNOWN_OUTCOME, text).not_retryable())
        } else if given_up {
            Some(Failure::new(Failure::WORKER_CRASHED, died("it", crashes, lost)).not_retryable())
        } else {
            None
        };
        match failure {
            Some(failure) => self.emit(run, Entry::StepFailed { step, attempt, failure, draining: false }),
            None => self.emit(run, Entry::AttemptLost { step, attempt, reason, with_worker }),
        }
        self.after_attempt(run);
    }

    /// Ends the step of a cancelled run whose attempt has ended.
    fn give_up(&mut self, run: RunId, step: StepId, attempt: u32) {
        self.emit(run, Entry::StepCancelled { step });
        self.emit(run, Entry::AttemptStopped { step, attempt });
    }

    fn after_attempt(&mut self, run: RunId) {
        self.finish_cancel(run);
        self.to_advance.push_back(run);
    }

    /// An attempt that nothing waits for has ended: what had to wait for that goes on.
    pub(super) fn attempt_stopped(&mut self, attempt: AttemptId) {
        let AttemptId { run, step, attempt: number } = attempt;
        self.let_go(attempt);
        self.emit(run, Entry::AttemptStopped { step, attempt: number });
        self.follow(run);
        self.to_advance.push_back(run);
    }

    /// Tells whoever executes an attempt to stop it.
    pub(super) fn stop_attempt(&mut self, run: RunId, step: StepId, attempt: u32, grace_ms: u64) {
        let attempt = AttemptId { run, step, attempt };
        if let Some(worker) = self.holders.get(&attempt).copied() {
            self.effect(Effect::Stop { worker, attempt, grace_ms });
        }
    }

    // ---- who executes what

    pub(super) fn hold(&mut self, attempt: AttemptId, worker: WorkerId) {
        self.orphans.remove(&attempt);
        if let Some(earlier) = self.holders.insert(attempt, worker)
            && earlier != worker
            && let Some(earlier) = self.workers.get_mut(&earlier)
        {
            earlier.attempts.remove(&attempt);
        }
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.attempts.insert(attempt);
        }
    }

    pub(super) fn let_go(&mut self, attempt: AttemptId) {
        self.orphans.remove(&attempt);
        if let Some(worker) = self.holders.remove(&attempt)
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            worker.attempts.remove(&attempt);
        }
    }

    /// Gives the attempt until `deadline` to be claimed by a worker that comes back.
    pub(super) fn orphan(&mut self, attempt: AttemptId, deadline: Ticks) {
        self.let_go(attempt);
        self.orphans.insert(attempt, deadline);
    }

    /// After recovery nobody is known to execute anything: every attempt of the run gets a fresh lease. One that was executed within the
    /// process that is gone has only the time that its children may need to notice.
    pub(super) fn orphan_attempts(&mut self, run: RunId) {
        for attempt in self.attempts_out(run) {
            let state = self.state(run);
            let step = state.and_then(|state| state.steps.get(&attempt.step));
            let in_process =
                step.is_some_and(|step| matches!(step.status, StepStatus::Running { in_process: true, .. }));
            let grace_ms = match in_process {
                _ if self.is_disowned(attempt) => 0,
                true => self.config.reconnect_grace_ms,
                false => self.config.lease_ms,
            };
            let deadline = self.now.ticks.plus(grace_ms);
            if !self.holders.contains_key(&attempt) {
                self.orphans.entry(attempt).or_insert(deadline);
            }
        }
    }

    fn attempts_out(&self, run: RunId) -> Vec<AttemptId> {
        let Some(state) = self.state(run) else {
            return Vec::new();
        };
        let running = state.steps.keys().filter_map(|step| Some((*step, state.running_attempt(*step)?)));
        let draining = state.draining.iter().copied();
        running.chain(draining).map(|(step, attempt)| AttemptId { run, step, attempt }).collect()
    }

    /// Ends an attempt that nobody can report any more.
    pub(super) fn abandon(&mut self, attempt: AttemptId, reason: Lost) {
        self.let_go(attempt);
        let Some(state) = self.state(attempt.run) else {
            return;
        };
        if state.running_attempt(attempt.step) == Some(attempt.attempt) {
            self.attempt_lost(attempt, reason);
        } else if state.draining.contains(&(attempt.step, attempt.attempt)) {
            self.attempt_stopped(attempt);
        }
    }
}

/// So many losses of a whole worker weigh as much as one death that is known to be the attempt's own. A machine that goes takes everything
/// down that it executes, so the attempt is rarely to blame; but one that kills its worker each time must come to an end as well.
const LOST_PER_CRASH: u64 = 10;

fn is_too_often(crashes: u32, lost: u32, max_crashes: u32) -> bool {
    u64::from(crashes) * LOST_PER_CRASH + u64::from(lost) >= u64::from(max_crashes) * LOST_PER_CRASH
}

/// Why a step is given up, for a person.
fn died(what: &str, crashes: u32, lost: u32) -> String {
    match (crashes, lost) {
        (_, 0) => format!("the worker died under {what} {crashes} times, the limit max_crashes"),
        (0, _) => format!(
            "its whole worker was lost under {what} {lost} times, each of which counts 1/{LOST_PER_CRASH} against the limit max_crashes"
        ),
        _ => format!(
            "the worker died under {what} {crashes} times, and was lost as a whole {lost} times, each of which counts \
             1/{LOST_PER_CRASH} against the limit max_crashes"
        ),
    }
}

/// The retry policy that applies to a failed attempt, and how long to wait.
fn retry(step: &Step, failure: &Failure, chance: u64) -> Option<(u32, u64)> {
    // Once an attempt may have started, a step that is `at_most_once` is not tried again, however the attempt ended.
    if !failure.retryable || step.call()?.at_most_once {
        return None;
    }
    let matches = |policy: &RetryPolicy| {
        (policy.errors.is_empty() || policy.errors.contains(&failure.error))
            && !policy.never.contains(&failure.error)
    };
    let (at, policy) = step.call()?.retry.iter().enumerate().find(|(_, policy)| matches(policy))?;
    let used = step.retries.get(at).copied().unwrap_or(0);
    if used >= policy.max_retries {
        return None;
    }
    if let Some(wait) = failure.retry_after_ms {
        return Some((u32::try_from(at).ok()?, wait));
    }
    let factor = policy.multiplier.max(1.0).powi(i32::try_from(used).unwrap_or(i32::MAX));
    let wait = (policy.interval_ms as f64 * factor).min(policy.max_interval_ms as f64);
    let wait = wait as u64;
    let drawn = (u128::from(chance) * (u128::from(wait) + 1)) >> 64;
    let wait = if policy.jitter { u64::try_from(drawn).unwrap_or(wait) } else { wait };
    Some((u32::try_from(at).ok()?, wait))
}

/// The call as the worker gets it: with the callback token where its input asks for it. No record ever holds the token.
fn with_callback(call: &Call, token: Option<&str>) -> Call {
    let Some(token) = token.filter(|_| !call.callback_paths.is_empty()) else { return call.clone() };
    Call { input: with_text_at(&call.input, &call.callback_paths, token), ..call.clone() }
}

/// An input with a text in some places of it. One that cannot be decoded has no such places; who reads it says what is missing.
pub(super) fn with_text_at(input: &Json, paths: &[String], text: &str) -> Json {
    let Ok(mut value) = input.to_value() else { return input.clone() };
    for path in paths {
        if let Some(place) = value.pointer_mut(path) {
            *place = Value::String(text.to_owned());
        }
    }
    Json::from(value)
}

/// Puts the tokens that a run was handed where its data holds their names.
fn unseal(value: &mut Value, tokens: &[(String, String)]) {
    match value {
        Value::String(text) => {
            if let Some((_, token)) = tokens.iter().find(|(name, _)| name == text) {
                text.clone_from(token);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| unseal(item, tokens)),
        Value::Object(members) => members.values_mut().for_each(|member| unseal(member, tokens)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
