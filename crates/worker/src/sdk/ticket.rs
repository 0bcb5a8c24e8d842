//! A future's place among the acts of its run.

use std::task::Waker;

use riverrun_kernel::Failure;
use riverrun_kernel::driver::Tag;
use riverrun_wire::workflow::Act;

use super::context::Ctx;
use super::core::{Kind, Outcome, Turn};

/// Numbered when the code asks for an act, opened when it first awaits it, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    ctx: Ctx,
    tag: Tag,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It has no place, for this reason.
    Refused(Failure),
    Created,
    Open,
    Over,
}

impl Ticket {
    /// For an act with a name, which makes its path.
    pub fn named(ctx: Ctx, name: &str) -> (Self, String) {
        let (tag, path) = ctx.shared().core().ask(name);
        let (stage, path) = match path {
            Ok(path) => (Stage::Created, path),
            Err(failure) => (Stage::Refused(failure), String::new()),
        };
        (Ticket { ctx, tag, stage }, path)
    }

    /// For an act whose path was derived from another's.
    pub fn derived(ctx: Ctx) -> Self {
        let tag = ctx.shared().core().ask_derived();
        Ticket { ctx, tag, stage: Stage::Created }
    }

    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// It cannot be asked for.
    pub fn refuse(&mut self, failure: Failure) {
        self.stage = Stage::Refused(failure);
    }

    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Over)
    }

    /// It is awaited for the first time. An error is its outcome, at once.
    pub fn open(
        &mut self,
        kind: Kind,
        act: impl FnOnce(Tag) -> (String, Option<Act>),
    ) -> Result<(), Failure> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Refused(failure) => return Err(failure),
            Stage::Created => {}
            stage @ (Stage::Open | Stage::Over) => {
                self.stage = stage;
                return Ok(());
            }
        }
        let (path, act) = act(self.tag);
        self.ctx.shared().core().begin(self.tag, path, kind, act)?;
        self.stage = Stage::Open;
        Ok(())
    }

    pub fn poll_step(&mut self, waker: &Waker) -> Turn {
        let turn = self.ctx.shared().core().poll_step(self.tag, waker);
        if matches!(turn, Turn::Done(_)) {
            self.stage = Stage::Over;
        }
        turn
    }

    /// While a step's body is polled, nothing else may be asked for.
    pub fn inside<R>(&self, poll: impl FnOnce() -> R) -> R {
        self.ctx.shared().core().inside = true;
        let polled = poll();
        self.ctx.shared().core().inside = false;
        polled
    }

    pub fn ran(&self, outcome: Outcome) {
        self.ctx.shared().core().ran(self.tag, outcome);
    }

    pub fn poll_wait(&mut self, waker: &Waker) -> Option<Outcome> {
        let outcome = self.ctx.shared().core().poll_wait(self.tag, waker)?;
        self.stage = Stage::Over;
        Some(outcome)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Open) {
            self.ctx.shared().core().dropped(self.tag);
        }
    }
}
