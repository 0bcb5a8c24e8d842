//! Workers and dispatch. Workers are not durable: after a restart they connect again and claim what they execute.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::lines::{Line, QueueKey, Turn};
use super::state::RunState;
use super::{Partition, Spec};
use crate::command::{Claims, Incarnation, Reply, WorkerSpec};
use crate::driver::Work;
use crate::effect::Effect;
use crate::entry::Lost;
use crate::ids::{AttemptId, RunId, StepId, Token, WorkerId};
use crate::time::{Now, Ticks};

/// A connected worker, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// The connection.
    pub id: WorkerId,
    /// What it announced.
    pub spec: Arc<WorkerSpec>,
    /// What it is executing.
    pub attempts: Vec<AttemptId>,
    /// Whether it takes no further attempts.
    pub draining: bool,
    /// Why it cannot use all its slots for now.
    pub trouble: Option<Arc<str>>,
    /// When it was last heard of.
    pub last_seen: Ticks,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) spec: Spec,
    pub(super) attempts: BTreeSet<AttemptId>,
    /// How many of its slots it can use for now.
    usable: u32,
    /// Why that is not all.
    trouble: Option<Arc<str>>,
    /// How many attempts it takes beyond its slots.
    ahead: u32,
    draining: bool,
    last_seen: Ticks,
}

impl Worker {
    pub(super) fn serves(&self, namespace: &str, queue: &str, function: &str) -> bool {
        self.spec.serves(namespace, queue, function)
    }

    /// Whether it takes anything more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    fn free(&self) -> usize {
        let room = self.usable as usize + self.ahead as usize;
        if self.draining { 0 } else { room.saturating_sub(self.attempts.len()) }
    }

    /// Whether its slots are taken, so that what it is offered now waits there.
    fn is_busy(&self) -> bool {
        self.attempts.len() >= self.usable as usize
    }
}

impl Partition {
    pub(super) fn connect_worker(
        &mut self,
        id: WorkerId,
        spec: Spec,
        claimed: &[(AttemptId, Token)],
    ) -> Reply {
        if self.is_overtaken(&spec) {
            // Its process has connected again meanwhile, and listens there.
            self.effect(Effect::Evict { worker: id });
            return Reply::Claims(Claims::default());
        }
        let worker = Worker {
            usable: spec.slots,
            trouble: None,
            spec,
            attempts: BTreeSet::new(),
            ahead: 0,
            draining: false,
            last_seen: self.now.ticks,
        };
        self.workers.insert(id, worker);
        let mut claims = Claims::default();
        for (attempt, token) in claimed {
            let state = self.state(attempt.run).filter(|_| *token == self.lease_token(*attempt));
            let running =
                state.is_some_and(|state| state.running_attempt(attempt.step) == Some(attempt.attempt));
            let draining =
                state.is_some_and(|state| state.draining.contains(&(attempt.step, attempt.attempt)));
            if !running && !draining {
                claims.drop.push(*attempt);
                continue;
            }
            claims.keep.push(*attempt);
            self.hold(*attempt, id);
            let cancelling = state_is_cancelling(self, attempt.run);
            if draining || cancelling {
                // It was to be stopped, and may not have been told.
                let grace_ms = if draining { 0 } else { self.config.cancel_grace_ms };
                self.effect(Effect::Stop { worker: id, attempt: *attempt, grace_ms });
            }
            if self.state(attempt.run).is_some_and(RunState::is_held) {
                // It was to be let go, and may not have been told either.
                self.park(attempt.run);
            }
        }
        self.end_earlier_connections(id);
        Reply::Claims(claims)
    }

    /// Whether a later connection of the same process is there.
    fn is_overtaken(&self, spec: &WorkerSpec) -> bool {
        let Some(own) = &spec.incarnation else { return false };
        let mut incarnations = self.workers.values().filter_map(|worker| worker.spec.incarnation.as_ref());
        incarnations.any(|known| known.is_after(own))
    }

    /// A process that connects again no longer reads what was sent to it before. It claims everything that it executes and everything whose
    /// report is not acknowledged, so what it was given before and does not claim has never reached it.
    fn end_earlier_connections(&mut self, id: WorkerId) {
        let Some(own) = self.workers.get(&id).and_then(|worker| worker.spec.incarnation.clone()) else {
            return;
        };
        let is_earlier =
            |worker: &Worker| worker.spec.incarnation.as_ref().is_some_and(|known| own.is_after(known));
        let earlier: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| is_earlier(worker)).map(|(id, _)| *id).collect();
        for id in earlier {
            let Some(worker) = self.workers.remove(&id) else { continue };
            self.effect(Effect::Evict { worker: id });
            for attempt in worker.attempts {
                self.orphan(attempt, self.now.ticks.plus(self.config.reconnect_grace_ms));
            }
        }
        let is_unclaimed =
            |attempt: &AttemptId| self.given_to(*attempt).is_some_and(|given| own.is_after(given));
        let unclaimed: Vec<AttemptId> = self.orphans.keys().copied().filter(is_unclaimed).collect();
        for attempt in unclaimed {
            self.abandon(attempt, Lost::Unclaimed);
        }
    }

    /// Whether the process that was given an attempt has come back without it.
    pub(super) fn is_disowned(&self, attempt: AttemptId) -> bool {
        let Some(given) = self.given_to(attempt) else { return false };
        let mut incarnations = self.workers.values().filter_map(|worker| worker.spec.incarnation.as_ref());
        !self.holders.contains_key(&attempt) && incarnations.any(|known| known.is_after(given))
    }

    fn given_to(&self, attempt: AttemptId) -> Option<&Incarnation> {
        self.state(attempt.run)?.given_to(attempt.step, attempt.attempt)
    }

    pub(super) fn offer_ahead(&mut self, id: WorkerId, attempts: u32) -> Reply {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.ahead = attempts;
        }
        Reply::Done
    }

    pub(super) fn limit_slots(&mut self, id: WorkerId, slots: u32, why: Option<Arc<str>>) -> Reply {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.usable = slots.min(worker.spec.slots);
            worker.trouble = why;
        }
        Reply::Done
    }

    pub(super) fn drain_worker(&mut self, id: WorkerId) -> Reply {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.draining = true;
        }
        Reply::Done
    }

    pub(super) fn disconnect_worker(&mut self, id: WorkerId, goodbye: bool) -> Reply {
        let Some(worker) = self.workers.remove(&id) else {
            return Reply::Done;
        };
        let deadline = self.now.ticks.plus(self.config.reconnect_grace_ms);
        for attempt in worker.attempts {
            if goodbye {
                // It had been offered, and may have begun.
                self.abandon(attempt, Lost::Bystander);
            } else {
                self.orphan(attempt, deadline);
            }
        }
        Reply::Done
    }

    pub(super) fn heartbeat(&mut self, id: WorkerId) -> Reply {
        let now = self.now.ticks;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.last_seen = now;
        }
        Reply::Done
    }

    /// Gives everybody who executes something a whole lease from `now` on. For when nobody could have been heard of: while the
    /// store took no writes, or while the process was stopped.
    pub fn renew_leases(&mut self, now: Now) {
        for worker in self.workers.values_mut() {
            worker.last_seen = worker.last_seen.max(now.ticks);
        }
        let deadline = now.ticks.plus(self.config.lease_ms);
        for known in self.orphans.values_mut() {
            *known = deadline.max(*known);
        }
    }

    /// Gives up on workers that were silent for a lease, and on attempts that nobody came back for.
    pub(super) fn expire_leases(&mut self) {
        let now = self.now.ticks;
        let lease = self.config.lease_ms;
        let silent = |worker: &Worker| worker.last_seen.plus(lease) <= now;
        let lost: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| silent(worker)).map(|(id, _)| *id).collect();
        for id in lost {
            let Some(worker) = self.workers.remove(&id) else {
                continue;
            };
            self.effect(Effect::Evict { worker: id });
            for attempt in worker.attempts {
                self.abandon(attempt, Lost::LeaseExpired);
            }
        }
        let late: Vec<AttemptId> = self
            .orphans
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in late {
            let reason = if self.is_disowned(attempt) { Lost::Unclaimed } else { Lost::Disconnected };
            self.abandon(attempt, reason);
        }
    }

    /// When the next lease or grace is over.
    pub(super) fn next_expiry(&self) -> Option<Ticks> {
        let leases = self.workers.values().map(|worker| worker.last_seen.plus(self.config.lease_ms));
        leases.chain(self.orphans.values().copied()).min()
    }

    /// Gives steps to free workers until there is none of the one or the other.
    pub(super) fn dispatch(&mut self) {
        if self.index.lines.is_empty() {
            return;
        }
        // The least loaded worker chooses first, so that work spreads.
        let mut free: BTreeSet<(usize, WorkerId)> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.free() > 0)
            .map(|(id, worker)| (worker.attempts.len(), *id))
            .collect();
        while let Some((load, id)) = free.pop_first() {
            let Some((run, step)) = self.next_for(id) else {
                continue;
            };
            if self.workers.get(&id).is_some_and(Worker::is_busy) && self.must_begin_at_once(run, step) {
                continue;
            }
            self.start_attempt(run, step, id);
            if self.workers.get(&id).is_some_and(|worker| worker.free() > 0) {
                free.insert((load + 1, id));
            }
        }
    }

    /// Whether the step is not to wait in a worker: one that is lost with its worker before it began would count as begun, one that is
    /// limited counts against its limit, and the code of a workflow holds its place for long.
    fn must_begin_at_once(&self, run: RunId, step: StepId) -> bool {
        let Some(state) = self.state(run) else { return true };
        match state.steps.get(&step).map(|step| &step.work) {
            Some(Work::Call(call)) => {
                let namespace = &state.created.definition.namespace;
                call.at_most_once
                    || call.limit.is_some()
                    || self.index.lines.is_limited(namespace, &call.queue)
            }
            _ => true,
        }
    }

    /// The first step in any line that the worker serves. Runs that are only stubs are asked for on the way.
    fn next_for(&mut self, id: WorkerId) -> Option<(RunId, StepId)> {
        let worker = self.workers.get(&id)?;
        let free = worker.free();
        let served = |(key, _): &(&QueueKey, &Line)| worker.serves(&key.0, &key.1, &key.2);
        let lines = &self.index.lines;
        let (mut wanted, mut refills, mut short) = (Vec::new(), Vec::new(), Vec::new());
        let mut best: Option<Turn> = None;
        for (key, line) in lines.ready().filter(served) {
            if !lines.is_open(&key.0, &key.1, &mut refills) {
                continue;
            }
            best = [best, self.first_of(line.free(), free, &mut wanted)].into_iter().flatten().min();
            if line.is_short(|run| self.comes(run)) {
                short.push(line.name().clone());
            }
            if !lines.holding {
                best = [best, self.first_of(line.heads(), free, &mut wanted)].into_iter().flatten().min();
            }
        }
        self.index.lines.wait_for(refills);
        for line in short {
            let (runs, loading) = (&self.runs, &self.index.loading);
            let known = |run: &RunId| runs.contains_key(run) || loading.contains(run);
            wanted.extend(self.index.lines.read_ahead(&line, known));
        }
        for run in wanted {
            self.ask_for(run);
        }
        best.map(|(_, _, (_, _, run, step))| (run, step))
    }

    /// Whether a run is in memory, or on its way there.
    fn comes(&self, run: &RunId) -> bool {
        self.runs.contains_key(run) || self.index.loading.contains(run)
    }

    /// The first of these whose run is in memory. The first that is not even on its way is wanted.
    fn first_of(
        &self,
        turns: impl Iterator<Item = Turn>,
        free: usize,
        wanted: &mut Vec<RunId>,
    ) -> Option<Turn> {
        for turn in turns {
            let run = turn.2.2;
            if self.runs.contains_key(&run) {
                return Some(turn);
            }
            if !self.index.loading.contains(&run) {
                wanted.push(run);
                return None;
            }
            // On its way; it holds its worker's slot, so that no more are asked for than can start.
            if self.index.loading.len() >= free {
                return None;
            }
        }
        None
    }

    /// The workers.
    pub fn workers(&self) -> Vec<WorkerView> {
        let view = |(id, worker): (&WorkerId, &Worker)| WorkerView {
            id: *id,
            spec: worker.spec.clone(),
            attempts: worker.attempts.iter().copied().collect(),
            draining: worker.draining,
            trouble: worker.trouble.clone(),
            last_seen: worker.last_seen,
        };
        self.workers.iter().map(view).collect()
    }
}

fn state_is_cancelling(partition: &Partition, run: RunId) -> bool {
    partition.state(run).is_some_and(|state| state.phase == super::life::Phase::Cancelling)
}
