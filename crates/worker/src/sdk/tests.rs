//! Runs machines against a journal that plays the server's part.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use riverrun_kernel::{Failure, Json, RunId, Slot};
use riverrun_wire::workflow::{Act, Event, Fact};
use serde_json::Value;

use super::context::{Ctx, Shared};
use super::core::{Outcome, Waits};
use super::error::{Error, Result};
use super::machine::{End, Machine};
use super::step::Retry;

mod cancel;
mod order;
mod programs;
mod repair;
mod steps;
mod waits;

type Code = Arc<dyn Fn(Ctx) -> super::machine::Code + Send + Sync>;

/// A server's journal of one run, and the machine that executes the run's code.
struct World {
    code: Code,
    journal: Vec<Fact>,
    machine: Machine,
    shared: Arc<Shared>,
    /// Waits that have begun and not ended, by tag: their paths.
    open: BTreeMap<u64, String>,
    /// Facts that are durable and were not delivered.
    undelivered: Vec<Fact>,
    acts: Vec<String>,
    statuses: Vec<String>,
}

/// What steps note that they were executed.
type Notes = Arc<Mutex<Vec<String>>>;

fn notes() -> Notes {
    Notes::default()
}

fn noted(notes: &Notes) -> Vec<String> {
    notes.lock().expect("no panic").clone()
}

fn note(notes: &Notes, text: impl Into<String>) {
    notes.lock().expect("no panic").push(text.into());
}

fn shared() -> Arc<Shared> {
    let run = RunId::new(1, Slot(0), 7);
    Shared::new(run, "test".to_owned(), "key".to_owned(), Duration::from_millis(100))
}

fn code<F, Fut>(code: F) -> Code
where
    F: Fn(Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value>> + Send + 'static,
{
    Arc::new(move |ctx| {
        let running = code(ctx);
        Box::pin(async move { running.await.map(Json::from).map_err(Error::into_failure) })
    })
}

impl World {
    fn of(code: Code) -> Self {
        let mut world = World::unbegun(code, Vec::new());
        world.machine.begin();
        world.flush();
        world
    }

    fn begin<F, Fut>(program: F) -> Self
    where
        F: Fn(Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value>> + Send + 'static,
    {
        World::of(code(program))
    }

    fn unbegun(code: Code, journal: Vec<Fact>) -> Self {
        let shared = shared();
        let machine = Machine::new(Arc::clone(&shared), code(Ctx::new(Arc::clone(&shared))));
        let (open, undelivered, acts, statuses) = Default::default();
        World { code, journal, machine, shared, open, undelivered, acts, statuses }
    }

    /// The process dies: what was not sent is lost, and another one replays the journal.
    fn crash(&mut self) {
        let code = Arc::clone(&self.code);
        self.crash_into(code);
    }

    /// The same, and the next process has other code.
    fn crash_into(&mut self, code: Code) {
        let mut next = World::unbegun(code, std::mem::take(&mut self.journal));
        next.open = std::mem::take(&mut self.open);
        next.machine.replay(next.history());
        *self = next;
        self.flush();
    }

    fn history(&self) -> Vec<Event> {
        (1..).zip(&self.journal).map(|(at, fact)| Event { at, fact: fact.clone() }).collect()
    }

    /// Makes durable what the machine sends. Nothing is delivered.
    fn flush(&mut self) {
        for act in self.machine.take_acts() {
            self.take(act);
        }
    }

    fn take(&mut self, act: Act) {
        self.acts.push(shown(&act));
        match act {
            Act::Ran { tag, path, outcome } => {
                self.journal.push(Fact::Ran { tag, path, outcome });
                self.undelivered.push(Fact::Recorded { tag });
            }
            Act::Starting { tag, path } => {
                self.journal.push(Fact::Starting { tag, path });
                self.undelivered.push(Fact::Recorded { tag });
            }
            Act::Sleep { tag, path, .. }
            | Act::SleepUntil { tag, path, .. }
            | Act::Signal { tag, path, .. }
            | Act::Call { tag, path, .. }
            | Act::Start { tag, path, .. } => {
                self.open.insert(tag, path.clone());
                self.journal.push(Fact::Begun { tag, path });
            }
            Act::Abort { tag } => {
                if self.open.remove(&tag).is_some() {
                    self.happen(Fact::Aborted { tag });
                }
            }
            Act::Status { status } => self.statuses.push(status.get().to_owned()),
        }
    }

    fn happen(&mut self, fact: Fact) {
        self.journal.push(fact.clone());
        self.undelivered.push(fact);
    }

    /// Delivers one fact and makes durable what follows. False if there was none.
    fn step(&mut self) -> bool {
        if self.undelivered.is_empty() {
            return false;
        }
        let fact = self.undelivered.remove(0);
        self.machine.deliver(fact);
        self.flush();
        true
    }

    /// Delivers until nothing more follows.
    fn settle(&mut self) -> &mut Self {
        while self.step() {}
        self
    }

    /// The open wait with this path ends.
    fn end(&mut self, path: &str, outcome: Outcome) -> &mut Self {
        let tag = *self.open.iter().find(|(_, open)| *open == path).expect("an open wait").0;
        self.open.remove(&tag);
        self.happen(Fact::Ended { tag, outcome: outcome.into() });
        self.settle()
    }

    fn succeed(&mut self, path: &str, output: &str) -> &mut Self {
        self.end(path, Ok(json(output)))
    }

    fn fail(&mut self, path: &str, error: &str) -> &mut Self {
        self.end(path, Err(Failure::new(error, "no")))
    }

    fn cancel(&mut self) -> &mut Self {
        self.happen(Fact::CancelRequested {});
        self.settle()
    }

    /// What the code returned.
    fn returned(&self) -> Outcome {
        match self.machine.standing() {
            Err(End::Returned(outcome)) => outcome,
            other => panic!("{other:?}; sent: {:?}", self.acts),
        }
    }

    fn output(&self) -> String {
        self.returned().expect("a success").get().to_owned()
    }

    fn failure(&self) -> Failure {
        self.returned().expect_err("a failure")
    }

    fn unreplayable(&self) -> String {
        match self.machine.standing() {
            Err(End::Unreplayable(reason)) => reason,
            other => panic!("{other:?}; sent: {:?}", self.acts),
        }
    }

    fn waits(&self) -> Waits {
        self.machine.standing().expect("it waits")
    }
}

fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

/// An act in few words.
fn shown(act: &Act) -> String {
    match act {
        Act::Ran { tag, path, outcome } => {
            let outcome = Outcome::from(outcome.clone());
            format!(
                "{tag} {path} = {}",
                outcome.map_or_else(|failure| failure.error, |json| json.to_string())
            )
        }
        Act::Starting { tag, path } => format!("{tag} {path} starting"),
        Act::Sleep { tag, path, ms } => format!("{tag} {path} {ms} ms"),
        Act::SleepUntil { tag, path, at_ms } => format!("{tag} {path} until {at_ms}"),
        Act::Signal { tag, path, timeout_ms, .. } => format!("{tag} {path} {timeout_ms:?}"),
        Act::Call { tag, path, call } => format!("{tag} {path}({})", call.input),
        Act::Start { tag, path, child } => format!("{tag} {path} {}({})", child.kind, child.input),
        Act::Abort { tag } => format!("{tag} aborted"),
        Act::Status { status } => format!("status {status}"),
    }
}
