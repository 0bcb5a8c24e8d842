//! Executes attempts in this process: which are under way, until when, and what came of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use riverrun_kernel::{AttemptId, Failure, Lost};
use riverrun_wire::worker::{FromWorker, Offer};
use riverrun_wire::workflow::Activation;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::{Ctx, Shared};
use super::registry::{Calling, Entry, Registry, caught};
use super::run::{Execution, Mouth, Order, Said};
use super::task::TaskCtx;
use crate::error::WorkerError;
use crate::executor::{Desk, Executor, Tiding};
use crate::ledger::Outcome;
use crate::output::Budget;

/// Settings of what executes attempts here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub slots: u32,
    pub park_after: Duration,
    pub timeout_grace: Duration,
    pub max_output_bytes: usize,
}

pub(crate) struct Attempts {
    desk: Desk,
    registry: Registry,
    limits: Limits,
    events: mpsc::Sender<(AttemptId, Said)>,
    under_way: HashMap<AttemptId, Attempt>,
    deadlines: BTreeSet<(Instant, AttemptId)>,
    /// A shutdown has begun.
    draining: bool,
    /// Whether all slots are taken: what waits should make room sooner.
    crowded: Arc<AtomicBool>,
    /// Where user code is executed.
    runtime: Handle,
    tasks: JoinSet<()>,
}

/// An attempt under way.
struct Attempt {
    task: AbortHandle,
    /// For a workflow. Bounded by what its code asked for: each act is answered once.
    orders: Option<mpsc::UnboundedSender<Order>>,
    stop: CancellationToken,
    /// Why it is being ended, if it is.
    ending: Option<Ending>,
    /// When it is enforced: the time limit at first, then the end of the grace.
    deadline: Option<Instant>,
    limit: Duration,
    output: Budget,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Stop,
    Timeout,
}

impl Attempts {
    pub fn new(registry: Registry, limits: Limits, events: mpsc::Sender<(AttemptId, Said)>) -> Self {
        let desk = Desk { functions: Some(registry.functions()), ..Desk::default() };
        Attempts {
            desk,
            registry,
            limits,
            events,
            under_way: HashMap::new(),
            deadlines: BTreeSet::new(),
            draining: false,
            crowded: Arc::default(),
            runtime: Handle::current(),
            tasks: JoinSet::new(),
        }
    }

    fn begin(&mut self, offer: Box<Offer>, now: Instant) -> Result<(), Outcome> {
        let attempt = offer.attempt;
        let mouth = Mouth { attempt, events: self.events.clone() };
        let stop = CancellationToken::new();
        let begun = match (self.registry.get(&offer.function), offer.workflow) {
            (Some(Entry::Workflow(code)), Some(activation)) => {
                let shared = Shared::new(
                    attempt.run,
                    offer.definition.clone(),
                    offer.idempotency_key.clone(),
                    self.limits.park_after,
                );
                let code = code(Ctx::new(Arc::clone(&shared)), offer.input.clone());
                let (orders, received) = mpsc::unbounded_channel();
                let crowded = Arc::clone(&self.crowded);
                let execution = Execution::new(shared, code, activation, received, mouth, crowded);
                (self.tasks.spawn_on(execution.run(), &self.runtime), Some(orders))
            }
            (Some(Entry::Task(code)), None) => {
                let calling = code(TaskCtx::new(mouth.clone(), stop.clone(), &offer), offer.input.clone());
                (self.tasks.spawn_on(call(calling, mouth, stop.clone()), &self.runtime), None)
            }
            (_, activation) => return Err(unknown(&offer.function, activation)),
        };
        let (task, orders) = begun;
        let limit = offer.timeout_ms.map(Duration::from_millis);
        let deadline = limit.and_then(|limit| now.checked_add(limit));
        self.deadlines.extend(deadline.map(|deadline| (deadline, attempt)));
        let limit = limit.unwrap_or_default();
        let output = Budget::new(self.limits.max_output_bytes);
        self.under_way.insert(attempt, Attempt { task, orders, stop, ending: None, deadline, limit, output });
        self.count();
        Ok(())
    }

    fn count(&self) {
        self.crowded.store(self.under_way.len() >= self.limits.slots as usize, Ordering::Relaxed);
    }

    /// Sets when an attempt is enforced, if that is sooner than before or there was no ending yet.
    fn end_by(&mut self, attempt: AttemptId, ending: Ending, moment: Instant) {
        let Some(under_way) = self.under_way.get_mut(&attempt) else { return };
        under_way.stop.cancel();
        let moment = match (under_way.ending, under_way.deadline) {
            (Some(_), Some(before)) => before.min(moment),
            _ => moment,
        };
        // A time limit that has struck stays the reason.
        under_way.ending.get_or_insert(ending);
        if let Some(before) = under_way.deadline.replace(moment) {
            self.deadlines.remove(&(before, attempt));
        }
        self.deadlines.insert((moment, attempt));
    }

    fn remove(&mut self, attempt: AttemptId) -> Option<Attempt> {
        let under_way = self.under_way.remove(&attempt)?;
        if let Some(deadline) = under_way.deadline {
            self.deadlines.remove(&(deadline, attempt));
        }
        self.count();
        Some(under_way)
    }

    fn order(&self, attempt: AttemptId, order: Order) {
        if let Some(orders) = self.under_way.get(&attempt).and_then(|under_way| under_way.orders.as_ref()) {
            // One that has just ended needs no orders.
            let _ = orders.send(order);
        }
    }
}

/// A task's attempt, to its end.
async fn call(calling: Calling, mouth: Mouth, stop: CancellationToken) {
    let outcome = match caught(calling).await {
        Ok(output) => Outcome::Done(output),
        Err(failure) if stop.is_cancelled() && failure.error == Failure::CANCELLED => Outcome::Stopped,
        Err(failure) => Outcome::Failed(failure),
    };
    mouth.say(Said::Ended(Vec::new(), outcome)).await;
}

fn unknown(function: &str, activation: Option<Activation>) -> Outcome {
    if activation.is_some() {
        return Outcome::Unreplayable(format!("the worker that got the run has no workflow `{function}`"));
    }
    let text = format!("this worker has no task `{function}`");
    Outcome::Failed(Failure::new("UnknownFunction", text))
}

fn timed_out(limit: Duration, dropped: bool) -> Outcome {
    let end = if dropped { "its future was dropped" } else { "it was stopped" };
    let text = format!("the attempt was not done within its time limit of {} s; {end}", limit.as_secs_f64());
    Outcome::Failed(Failure::new(Failure::TIMEOUT, text))
}

impl Executor for Attempts {
    type Event = (AttemptId, Said);

    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn open(&mut self, _now: Instant) -> Result<(), WorkerError> {
        Ok(())
    }

    fn dispatch(&mut self, _now: Instant) -> Result<(), WorkerError> {
        // Tasks that have ended are let go here, so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        Ok(())
    }

    fn offer(&mut self, offer: Box<Offer>, now: Instant) {
        let attempt = offer.attempt;
        if !self.desk.ledger.accept(attempt, offer.token) {
            return;
        }
        let begun = if self.draining { Err(Outcome::Lost(Lost::Returned)) } else { self.begin(offer, now) };
        if let Err(outcome) = begun {
            self.desk.ledger.finish(attempt, outcome);
        }
    }

    /// A workflow's code learns it from its journal; here begins the time that it has to clean up.
    fn stop(&mut self, attempt: AttemptId, grace: Duration, now: Instant) {
        let moment = now.checked_add(grace).unwrap_or(now);
        self.end_by(attempt, Ending::Stop, moment);
    }

    fn drop_attempt(&mut self, attempt: AttemptId, _now: Instant) {
        if let Some(under_way) = self.remove(attempt) {
            under_way.stop.cancel();
            under_way.task.abort();
        }
    }

    fn tell(&mut self, attempt: AttemptId, tiding: Tiding) {
        self.order(attempt, Order::Tiding(tiding));
    }

    fn kept(&mut self, attempts: &[AttemptId]) {
        for &attempt in attempts {
            let is_workflow =
                self.under_way.get(&attempt).is_some_and(|under_way| under_way.orders.is_some());
            if let Some(token) = self.desk.ledger.token(attempt).filter(|_| is_workflow) {
                self.desk.asides.push(FromWorker::WantHistory { attempt, token });
                self.order(attempt, Order::CatchUp);
            }
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        for attempt in self.under_way.values() {
            if let Some(orders) = &attempt.orders {
                let _ = orders.send(Order::Leave);
            }
        }
    }

    fn cut_off(&mut self, _now: Instant) {
        for (attempt, under_way) in std::mem::take(&mut self.under_way) {
            under_way.stop.cancel();
            under_way.task.abort();
            self.desk.ledger.finish(attempt, Outcome::Lost(Lost::Bystander));
        }
        self.deadlines.clear();
    }

    fn on_event(&mut self, (attempt, said): Self::Event, _now: Instant) -> Result<(), WorkerError> {
        // What comes from one that was given up is not said.
        if !self.under_way.contains_key(&attempt) {
            return Ok(());
        }
        match said {
            Said::Acts(acts) => self.desk.ledger.progress(attempt, acts),
            Said::WantHistory => {
                if let Some(token) = self.desk.ledger.token(attempt) {
                    self.desk.asides.push(FromWorker::WantHistory { attempt, token });
                }
            }
            Said::Log(text) => {
                let kept = self.under_way.get_mut(&attempt).and_then(|under_way| under_way.output.take(text));
                self.desk.asides.extend(kept.map(|text| FromWorker::Log {
                    attempt,
                    stream: "log".to_owned(),
                    text,
                }));
            }
            Said::Ended(acts, outcome) => {
                let under_way = self.remove(attempt);
                if !acts.is_empty() {
                    self.desk.ledger.progress(attempt, acts);
                }
                let outcome = match under_way {
                    Some(Attempt { ending: Some(Ending::Timeout), limit, .. }) => timed_out(limit, false),
                    _ => outcome,
                };
                self.desk.ledger.finish(attempt, outcome);
            }
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(moment, _)| *moment)
    }

    fn tick(&mut self, now: Instant) {
        while let Some(&(_, attempt)) = self.deadlines.first().filter(|(moment, _)| *moment <= now) {
            match self.under_way.get(&attempt).map(|under_way| (under_way.ending, under_way.limit)) {
                None => {
                    self.deadlines.pop_first();
                }
                Some((None, _)) => self.end_by(attempt, Ending::Timeout, now + self.limits.timeout_grace),
                Some((Some(ending), limit)) => {
                    if let Some(under_way) = self.remove(attempt) {
                        under_way.task.abort();
                    }
                    let outcome = match ending {
                        Ending::Stop => Outcome::Stopped,
                        Ending::Timeout => timed_out(limit, true),
                    };
                    self.desk.ledger.finish(attempt, outcome);
                }
            }
        }
    }

    async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
