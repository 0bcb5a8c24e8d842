//! Giving runs their turns: the driver decides, its decision becomes records.

use super::Partition;
use super::attempts::with_text_at;
use super::close::Closing;
use super::life::Phase;
use super::state::RunState;
use crate::command::{AwaitedStep, StartRun};
use crate::definition::DefinitionKind;
use crate::driver::{Action, Child, Drivers, RunContext, Sleep, Tag, Then, Turn, Wake, Work};
use crate::effect::{Effect, callback_name};
use crate::entry::Entry;
use crate::ids::{RunId, StepId};
use crate::json::Fingerprint;
use crate::json::Json;
use crate::keys::{KeyId, KeyOptions, OnInput};
use crate::message::Message;
use crate::run::{Failure, Parent};

impl Partition {
    /// Lets the run's driver see what it has not seen, as far as the run's state and this command's turns allow.
    pub(super) fn advance(&mut self, run: RunId, drivers: &dyn Drivers) {
        while self.wants_turn(run) {
            if self.turns_left == 0 {
                self.effect(Effect::Continue { run });
                return;
            }
            self.turns_left -= 1;
            if !self.turn(run, drivers) {
                return;
            }
        }
    }

    /// Whether the driver has something to decide now. Begins a flow whose time has come.
    fn wants_turn(&mut self, run: RunId) -> bool {
        let Some(state) = self.state(run) else {
            return false;
        };
        if state.wakes.is_empty() || state.is_held() || state.ending.is_some() {
            return false;
        }
        match state.phase {
            Phase::Queued => {
                if !self.may_begin(run) {
                    return false;
                }
                if self.state(run).is_some_and(|state| !state.begins_with_attempt()) {
                    self.emit(run, Entry::RunStarted);
                }
                true
            }
            // The step that failed is not tried again beside an attempt that may still be executing.
            Phase::Open => state.wakes.front() != Some(&Wake::Reopened) || state.draining.is_empty(),
            _ => false,
        }
    }

    fn may_begin(&self, run: RunId) -> bool {
        let Some(state) = self.state(run) else {
            return false;
        };
        let due = state.start_due().is_none_or(|due| due.reached(self.now));
        due && self.is_next_of_key(run)
    }

    /// Whether a run and all its attempts have ended.
    pub(super) fn is_over(&self, run: RunId) -> bool {
        match self.state(run) {
            Some(state) => state.is_settled(),
            None => !self.stubs.contains_key(&run),
        }
    }

    /// One call of the driver. Returns whether the run may go on at once.
    fn turn(&mut self, run: RunId, drivers: &dyn Drivers) -> bool {
        let Some(state) = self.state(run) else {
            return false;
        };
        let Some(wake) = state.wakes.front() else {
            return false;
        };
        let definition = &state.created.definition;
        let Some(driver) = drivers.driver(definition) else {
            let reason = format!(
                "the {} `{}`, version `{}`, is not known to this server; deploy it again, then resume the run",
                definition.kind, definition.name, definition.version
            );
            self.emit(run, Entry::RunSuspended { reason });
            return false;
        };
        let context = RunContext {
            run,
            continue_id: state.created.continue_id(),
            definition,
            input: &state.created.input,
            options: &state.created.options,
            cells: &state.cells,
            now: self.now,
        };
        match driver.advance(context, wake, self.config.fuel) {
            Ok(turn) => self.take_turn(run, turn, drivers),
            Err(fault) => {
                self.emit(run, Entry::RunSuspended { reason: fault.0 });
                false
            }
        }
    }

    fn take_turn(&mut self, run: RunId, turn: Turn, drivers: &dyn Drivers) -> bool {
        let unfinished = turn.then == Then::Continue;
        self.emit(run, Entry::Advanced { cells: turn.cells, transitions: turn.transitions, unfinished });
        for note in turn.notes {
            self.emit(run, Entry::Noted(note));
        }
        for action in turn.actions {
            match action {
                Action::Begin { tag, path, work } => self.begin_step(run, tag, path, work, drivers),
                Action::Abort { tag } => self.abort_step(run, tag),
            }
        }
        if let Then::End(outcome) = turn.then {
            self.close(run, outcome.into());
            return false;
        }
        let limit = self.config.max_transitions;
        if self.state(run).is_some_and(|state| state.idle_transitions > limit) {
            let message = format!(
                "the run made more than {limit} transitions without a task or a wait (limit max_transitions): it loops"
            );
            self.close(run, Closing::Failed(Failure::new(Failure::TRANSITION_LIMIT, message)));
            return false;
        }
        let limit = self.config.max_entries;
        let is_too_long =
            |state: &RunState| state.entries > limit && state.created.definition.kind == DefinitionKind::Flow;
        if self.state(run).is_some_and(is_too_long) {
            let message = format!(
                "the run's journal has more than {limit} lines (limit max_entries): move rounds of its loops, or parts of its lists, \
                 into child flows"
            );
            self.close(run, Closing::Failed(Failure::new(Failure::HISTORY_LIMIT, message)));
            return false;
        }
        if unfinished {
            self.effect(Effect::Continue { run });
        }
        !unfinished
    }

    pub(super) fn begin_step(
        &mut self,
        run: RunId,
        tag: Tag,
        path: String,
        work: Work,
        drivers: &dyn Drivers,
    ) {
        let Some(state) = self.state(run) else { return };
        let step = StepId(state.last_step + 1);
        let instant = match &work {
            Work::Sleep(Sleep::For(0)) => Some(Json::null()),
            Work::Sleep(Sleep::Until(due)) if due.reached(self.now) => Some(Json::null()),
            Work::Signal { name, .. } => {
                state.signals.iter().find(|(signal, _)| signal == name).map(|(_, payload)| payload.clone())
            }
            _ => None,
        };
        let child = match &work {
            Work::Child(child) => Some((child.clone(), state.again.get(&path).copied())),
            _ => None,
        };
        self.emit(run, Entry::StepBegun { step, tag, path, work });
        if let Some(output) = instant {
            self.emit(run, Entry::StepSucceeded { step, attempt: 0, output });
        }
        if let Some((child, before)) = child {
            self.start_child(run, step, child, before, drivers);
        }
    }

    pub(super) fn abort_step(&mut self, run: RunId, tag: Tag) {
        let Some(state) = self.state(run) else { return };
        let Some(step) = state.steps.iter().find(|(_, step)| step.tag == tag).map(|(id, _)| *id) else {
            return;
        };
        self.cancel_step(run, step, 0);
    }

    /// Ends an open step without an outcome: a running attempt is told, a child is cancelled unless it may go on.
    pub(super) fn cancel_step(&mut self, run: RunId, step: StepId, grace_ms: u64) {
        let Some(state) = self.state(run) else { return };
        let running = state.running_attempt(step);
        let children: Vec<RunId> = state
            .children
            .iter()
            .filter(|(_, link)| link.step == step && link.on_parent_end == crate::driver::OnParentEnd::Cancel)
            .map(|(child, _)| *child)
            .collect();
        self.emit(run, Entry::StepCancelled { step });
        if let Some(attempt) = running {
            self.stop_attempt(run, step, attempt, grace_ms);
        }
        for child in children {
            self.post(Message::CancelRun {
                run: child,
                reason: format!("its parent {run} gave the step up"),
            });
        }
    }

    /// Starts the child of a step, or has the one go on that the same step of a run that failed and goes on had before.
    fn start_child(
        &mut self,
        parent: RunId,
        step: StepId,
        mut child: Child,
        before: Option<RunId>,
        drivers: &dyn Drivers,
    ) {
        let mut options = std::mem::take(child.options.as_mut());
        options.tokens =
            self.state(parent).map_or_else(Vec::new, |state| state.created.options.tokens.clone());
        if let Some(handed) = &child.callback {
            options.tokens.push(AwaitedStep { run: parent, step });
            child.input = with_text_at(&child.input, &handed.paths, &callback_name(parent, step));
        }
        let prepared = match drivers.resolve(&child.definition) {
            Some(found) => child_key(&child).map(|key| (found, key)),
            None => Err(format!("there is no {} `{}`", child.definition.kind, child.definition.name)),
        };
        let (found, key) = match prepared {
            Ok(prepared) => prepared,
            Err(message) => {
                let failure = Failure::new(Failure::START_REFUSED, message);
                return self.emit(parent, Entry::StepFailed { step, attempt: 0, failure, draining: false });
            }
        };
        options.timeout_ms = found.timeout_ms.or(options.timeout_ms);
        if let Some(defaults) = &found.defaults {
            options.fill(&found.definition.name, defaults);
        }
        let limiter = options.limiter(&found.definition).map(|limiter| limiter.slot());
        let slot = key.as_ref().map(|options| options.id.slot()).or(limiter).unwrap_or(parent.slot());
        // The id is derived, so that the same decision gives the same child.
        let entropy =
            u64::from_be_bytes(self.token(b"child", parent, step, 0).0[..8].try_into().expect("16 bytes"));
        let wall_ms = u64::try_from(self.now.wall.0).unwrap_or_default();
        let start = Box::new(StartRun {
            run: RunId::new(wall_ms, slot, entropy),
            client_id: false,
            definition: found.definition,
            input: child.input,
            key,
            parent: Some(Parent { run: parent, step, waits: child.wait }),
            options,
        });
        self.post(match before {
            Some(child) => Message::ReopenChild { child, start },
            None => Message::StartChild(start),
        });
    }
}

/// The key that a child is started under; the text says why its input has none.
fn child_key(child: &Child) -> Result<Option<KeyOptions>, String> {
    let Some(continue_id) = &child.continue_id else { return Ok(None) };
    let id = KeyId {
        namespace: child.definition.namespace.clone(),
        definition: child.definition.name.clone(),
        version: "".into(),
        continue_id: continue_id.as_str().into(),
    };
    match Fingerprint::of(child.input.get()) {
        Ok(fingerprint) if child.is_name => Ok(Some(KeyOptions {
            on_input: OnInput::Ignore,
            rerun_purged: true,
            is_name: true,
            ..KeyOptions::new(id, fingerprint)
        })),
        Ok(fingerprint) => Ok(Some(KeyOptions::new(id, fingerprint))),
        Err(invalid) => Err(format!("the child's input has no fingerprint: {invalid}")),
    }
}
