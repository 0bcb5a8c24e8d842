//! Rehearsals: runs of a flow with stubs in place of functions, in the kernel's own partition, on a clock that jumps.
//!
//! [`Case::parse`] reads what a case file says; [`rehearse`] plays a case and [`Played::differences`] compares. Nothing
//! here decides what a run does: the partition and the interpreter are the ones that run in production, and a crash can be
//! put at every batch that they decide.

mod cast;
mod compare;
mod read;
mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;

use riverrun_kernel::{Failure, JournalRow, Json, State};
use serde_json::Value;

use crate::Flow;

pub use stage::rehearse;

/// One story that a flow must play.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Where it stands in its file, from 1.
    pub line: usize,
    pub(crate) input: Json,
    /// When it begins, in wall milliseconds.
    pub(crate) starts: i64,
    pub(crate) functions: BTreeMap<String, Stub>,
    pub(crate) flows: BTreeMap<String, ChildStub>,
    /// Who calls back, by step.
    pub(crate) callbacks: BTreeMap<String, Stub>,
    /// Somebody cancels the run after so long.
    pub(crate) cancel_after_ms: Option<u64>,
    /// A run that is open after so many batches of records goes round for ever.
    pub(crate) max_batches: usize,
    pub(crate) expect: Expectation,
}

impl Case {
    /// The files of the flows that its child flows are, as the case file names them: flow, file.
    pub fn files(&self) -> Vec<(&str, &str)> {
        self.flows
            .iter()
            .filter_map(|(name, stub)| match stub {
                ChildStub::File(file) => Some((name.as_str(), file.as_str())),
                ChildStub::Stub(_) => None,
            })
            .collect()
    }
}

/// What stands in for a child flow.
#[derive(Debug, Clone)]
pub(crate) enum ChildStub {
    /// The flow in this file.
    File(String),
    Stub(Stub),
}

/// What answers calls.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stub {
    /// Every call alike.
    Always(Answer),
    /// One call after another; a further one is a mistake.
    Sequence(Vec<Answer>),
    /// The first whose part of the input matches.
    ByInput(Vec<(Value, Stub)>),
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// How long it takes.
    pub(crate) after_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Result(Json),
    Error {
        error: String,
        cause: String,
    },
    /// The worker's process dies.
    Crash,
    /// Nothing is ever heard of it.
    Never,
}

/// What must come of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectation {
    pub(crate) state: Option<String>,
    pub(crate) output: Option<Value>,
    /// Only these members are compared.
    pub(crate) output_has: Option<Value>,
    pub(crate) error: Option<String>,
    /// A part of the error's message.
    pub(crate) cause: Option<String>,
    pub(crate) calls: Option<Vec<(String, Option<Value>)>>,
    /// The steps entered, in order.
    pub(crate) steps: Option<Vec<String>>,
    /// Lines that the journal must have, in this order.
    pub(crate) journal: Option<Vec<String>>,
    pub(crate) took_ms: Option<u64>,
}

/// A call that a rehearsal answered.
#[derive(Debug, Clone, PartialEq)]
pub struct CallMade {
    /// The function or flow.
    pub name: String,
    /// Its input.
    pub input: Json,
    /// The path of the step.
    pub path: String,
}

/// What became of a case.
#[derive(Debug, Clone)]
pub struct Played {
    /// The run's state when it ended, or where it stuck.
    pub state: State,
    /// Its outcome, if it ended with one.
    pub outcome: Option<Result<Json, Failure>>,
    /// The calls of functions and flows, in order.
    pub calls: Vec<CallMade>,
    /// The run's journal.
    pub journal: Vec<JournalRow>,
    /// How long it took on its own clock.
    pub took_ms: u64,
    /// How many batches of records were decided.
    pub batches: usize,
    /// What the case got wrong about the flow: a function without a stub, a sequence that was too short, a run that stuck.
    pub problems: Vec<String>,
}

/// Where the process dies while a case is played. Each time it comes back from what was recorded, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Crash {
    /// Nowhere.
    #[default]
    Never,
    /// After every batch, once what it allows has left.
    AfterEvery,
    /// After this batch, counted from 0, before anything of it has left.
    Before(usize),
}

/// The flows of a rehearsal.
#[derive(Debug, Clone)]
pub struct Program {
    /// The flow's name.
    pub name: String,
    /// The flow.
    pub flow: Arc<Flow>,
    /// Child flows that are played and not stubbed, by name.
    pub children: BTreeMap<String, Arc<Flow>>,
}
