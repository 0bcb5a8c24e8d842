//! Choices, parallels and foreachs: frames that are begun for a step, and what happens when they end.

use riverrun_kernel::driver::DriverFault;
use riverrun_kernel::{Failure, Json};

use super::Machine;
use super::data::StepInput;
use super::frame::{Fork, ITERATION_STRIDE, Open, STRIDE, item_of, local_of};
use crate::condition::find;
use crate::errors;
use crate::graph::{Branch, Foreach, Kind, Owner, StepIndex};
use crate::json;

impl Machine<'_> {
    /// Takes the first branch whose condition holds.
    pub(super) fn choose(&mut self, cell: u32, step: StepIndex, branches: &[Branch]) {
        let input = StepInput::of(self, cell, step);
        let holds =
            |branch: &Branch| branch.condition.as_ref().is_none_or(|condition| condition.holds(&input));
        let Some(number) = branches.iter().position(holds) else {
            self.end_choice(cell, step, None, &Json::empty_object());
            return;
        };
        let Some(list) = branches[number].steps else {
            self.end_choice(cell, step, Some(number), &Json::empty_object());
            return;
        };
        let branch = self.reserve(STRIDE);
        self.add_frame(branch, list, cell, number as u32);
        self.frame_mut(cell).control.open = Open::Choice(branch);
        self.ready.push_front(branch);
    }

    /// Returns whether it has ended well.
    fn end_choice(&mut self, cell: u32, step: StepIndex, branch: Option<usize>, local: &Json) -> bool {
        let Kind::Choice(branches) = &self.graph.steps[step].kind else {
            return false;
        };
        let goto = branch.and_then(|branch| branches[branch].goto);
        let detail = branch.map(|branch| match goto {
            Some(place) => {
                let list = &self.graph.lists[self.graph.steps[step].list];
                let target = json::quote(&self.graph.steps[list.steps[place]].name);
                Json::trusted(format!(r#"{{"branch":{branch},"goto":{target}}}"#))
            }
            None => Json::trusted(format!(r#"{{"branch":{branch}}}"#)),
        });
        self.leave(cell, step, local, goto, detail)
    }

    pub(super) fn begin_foreach(
        &mut self,
        cell: u32,
        step: StepIndex,
        foreach: &Foreach,
    ) -> Result<(), DriverFault> {
        let found = find(&StepInput::of(self, cell, step), &foreach.collection);
        let items = found.as_ref().and_then(|found| json::elements(found.get()));
        let Some(items) = items else {
            let what = match found.as_ref().map(|found| found.get().as_bytes()[0]) {
                None | Some(b'n') => "nothing",
                Some(b'{') => "an object",
                Some(b'"') => "a string",
                _ => "a number or truth value",
            };
            let name = &self.graph.steps[step].name;
            let message = format!("`{name}` needs an array to go through, but its collection is {what}");
            self.fail(cell, step, Failure::new(errors::INVALID_INPUT, message).not_retryable());
            return Ok(());
        };
        let fork = self.reserve_fork(ITERATION_STRIDE, items.len())?;
        for (number, item) in (0..fork.total).zip(&items) {
            self.written.insert(item_of(fork.cell(number)), Some((*item).into()));
        }
        self.fork(cell, step, fork);
        Ok(())
    }

    /// Takes the cells of the branches or iterations of a step.
    pub(super) fn reserve_fork(&mut self, stride: u32, total: usize) -> Result<Fork, DriverFault> {
        let size = u32::try_from(total).ok().and_then(|total| Some((total, total.checked_mul(stride)?)));
        match size.filter(|(_, cells)| self.next_cell.checked_add(*cells).is_some()) {
            Some((total, cells)) => Ok(Fork { base: self.reserve(cells), stride, total, begun: 0, done: 0 }),
            None => {
                Err(DriverFault("the flow has used up the numbers of its state: start it anew".to_owned()))
            }
        }
    }

    /// Begins the branches or iterations of a step.
    pub(super) fn fork(&mut self, cell: u32, step: StepIndex, fork: Fork) {
        self.visit(cell, step);
        let total = fork.total;
        self.frame_mut(cell).control.open = Open::Fork(fork);
        let at_once = match &self.graph.steps[step].kind {
            Kind::Foreach(_) => total.min(self.limits.foreach_concurrency.max(1)),
            _ => total,
        };
        for _ in 0..at_once {
            self.begin_next(cell, step);
        }
        self.join(cell, step);
    }

    /// Begins the next branch or iteration, if there is one.
    fn begin_next(&mut self, cell: u32, step: StepIndex) {
        let Open::Fork(fork) = &mut self.frame_mut(cell).control.open else {
            return;
        };
        let number = fork.begun;
        if number == fork.total {
            return;
        }
        fork.begun += 1;
        let inner = fork.cell(number);
        let (list, event) = match &self.graph.steps[step].kind {
            Kind::Parallel(branches) => (branches[number as usize], "BranchEntered"),
            Kind::Foreach(foreach) => (foreach.steps, "IterationEntered"),
            _ => return,
        };
        self.add_frame(inner, list, cell, number);
        self.ready.push_back(inner);
        self.count_transition();
        self.note(event, &self.graph.steps[step].name, Some(index(number)));
        self.walk_into(inner, step, number);
    }

    /// A frame has come to the end of its list.
    pub(super) fn finish(&mut self, cell: u32) {
        let control = &self.frame(cell).control;
        let (up, number) = (control.up, control.number);
        match self.graph.lists[control.list].owner {
            Owner::Flow => self.ended = Some(Ok(self.flow_output(cell))),
            Owner::Choice { step, branch } => {
                let local = self.local(cell).to_json();
                // A branch that made too much stays where it is.
                if self.end_choice(up, step, Some(branch), &local) {
                    self.drop_frame(cell, false);
                    self.ready.push_front(up);
                }
            }
            Owner::Parallel { step, .. } => self.finish_one(cell, up, step, number, "BranchExited"),
            Owner::Foreach { step } => {
                self.written.insert(item_of(cell), None);
                self.finish_one(cell, up, step, number, "IterationExited");
            }
        }
    }

    fn finish_one(&mut self, cell: u32, up: u32, step: StepIndex, number: u32, event: &str) {
        self.walk_out_of(cell, step, number);
        self.drop_frame(cell, true);
        self.note(event, &self.graph.steps[step].name, Some(index(number)));
        if let Open::Fork(fork) = &mut self.frame_mut(up).control.open {
            fork.done += 1;
        }
        self.begin_next(up, step);
        if self.join(up, step) {
            self.ready.push_front(up);
        }
    }

    /// Ends a parallel or foreach if its every frame has ended: their locals, in order, are its local.
    pub(super) fn join(&mut self, cell: u32, step: StepIndex) -> bool {
        let Open::Fork(fork) = self.frame(cell).control.open else { return false };
        if fork.done < fork.total {
            return false;
        }
        let locals = (0..fork.total).map(|number| self.text(local_of(fork.cell(number))).unwrap_or("{}"));
        let local = json::array(locals);
        if !self.leave(cell, step, &local, None, None) {
            return false;
        }
        for number in 0..fork.total {
            let cell = local_of(fork.cell(number));
            if self.text(cell).is_some() {
                self.written.insert(cell, None);
            }
        }
        true
    }
}

fn index(number: u32) -> Json {
    Json::trusted(format!(r#"{{"index":{number}}}"#))
}
