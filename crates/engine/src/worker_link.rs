//! One worker's connection to the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use riverrun_kernel::workflow::{Act, Event};
use riverrun_kernel::{AttemptId, Claims, Command, Offer, Reply, Report, RunId, Token, WorkerId};
use tokio::sync::mpsc;

use crate::error::EngineError;
use crate::node::{Node, reply};
use crate::sequencer::Ask;

/// What a worker's connection is to be told.
#[derive(Debug, Clone)]
pub enum ToWorker {
    /// Execute this.
    Offer(Box<Offer>),
    /// Stop that.
    Stop {
        /// Which.
        attempt: AttemptId,
        /// How long it may clean up.
        grace_ms: u64,
    },
    /// This was recorded for a run's code that it executes.
    Event {
        /// The attempt.
        attempt: AttemptId,
        /// What.
        event: Event,
    },
    /// Let a run's code go.
    Park {
        /// The attempt.
        attempt: AttemptId,
    },
    /// It was silent for too long, or the node stops: the connection ends.
    Close,
}

/// One worker's connection to the engine. Dropping it without [`WorkerLink::goodbye`] is a lost connection.
#[derive(Debug)]
pub struct WorkerLink {
    node: Arc<Node>,
    id: WorkerId,
    claims: Claims,
    messages: mpsc::UnboundedReceiver<ToWorker>,
    closed: bool,
    left: bool,
    /// When every partition last heard of the worker, in milliseconds of the node's clock.
    beaten: AtomicU64,
}

impl WorkerLink {
    pub(crate) fn new(
        node: Arc<Node>,
        id: WorkerId,
        claims: Claims,
        messages: mpsc::UnboundedReceiver<ToWorker>,
    ) -> Self {
        let beaten = AtomicU64::new(node.mono());
        WorkerLink { node, id, claims, messages, closed: false, left: false, beaten }
    }

    pub(crate) fn set_claims(&mut self, claims: Claims) {
        self.claims = claims;
    }

    /// The connection's id.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// What became of the attempts that it claimed.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The lease.
    pub fn lease_ms(&self) -> u64 {
        self.node.settings.lease_ms
    }

    /// The next thing to tell the worker; cancel-safe. `None` after [`ToWorker::Close`].
    pub async fn next(&mut self) -> Option<ToWorker> {
        if self.closed {
            return None;
        }
        let message = self.messages.recv().await;
        self.note(message)
    }

    /// Everything more that is at hand, without waiting: for one frame.
    pub fn ready(&mut self) -> Vec<ToWorker> {
        let mut ready = Vec::new();
        while !self.closed
            && let Ok(message) = self.messages.try_recv()
        {
            ready.extend(self.note(Some(message)));
        }
        ready
    }

    fn note(&mut self, message: Option<ToWorker>) -> Option<ToWorker> {
        self.closed = matches!(message, None | Some(ToWorker::Close));
        message
    }

    /// Hands in a report. It counts as a sign of life. The future resolves when it is durable, so that many can be in flight.
    pub fn report(
        &self,
        attempt: AttemptId,
        token: Token,
        report: Report,
        acts: u64,
    ) -> impl Future<Output = Result<Reply, EngineError>> + Send + 'static {
        self.hand_in(attempt.run, Command::Report { attempt, token, report, acts })
    }

    /// Hands in what the code of a workflow did, like a report.
    pub fn progress(
        &self,
        attempt: AttemptId,
        token: Token,
        first: u64,
        acts: Vec<Act>,
    ) -> impl Future<Output = Result<Reply, EngineError>> + Send + 'static {
        self.hand_in(attempt.run, Command::Progress { attempt, token, first, acts })
    }

    fn hand_in(
        &self,
        run: RunId,
        command: Command,
    ) -> impl Future<Output = Result<Reply, EngineError>> + Send + 'static {
        if self.node.mono() > self.beaten.load(Ordering::Relaxed) + self.node.settings.lease_ms / 4 {
            self.heartbeat();
        }
        let partition = self.node.partition_of(run.slot());
        let answer = self.node.ask_freely(partition, Ask::Command(command));
        async move { reply(answer.await?) }
    }

    /// A sign of life.
    pub fn heartbeat(&self) {
        self.beaten.store(self.node.mono(), Ordering::Relaxed);
        self.node.tell_all(|| Command::Heartbeat { worker: self.id });
    }

    /// It takes so many attempts beyond its slots.
    pub fn ahead(&self, attempts: u32) {
        self.node.tell_all(|| Command::OfferAhead { worker: self.id, attempts });
    }

    /// For now it can use so many of its slots only. They are shared out like these: none, or at least one for each partition.
    pub fn limit(&self, slots: u32, why: Option<String>) {
        let slots = slots.div_ceil(u32::from(self.node.partitions()));
        let why: Option<Arc<str>> = why.map(Arc::from);
        self.node.tell_all(|| Command::LimitSlots { worker: self.id, slots, why: why.clone() });
    }

    /// No further offers.
    pub fn drain(&self) {
        self.node.tell_all(|| Command::DrainWorker { worker: self.id });
    }

    /// The worker leaves: what it has not reported goes to others at once.
    pub async fn goodbye(mut self) {
        self.left = true;
        self.node.hub.links.remove(self.id);
        let command = || Command::DisconnectWorker { worker: self.id, goodbye: true };
        let answers = self.node.ask_all_freely(&|| Ask::Command(command()));
        for answer in answers {
            // The partition that does not answer has forgotten the worker anyway.
            let _ = answer.await;
        }
    }
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        self.node.hub.definitions.withdraw(self.id);
        if !self.left {
            self.node.hub.links.remove(self.id);
            self.node.tell_all(|| Command::DisconnectWorker { worker: self.id, goodbye: false });
        }
    }
}
