//! A run's journal as the language's own history: numbered events, each with what caused it.
//!
//! The journal keeps what changed; the history also tells what every step saw. So each recorded turn is decided once more
//! (see [`crate::interpret`]'s walk), from the state and the wake that it was decided from. What is recorded wins: a
//! turn that an older interpreter decided in another way is told by its notes alone, without the data.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use riverrun_kernel::driver::{Call, Cells, Note, RunContext, Tag, Wake, Work};
use riverrun_kernel::{
    Created, DefinitionKind, Entry, Failure, JournalRow, Json, Now, RunId, StepId, Ticks, Wall,
};

use crate::Flow;
use crate::errors;
use crate::interpret::{self, FLOW_LANE, Moved};
use crate::json;
use crate::trace::step_name;

/// A cell that a turn changed.
type Changed = (u32, Option<Arc<str>>);

/// What an event of a history says has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "these are the vendor's names; the guide to flows says what each tells")]
pub enum EventType {
    ExecutionStarted,
    ExecutionStopped,
    ExecutionSucceeded,
    ExecutionFailed,
    ExecutionTimedOut,
    StepEntered,
    StepStarted,
    StepSucceeded,
    StepFailed,
    StepExited,
    BranchEntered,
    BranchExited,
    IterationEntered,
    IterationExited,
    TaskScheduled,
    TaskStarted,
    TaskSubmitted,
    TaskSubmitFailed,
    TaskSucceeded,
    TaskFailed,
    TaskTimedOut,
}

impl EventType {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::ExecutionStarted => "ExecutionStarted",
            EventType::ExecutionStopped => "ExecutionStopped",
            EventType::ExecutionSucceeded => "ExecutionSucceeded",
            EventType::ExecutionFailed => "ExecutionFailed",
            EventType::ExecutionTimedOut => "ExecutionTimedOut",
            EventType::StepEntered => "StepEntered",
            EventType::StepStarted => "StepStarted",
            EventType::StepSucceeded => "StepSucceeded",
            EventType::StepFailed => "StepFailed",
            EventType::StepExited => "StepExited",
            EventType::BranchEntered => "BranchEntered",
            EventType::BranchExited => "BranchExited",
            EventType::IterationEntered => "IterationEntered",
            EventType::IterationExited => "IterationExited",
            EventType::TaskScheduled => "TaskScheduled",
            EventType::TaskStarted => "TaskStarted",
            EventType::TaskSubmitted => "TaskSubmitted",
            EventType::TaskSubmitFailed => "TaskSubmitFailed",
            EventType::TaskSucceeded => "TaskSucceeded",
            EventType::TaskFailed => "TaskFailed",
            EventType::TaskTimedOut => "TaskTimedOut",
        }
    }
}

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number, from 1.
    pub id: u64,
    /// The number of the event that caused it; 0 for the first.
    pub caused_by: u64,
    /// What happened.
    pub kind: EventType,
    /// To which step; empty for the run itself.
    pub step: String,
    /// When it was recorded.
    pub at: Wall,
    /// More about it: the text of a JSON object.
    pub detail: String,
}

impl Event {
    /// When it was recorded, as the vendor writes it: RFC 3339, UTC, milliseconds.
    pub fn time(&self) -> String {
        jiff::Timestamp::from_millisecond(self.at.0)
            .map_or_else(|_| self.at.0.to_string(), |moment| format!("{moment:.3}"))
    }
}

/// The whole history that a journal tells, from its first entry on.
pub fn events<'r>(flow: &Flow, journal: impl IntoIterator<Item = &'r JournalRow>) -> Vec<Event> {
    let mut history = History::default();
    journal.into_iter().flat_map(|row| history.take(flow, row)).collect()
}

/// What has been read of a journal so far, for those that read it in parts.
#[derive(Debug, Default)]
pub struct History {
    run: Option<(RunId, Arc<Created>)>,
    cells: Cells,
    /// What the interpreter had not seen yet.
    wakes: VecDeque<Wake>,
    /// Steps that the kernel has.
    open: HashMap<StepId, OpenStep>,
    /// Where the tags of this turn's steps belong.
    begun: HashMap<Tag, u32>,
    /// The last event of each lane.
    last: HashMap<u32, u64>,
    /// Events so far.
    count: u64,
    /// The turn's notes are to be told, because its way could not be found again.
    tells_notes: bool,
    /// Why it was asked to stop.
    reason: String,
}

#[derive(Debug)]
struct OpenStep {
    tag: Tag,
    name: String,
    lane: u32,
    work: Kind,
    /// A worker has it, or had it, and its task must be scheduled again before the next one starts.
    again: bool,
    /// How often one has started.
    attempts: u32,
}

/// What a step of the kernel's is in the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call {
        callback: bool,
    },
    Child {
        waits: bool,
    },
    /// A child that has the token.
    Handed,
    /// A wait, a back-off, a time limit: no task.
    Timer,
}

impl History {
    /// Takes in the next entry: the events that it tells.
    pub fn take(&mut self, flow: &Flow, row: &JournalRow) -> Vec<Event> {
        let mut told = Told { history: self, at: row.at, events: Vec::new() };
        told.entry(flow, row);
        told.events
    }
}

/// The events of one entry.
struct Told<'h> {
    history: &'h mut History,
    at: Wall,
    events: Vec<Event>,
}

impl Told<'_> {
    fn entry(&mut self, flow: &Flow, row: &JournalRow) {
        match &row.entry {
            Entry::RunCreated(created) => {
                self.history.run = Some((row.run, created.clone()));
                self.history.wakes.push_back(Wake::Started);
                self.started(&created.input);
            }
            Entry::Advanced { cells, transitions, unfinished } => {
                self.turn(flow, cells, *transitions, *unfinished);
                for (cell, text) in cells {
                    match text {
                        Some(text) => self.history.cells.insert(*cell, text.clone()),
                        None => self.history.cells.remove(cell),
                    };
                }
            }
            Entry::Noted(note) if self.history.tells_notes => self.noted(note),
            Entry::RunSucceeded { output } => {
                self.ended(EventType::ExecutionSucceeded, format!(r#"{{"output":{output}}}"#));
            }
            Entry::RunFailed { failure } => {
                self.ended(EventType::ExecutionFailed, interpret::failure(failure));
                self.closed();
            }
            Entry::RunTimedOut => {
                self.ended(EventType::ExecutionTimedOut, "{}".to_owned());
                self.closed();
            }
            Entry::CancelRequested { reason, failure } => {
                self.history.reason = match failure {
                    Some(Failure { error, message, .. }) => {
                        format!(r#"{{"error":{},"cause":{}}}"#, json::quote(error), json::quote(message))
                    }
                    None => format!(r#"{{"cause":{}}}"#, json::quote(reason)),
                };
            }
            Entry::RunCancelled => {
                let detail = self.history.reason.clone();
                self.ended(EventType::ExecutionStopped, detail);
            }
            Entry::RunExpired => {
                let cause = r#"{"cause":"not started within its time to live"}"#;
                self.ended(EventType::ExecutionStopped, cause.to_owned());
            }
            Entry::RunReopened => {
                self.history.wakes.push_back(Wake::Reopened);
                // The language has no word for it: the same execution starts to run once more.
                if let Some((_, created)) = &self.history.run {
                    let input = created.input.clone();
                    self.started(&input);
                }
            }
            entry => self.task(entry),
        }
    }

    fn task(&mut self, entry: &Entry) {
        match entry {
            Entry::StepBegun { step, tag, path, work } => self.begun(*step, *tag, path, work),
            Entry::AttemptStarted { step, worker, .. } => self.attempt_started(*step, worker),
            Entry::AttemptFailed { step, failure, .. } => {
                self.task_failed(*step, failure, true);
                if let Some(open) = self.history.open.get_mut(step) {
                    open.again = true;
                }
            }
            Entry::CallReturned { step, .. } => {
                self.of_task(*step, EventType::TaskSubmitted, "{}".to_owned());
            }
            Entry::ChildStarted { step, run } => {
                let detail = format!(r#"{{"execution":"{run}"}}"#);
                self.of_task(*step, EventType::TaskStarted, detail.clone());
                let submits = |kind| matches!(kind, Kind::Child { waits: true } | Kind::Handed);
                if self.history.open.get(step).is_some_and(|open| submits(open.work)) {
                    self.of_task(*step, EventType::TaskSubmitted, detail);
                }
            }
            Entry::StepSucceeded { step, output, .. } => {
                self.of_task(*step, EventType::TaskSucceeded, format!(r#"{{"output":{output}}}"#));
                self.step_ended(*step, Some((Ok(output.clone()), false)));
            }
            Entry::StepFailed { step, attempt, failure, .. } => {
                self.task_failed(*step, failure, *attempt > 0);
                self.step_ended(*step, Some((Err(failure.clone()), *attempt == 0)));
            }
            Entry::StepCancelled { step } => self.step_ended(*step, None),
            _ => {}
        }
    }

    /// Adds an event to a lane; what caused it is the last event of the lane `after`.
    fn tell(&mut self, (kind, step): (EventType, String), lane: u32, after: u32, detail: String) {
        let history = &mut *self.history;
        history.count += 1;
        let caused_by = history.last.get(&after).copied().unwrap_or(history.count - 1);
        history.last.insert(lane, history.count);
        self.events.push(Event { id: history.count, caused_by, kind, step, at: self.at, detail });
    }

    fn started(&mut self, input: &Json) {
        let input = format!(r#"{{"input":{input}}}"#);
        self.tell((EventType::ExecutionStarted, String::new()), FLOW_LANE, FLOW_LANE, input);
    }

    fn ended(&mut self, kind: EventType, detail: String) {
        self.tell((kind, String::new()), FLOW_LANE, FLOW_LANE, detail);
    }

    /// What the kernel keeps for a run that may be resumed.
    fn closed(&mut self) {
        self.history.wakes.retain(|wake| matches!(wake, Wake::StepEnded { .. }));
    }

    /// Decides a recorded turn once more.
    fn turn(&mut self, flow: &Flow, changed: &[Changed], transitions: u32, unfinished: bool) {
        let Some(wake) = self.history.wakes.pop_front() else { return };
        if unfinished {
            self.history.wakes.push_front(Wake::Continued);
        }
        let Some((run, created)) = &self.history.run else { return };
        let context = RunContext {
            run: *run,
            continue_id: created.continue_id(),
            definition: &created.definition,
            input: &created.input,
            options: &created.options,
            cells: &self.history.cells,
            now: Now { wall: self.at, ticks: Ticks(0) },
        };
        // A turn that used up its fuel is cut at the same place, whatever the setting is now.
        let fuel = if unfinished { transitions } else { u32::MAX };
        // What the run began under, whatever begins now.
        let limits = interpret::recorded_limits(changed);
        let walked = interpret::walk(&flow.graph, &limits, context, &wake, fuel);
        let walk = walked.ok().filter(|(turn, _)| turn.transitions == transitions).map(|(_, walk)| walk);
        self.history.tells_notes = walk.is_none();
        let Some(walk) = walk else { return };
        self.history.begun.extend(walk.begun);
        for moved in walk.moves {
            let kind = event_of(moved.what);
            let step = flow.graph.steps[moved.step].name.clone();
            self.tell((kind, step), moved.lane, moved.after, moved.detail);
            if matches!(moved.what, Moved::BranchExited | Moved::IterationExited) {
                self.history.last.remove(&moved.after);
            }
        }
    }

    /// Tells a note as it was recorded.
    fn noted(&mut self, note: &Note) {
        let kind = match note.event.as_str() {
            "StepEntered" => EventType::StepEntered,
            "StepExited" => EventType::StepExited,
            "StepFailed" => EventType::StepFailed,
            "BranchEntered" => EventType::BranchEntered,
            "BranchExited" => EventType::BranchExited,
            "IterationEntered" => EventType::IterationEntered,
            "IterationExited" => EventType::IterationExited,
            _ => return,
        };
        let detail = note.detail.as_ref().map_or("{}", |detail| detail.get()).to_owned();
        self.tell((kind, note.step.clone()), FLOW_LANE, FLOW_LANE, detail);
    }

    // ---- tasks

    fn begun(&mut self, step: StepId, tag: Tag, path: &str, work: &Work) {
        let lane = self.history.begun.remove(&tag).unwrap_or(FLOW_LANE);
        let (kind, detail) = match work {
            Work::Call(call) => (Kind::Call { callback: call.callback }, scheduled(call)),
            Work::Child(child) => {
                let (kind, name) = (child.definition.kind, json::quote(&child.definition.name));
                let key = if kind == DefinitionKind::Flow { "flow" } else { "function" };
                let work = match child.callback {
                    Some(_) => Kind::Handed,
                    None => Kind::Child { waits: child.wait },
                };
                (work, format!(r#"{{"{key}":{name},"input":{}}}"#, child.input))
            }
            _ => (Kind::Timer, String::new()),
        };
        let name = step_name(path).to_owned();
        self.history.open.insert(step, OpenStep { tag, name, lane, work: kind, again: false, attempts: 0 });
        self.of_task(step, EventType::TaskScheduled, detail);
    }

    fn attempt_started(&mut self, step: StepId, worker: &str) {
        if let Some(open) = self.history.open.get_mut(&step) {
            open.attempts += 1;
        }
        if self.history.open.get_mut(&step).is_some_and(|open| std::mem::take(&mut open.again)) {
            self.of_task(step, EventType::TaskScheduled, "{}".to_owned());
        }
        let worker = json::quote(worker);
        self.of_task(step, EventType::TaskStarted, format!(r#"{{"worker":{worker}}}"#));
    }

    /// A task failed; `by_function` tells the function's own failure from one that was reported for it.
    fn task_failed(&mut self, step: StepId, failure: &Failure, by_function: bool) {
        let Some(work) = self.history.open.get(&step).map(|open| open.work) else { return };
        let (shown, _) = errors::translate(failure, matches!(work, Kind::Child { .. }));
        let kind = match work {
            _ if failure.error == Failure::TIMEOUT && work != (Kind::Child { waits: true }) => {
                EventType::TaskTimedOut
            }
            Kind::Call { callback: true } if by_function => EventType::TaskSubmitFailed,
            Kind::Child { .. } | Kind::Handed
                if [Failure::START_REFUSED, Failure::NAME_TAKEN].contains(&failure.error.as_str()) =>
            {
                EventType::TaskSubmitFailed
            }
            _ => EventType::TaskFailed,
        };
        self.of_task(step, kind, interpret::failure(&shown));
    }

    /// Adds an event of a task, in its step's lane.
    fn of_task(&mut self, step: StepId, kind: EventType, detail: String) {
        let Some(open) = self.history.open.get(&step).filter(|open| open.work != Kind::Timer) else { return };
        let (name, lane) = (open.name.clone(), open.lane);
        self.tell((kind, name), lane, lane, detail);
    }

    /// A step of the kernel's has ended; with its outcome comes whether no attempt gave it.
    fn step_ended(&mut self, step: StepId, ended: Option<(Result<Json, Failure>, bool)>) {
        let Some(open) = self.history.open.remove(&step) else { return };
        if let Some((outcome, by_none)) = ended {
            let from_outside = by_none && open.work == Kind::Call { callback: true };
            let attempts = open.attempts;
            self.history.wakes.push_back(Wake::StepEnded { tag: open.tag, outcome, from_outside, attempts });
        }
    }
}

fn scheduled(call: &Call) -> String {
    let function = json::quote(&call.function);
    let limit = call.timeout_ms.map(|ms| format!(r#","timeoutSeconds":{}"#, ms / 1000)).unwrap_or_default();
    format!(r#"{{"function":{function},"input":{}{limit}}}"#, call.input)
}

fn event_of(moved: Moved) -> EventType {
    match moved {
        Moved::Entered => EventType::StepEntered,
        Moved::Started => EventType::StepStarted,
        Moved::Succeeded => EventType::StepSucceeded,
        Moved::Failed => EventType::StepFailed,
        Moved::TimedOut => EventType::TaskTimedOut,
        Moved::Exited => EventType::StepExited,
        Moved::BranchEntered => EventType::BranchEntered,
        Moved::BranchExited => EventType::BranchExited,
        Moved::IterationEntered => EventType::IterationEntered,
        Moved::IterationExited => EventType::IterationExited,
    }
}
