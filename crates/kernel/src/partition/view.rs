//! Runs as others see them: states, what they wait for, and the other reads.

use super::Partition;
use super::index::queue_places;
use super::life::Phase;
use super::state::{RunState, Step, StepStatus};
use crate::driver::Work;
use crate::ids::{RunId, StepId};
use crate::keys::{Key, KeyId, Ttl};
use crate::limits::QueueView;
use crate::rows::{JournalRow, QueuePlace};
use crate::run::{Holdup, QueueDepth, RunSummary, RunView, State, StepView, WaitKind, Waiting};
use crate::time::{Due, Now, Wall};

impl Partition {
    /// A run, if it is in memory.
    pub fn run(&self, now: Now, run: RunId) -> Option<RunView> {
        let state = self.state(run)?;
        let mut shown = view(state, now);
        self.name_limits(state, &mut shown);
        Some(shown)
    }

    pub(super) fn summary(&self, run: RunId) -> Option<RunSummary> {
        Some(summarise(self.state(run)?, self.now))
    }

    /// Whether the run is open (in memory or as a stub). `false` also for one that is not known here.
    pub fn is_open(&self, run: RunId) -> bool {
        self.stubs.contains_key(&run) || self.state(run).is_some_and(|state| !state.phase.is_closed())
    }

    /// The lines of a run's journal that no row has yet, with `seq > after`.
    pub fn journal_tail(&self, run: RunId, after: u64) -> Vec<JournalRow> {
        let Some(slot) = self.runs.get(&run) else {
            return Vec::new();
        };
        slot.tail.iter().filter(|line| line.seq > after).cloned().collect()
    }

    /// Every run that changed since its row was written: what a list must take from memory instead of from rows. Runs
    /// deleted but not yet removed from the rows come with `None`.
    pub fn dirty_runs(&self, now: Now) -> Vec<(RunId, Option<RunSummary>)> {
        let dirty = self
            .dirty
            .iter()
            .map(|(_, run)| (*run, self.state(*run).map(|state| self.list_item(state, now))));
        dirty.chain(self.deleted.keys().map(|run| (*run, None))).collect()
    }

    /// A key, if it is in memory. The inner `None`: known to be absent.
    pub fn key(&self, key: &KeyId) -> Option<Option<Key>> {
        let slot = self.keys.get(key)?;
        Some(slot.key.clone().filter(|key| !key.is_expired(self.now.wall)))
    }

    /// Keys that changed since their row was written; deleted ones with `None`.
    pub fn dirty_keys(&self) -> Vec<(KeyId, Option<Key>)> {
        let found = |id: &KeyId| self.keys.get(id).and_then(|slot| slot.key.clone());
        self.dirty_keys.iter().map(|(_, id)| (id.clone(), found(id))).collect()
    }

    /// Calls that wait for a worker, by function.
    pub fn queue_depths(&self) -> Vec<QueueDepth> {
        let depth = |((namespace, queue, function), waiting): (&super::lines::QueueKey, usize)| QueueDepth {
            namespace: namespace.clone(),
            queue: queue.clone(),
            function: function.clone(),
            waiting,
        };
        self.index.lines.depths().map(depth).collect()
    }

    /// Every queue that has something in it, has done something since the partition was loaded, or was set.
    pub fn queues(&self) -> Vec<QueueView> {
        self.index.lines.views()
    }

    /// What holds up every call of a run that waits for a worker, also where only its stub is in memory; `None` for one that some worker
    /// will take.
    pub fn holdup(&self, run: RunId) -> Option<Holdup> {
        let lines = &self.index.lines;
        let limit =
            |place: &QueuePlace| lines.held_by(&place.namespace, &place.queue, place.limit.as_deref());
        let places = match (self.state(run), self.stubs.get(&run)) {
            (Some(state), _) => queue_places(state, self.now),
            (None, Some(rest)) => rest.stub(run).queued,
            (None, None) => Vec::new(),
        };
        if let Some(limit) = all_held(places.iter().map(limit)) {
            return Some(Holdup::Limit(limit));
        }
        let served = |place: &QueuePlace| {
            let mut workers = self.workers.values().filter(|worker| !worker.is_draining());
            workers.any(|worker| worker.serves(&place.namespace, &place.queue, &place.function))
        };
        (!places.is_empty() && !places.iter().any(served)).then_some(Holdup::Unserved)
    }

    fn list_item(&self, state: &RunState, now: Now) -> RunSummary {
        let mut summary = summarise(state, now);
        let waits = summary.waiting.as_mut().filter(|waiting| waiting.kind == WaitKind::Worker);
        if let (Some(waiting), Some(name)) = (waits, self.limit_of(state)) {
            (waiting.kind, waiting.name) = (WaitKind::Limit, name);
        }
        summary
    }

    /// Puts the limit's name where it is a limit and no worker that a call waits for.
    fn name_limits(&self, state: &RunState, view: &mut RunView) {
        for shown in &mut view.steps {
            let waits = shown.waiting.as_mut().filter(|waiting| waiting.kind == WaitKind::Worker);
            let held = state.steps.get(&shown.id).and_then(|step| self.limit_on(state, step));
            if let (Some(waiting), Some(name)) = (waits, held) {
                (waiting.kind, waiting.name) = (WaitKind::Limit, name);
            }
        }
        let waits = view.summary.waiting.as_mut().filter(|waiting| waiting.kind == WaitKind::Worker);
        if let (Some(waiting), Some(name)) = (waits, self.limit_of(state)) {
            (waiting.kind, waiting.name) = (WaitKind::Limit, name);
        }
    }

    /// The limit that holds back every call of a run that waits for a worker.
    fn limit_of(&self, state: &RunState) -> Option<String> {
        let queued = state.steps.values().filter(|step| step.status == StepStatus::Queued);
        all_held(queued.map(|step| self.limit_on(state, step)))
    }

    fn limit_on(&self, state: &RunState, step: &Step) -> Option<String> {
        let call = step.call()?;
        let namespace = &state.created.definition.namespace;
        self.index.lines.held_by(namespace, &call.queue, call.limit.as_deref())
    }
}

/// The first of the limits, if there is one for each.
fn all_held(mut held: impl Iterator<Item = Option<String>>) -> Option<String> {
    let first = held.next()??;
    held.all(|held| held.is_some()).then_some(first)
}

impl RunState {
    /// The run as a row shows it: for runs that are not in memory.
    pub fn view(&self, now: Now) -> RunView {
        view(self, now)
    }
}

fn view(state: &RunState, now: Now) -> RunView {
    RunView {
        summary: summarise(state, now),
        input: state.created.input.clone(),
        outcome: state.outcome.clone(),
        status: state.status.clone(),
        callback_url: state.created.options.callback_url.clone(),
        steps: state.steps.iter().map(|(id, step)| step_view(*id, step, now)).collect(),
        entries: state.entries,
    }
}

fn summarise(state: &RunState, now: Now) -> RunSummary {
    let waiting = waiting(state, now);
    RunSummary {
        id: state.id,
        definition: state.created.definition.clone(),
        state: public_state(state, waiting.as_ref()),
        waiting,
        created: state.created_at.wall,
        started: state.started_at.map(|now| now.wall),
        ended: state.ended_at,
        labels: state.labels.clone(),
        key: state.created.key.as_ref().map(|key| key.key.clone()),
        parent: state.created.parent,
        error: state
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.as_ref().err())
            .map(|failure| failure.error.clone()),
        origin: state.created.options.origin.clone(),
        queue: state.queue(),
        expires: expires(state),
        read_once: keeps(state) == Some(Ttl::Ms(0)),
        attempts: state.steps.values().map(|step| step.attempts).max().unwrap_or(0),
    }
}

/// How long the outcome of a closed run is kept, where its options say so.
fn keeps(state: &RunState) -> Option<Ttl> {
    let options = &state.created.options;
    match state.outcome.as_ref()? {
        Ok(_) => options.result_ttl,
        Err(_) => options.failure_ttl,
    }
}

fn expires(state: &RunState) -> Option<Wall> {
    let ended = state.ended_at?;
    Some(match keeps(state)? {
        Ttl::Forever => Wall(i64::MAX),
        // It goes when it is read; what nobody ever reads, after a while.
        Ttl::Ms(0) => ended.plus(Ttl::TASK_MS),
        Ttl::Ms(ms) => ended.plus(ms),
    })
}

fn public_state(state: &RunState, waiting: Option<&Waiting>) -> State {
    match state.phase {
        Phase::Queued => State::Queued,
        Phase::Open => match waiting.map(|waiting| waiting.kind) {
            None | Some(WaitKind::Worker | WaitKind::Limit | WaitKind::Retry | WaitKind::Predecessor) => {
                State::Running
            }
            Some(
                WaitKind::Timer
                | WaitKind::Signal
                | WaitKind::Callback
                | WaitKind::Child
                | WaitKind::Pause
                | WaitKind::Repair,
            ) => State::Suspended,
        },
        Phase::Cancelling => State::Cancelling,
        Phase::Succeeded => State::Succeeded,
        Phase::Failed => State::Failed,
        Phase::TimedOut => State::TimedOut,
        Phase::Cancelled => State::Cancelled,
        Phase::Expired => State::Expired,
    }
}

/// What the run as a whole waits for: nothing while an attempt executes, else what will move it first.
fn waiting(state: &RunState, now: Now) -> Option<Waiting> {
    if state.phase.is_closed() {
        return None;
    }
    if let Some((since, reason)) = &state.repair {
        return Some(Waiting { kind: WaitKind::Repair, since: *since, until: None, name: reason.clone() });
    }
    if let Some(since) = state.paused {
        return Some(Waiting { kind: WaitKind::Pause, since, until: None, name: String::new() });
    }
    if state.is_queued() && !state.wakes.is_empty() {
        let since = state.created_at.wall;
        if let Some(predecessor) = state.created.predecessor {
            return Some(Waiting {
                kind: WaitKind::Predecessor,
                since,
                until: None,
                name: predecessor.to_string(),
            });
        }
        let until = state.start_due().map(|due| due.shown(now));
        return until.map(|until| Waiting {
            kind: WaitKind::Timer,
            since,
            until: Some(until),
            name: String::new(),
        });
    }
    if state.ending.is_some() {
        let (child, _) = state.children.first_key_value()?;
        let since = state.started_at.map_or(state.created_at.wall, |started| started.wall);
        return Some(Waiting { kind: WaitKind::Child, since, until: None, name: child.to_string() });
    }
    if !state.wakes.is_empty() || state.steps.values().any(|step| step.is_running()) {
        return None;
    }
    let all = state.steps.values().filter_map(|step| step_waiting(step, now));
    all.min_by_key(|waiting| (urgency(waiting.kind), waiting.until.is_none(), waiting.until, waiting.since))
}

/// Work that could be done comes before work that must wait.
fn urgency(kind: WaitKind) -> u8 {
    match kind {
        WaitKind::Worker | WaitKind::Limit => 0,
        WaitKind::Retry => 1,
        _ => 2,
    }
}

fn step_waiting(step: &Step, now: Now) -> Option<Waiting> {
    let since = step.begun.wall;
    let until = step.due(0).map(|due| due.shown(now));
    let waiting =
        |kind, since, until, name: &str| Some(Waiting { kind, since, until, name: name.to_owned() });
    match (&step.work, &step.status) {
        (_, StepStatus::Running { .. }) => None,
        (_, StepStatus::Parked) => None,
        (Work::Call(call) | Work::Body(call), StepStatus::Queued) => {
            waiting(WaitKind::Worker, since, None, &call.function)
        }
        (Work::Call(_) | Work::Body(_), StepStatus::Backoff { until, since }) => {
            waiting(WaitKind::Retry, *since, Some(Due::Ticks(*until).shown(now)), &step.path)
        }
        (Work::Call(_) | Work::Body(_) | Work::Callback { .. }, StepStatus::Waiting) => {
            waiting(WaitKind::Callback, since, until, &step.path)
        }
        (Work::Sleep(_), _) => waiting(WaitKind::Timer, since, until, &step.path),
        (Work::Signal { name, .. }, _) => waiting(WaitKind::Signal, since, until, name),
        (Work::Child(child), _) if child.callback.is_some() => {
            waiting(WaitKind::Callback, since, until, &step.path)
        }
        (Work::Child(child), _) => waiting(WaitKind::Child, since, until, &child.definition.name),
        (Work::Callback { .. }, _) => waiting(WaitKind::Callback, since, until, &step.path),
    }
}

fn step_view(id: StepId, step: &Step, now: Now) -> StepView {
    let (kind, target) = match &step.work {
        Work::Call(call) => ("call", call.function.clone()),
        Work::Body(call) => ("body", call.function.clone()),
        Work::Sleep(_) => ("sleep", String::new()),
        Work::Signal { name, .. } => ("signal", name.clone()),
        Work::Callback { .. } => ("callback", String::new()),
        Work::Child(child) => ("child", child.definition.name.to_string()),
    };
    StepView {
        id,
        path: step.path.clone(),
        kind: kind.into(),
        target,
        running: step.is_running(),
        attempts: step.attempts,
        waiting: step_waiting(step, now),
    }
}
