//! One execution of a workflow's code: joins its machine with what the server tells, and with the clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use riverrun_kernel::{AttemptId, Failure, Lost};
use riverrun_wire::workflow::{Act, Activation};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::context::Shared;
use super::core::Waits;
use super::history::Feed;
use super::machine::{Code, End, Machine};
use crate::executor::Tiding;
use crate::ledger::Outcome;

/// When all slots are taken, what waits is let go so many times sooner.
const CROWDED: u32 = 10;

/// What an executing attempt is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// By the server.
    Tiding(Tiding),
    /// The connection was lost, and a history was asked for.
    CatchUp,
    /// The worker shuts down: begin nothing new, and end as soon as what executes is recorded.
    Leave,
}

/// What an attempt says.
#[derive(Debug)]
pub(crate) enum Said {
    /// It did and asks for this.
    Acts(Vec<Act>),
    /// It did this, and ended.
    Ended(Vec<Act>, Outcome),
    /// It must know its run's history.
    WantHistory,
    /// Something to be shown.
    Log(String),
}

/// Where an attempt says it.
#[derive(Debug, Clone)]
pub(crate) struct Mouth {
    pub attempt: AttemptId,
    pub events: mpsc::Sender<(AttemptId, Said)>,
}

impl Mouth {
    /// When nobody listens any more, the process is about to end.
    pub async fn say(&self, said: Said) {
        let _ = self.events.send((self.attempt, said)).await;
    }
}

/// An attempt at executing a workflow's code.
pub(crate) struct Execution {
    machine: Machine,
    shared: Arc<Shared>,
    feed: Feed,
    /// The history is not there yet.
    replays: bool,
    leaving: bool,
    /// Whether the worker's slots are all taken.
    crowded: Arc<AtomicBool>,
    orders: mpsc::UnboundedReceiver<Order>,
    mouth: Mouth,
}

enum Next {
    Order(Option<Order>),
    Woken,
    Waited,
}

impl Execution {
    pub fn new(
        shared: Arc<Shared>,
        code: Code,
        activation: Activation,
        orders: mpsc::UnboundedReceiver<Order>,
        mouth: Mouth,
        crowded: Arc<AtomicBool>,
    ) -> Self {
        Execution {
            crowded,
            machine: Machine::new(Arc::clone(&shared), code),
            shared,
            feed: Feed::new(activation.at),
            replays: !activation.fresh,
            leaving: false,
            orders,
            mouth,
        }
    }

    /// Executes the code until it ends or is let go.
    pub async fn run(mut self) {
        if self.replays {
            self.feed.ask();
            self.mouth.say(Said::WantHistory).await;
        } else {
            self.machine.begin();
        }
        loop {
            let said = self.machine.take_said();
            if !said.is_empty() {
                self.mouth.say(Said::Log(said)).await;
            }
            let patience = match self.look() {
                Ok(patience) => patience,
                Err(outcome) => {
                    let acts = match outcome {
                        Outcome::Unreplayable(_) => Vec::new(),
                        _ => self.machine.take_acts(),
                    };
                    // Everything that the code held is gone before the server hears that it has ended.
                    let Execution { machine, mouth, .. } = self;
                    drop(machine);
                    return mouth.say(Said::Ended(acts, outcome)).await;
                }
            };
            let acts = self.machine.take_acts();
            if !acts.is_empty() {
                self.mouth.say(Said::Acts(acts)).await;
            }
            match self.next(patience).await {
                Next::Order(None) => return,
                Next::Order(Some(order)) => {
                    let mut next = Some(order);
                    while let Some(order) = next {
                        self.obey(order);
                        next = self.orders.try_recv().ok();
                    }
                }
                Next::Woken => {}
                Next::Waited => return self.park().await,
            }
            self.machine.poll_woken();
        }
    }

    /// How long to wait for something to happen before the code is let go, or how it has ended.
    fn look(&mut self) -> Result<Option<Duration>, Outcome> {
        if self.replays {
            return if self.leaving { Err(Outcome::Lost(Lost::Returned)) } else { Ok(None) };
        }
        let waits = self.machine.standing().map_err(|end| self.outcome(end))?;
        let seen = self.feed.seen();
        match waits {
            Waits::Steps | Waits::Nothing => Ok(None),
            _ if self.feed.is_behind() => Ok(None),
            Waits::Held => Err(Outcome::Lost(Lost::Returned)),
            Waits::Asleep => Err(Outcome::Parked(seen)),
            Waits::Others if self.leaving => Err(Outcome::Parked(seen)),
            Waits::Others if self.crowded.load(Ordering::Relaxed) => {
                Ok(Some(self.shared.park_after / CROWDED))
            }
            Waits::Others => Ok(Some(self.shared.park_after)),
        }
    }

    fn outcome(&self, end: End) -> Outcome {
        match end {
            End::Unreplayable(reason) => Outcome::Unreplayable(reason),
            End::Returned(Ok(output)) => Outcome::Done(output),
            End::Returned(Err(failure)) => {
                let told = self.shared.core().told_to_stop;
                if told && failure.error == Failure::CANCELLED {
                    Outcome::Stopped
                } else {
                    Outcome::Failed(failure)
                }
            }
        }
    }

    async fn next(&mut self, patience: Option<Duration>) -> Next {
        let mut timer: Option<Pin<Box<Sleep>>> =
            patience.map(|patience| Box::pin(tokio::time::sleep(patience)));
        poll_fn(|context| {
            if let Poll::Ready(order) = self.orders.poll_recv(context) {
                return Poll::Ready(Next::Order(order));
            }
            if self.machine.poll_bell(context).is_ready() {
                return Poll::Ready(Next::Woken);
            }
            match timer.as_mut().map(|timer| timer.as_mut().poll(context)) {
                Some(Poll::Ready(())) => Poll::Ready(Next::Waited),
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Tiding(Tiding::Events(events)) => {
                for event in self.feed.events(events) {
                    self.machine.deliver(event.fact);
                }
            }
            Order::Tiding(Tiding::History { events, upto, last }) => {
                let Some(events) = self.feed.history(events, last) else { return };
                let upto = events.last().map_or(upto, |event| event.at.max(upto));
                if std::mem::take(&mut self.replays) {
                    self.machine.replay(events);
                    if self.leaving {
                        self.machine.park();
                    }
                } else {
                    for event in self.feed.pass(events) {
                        self.machine.deliver(event.fact);
                    }
                }
                for event in self.feed.caught_up(upto) {
                    self.machine.deliver(event.fact);
                }
            }
            Order::CatchUp => self.feed.ask(),
            Order::Tiding(Tiding::Park) | Order::Leave => {
                self.leaving = true;
                self.machine.park();
            }
        }
    }

    async fn park(self) {
        let Execution { machine, feed, mouth, .. } = self;
        drop(machine);
        mouth.say(Said::Ended(Vec::new(), Outcome::Parked(feed.seen()))).await;
    }
}
