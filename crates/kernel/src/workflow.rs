//! Runs of code: a worker executes it, and it records steps of its own.
//!
//! A workflow run has one step that its driver begins, its *body*: the run's code, offered to a worker like any call. Within an attempt at it
//! the worker reports [`Act`]s: steps that it executed itself, and waits, calls and children that it asks for, which are steps of the run like
//! any other. What happens to them comes back as [`Event`]s, in the order of the journal. A body that only waits is *parked*: its attempt
//! ends, nothing of it is left in the worker, and it is offered again when something has happened. Whoever gets it then replays it:
//! [`History`] reads the events from the journal.

use std::collections::BTreeMap;

use crate::driver::{
    Action, Call, Driver, DriverFault, RunContext, Tag, Then, Turn, Wake, Work, default_max_crashes,
    default_queue,
};
use crate::entry::Entry;
use crate::ids::StepId;
use crate::json::Json;
use crate::rows::JournalRow;
use crate::run::Failure;

/// The tag of the body: no act has it.
pub const BODY: Tag = Tag::MAX;

/// Something that the code of a workflow did, or asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// It executed a step within its attempt.
    Ran {
        /// The code's name for the step, the same on every replay.
        tag: Tag,
        /// The step's path.
        path: String,
        /// How it ended, for ever.
        outcome: Result<Json, Failure>,
    },
    /// It is about to execute a step that must not be executed twice.
    Starting {
        /// The code's name for the step.
        tag: Tag,
        /// The step's path.
        path: String,
    },
    /// It wants a step of the run to begin.
    Begin {
        /// The code's name for the step.
        tag: Tag,
        /// The step's path.
        path: String,
        /// What the step is.
        work: Work,
    },
    /// It no longer waits for a step that it began.
    Abort {
        /// The code's name for the step.
        tag: Tag,
    },
    /// It publishes its live status.
    Status(Json),
}

impl Act {
    /// Whether it is numbered, so that the same report again is not taken twice. The others may be repeated without harm.
    pub fn counts(&self) -> bool {
        !matches!(self, Act::Abort { .. } | Act::Status(_))
    }
}

/// A line of a workflow run's journal, as its code must know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The line's number.
    pub at: u64,
    /// What it says.
    pub fact: Fact,
}

/// What an [`Event`] says.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An act `Ran` or `Starting` of the running attempt is durable. Never in a history.
    Recorded(Tag),
    /// A step was executed. Only in a history, as the next two.
    Ran(Tag, String, Result<Json, Failure>),
    /// A step may have been executed.
    Starting(Tag, String),
    /// A wait, a call or a child began.
    Begun(Tag, String),
    /// A wait, a call or a child ended.
    Ended(Tag, Result<Json, Failure>),
    /// It was given up.
    Aborted(Tag),
    /// The run is to stop.
    CancelRequested,
    /// The run had failed and goes on: what is recorded of these steps is void, and they are done again. It is the step that failed the
    /// run, and those that were given up because it closed.
    Reopened(Vec<Tag>),
}

/// Reads what code must know to be replayed from the lines of its run's journal, which are given to it in order from the first.
#[derive(Debug, Default)]
pub struct History {
    tags: BTreeMap<StepId, Tag>,
    /// What a reopened run does again: the last outcome if it was a failure, and what was given up after the body had ended.
    again: Vec<Tag>,
    body_ended: bool,
}

impl History {
    /// The event that a line is, if it is one.
    pub fn read(&mut self, line: &JournalRow) -> Option<Event> {
        let fact = match &line.entry {
            Entry::StepRan { tag, path, outcome } => {
                self.ended(*tag, outcome.is_err());
                Fact::Ran(*tag, path.clone(), outcome.clone())
            }
            Entry::StepStarting { tag, path } => Fact::Starting(*tag, path.clone()),
            Entry::StepBegun { tag: BODY, .. } => {
                self.body_ended = false;
                return None;
            }
            Entry::StepBegun { step, tag, path, .. } => {
                self.again.clear();
                self.tags.insert(*step, *tag);
                Fact::Begun(*tag, path.clone())
            }
            Entry::StepSucceeded { step, output, .. } => self.end_step(*step, Ok(output.clone()))?,
            Entry::StepFailed { step, failure, .. } => self.end_step(*step, Err(failure.clone()))?,
            Entry::StepCancelled { step } => {
                let Some(tag) = self.tags.remove(step) else {
                    self.body_ended = true;
                    return None;
                };
                if self.body_ended {
                    self.again.push(tag);
                    return None;
                }
                Fact::Aborted(tag)
            }
            Entry::CancelRequested { .. } => Fact::CancelRequested,
            Entry::RunReopened => Fact::Reopened(std::mem::take(&mut self.again)),
            _ => return None,
        };
        Some(Event { at: line.seq, fact })
    }

    fn end_step(&mut self, step: StepId, outcome: Result<Json, Failure>) -> Option<Fact> {
        let Some(tag) = self.tags.remove(&step) else {
            self.body_ended = true;
            return None;
        };
        self.ended(tag, outcome.is_err());
        Some(Fact::Ended(tag, outcome))
    }

    fn ended(&mut self, tag: Tag, failed: bool) {
        self.again.clear();
        if failed {
            self.again.push(tag);
        }
    }
}

/// What stands before the name of a workflow among the functions of workers, so that no task is taken for one.
const PREFIX: &str = "workflow:";

/// The function that a worker has for the code of a workflow.
pub fn function(workflow: &str) -> String {
    format!("{PREFIX}{workflow}")
}

/// The workflow whose code a function of a worker is.
pub fn workflow_of(function: &str) -> Option<&str> {
    function.strip_prefix(PREFIX)
}

/// Drives every workflow run: has its body executed, and ends with its outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkflowDriver;

impl Driver for WorkflowDriver {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, _fuel: u32) -> Result<Turn, DriverFault> {
        let turn = Turn { transitions: 1, ..Turn::default() };
        match wake {
            Wake::Started | Wake::Continued | Wake::Reopened => {
                let path = run.definition.name.to_string();
                let begin = Action::Begin { tag: BODY, path, work: Work::Body(body(run)) };
                Ok(Turn { actions: vec![begin], ..turn })
            }
            Wake::StepEnded { outcome, .. } => Ok(Turn { then: Then::End(outcome.clone()), ..turn }),
        }
    }
}

fn body(run: RunContext<'_>) -> Call {
    let options = run.options.task.clone().unwrap_or_default();
    Call {
        function: function(&run.definition.name),
        input: run.input.clone(),
        queue: if options.queue.is_empty() { default_queue() } else { options.queue },
        priority: options.priority.unwrap_or_default(),
        timeout_ms: None,
        retry: Vec::new(),
        at_most_once: false,
        max_crashes: options.max_crashes.unwrap_or_else(default_max_crashes),
        callback: false,
        callback_paths: Vec::new(),
        limit: options.limit,
    }
}
