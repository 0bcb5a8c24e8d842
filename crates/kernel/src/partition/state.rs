//! The durable state of one run, and how each journal entry changes it.
//!
//! [`RunState::fold`] is the only place where a run changes, live and at recovery alike. It decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::life::{self, Phase};
use crate::command::Incarnation;
use crate::definition::DefinitionKind;
use crate::driver::{Call, Cells, OnParentEnd, Sleep, Tag, Wake, Work, default_queue};
use crate::entry::{Created, Entry};
use crate::ids::{AttemptId, RunId, StepId};
use crate::json::Json;
use crate::run::{Failure, Labels};
use crate::time::{Due, Now, Ticks, Wall};

/// Reports are repeated within seconds, if at all; a report older than so many others is answered as one whose lease was lost.
const REPORTS_KEPT: usize = 1_000;
/// The same for signals: one that is repeated after so many others with an id is taken for a new one.
const SIGNAL_IDS_KEPT: usize = 10_000;

/// Everything durable about a run but its journal. Opaque outside the kernel; stores keep it as a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    pub(crate) id: RunId,
    /// The number of the record that created it: tells which of two runs of a key came first.
    #[serde(default)]
    pub(crate) number: u64,
    pub(crate) created: Arc<Created>,
    pub(crate) created_at: Now,
    pub(crate) phase: Phase,
    /// Since when it is paused.
    #[serde(default)]
    pub(crate) paused: Option<Wall>,
    /// Since when and why it needs repair.
    #[serde(default)]
    pub(crate) repair: Option<(Wall, String)>,
    #[serde(default)]
    pub(crate) started_at: Option<Now>,
    #[serde(default)]
    pub(crate) ended_at: Option<Wall>,
    #[serde(default)]
    pub(crate) outcome: Option<Result<Json, Failure>>,
    /// The outcome of a run that waits for its children before it closes.
    #[serde(default)]
    pub(crate) ending: Option<Result<Json, Failure>>,
    #[serde(default)]
    pub(crate) cells: Cells,
    /// What the driver has not seen yet, in order.
    #[serde(default)]
    pub(crate) wakes: VecDeque<Wake>,
    /// Open steps. In boxes: a map keeps room for eleven.
    #[serde(default)]
    pub(crate) steps: BTreeMap<StepId, Box<Step>>,
    /// The number of the last step.
    #[serde(default)]
    pub(crate) last_step: u32,
    /// Attempts that may still be executing although nothing waits for their outcome.
    #[serde(default)]
    pub(crate) draining: BTreeSet<(StepId, u32)>,
    /// Where those of them stood that were calls: they count against limits until they have stopped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) held: BTreeMap<(StepId, u32), Seat>,
    /// The last attempts whose outcome is on record, with a digest of it: what tells a repeated report from a contradicting one.
    /// An outcome that a callback token gave counts as attempt 0.
    #[serde(default)]
    pub(crate) reported: BTreeMap<(StepId, u32), u64>,
    /// Signals that no step has taken yet.
    #[serde(default)]
    pub(crate) signals: VecDeque<(String, Json)>,
    /// Ids of the last signals that came with one, in their order.
    #[serde(default)]
    pub(crate) signal_ids: VecDeque<String>,
    /// Children that have not ended.
    #[serde(default)]
    pub(crate) children: BTreeMap<RunId, ChildLink>,
    /// Children that failed, or that it has stopped waiting for, by the path of their step: what may have made it fail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lost: BTreeMap<String, RunId>,
    /// The same of before it was reopened: where such a step is begun again, the same child goes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) again: BTreeMap<String, RunId>,
    /// Transitions since the last step began.
    #[serde(default)]
    pub(crate) idle_transitions: u32,
    #[serde(default)]
    pub(crate) labels: Labels,
    #[serde(default)]
    pub(crate) status: Option<Json>,
    #[serde(default)]
    pub(crate) cancel_requested: Option<Now>,
    /// What its outcome is to be when it has stopped, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stopped_by: Option<Failure>,
    /// Where the code of a workflow run stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<Code>,
    /// How many entries the journal has.
    #[serde(default)]
    pub(crate) entries: u64,
}

/// Where the code of a workflow run stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code {
    /// The open step that is its body.
    pub(crate) body: Option<StepId>,
    /// How many acts of the running attempt were taken.
    pub(crate) taken: u64,
    /// Whether any act was ever taken.
    pub(crate) acted: bool,
    /// The last line of the journal that the code must know.
    pub(crate) news: u64,
}

/// What an attempt counts against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    /// Its queue.
    pub(crate) queue: Arc<str>,
    /// Its concurrency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Arc<str>>,
    /// Which process executes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) incarnation: Option<Incarnation>,
}

/// A child that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildLink {
    pub(crate) step: StepId,
    pub(crate) on_parent_end: OnParentEnd,
}

/// An open step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) tag: Tag,
    pub(crate) path: String,
    pub(crate) work: Work,
    pub(crate) begun: Now,
    /// The number of the record that began it: its place among the steps of its queue.
    pub(crate) order: u64,
    /// Attempts begun.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// Attempts whose worker died.
    #[serde(default)]
    pub(crate) crashes: u32,
    /// Attempts that were lost together with their whole worker, which need not be their fault.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) lost: u32,
    /// Retries used, by policy.
    #[serde(default)]
    pub(crate) retries: Vec<u32>,
    /// The child that was started for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) child: Option<RunId>,
    pub(crate) status: StepStatus,
}

/// Where an open step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StepStatus {
    /// A call that waits for a worker.
    Queued,
    /// An attempt is out.
    Running {
        since: Now,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_process: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
    },
    /// A call that waits for its next try.
    Backoff { until: Ticks, since: Wall },
    /// A sleep, signal, callback or child that has not ended; a callback call whose function has returned.
    Waiting,
    /// The body of a workflow whose code waits for other steps of the run.
    Parked,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Step {
    pub(crate) fn call(&self) -> Option<&Call> {
        match &self.work {
            Work::Call(call) | Work::Body(call) => Some(call),
            _ => None,
        }
    }

    /// Which process executes it, where that is known.
    fn incarnation(&self) -> Option<&Incarnation> {
        match &self.status {
            StepStatus::Running { incarnation, .. } => incarnation.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status, StepStatus::Running { .. })
    }

    /// When a callback step is over whatever its attempts do.
    pub(crate) fn limit(&self) -> Option<Due> {
        let call = self.call().filter(|call| call.callback)?;
        Some(Due::Ticks(self.begun.ticks.plus(call.timeout_ms?)))
    }

    /// When time alone changes the step, with `slack` for the worker's own verdict on its time limit.
    pub(crate) fn due(&self, slack_ms: u64) -> Option<Due> {
        let within = |from: Now, ms: Option<u64>| ms.map(|ms| Due::Ticks(from.ticks.plus(ms)));
        match (&self.work, &self.status) {
            (Work::Sleep(Sleep::For(ms)), _) => within(self.begun, Some(*ms)),
            (Work::Sleep(Sleep::Until(due)), _) => Some(*due),
            (Work::Signal { timeout_ms, .. } | Work::Callback { timeout_ms }, _) => {
                within(self.begun, *timeout_ms)
            }
            (Work::Call(call), StepStatus::Backoff { until, .. }) if call.callback => {
                let until = Due::Ticks(*until);
                Some(self.limit().map_or(until, |limit| limit.min(until)))
            }
            (Work::Call(call), _) if call.callback => self.limit(),
            (Work::Call(call), StepStatus::Running { since, .. }) => {
                within(*since, call.timeout_ms.map(|ms| ms.saturating_add(slack_ms)))
            }
            (Work::Call(_), StepStatus::Backoff { until, .. }) => Some(Due::Ticks(*until)),
            (Work::Child(child), _) => within(self.begun, child.callback.as_ref()?.timeout_ms),
            (Work::Call(_) | Work::Body(_), _) => None,
        }
    }
}

impl RunState {
    /// The state that the first entry of a journal makes.
    pub(crate) fn create(id: RunId, number: u64, now: Now, created: &Arc<Created>) -> Self {
        RunState {
            id,
            number,
            created_at: now,
            phase: Phase::Queued,
            paused: None,
            repair: None,
            started_at: None,
            ended_at: None,
            outcome: None,
            ending: None,
            cells: Cells::new(),
            wakes: VecDeque::from([Wake::Started]),
            steps: BTreeMap::new(),
            last_step: 0,
            draining: BTreeSet::new(),
            held: BTreeMap::new(),
            reported: BTreeMap::new(),
            signals: VecDeque::new(),
            signal_ids: VecDeque::new(),
            children: BTreeMap::new(),
            lost: BTreeMap::new(),
            again: BTreeMap::new(),
            idle_transitions: 0,
            labels: created.options.labels.clone(),
            status: None,
            cancel_requested: None,
            stopped_by: None,
            code: (created.definition.kind == DefinitionKind::Workflow).then(Code::default),
            entries: 1,
            created: created.clone(),
        }
    }

    /// Whether no new step may begin.
    pub(crate) fn is_held(&self) -> bool {
        self.paused.is_some() || self.repair.is_some()
    }

    /// Whether something of it must stay in memory although it may be closed.
    pub(crate) fn is_settled(&self) -> bool {
        self.phase.is_closed() && self.draining.is_empty()
    }

    /// Whether nothing of it executes, is ready to, or stands in a queue.
    pub(crate) fn only_waits(&self) -> bool {
        !self.steps.is_empty()
            && self.wakes.is_empty()
            && self.draining.is_empty()
            && self.ending.is_none()
            && self.steps.values().all(|step| matches!(step.status, StepStatus::Waiting | StepStatus::Parked))
    }

    /// Whether it is a task run that no attempt has been started for, or a run that has not begun.
    pub(crate) fn is_queued(&self) -> bool {
        self.phase == Phase::Queued
    }

    /// Whether it stands in this queue or is to, and nothing of it executes. Code that has done something is not waiting to begin.
    pub(crate) fn waits_in(&self, queue: &str) -> bool {
        let begun = match self.phase {
            Phase::Queued => false,
            Phase::Open => self.code.is_some(),
            _ => return false,
        };
        !begun
            && self.queue().as_deref() == Some(queue)
            && self.draining.is_empty()
            && !self.steps.values().any(|step| step.is_running())
    }

    /// The queue of a task, or of the code of a workflow.
    pub(crate) fn queue(&self) -> Option<Arc<str>> {
        let named = match (&self.created.options.task, self.created.definition.kind) {
            (Some(options), _) => options.queue.as_str(),
            (None, DefinitionKind::Task) => "",
            (None, _) => return None,
        };
        Some(if named.is_empty() { default_queue().into() } else { named.into() })
    }

    /// When it may begin.
    pub(crate) fn start_due(&self) -> Option<Due> {
        let options = &self.created.options;
        options
            .run_at
            .map(Due::Wall)
            .or_else(|| options.delay_ms.map(|ms| Due::Ticks(self.created_at.ticks.plus(ms))))
    }

    /// The end of the attempt that a step waits for, if one is out.
    pub(crate) fn running_attempt(&self, step: StepId) -> Option<u32> {
        self.steps.get(&step).filter(|step| step.is_running()).map(|step| step.attempts)
    }

    /// Which process was given an attempt that is out, where that is known.
    pub(crate) fn given_to(&self, step: StepId, attempt: u32) -> Option<&Incarnation> {
        if self.running_attempt(step) == Some(attempt) {
            return self.steps.get(&step)?.incarnation();
        }
        self.held.get(&(step, attempt))?.incarnation.as_ref()
    }

    /// Changes the state by one fact. `number` is the record's; `now` its batch's moment.
    pub(crate) fn fold(&mut self, number: u64, now: Now, entry: &Entry) {
        let next = life::next(self.phase, entry);
        debug_assert!(next.is_some(), "{} in phase {:?} of {}", entry.name(), self.phase, self.id);
        self.phase = next.unwrap_or(self.phase);
        self.entries += 1;
        match entry {
            // The first entry makes the state, see `create`.
            Entry::RunCreated(_) | Entry::Noted(_) => {}
            Entry::RunStarted => self.started_at = Some(now),
            Entry::RunPaused => self.paused = Some(now.wall),
            Entry::RunResumed => {
                self.paused = None;
                if self.repair.take().is_some() {
                    // Its code may have been mended: it is tried, whether or not anything has happened.
                    self.wake_body();
                }
            }
            Entry::RunSuspended { reason } => self.repair = Some((now.wall, reason.clone())),
            Entry::Advanced { cells, transitions, unfinished } => {
                self.wakes.pop_front();
                if *unfinished {
                    self.wakes.push_front(Wake::Continued);
                }
                for (number, text) in cells {
                    match text {
                        Some(text) => self.cells.insert(*number, text.clone()),
                        None => self.cells.remove(number),
                    };
                }
                self.idle_transitions = self.idle_transitions.saturating_add(*transitions);
            }
            Entry::ChildStarted { step, run } => {
                if let Some(open) = self.steps.get_mut(step)
                    && let Work::Child(child) = &open.work
                {
                    let link = ChildLink { step: *step, on_parent_end: child.on_parent_end };
                    self.children.insert(*run, link);
                    open.child = Some(*run);
                }
            }
            Entry::ChildEnded { run } => {
                self.children.remove(run);
            }
            Entry::SignalReceived { name, payload, id } => {
                self.signal_ids.extend(id.clone());
                if self.signal_ids.len() > SIGNAL_IDS_KEPT {
                    self.signal_ids.pop_front();
                }
                self.signals.push_back((name.clone(), payload.clone()));
            }
            Entry::LabelsSet { labels } => self.labels.clone_from(labels),
            Entry::StatusPublished { status } => self.status = Some(status.clone()),
            Entry::CancelRequested { failure, .. } => {
                self.cancel_requested = Some(now);
                self.stopped_by.clone_from(failure);
                self.tell_code();
            }
            Entry::StepBegun { .. }
            | Entry::AttemptStarted { .. }
            | Entry::AttemptFailed { .. }
            | Entry::AttemptLost { .. }
            | Entry::AttemptParked { .. }
            | Entry::AttemptStopped { .. }
            | Entry::CallReturned { .. }
            | Entry::StepRan { .. }
            | Entry::StepStarting { .. }
            | Entry::StepSucceeded { .. }
            | Entry::StepFailed { .. }
            | Entry::StepCancelled { .. } => self.fold_step(number, now, entry),
            Entry::RunEnding { outcome } => self.ending = Some(outcome.clone()),
            Entry::RunSucceeded { output } => self.close(now, Ok(output.clone())),
            Entry::RunFailed { failure } => self.close(now, Err(failure.clone())),
            Entry::RunTimedOut => self.close(now, Err(life::timed_out(&self.created))),
            Entry::RunCancelled => {
                let cancelled = || Failure::new(Failure::CANCELLED, "the run was cancelled");
                let failure = self.stopped_by.take().unwrap_or_else(cancelled);
                self.close(now, Err(failure));
            }
            Entry::RunExpired => {
                self.close(now, Err(Failure::new(Failure::EXPIRED, "not started within its time to live")));
            }
            Entry::RunReopened => {
                self.ended_at = None;
                self.outcome = None;
                self.ending = None;
                self.idle_transitions = 0;
                // The run's own time limit counts again from here.
                self.started_at = Some(now);
                self.again.append(&mut self.lost);
                self.tell_code();
                self.wakes.push_back(Wake::Reopened);
            }
        }
    }

    fn close(&mut self, now: Now, outcome: Result<Json, Failure>) {
        self.ended_at = Some(now.wall);
        self.outcome = Some(outcome);
        self.ending = None;
        self.paused = None;
        self.repair = None;
        if matches!(self.phase, Phase::Failed | Phase::TimedOut) {
            // Recorded outcomes that the driver has not seen: a resumed run must not do those steps again.
            self.wakes.retain(|wake| matches!(wake, Wake::StepEnded { .. }));
        } else {
            self.wakes.clear();
            self.signals.clear();
            self.lost.clear();
            self.again.clear();
        }
    }

    fn fold_step(&mut self, number: u64, now: Now, entry: &Entry) {
        match entry {
            Entry::StepBegun { step, tag, path, work } => {
                self.begin_step(number, now, *step, *tag, path, work);
            }
            Entry::AttemptStarted { step, attempt, in_process, incarnation, .. } => {
                if let Some(code) = self.code.as_mut().filter(|code| code.body == Some(*step)) {
                    code.taken = 0;
                }
                if let Some(step) = self.steps.get_mut(step) {
                    step.attempts = *attempt;
                    let (in_process, incarnation) = (*in_process, incarnation.clone());
                    step.status = StepStatus::Running { since: now, in_process, incarnation };
                }
            }
            Entry::AttemptFailed { step, attempt, failure, policy, retry_at, draining } => {
                if *draining {
                    self.drain(*step, *attempt);
                } else {
                    self.keep_report(*step, *attempt, &Err(failure));
                }
                if let Some(step) = self.steps.get_mut(step) {
                    let policy = *policy as usize;
                    step.retries.resize(step.retries.len().max(policy + 1), 0);
                    step.retries[policy] += 1;
                    step.status = StepStatus::Backoff { until: *retry_at, since: now.wall };
                }
            }
            Entry::AttemptLost { step, reason, with_worker, .. } => {
                if let Some(step) = self.steps.get_mut(step) {
                    let count = if *with_worker { &mut step.lost } else { &mut step.crashes };
                    *count += u32::from(reason.is_charged());
                    step.status = StepStatus::Queued;
                }
            }
            Entry::AttemptParked { step, ready, .. } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.status = if *ready { StepStatus::Queued } else { StepStatus::Parked };
                }
            }
            Entry::AttemptStopped { step, attempt } => {
                self.draining.remove(&(*step, *attempt));
                self.held.remove(&(*step, *attempt));
            }
            Entry::StepRan { .. } | Entry::StepStarting { .. } => {
                self.act_taken();
                self.tell_code();
            }
            Entry::CallReturned { step, attempt } => {
                self.keep_report(*step, *attempt, &Ok(&Json::null()));
                if let Some(step) = self.steps.get_mut(step) {
                    step.status = StepStatus::Waiting;
                }
            }
            Entry::StepSucceeded { step, attempt, output } => {
                if *attempt > 0 || self.is_callback(*step) {
                    self.keep_report(*step, *attempt, &Ok(output));
                }
                self.end_step(*step, *attempt, Some(Ok(output.clone())));
            }
            Entry::StepFailed { step, attempt, failure, draining } => {
                if *draining {
                    self.drain(*step, *attempt);
                } else if *attempt > 0 || self.is_callback(*step) {
                    self.keep_report(*step, *attempt, &Err(failure));
                }
                self.end_step(*step, *attempt, Some(Err(failure.clone())));
            }
            Entry::StepCancelled { step } => {
                self.end_step(*step, 0, None);
            }
            _ => unreachable!("fold sends step entries only"),
        }
    }

    fn is_callback(&self, step: StepId) -> bool {
        self.steps.get(&step).is_some_and(|step| step.work.takes_callback())
    }

    fn keep_report(&mut self, step: StepId, attempt: u32, outcome: &Result<&Json, &Failure>) {
        self.reported.insert((step, attempt), digest(outcome));
        if self.reported.len() > REPORTS_KEPT {
            self.reported.pop_first();
        }
    }

    fn begin_step(&mut self, number: u64, now: Now, id: StepId, tag: Tag, path: &str, work: &Work) {
        self.last_step = self.last_step.max(id.0);
        self.idle_transitions = 0;
        self.again.remove(path);
        if self.has_got_over_failures() {
            self.lost.clear();
        }
        let status = match work {
            Work::Call(_) | Work::Body(_) => StepStatus::Queued,
            _ => StepStatus::Waiting,
        };
        if matches!(work, Work::Body(_)) {
            self.code.get_or_insert_default().body = Some(id);
        } else {
            self.act_taken();
        }
        self.steps.insert(
            id,
            Box::new(Step {
                tag,
                path: path.to_owned(),
                work: work.clone(),
                begun: now,
                order: number,
                attempts: 0,
                crashes: 0,
                lost: 0,
                retries: Vec::new(),
                child: None,
                status,
            }),
        );
    }

    /// An attempt goes on without anybody waiting for it. It still counts against the limits of its call.
    fn drain(&mut self, step: StepId, attempt: u32) {
        self.draining.insert((step, attempt));
        if let Some((open, call)) = self.steps.get(&step).and_then(|step| Some((step, step.call()?))) {
            let key = call.limit.as_ref().map(|limit| limit.key.clone());
            let incarnation = open.incarnation().cloned();
            self.held.insert((step, attempt), Seat { queue: call.queue.as_str().into(), key, incarnation });
        }
    }

    /// Removes an open step. An attempt that is out without having given the outcome goes on draining.
    fn end_step(&mut self, id: StepId, reported: u32, outcome: Option<Result<Json, Failure>>) {
        let Some(step) = self.steps.get(&id) else {
            return;
        };
        if step.is_running() && reported == 0 {
            self.drain(id, step.attempts);
        }
        let Some(step) = self.steps.remove(&id) else {
            return;
        };
        if let (Work::Child(child), Some(run)) = (&step.work, step.child)
            && child.wait
            && child.callback.is_none()
            && !matches!(outcome, Some(Ok(_)))
        {
            self.lost.insert(step.path.clone(), run);
        }
        if let (Work::Signal { name, .. }, Some(Ok(_))) = (&step.work, &outcome)
            && let Some(at) = self.signals.iter().position(|(signal, _)| signal == name)
        {
            self.signals.remove(at);
        }
        match &mut self.code {
            Some(code) if code.body == Some(id) => code.body = None,
            // What its code began is nothing to the driver.
            Some(_) => return self.tell_code(),
            None => {}
        }
        if let Some(outcome) = outcome {
            let from_outside = reported == 0 && step.work.takes_callback();
            let attempts = step.attempts;
            self.wakes.push_back(Wake::StepEnded { tag: step.tag, outcome, from_outside, attempts });
        }
    }

    /// Whether a flow or code that begins another step has dealt with everything that had failed until now. A group deals with it
    /// at its end.
    fn has_got_over_failures(&self) -> bool {
        let failed = |wake: &Wake| matches!(wake, Wake::StepEnded { outcome: Err(_), .. });
        self.created.definition.kind != DefinitionKind::Builtin && !self.wakes.iter().any(failed)
    }

    /// An act of the running attempt was taken: the code gets on.
    fn act_taken(&mut self) {
        let Some(code) = &mut self.code else { return };
        code.taken += 1;
        code.acted = true;
        if let Some(body) = code.body.and_then(|body| self.steps.get_mut(&body)) {
            (body.crashes, body.lost) = (0, 0);
        }
    }

    /// The journal has a line that the code must know.
    fn tell_code(&mut self) {
        let Some(code) = &mut self.code else { return };
        code.news = self.entries;
        self.wake_body();
    }

    fn wake_body(&mut self) {
        let body = self.code.as_ref().and_then(|code| code.body);
        if let Some(body) = body.and_then(|body| self.steps.get_mut(&body))
            && body.status == StepStatus::Parked
        {
            body.status = StepStatus::Queued;
        }
    }

    /// The open step that is the run's own code.
    pub(crate) fn body(&self) -> Option<StepId> {
        self.code.as_ref()?.body
    }

    /// The attempt that executes the run's own code.
    pub(crate) fn running_body(&self) -> Option<AttemptId> {
        let step = self.body()?;
        Some(AttemptId { run: self.id, step, attempt: self.running_attempt(step)? })
    }

    /// Whether what is open only stops: the code of a cancelled workflow cleans up instead.
    pub(crate) fn gives_up(&self) -> bool {
        self.phase == Phase::Cancelling && self.code.is_none()
    }

    /// Whether it is queued until a worker takes it: a flow begins by itself.
    pub(crate) fn begins_with_attempt(&self) -> bool {
        !matches!(self.created.definition.kind, DefinitionKind::Flow | DefinitionKind::Builtin)
    }
}

/// Tells one recorded outcome from another.
pub(crate) fn digest(outcome: &Result<&Json, &Failure>) -> u64 {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    match outcome {
        Ok(output) => {
            hash.update(b"ok ");
            hash.update(output.get());
        }
        Err(failure) => {
            hash.update(b"error ");
            hash.update(&failure.error);
            hash.update(b" ");
            hash.update(&failure.message);
        }
    }
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}
