//! The interpreter: given the state of a run and what has happened, decides what the flow does next.
//!
//! A [`Machine`] lives for one turn. It decodes the frames it touches, runs every frame that can go on until it waits, ends
//! or the fuel is used up, and gives back the cells that changed. An uncaught failure ends the run, because nothing
//! but a task's own catch stops it; the frames are left as they were, so that a resumed run goes on from there.

mod container;
mod data;
mod frame;
mod limit;
mod message;
mod task;
mod walk;

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use riverrun_kernel::driver::{Action, DriverFault, Note, RunContext, Tag, Then, Turn, Wake};
use riverrun_kernel::{Failure, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors;
use crate::graph::{Graph, Kind, Owner, StepIndex};
use crate::json::{self, Object};
use crate::limits::Limits;
use data::StepInput;
use frame::{Control, Frame, HEADER, Header, LIMITS, Open, ROOT, STRIDE, local_of};
pub(crate) use limit::recorded_limits;
use walk::Walk;
pub(crate) use walk::{FLOW_LANE, Moved, failure, walk};

/// Decides one turn. The limits are those of a run that begins with it.
pub(crate) fn advance(
    graph: &Graph,
    limits: &Limits,
    run: RunContext<'_>,
    wake: &Wake,
    fuel: u32,
) -> Result<Turn, DriverFault> {
    let mut machine = Machine::open(graph, limits, run, fuel)?;
    machine.turn(wake)?;
    machine.close()
}

struct Machine<'a> {
    graph: &'a Graph,
    /// What the run began under.
    limits: Limits,
    run: RunContext<'a>,
    fuel: u32,
    next_cell: u32,
    ready: VecDeque<u32>,
    frames: BTreeMap<u32, Frame>,
    /// Cells written in this turn besides those of loaded frames.
    written: BTreeMap<u32, Option<Arc<str>>>,
    /// The flow's input, once it was needed.
    input: OnceCell<Object>,
    notes: Vec<Note>,
    actions: Vec<Action>,
    transitions: u32,
    /// Events of the run's history so far; counted where they are limited.
    events: u64,
    ended: Option<Result<Json, Failure>>,
    /// What was walked, where somebody wants to know.
    walk: Option<Walk>,
}

impl<'a> Machine<'a> {
    fn open(graph: &'a Graph, limits: &Limits, run: RunContext<'a>, fuel: u32) -> Result<Self, DriverFault> {
        let header = match run.cells.get(&HEADER) {
            Some(text) => decode(HEADER, text)?,
            None => Header { next: ROOT, ready: Vec::new(), events: 0 },
        };
        let limits = match run.cells.get(&LIMITS) {
            Some(text) => decode(LIMITS, text)?,
            None if run.cells.is_empty() => *limits,
            None => Limits::default(),
        };
        Ok(Machine {
            graph,
            limits,
            run,
            fuel,
            next_cell: header.next,
            ready: header.ready.into(),
            frames: BTreeMap::new(),
            written: BTreeMap::new(),
            input: OnceCell::new(),
            notes: Vec::new(),
            actions: Vec::new(),
            transitions: 0,
            events: header.events,
            ended: None,
            walk: None,
        })
    }

    fn turn(&mut self, wake: &Wake) -> Result<(), DriverFault> {
        match wake {
            Wake::Started => self.start()?,
            Wake::StepEnded { tag, outcome, from_outside, attempts } => {
                self.step_ended(*tag, outcome, *from_outside, *attempts)?;
            }
            Wake::Continued => {}
            // A run that failed before its first decision has no state to go on from.
            Wake::Reopened if !self.exists(ROOT) => self.start()?,
            Wake::Reopened => {
                self.count_events(1);
                self.refuse_beyond_limits();
                self.reopen(ROOT)?;
            }
        }
        self.go_on()?;
        self.end_if_too_long();
        Ok(())
    }

    fn start(&mut self) -> Result<(), DriverFault> {
        self.keep_limits()?;
        self.count_events(1);
        if Object::parse(self.run.input.get()).is_none() {
            self.ended = Some(Err(Failure::new(
                errors::INVALID_INPUT,
                "the input of a flow must be a JSON object, such as {\"delay\": 20}",
            )
            .not_retryable()));
            return Ok(());
        }
        self.refuse_beyond_limits();
        let cell = self.reserve(STRIDE);
        self.add_frame(cell, 0, 0, 0);
        self.ready.push_back(cell);
        Ok(())
    }

    /// Runs every ready frame.
    fn go_on(&mut self) -> Result<(), DriverFault> {
        while self.ended.is_none() {
            let Some(cell) = self.ready.pop_front() else { break };
            self.load(cell)?;
            while self.ended.is_none() && self.is_ready(cell) {
                let control = &self.frame(cell).control;
                let Some(&step) = self.graph.lists[control.list].steps.get(control.at) else {
                    self.finish(cell);
                    break;
                };
                if self.fuel == 0 || self.is_too_long() {
                    self.ready.push_front(cell);
                    return Ok(());
                }
                self.count_transition();
                self.enter(cell, step)?;
            }
        }
        Ok(())
    }

    fn count_transition(&mut self) {
        self.fuel = self.fuel.saturating_sub(1);
        self.transitions += 1;
    }

    fn enter(&mut self, cell: u32, step: StepIndex) -> Result<(), DriverFault> {
        let known = &self.graph.steps[step];
        self.note("StepEntered", &known.name, None);
        self.walk_in(cell, step);
        if let Some(failure) = self.too_large(cell, step, None) {
            self.step_failed(cell, step, failure);
            return Ok(());
        }
        match &known.kind {
            Kind::Pass => {
                self.leave(cell, step, &Json::empty_object(), None, None);
            }
            Kind::Succeed => {
                let end = self.graph.lists[known.list].steps.len();
                self.leave(cell, step, &Json::empty_object(), Some(end), None);
            }
            Kind::Fail { error, cause } => {
                let error = if error.is_empty() { "Failed" } else { error };
                let cause = if cause.is_empty() {
                    format!("the flow came to `{}`", known.name)
                } else {
                    cause.clone()
                };
                self.fail(cell, step, Failure::new(error, cause));
            }
            Kind::Wait(wait) => self.begin_wait(cell, step, wait),
            Kind::Task(_) => self.begin_task(cell, step),
            Kind::Choice(branches) => self.choose(cell, step, branches),
            Kind::Parallel(branches) => {
                let fork = self.reserve_fork(STRIDE, branches.len())?;
                self.fork(cell, step, fork);
            }
            Kind::Foreach(foreach) => self.begin_foreach(cell, step, foreach)?,
        }
        Ok(())
    }

    /// A step has ended well, with this in its own local. Returns whether that is not too much: else it fails.
    fn leave(
        &mut self,
        cell: u32,
        step: StepIndex,
        local: &Json,
        goto: Option<usize>,
        detail: Option<Json>,
    ) -> bool {
        let output = self.step_output(cell, step, local);
        if let Some(failure) = self.too_large(cell, step, Some((local, &output))) {
            self.step_failed(cell, step, failure);
            return false;
        }
        self.walked(cell, step, Moved::Succeeded, |_| walk::output(&output));
        self.go_behind(cell, step, &output, goto, detail);
        true
    }

    /// A step is over: its output goes into the frame's local, and the frame to the next step, or to place `goto`.
    fn go_behind(
        &mut self,
        cell: u32,
        step: StepIndex,
        output: &Object,
        goto: Option<usize>,
        detail: Option<Json>,
    ) {
        let known = &self.graph.steps[step];
        let past_last = self.graph.lists[known.list].steps.len();
        self.note("StepExited", &known.name, detail);
        if !output.is_empty() {
            // Makes sure that the local is decoded before it is changed.
            self.local(cell);
            let frame = self.frame_mut(cell);
            if let Some(local) = frame.local.get_mut() {
                local.merge(output);
            }
            frame.local_changed = true;
        }
        self.walked(cell, step, Moved::Exited, |machine| walk::local(machine.local(cell)));
        let control = &mut self.frame_mut(cell).control;
        control.open = Open::Enter;
        control.at = match goto {
            Some(place) => place,
            None if known.end => past_last,
            None => known.place + 1,
        };
    }

    /// A step has failed, nothing catches it: so does everything around it, and the run.
    fn fail(&mut self, cell: u32, step: StepIndex, failure: Failure) {
        let path = self.path(cell, step);
        let detail = format!(r#"{{"path":{},"error":{}}}"#, json::quote(&path), json::quote(&failure.error));
        self.note("StepFailed", &self.graph.steps[step].name, Some(Json::trusted(detail)));
        self.walk_failure(cell, step, &failure);
        // A step that the kernel does not have is entered again when the run is resumed.
        if self.is_ready(cell) {
            self.ready.push_front(cell);
        }
        self.ended = Some(Err(failure));
    }

    /// Begins again what was open when the run failed, under `cell` and below.
    fn reopen(&mut self, cell: u32) -> Result<(), DriverFault> {
        self.load(cell)?;
        let control = self.frame(cell).control.clone();
        match control.open {
            Open::Enter => {
                if !self.ready.contains(&cell) {
                    self.ready.push_back(cell);
                }
            }
            Open::Step(_) => self.begin_again(cell),
            Open::Choice(branch) => self.reopen(branch)?,
            Open::Fork(fork) => {
                for number in 0..fork.begun {
                    if self.exists(fork.cell(number)) {
                        self.reopen(fork.cell(number))?;
                    }
                }
                // All have ended, and what they made was too much for their step.
                let step = self.graph.lists[control.list].steps[control.at];
                if self.join(cell, step) {
                    self.ready.push_back(cell);
                }
            }
        }
        Ok(())
    }

    // ---- frames and cells

    fn is_ready(&self, cell: u32) -> bool {
        self.frames.get(&cell).is_some_and(|frame| frame.control.open == Open::Enter)
    }

    /// Takes cells that were never used.
    fn reserve(&mut self, cells: u32) -> u32 {
        let first = self.next_cell;
        self.next_cell = first.saturating_add(cells);
        first
    }

    fn add_frame(&mut self, cell: u32, list: usize, up: u32, number: u32) {
        let control =
            Control { list, at: 0, up, number, visits: BTreeMap::new(), epoch: 0, open: Open::Enter };
        self.written.remove(&cell);
        self.frames.insert(cell, Frame::new(control));
    }

    /// Brings a frame and all frames above it into memory.
    fn load(&mut self, cell: u32) -> Result<(), DriverFault> {
        let mut cell = cell;
        while cell != 0 && !self.frames.contains_key(&cell) {
            let text = self
                .text(cell)
                .ok_or_else(|| DriverFault(format!("cell {cell} of the flow's state is missing")))?;
            let control: Control = decode(cell, text)?;
            let known = self.graph.lists.get(control.list).is_some_and(|list| control.at <= list.steps.len());
            if !known {
                return Err(DriverFault(format!(
                    "cell {cell} of the flow's state belongs to another definition"
                )));
            }
            let up = control.up;
            self.frames.insert(cell, Frame::new(control));
            cell = up;
        }
        Ok(())
    }

    fn frame(&self, cell: u32) -> &Frame {
        self.frames.get(&cell).expect("a frame is loaded, with those above it, before it is used")
    }

    fn frame_mut(&mut self, cell: u32) -> &mut Frame {
        self.frames.get_mut(&cell).expect("a frame is loaded, with those above it, before it is used")
    }

    fn exists(&self, cell: u32) -> bool {
        self.frames.contains_key(&cell) || self.text(cell).is_some()
    }

    /// The text of a cell that belongs to no loaded frame.
    fn text(&self, cell: u32) -> Option<&str> {
        match self.written.get(&cell) {
            Some(written) => written.as_deref(),
            None => self.run.cells.get(&cell).map(AsRef::as_ref),
        }
    }

    fn local(&self, cell: u32) -> &Object {
        let local = || self.text(local_of(cell)).and_then(Object::parse).unwrap_or_default();
        self.frame(cell).local.get_or_init(local)
    }

    /// Drops a frame's control; its local stays when `keep_local`.
    fn drop_frame(&mut self, cell: u32, keep_local: bool) {
        let Some(frame) = self.frames.remove(&cell) else {
            return;
        };
        self.written.insert(cell, None);
        if !keep_local {
            self.written.insert(local_of(cell), None);
        } else if frame.local_changed
            && let Some(local) = frame.local.get()
        {
            self.written.insert(local_of(cell), Some(local.to_text().into()));
        }
    }

    /// What stands before a step's name in its path: `Each[3]/`.
    fn prefix(&self, cell: u32) -> String {
        let mut pieces = Vec::new();
        let mut cell = self.scope(cell);
        loop {
            let control = &self.frame(cell).control;
            let Some(step) = self.owner(cell) else { break };
            let number = control.number;
            cell = self.scope(control.up);
            pieces.push(format!("{}[{number}]/", self.visited(cell, step)));
        }
        pieces.reverse();
        pieces.concat()
    }

    /// The step that a frame's list belongs to.
    fn owner(&self, cell: u32) -> Option<StepIndex> {
        match self.graph.lists[self.frame(cell).control.list].owner {
            Owner::Flow => None,
            Owner::Choice { step, .. } | Owner::Parallel { step, .. } | Owner::Foreach { step } => Some(step),
        }
    }

    /// The innermost frame that is no choice's branch: visits are counted there.
    fn scope(&self, mut cell: u32) -> u32 {
        while matches!(self.graph.lists[self.frame(cell).control.list].owner, Owner::Choice { .. }) {
            cell = self.frame(cell).control.up;
        }
        cell
    }

    /// A step's name with the number of its visit, from the second on.
    fn visited(&self, scope: u32, step: StepIndex) -> String {
        let name = &self.graph.steps[step].name;
        match self.frame(scope).control.visits.get(&step) {
            Some(&visit) if visit > 1 => format!("{name}#{visit}"),
            _ => name.clone(),
        }
    }

    /// Counts a visit of a step that needs a path.
    fn visit(&mut self, cell: u32, step: StepIndex) {
        let scope = self.scope(cell);
        *self.frame_mut(scope).control.visits.entry(step).or_default() += 1;
    }

    /// The path of the step that a frame is at.
    fn path(&self, cell: u32, step: StepIndex) -> String {
        format!("{}{}", self.prefix(cell), self.visited(self.scope(cell), step))
    }

    /// The tag of the step that a frame is at, or of its time limit.
    fn tag(&self, cell: u32, is_limit: bool) -> Tag {
        StepTag { cell, epoch: self.frame(cell).control.epoch, is_limit }.to_tag()
    }

    /// Gives up the step that a frame is at, or its time limit.
    fn give_up(&mut self, cell: u32, is_limit: bool) {
        let tag = self.tag(cell, is_limit);
        self.actions.push(Action::Abort { tag });
        self.frame_mut(cell).control.epoch += 1;
    }

    fn note(&mut self, event: &str, step: &str, detail: Option<Json>) {
        self.notes.push(Note { event: event.to_owned(), step: step.to_owned(), detail });
    }

    fn close(mut self) -> Result<Turn, DriverFault> {
        let then = match self.ended.take() {
            Some(outcome) => Then::End(outcome),
            None if self.ready.is_empty() => Then::Wait,
            None => Then::Continue,
        };
        if matches!(then, Then::End(Ok(_))) {
            // Nothing of a run that succeeded is ever needed again.
            let cells = self.run.cells.keys().map(|&cell| (cell, None)).collect();
            return Ok(Turn {
                cells,
                notes: self.notes,
                actions: Vec::new(),
                transitions: self.transitions,
                then,
            });
        }
        let ready = self.ready.iter().copied().collect();
        let header = Header { next: self.next_cell, ready, events: self.events };
        let mut cells = std::mem::take(&mut self.written);
        cells.insert(HEADER, Some(encode(&header)?));
        for (&cell, frame) in &self.frames {
            cells.insert(cell, Some(encode(&frame.control)?));
            if let Some(local) = frame.local.get().filter(|_| frame.local_changed) {
                cells.insert(local_of(cell), Some(local.to_text().into()));
            }
        }
        cells.retain(|cell, text| self.run.cells.get(cell) != text.as_ref());
        // A failure ends the run; what else the turn began is not begun.
        let actions = if matches!(then, Then::End(_)) { Vec::new() } else { self.actions };
        let cells = cells.into_iter().collect();
        Ok(Turn { cells, notes: self.notes, actions, transitions: self.transitions, then })
    }
}

/// Names the steps that frames have with the kernel: frame, epoch, and whether it is the step itself or its time limit.
///
/// Outcomes may stand in line while a run is held, so an outcome of a step that was given up must not pass for one of
/// the step that the frame has begun since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StepTag {
    cell: u32,
    epoch: u32,
    is_limit: bool,
}

impl StepTag {
    fn from_tag(tag: Tag) -> Self {
        StepTag { cell: tag as u32, epoch: (tag >> 33) as u32, is_limit: (tag >> 32) & 1 == 1 }
    }

    fn to_tag(self) -> Tag {
        Tag::from(self.cell) | (Tag::from(self.is_limit) << 32) | (Tag::from(self.epoch & 0x7FFF_FFFF) << 33)
    }
}

fn decode<T: DeserializeOwned>(cell: u32, text: &str) -> Result<T, DriverFault> {
    serde_json::from_str(text)
        .map_err(|error| DriverFault(format!("cell {cell} of the flow's state is unreadable: {error}")))
}

fn encode(value: &impl Serialize) -> Result<Arc<str>, DriverFault> {
    serde_json::to_string(value)
        .map(Into::into)
        .map_err(|error| DriverFault(format!("the flow's state cannot be written: {error}")))
}

impl<'m, 'a> StepInput<'m, 'a> {
    fn of(machine: &'m Machine<'a>, cell: u32, step: StepIndex) -> Self {
        StepInput { machine, cell, step }
    }
}
