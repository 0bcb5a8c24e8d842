//! One run's code and its journal: events in, polls, acts out. No I/O, no clock.
//!
//! ```text
//!               history              used up
//! [replaying] ──event──► poll …  ──► [live] ◄──event──► poll ──► acts
//! ```
//! The code's future is polled only here, and sees one event of the journal at a time, in its order; so a replay sees what the
//! first execution saw. Steps are executed by the very futures that the code awaits: when one of them is woken, the code
//! is polled and permitted to see nothing, so that it cannot get on before the outcome is on record.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use riverrun_wire::workflow::{Act, Event, Fact};

use super::context::Shared;
use super::core::{Mode, Outcome, Waits};
use super::error::panicked;
use super::history;

/// A workflow's code, at work.
pub(crate) type Code = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Polls in a row that wakes from within the code may lead to before others have their turn.
const MAX_REPOLLS: u32 = 1_000;

const FOREIGN: &str = "the code of the workflow awaits something that its context did not give, such as a timer, a channel or a connection of its \
     own. That differs from replay to replay: await it within a step, or use the context's sleep, signal and call";

/// How the code ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It returned.
    Returned(Outcome),
    /// It does not do what its journal says, or waits for what no journal knows.
    Unreplayable(String),
}

pub(crate) struct Machine {
    shared: Arc<Shared>,
    code: Option<Code>,
    bell: Arc<Bell>,
    waker: Waker,
    /// The last poll was cut short while the code was getting on.
    getting_on: bool,
    end: Option<End>,
}

impl Machine {
    /// Code that has not been polled.
    pub fn new(shared: Arc<Shared>, code: Code) -> Self {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        Machine { shared, code: Some(code), bell, waker, getting_on: true, end: None }
    }

    /// Begins code of which the journal holds nothing.
    pub fn begin(&mut self) {
        self.shared.core().mode = Mode::Live;
        self.poll(false);
    }

    /// Replays code through all that its journal holds, and goes on from there.
    pub fn replay(&mut self, events: Vec<Event>) {
        let facts = history::effective(events);
        self.shared.core().foresee(facts.iter());
        self.poll(false);
        for fact in facts {
            self.deliver(fact);
            if matches!(self.end, Some(End::Unreplayable(_))) {
                return;
            }
        }
        self.shared.core().go_live();
        self.poll(false);
    }

    /// Takes in the next line of the journal, and lets the code get on as far as it can.
    pub fn deliver(&mut self, fact: Fact) {
        self.shared.core().learn(fact);
        self.check();
        let mut place = 0;
        while self.end.is_none() {
            let Ok(waker) = self.shared.core().permit(place) else { break };
            if let Some(waker) = waker {
                waker.wake();
            }
            // What else is ready may be seen now, in the order of the journal.
            place = if self.poll(true) { 0 } else { place + 1 };
        }
        // A step that may be executed now was woken and has nothing to be seen.
        self.poll_woken();
    }

    /// Lets steps go on that were woken.
    pub fn poll_woken(&mut self) {
        if self.bell.rung.load(Ordering::Acquire) {
            self.poll(false);
        }
    }

    /// Begins no step any more.
    pub fn park(&mut self) {
        let mut core = self.shared.core();
        if core.mode == Mode::Live {
            core.mode = Mode::Parking;
        }
    }

    /// What is to be sent.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.shared.core().acts)
    }

    /// What is to be shown.
    pub fn take_said(&mut self) -> String {
        std::mem::take(&mut self.shared.core().said)
    }

    /// What the code waits for, or how it ended.
    pub fn standing(&self) -> Result<Waits, End> {
        match &self.end {
            Some(end) => Err(end.clone()),
            None => match self.shared.core().waits() {
                Waits::Nothing => Err(End::Unreplayable(FOREIGN.to_owned())),
                waits => Ok(waits),
            },
        }
    }

    /// Becomes ready when a step was woken that the code executes.
    pub fn poll_bell(&mut self, context: &Context<'_>) -> Poll<()> {
        self.bell.poll(context)
    }

    /// Polls the code. Whether it has seen what it was permitted to see.
    fn poll(&mut self, permitted: bool) -> bool {
        self.bell.attend();
        let mut allowed = std::mem::take(&mut self.getting_on);
        let mut seen = false;
        for repoll in 0.. {
            let Some(code) = &mut self.code else { break };
            if repoll == MAX_REPOLLS {
                self.getting_on = allowed;
                self.bell.rung.store(true, Ordering::Release);
                break;
            }
            self.bell.rung.store(false, Ordering::Release);
            let asked = self.shared.core().asked();
            let mut context = Context::from_waker(&self.waker);
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| code.as_mut().poll(&mut context)));
            let outcome = match polled {
                Ok(Poll::Ready(outcome)) => Some(outcome),
                Ok(Poll::Pending) => None,
                Err(panic) => Some(Err(panicked("the workflow", &*panic))),
            };
            let core = self.shared.core();
            seen |= permitted && !core.is_permitting();
            allowed |= seen;
            let got_on = outcome.is_some() || core.asked() != asked;
            drop(core);
            if got_on && !allowed {
                self.finish(End::Unreplayable(FOREIGN.to_owned()));
            } else if let Some(outcome) = outcome {
                self.finish(End::Returned(outcome));
            } else if !self.bell.rung.load(Ordering::Acquire) {
                break;
            }
        }
        self.shared.core().forbid();
        self.check();
        seen
    }

    fn check(&mut self) {
        let mismatch = self.shared.core().mismatch.take();
        if let Some(reason) = mismatch {
            self.finish(End::Unreplayable(reason));
        }
    }

    fn finish(&mut self, end: End) {
        if matches!(end, End::Unreplayable(_)) {
            // What it asked for on the way may be wrong too.
            self.shared.core().acts.clear();
            self.let_go();
        }
        self.code = None;
        self.end = Some(end);
    }

    /// Nothing that the code's futures do from here on is an act.
    fn let_go(&mut self) {
        self.shared.core().mode = Mode::Closed;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Wakes the code. While it is being polled, or is about to be, that is only noted.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    /// Whom to wake, while nobody attends.
    listener: Mutex<Option<Waker>>,
}

impl Bell {
    fn attend(&self) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if self.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.wake();
        }
    }
}
