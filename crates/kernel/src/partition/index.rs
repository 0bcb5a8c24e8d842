//! What is derived from the runs in memory and from stubs: places in queues and moments when time alone acts.
//!
//! Nothing here is recorded. An index entry is a function of a run's state, so whoever changes a run takes its entries out before
//! and puts them in again after.

use std::collections::{BTreeSet, HashSet};

use super::life::Phase;
use super::lines::Lines;
use super::state::{RunState, StepStatus};
use crate::ids::{RunId, StepId};
use crate::rows::{QueuePlace, Stub};
use crate::time::{Due, Now, Ticks, Wall};

/// A run of which only a stub is in memory is loaded so long before it is due, so that it is not late.
const LEAD_MS: u64 = 2_000;
/// A run that is due sooner stays in memory.
const NEAR_MS: u64 = 2 * LEAD_MS;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The run may begin.
    Start,
    /// The run was not started in time.
    QueueTtl,
    /// The run's own time limit.
    Deadline,
    /// The grace of a cancelled run is over.
    CancelGrace,
    /// A step's own moment.
    Step(StepId),
    /// The run is not in memory; its row says what is due.
    Stub,
}

/// The indexes.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Index {
    pub(super) ticks: BTreeSet<(Ticks, RunId, Cause)>,
    pub(super) wall: BTreeSet<(Wall, RunId, Cause)>,
    pub(super) lines: Lines,
    /// Runs that were asked for with `Effect::Load` and have not come yet.
    pub(super) loading: HashSet<RunId>,
}

/// The limits that dues depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Graces {
    pub(super) cancel_ms: u64,
    pub(super) slack_ms: u64,
}

impl Index {
    /// Of the partition `part` among so many.
    pub(super) fn new(part: u16, partitions: u16) -> Self {
        Index { lines: Lines::new(part, partitions), ..Index::default() }
    }

    fn set(&mut self, due: Due, run: RunId, cause: Cause, on: bool) {
        match (due, on) {
            (Due::Ticks(at), true) => {
                self.ticks.insert((at, run, cause));
            }
            (Due::Ticks(at), false) => {
                self.ticks.remove(&(at, run, cause));
            }
            (Due::Wall(at), true) => {
                self.wall.insert((at, run, cause));
            }
            (Due::Wall(at), false) => {
                self.wall.remove(&(at, run, cause));
            }
        }
    }

    /// Puts in or takes out everything about a run but its steps.
    pub(super) fn run(&mut self, run: &RunState, graces: Graces, on: bool) {
        for (due, cause) in run_dues(run, graces) {
            self.set(due, run.id, cause, on);
        }
    }

    /// Puts in or takes out one step, with its attempts that may execute.
    pub(super) fn step(&mut self, run: &RunState, id: StepId, now: Now, graces: Graces, on: bool) {
        self.open_step(run, id, now, graces, on);
        let namespace = &run.created.definition.namespace;
        for (_, seat) in run.held.range((id, 0)..=(id, u32::MAX)) {
            self.lines.seat(namespace, &seat.queue, seat.key.as_ref(), on);
        }
    }

    /// Puts a step whose back-off is over back into its line.
    pub(super) fn ripen(&mut self, run: &RunState, id: StepId, now: Now) {
        if let Some(place) = queue_place(run, id, now) {
            self.lines.put(&place, run.id, true);
        }
    }

    fn open_step(&mut self, run: &RunState, id: StepId, now: Now, graces: Graces, on: bool) {
        if let Some(call) = run.steps.get(&id).filter(|step| step.is_running()).and_then(|step| step.call()) {
            let key = call.limit.as_ref().map(|limit| &limit.key);
            self.lines.seat(&run.created.definition.namespace, &call.queue, key, on);
        }
        if let Some(place) = queue_place(run, id, now) {
            self.lines.put(&place, run.id, on);
        }
        // A callback step in its back-off has two moments: the next try, and its end.
        if is_backoff(run, id)
            && !run.phase.is_closed()
            && let Some(limit) = run.steps.get(&id).and_then(|step| step.limit())
        {
            self.set(limit, run.id, Cause::Step(id), on);
        }
        if let Some(due) = step_due(run, id, graces) {
            // A back-off that is over is a place in the queue and no moment any more.
            if on && due.reached(now) && is_backoff(run, id) {
                return;
            }
            self.set(due, run.id, Cause::Step(id), on);
        }
    }

    /// Puts in or takes out a run with all its steps.
    pub(super) fn whole(&mut self, run: &RunState, now: Now, graces: Graces, on: bool) {
        self.run(run, graces, on);
        for id in run.steps.keys() {
            self.open_step(run, *id, now, graces, on);
        }
        for seat in run.held.values() {
            self.lines.seat(&run.created.definition.namespace, &seat.queue, seat.key.as_ref(), on);
        }
    }

    /// Puts in or takes out a run that is only a stub.
    pub(super) fn stub(&mut self, stub: &Stub, on: bool) {
        for due in [stub.wake_ticks, stub.wake_wall].into_iter().flatten() {
            self.set(due.earlier(LEAD_MS), stub.run, Cause::Stub, on);
        }
        for place in &stub.queued {
            self.lines.put(place, stub.run, on);
        }
    }
}

fn is_backoff(run: &RunState, id: StepId) -> bool {
    run.steps.get(&id).is_some_and(|step| matches!(step.status, StepStatus::Backoff { .. }))
}

fn run_dues(run: &RunState, graces: Graces) -> Vec<(Due, Cause)> {
    let options = &run.created.options;
    let mut dues = Vec::new();
    match run.phase {
        Phase::Queued => {
            // Once its first step stands in a queue, a task has begun as far as time is concerned.
            if !run.wakes.is_empty() {
                dues.extend(run.start_due().map(|due| (due, Cause::Start)));
            }
            dues.extend(queue_ttl(run).map(|due| (due, Cause::QueueTtl)));
        }
        Phase::Open => {
            if let (Some(started), Some(ms)) = (run.started_at, options.timeout_ms) {
                dues.push((Due::Ticks(started.ticks.plus(ms)), Cause::Deadline));
            }
        }
        Phase::Cancelling => {
            if let Some(asked) = run.cancel_requested {
                let at = asked.ticks.plus(graces.cancel_ms.saturating_add(graces.slack_ms));
                dues.push((Due::Ticks(at), Cause::CancelGrace));
            }
        }
        _ => {}
    }
    dues
}

/// When it is too late to begin. It counts from when it may begin: a delay is no time in a queue.
fn queue_ttl(run: &RunState) -> Option<Due> {
    let ms = run.created.options.queue_ttl_ms?;
    let created = run.created_at;
    Some(match run.start_due() {
        Some(Due::Wall(at)) if at > created.wall => Due::Wall(at.plus(ms)),
        Some(Due::Ticks(at)) => Due::Ticks(at.plus(ms)),
        Some(Due::Wall(_)) | None => Due::Ticks(created.ticks.plus(ms)),
    })
}

fn step_due(run: &RunState, id: StepId, graces: Graces) -> Option<Due> {
    if run.phase.is_closed() {
        return None;
    }
    run.steps.get(&id)?.due(graces.slack_ms)
}

/// The place of a step that a worker may take now.
fn queue_place(run: &RunState, id: StepId, now: Now) -> Option<QueuePlace> {
    let open = matches!(run.phase, Phase::Queued | Phase::Open)
        || run.phase == Phase::Cancelling && run.code.is_some();
    if !open || run.is_held() || run.ending.is_some() {
        return None;
    }
    let step = run.steps.get(&id)?;
    let call = step.call()?;
    let ripe = match step.status {
        StepStatus::Queued => true,
        StepStatus::Backoff { until, .. } => until <= now.ticks,
        StepStatus::Running { .. } | StepStatus::Waiting | StepStatus::Parked => false,
    };
    // Two attempts at one step never run side by side.
    if !ripe || run.draining.iter().any(|(draining, _)| *draining == id) {
        return None;
    }
    Some(QueuePlace {
        step: id,
        namespace: run.created.definition.namespace.clone(),
        queue: call.queue.as_str().into(),
        function: call.function.as_str().into(),
        priority: call.priority,
        order: step.order,
        limit: call.limit.clone(),
    })
}

/// The places of all steps of a run that a worker may take now.
pub(super) fn queue_places(run: &RunState, now: Now) -> Vec<QueuePlace> {
    run.steps.keys().filter_map(|id| queue_place(run, *id, now)).collect()
}

/// Whether nothing of a run is wanted in memory for a while but its stub.
pub(super) fn is_at_rest(stub: &Stub, now: Now) -> bool {
    !stub.active && stub.queued.is_empty() && !is_near(stub, now)
}

/// Whether time alone will soon concern it.
pub(super) fn is_near(stub: &Stub, now: Now) -> bool {
    [stub.wake_ticks, stub.wake_wall].into_iter().flatten().any(|due| due.earlier(NEAR_MS).reached(now))
}

/// What stays in memory of a run when the rest does not; `None` for one that is over.
pub(super) fn stub(run: &RunState, now: Now, graces: Graces) -> Option<Stub> {
    if run.is_settled() {
        return None;
    }
    let mut dues: Vec<Due> = run_dues(run, graces).into_iter().map(|(due, _)| due).collect();
    dues.extend(run.steps.keys().filter_map(|id| step_due(run, *id, graces)));
    let active = run.steps.values().any(|step| step.is_running())
        || !run.draining.is_empty()
        || run.ending.is_some()
        || (run.is_queued() && run.created.predecessor.is_some())
        || (!run.wakes.is_empty() && !run.is_held() && run.start_due().is_none_or(|due| due.reached(now)));
    Some(Stub {
        run: run.id,
        wake_ticks: dues.iter().filter(|due| matches!(due, Due::Ticks(_))).min().copied(),
        wake_wall: dues.iter().filter(|due| matches!(due, Due::Wall(_))).min().copied(),
        queued: queue_places(run, now),
        active,
    })
}
