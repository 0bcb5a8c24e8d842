//! The seam between the supervisor, which talks to the server, and what executes attempts: children ([`crate::pool`]) or
//! functions of this process ([`crate::sdk`]).

use std::time::Duration;

use riverrun_kernel::AttemptId;
use riverrun_wire::worker::{FromWorker, Function, Offer};
use riverrun_wire::workflow::Event;
use tokio::time::Instant;

use crate::error::WorkerError;
use crate::ledger::Ledger;

/// What an executor has for the server.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Rights and reports.
    pub ledger: Ledger,
    /// Messages that nobody acknowledges, not sent yet: what attempts print, and requests for histories.
    pub asides: Vec<FromWorker>,
    /// What it can execute; `None` until that is known.
    pub functions: Option<Vec<Function>>,
}

/// What the server tells about a workflow attempt that is executing.
#[derive(Debug, PartialEq)]
pub(crate) enum Tiding {
    /// This has become durable.
    Events(Vec<Event>),
    /// A part of the history that was asked for.
    History { events: Vec<Event>, upto: u64, last: bool },
    /// Begin nothing new, and let go.
    Park,
}

/// Executes attempts. Its methods are called from one loop; time comes in as an argument.
pub(crate) trait Executor {
    /// What happens in it, brought to [`Executor::on_event`].
    type Event: Send;

    /// What it has for the server.
    fn desk(&mut self) -> &mut Desk;

    /// Prepares it. An error ends the supervisor.
    fn open(&mut self, now: Instant) -> Result<(), WorkerError>;

    /// Lets go on what can; called in each turn of the loop. An error ends the supervisor.
    fn dispatch(&mut self, now: Instant) -> Result<(), WorkerError>;

    /// Takes an offer in.
    fn offer(&mut self, offer: Box<Offer>, now: Instant);

    /// Ends an attempt on request: gently, and after `grace` by force.
    fn stop(&mut self, attempt: AttemptId, grace: Duration, now: Instant);

    /// Ends an attempt whose right was lost; the ledger knows it no more.
    fn drop_attempt(&mut self, attempt: AttemptId, now: Instant);

    /// Passes on what the server says about a workflow attempt.
    fn tell(&mut self, attempt: AttemptId, tiding: Tiding);

    /// A new connection: these attempts go on, and what was said about them meanwhile was missed.
    fn kept(&mut self, attempts: &[AttemptId]);

    /// Gives back what need not go on here: a shutdown has begun.
    fn drain(&mut self);

    /// Ends what is executing; it is reported as a bystander of the shutdown, since it may have had its effect.
    fn cut_off(&mut self, now: Instant);

    /// Takes in what has happened. An error ends the supervisor.
    fn on_event(&mut self, event: Self::Event, now: Instant) -> Result<(), WorkerError>;

    /// The next moment at which [`Executor::tick`] has something to do.
    fn next_deadline(&self) -> Option<Instant>;

    /// Enforces what is due.
    fn tick(&mut self, now: Instant);

    /// Ends what is left.
    fn close(self) -> impl Future<Output = ()> + Send;
}
