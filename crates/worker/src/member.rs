//! One child of the pool: what it does, until when, and what its end means for the attempt it executes.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use riverrun_kernel::{AttemptId, Failure, Json, Lost};
use riverrun_wire::child::{Call, ToChild};
use riverrun_wire::worker::Offer;
use tokio::time::Instant;

use crate::children::ChildHandle;
use crate::config::Config;
use crate::ledger::Outcome;
use crate::output::{Budget, Decoder};

pub(crate) struct Member {
    pub handle: ChildHandle,
    pub phase: Phase,
    /// What it was sent beyond the attempt that it executes, in order. It has not begun.
    pub next: VecDeque<Waiting>,
    /// It was told to return those.
    pub asked_back: bool,
    /// Of the attempt it executes or executed last.
    pub output: Option<Output>,
    pub decoders: [Decoder; 2],
}

pub(crate) enum Phase {
    Starting { since: Instant, loading: Option<String>, said: String },
    Idle,
    Busy(Busy),
}

pub(crate) struct Busy {
    pub attempt: AttemptId,
    pub since: Instant,
    pub limit: Option<(Instant, Duration)>,
    pub ending: Option<Ending>,
    pub kill_at: Option<Instant>,
    pub status: Status,
}

/// How far an attempt says it has come, and when the server was told last.
#[derive(Default)]
pub(crate) struct Status {
    /// What the server has not been told.
    pub untold: Option<Json>,
    told: Option<Instant>,
}

/// The server hears of an attempt's status so often at most: each time is a record.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

impl Status {
    /// When it may be told that was held back.
    pub fn due(&self) -> Option<Instant> {
        self.untold.as_ref().and(self.told).map(|told| told + STATUS_INTERVAL)
    }

    /// What is to be told now.
    pub fn take_due(&mut self, now: Instant) -> Option<Json> {
        let due = self.told.is_none_or(|told| told + STATUS_INTERVAL <= now);
        let told = self.untold.take_if(|_| due)?;
        self.told = Some(now);
        Some(told)
    }
}

/// An attempt that waits for a child, or in one.
pub(crate) struct Waiting {
    pub since: Instant,
    pub offer: Box<Offer>,
    /// It is to end as soon as it begins, and the child is killed then if it does not.
    pub end: Option<(Ending, Instant)>,
}

/// Why an attempt is being ended from here.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Stop,
    Timeout(Duration),
    /// Cut off, because the supervisor shuts down.
    Shutdown,
    /// Its right was lost: whatever becomes of it is nobody's business.
    Dropped,
}

pub(crate) struct Output {
    pub attempt: AttemptId,
    pub function: String,
    pub budget: Budget,
}

impl Member {
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Hands a call to the child: it executes it now, or after those that it has.
    pub fn take(&mut self, waiting: Waiting, now: Instant, max_output_bytes: usize) {
        let offer = &waiting.offer;
        self.handle.send(ToChild::Call(Box::new(Call {
            attempt: offer.attempt,
            function: offer.function.clone(),
            input: offer.input.get().to_owned(),
            definition: offer.definition.clone(),
            path: offer.path.clone(),
            timeout_ms: offer.timeout_ms,
            idempotency_key: offer.idempotency_key.clone(),
            callback: offer.callback.clone(),
        })));
        if matches!(self.phase, Phase::Busy(_)) {
            self.next.push_back(waiting);
        } else {
            self.begin(waiting, now, max_output_bytes);
        }
    }

    /// The child has answered, and so has begun the next call that it was sent.
    pub fn go_on(&mut self, now: Instant, max_output_bytes: usize) {
        self.phase = Phase::Idle;
        if let Some(waiting) = self.next.pop_front() {
            self.begin(waiting, now, max_output_bytes);
        }
        self.asked_back &= !self.next.is_empty();
    }

    fn begin(&mut self, Waiting { offer, end, .. }: Waiting, now: Instant, max_output_bytes: usize) {
        self.output = Some(Output {
            attempt: offer.attempt,
            function: offer.function,
            budget: Budget::new(max_output_bytes),
        });
        let limit = offer.timeout_ms.map(Duration::from_millis);
        self.phase = Phase::Busy(Busy {
            attempt: offer.attempt,
            since: now,
            limit: limit.and_then(|limit| Some((now.checked_add(limit)?, limit))),
            ending: end.map(|(why, _)| why),
            kill_at: end.map(|(_, moment)| moment),
            status: Status::default(),
        });
    }

    /// Tells the child to return what it has not begun.
    pub fn ask_back(&mut self) {
        if !self.next.is_empty() && !self.asked_back {
            self.asked_back = true;
            self.handle.send(ToChild::GiveBack {});
        }
    }

    /// What the child says that it has not begun.
    pub fn take_back(&mut self, attempt: AttemptId) -> Option<Waiting> {
        let place = self.next.iter().position(|waiting| waiting.offer.attempt == attempt)?;
        let waiting = self.next.remove(place);
        self.asked_back &= !self.next.is_empty();
        waiting
    }

    pub fn deadline(&self, config: &Config) -> Option<Instant> {
        match &self.phase {
            Phase::Starting { since, .. } => since.checked_add(config.start_timeout),
            Phase::Idle => None,
            Phase::Busy(busy) => {
                let limit = busy.limit.filter(|_| !matches!(busy.ending, Some(Ending::Timeout(_))));
                busy.kill_at.into_iter().chain(limit.map(|(moment, _)| moment)).min()
            }
        }
    }

    pub fn enforce(&mut self, now: Instant, config: &Config) {
        match &mut self.phase {
            Phase::Starting { said, since, .. } => {
                *since = now;
                let _ =
                    write!(said, "\nnot ready within start_timeout, {} s", config.start_timeout.as_secs());
                self.handle.kill();
            }
            Phase::Idle => {}
            Phase::Busy(busy) => {
                if busy.kill_at.is_some_and(|moment| moment <= now) {
                    busy.kill_at = None;
                    busy.limit = None;
                    self.handle.kill();
                } else if let Some((_, limit)) = busy.limit.take() {
                    if busy.ending.is_none() {
                        busy.ending = Some(Ending::Timeout(limit));
                        self.handle.send(ToChild::Stop { attempt: busy.attempt });
                    }
                    let kill_at = now + config.timeout_grace;
                    busy.kill_at = Some(busy.kill_at.map_or(kill_at, |before| before.min(kill_at)));
                }
            }
        }
    }

    /// Asks for the end of the attempt it executes, and sets when it is killed for not heeding that.
    pub fn end(&mut self, attempt: AttemptId, why: Ending, kill_at: Instant) {
        if let Some(waiting) = self.next.iter_mut().find(|waiting| waiting.offer.attempt == attempt) {
            // In a shutdown it comes back without a word: it was asked for, and the child is killed for what it executes.
            if why != Ending::Shutdown {
                self.handle.send(ToChild::Stop { attempt });
                waiting.end = Some((why, kill_at));
            }
            return;
        }
        let Phase::Busy(busy) = &mut self.phase else {
            return;
        };
        if busy.attempt != attempt {
            return;
        }
        if busy.ending.is_none() {
            self.handle.send(ToChild::Stop { attempt });
        }
        // A time limit that has struck stays the reason.
        if !matches!(busy.ending, Some(Ending::Timeout(_))) || why == Ending::Dropped {
            busy.ending = Some(why);
        }
        busy.kill_at = Some(busy.kill_at.map_or(kill_at, |before| before.min(kill_at)));
    }
}

impl Busy {
    /// What it means that the child answered so.
    pub fn answered(&self, outcome: Outcome) -> Outcome {
        match self.ending {
            // What came before the stop reached it is the truth.
            None | Some(Ending::Stop | Ending::Dropped) => outcome,
            Some(Ending::Timeout(limit)) => timed_out(limit, false),
            // It had begun: `returned` would allow an `at_most_once` step to be executed again.
            Some(Ending::Shutdown) if outcome == Outcome::Stopped => Outcome::Lost(Lost::Bystander),
            Some(Ending::Shutdown) => outcome,
        }
    }

    /// What it means that the child died.
    pub fn died(&self) -> Outcome {
        match self.ending {
            None => Outcome::Lost(Lost::Crashed),
            Some(Ending::Stop | Ending::Dropped) => Outcome::Stopped,
            Some(Ending::Timeout(limit)) => timed_out(limit, true),
            Some(Ending::Shutdown) => Outcome::Lost(Lost::Bystander),
        }
    }
}

fn timed_out(limit: Duration, killed: bool) -> Outcome {
    let seconds = limit.as_secs_f64();
    let end = if killed { "its process was killed" } else { "it was stopped" };
    Outcome::Failed(Failure::new(
        Failure::TIMEOUT,
        format!("the attempt was not done within its time limit of {seconds} s; {end}"),
    ))
}
