//! The way that a turn took, step by step, with the data that went through it.
//!
//! A journal records what a turn changed, not what every step saw. [`walk`] decides a recorded turn once more and writes
//! down the way: the same decision, because the interpreter looks at nothing but the run's state and the wake.

use riverrun_kernel::Failure;
use riverrun_kernel::driver::{DriverFault, RunContext, Tag, Turn, Wake};

use super::Machine;
use super::frame::{ROOT, item_of};
use crate::graph::{Graph, Kind, StepIndex};
use crate::json::{self, Object};
use crate::limits::Limits;

/// The lane of the flow's own steps.
pub(crate) const FLOW_LANE: u32 = ROOT;

/// What a turn walked.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Every move, in order.
    pub(crate) moves: Vec<Move>,
    /// The lanes of the steps that were begun with the kernel.
    pub(crate) begun: Vec<(Tag, u32)>,
}

/// One move.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) what: Moved,
    pub(crate) step: StepIndex,
    /// Where it happened: what runs serially with one local and is no choice's branch, by the number of its frame.
    pub(crate) lane: u32,
    /// The lane whose last event led to it.
    pub(crate) after: u32,
    /// JSON text: what was seen.
    pub(crate) detail: String,
}

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Entered,
    Started,
    Succeeded,
    Failed,
    /// Its time limit passed, which is no step of the language.
    TimedOut,
    Exited,
    BranchEntered,
    BranchExited,
    IterationEntered,
    IterationExited,
}

/// Decides a turn as [`super::advance`] does, and tells its way.
pub(crate) fn walk(
    graph: &Graph,
    limits: &Limits,
    run: RunContext<'_>,
    wake: &Wake,
    fuel: u32,
) -> Result<(Turn, Walk), DriverFault> {
    let mut machine = Machine::open(graph, limits, run, fuel)?;
    machine.walk = Some(Walk::default());
    machine.turn(wake)?;
    let walk = machine.walk.take().unwrap_or_default();
    Ok((machine.close()?, walk))
}

/// What is told of a step that succeeded.
pub(super) fn output(output: &Object) -> String {
    format!(r#"{{"output":{}}}"#, output.to_text())
}

/// What is told of a step that is left behind.
pub(super) fn local(local: &Object) -> String {
    format!(r#"{{"local":{}}}"#, local.to_text())
}

/// What is told of a failure.
pub(crate) fn failure(failure: &Failure) -> String {
    format!(r#"{{"error":{},"cause":{}}}"#, json::quote(&failure.error), json::quote(&failure.message))
}

impl Machine<'_> {
    /// Tells what happened to the step that a frame is at. The detail is made only where somebody wants to know.
    pub(super) fn walked(
        &mut self,
        cell: u32,
        step: StepIndex,
        what: Moved,
        detail: impl FnOnce(&Self) -> String,
    ) {
        self.count_events(1);
        if self.walk.is_none() {
            return;
        }
        let (lane, detail) = (self.scope(cell), detail(self));
        self.went(Move { what, step, lane, after: lane, detail });
    }

    /// A step is entered, and has its input.
    pub(super) fn walk_in(&mut self, cell: u32, step: StepIndex) {
        self.walked(cell, step, Moved::Entered, |machine| {
            let (input, local) = (machine.frame_input(cell), machine.local(cell));
            format!(r#"{{"input":{},"local":{}}}"#, input.to_text(), local.to_text())
        });
        self.walked(cell, step, Moved::Started, |machine| {
            format!(r#"{{"input":{}}}"#, machine.step_input(cell, step).to_text())
        });
    }

    /// A step has failed, and so has everything around it.
    pub(super) fn walk_failure(&mut self, cell: u32, step: StepIndex, failed: &Failure) {
        self.walked(cell, step, Moved::Failed, |_| failure(failed));
        let mut cell = cell;
        while self.walk.is_some()
            && let Some(owner) = self.owner(cell)
        {
            let after = self.scope(cell);
            cell = self.frame(cell).control.up;
            let lane = self.scope(cell);
            self.went(Move { what: Moved::Failed, step: owner, lane, after, detail: failure(failed) });
        }
    }

    /// A branch or iteration begins.
    pub(super) fn walk_into(&mut self, inner: u32, step: StepIndex, number: u32) {
        self.count_events(1);
        if self.walk.is_none() {
            return;
        }
        let after = self.scope(self.frame(inner).control.up);
        // The whole input, collection included, would make the history of a foreach grow with the square of its items.
        let (what, detail) = match self.graph.steps[step].kind {
            Kind::Foreach(_) => {
                let item = self.text(item_of(inner)).unwrap_or("null");
                (Moved::IterationEntered, format!(r#"{{"index":{number},"item":{item}}}"#))
            }
            _ => (Moved::BranchEntered, format!(r#"{{"index":{number}}}"#)),
        };
        self.went(Move { what, step, lane: inner, after, detail });
    }

    /// A branch or iteration has come to its end.
    pub(super) fn walk_out_of(&mut self, inner: u32, step: StepIndex, number: u32) {
        self.count_events(1);
        if self.walk.is_none() {
            return;
        }
        let lane = self.scope(self.frame(inner).control.up);
        let what = match self.graph.steps[step].kind {
            Kind::Foreach(_) => Moved::IterationExited,
            _ => Moved::BranchExited,
        };
        let detail = format!(r#"{{"index":{number},"local":{}}}"#, self.local(inner).to_text());
        self.went(Move { what, step, lane, after: inner, detail });
    }

    /// A step is handed to the kernel.
    pub(super) fn walk_begun(&mut self, cell: u32, tag: Tag) {
        let lane = self.scope(cell);
        if let Some(walk) = &mut self.walk {
            walk.begun.push((tag, lane));
        }
    }

    fn went(&mut self, went: Move) {
        if let Some(walk) = &mut self.walk {
            walk.moves.push(went);
        }
    }
}
