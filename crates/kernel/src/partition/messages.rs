//! Messages: to runs of this partition at once where they are in memory, to all others through the log.

use super::Partition;
use crate::command::{Refusal, Reply};
use crate::driver::Work;
use crate::effect::{Effect, Needs};
use crate::entry::{Entry, Record};
use crate::ids::{PartitionId, RunId, StepId};
use crate::json::Json;
use crate::message::Message;
use crate::run::Failure;

impl Partition {
    /// Sends a message. One for a run in memory here takes effect within this command; every other one is recorded and delivered,
    /// also to this partition itself.
    pub(super) fn post(&mut self, message: Message) {
        let to = PartitionId::of(message.target().slot(), self.config.partitions);
        // One that is under way through the log must not be overtaken.
        let line_is_empty = !self.lines.outbox.iter().any(|(line, ..)| *line == to);
        if to == self.config.id && line_is_empty && self.is_at_hand(&message) {
            self.inbox.push_back(message);
            return;
        }
        let seq = 1 + self.lines.sent.iter().find(|(line, _)| *line == to).map_or(0, |(_, seq)| *seq);
        self.record(Record::MessageSent { to, seq, message: message.clone() });
        self.effect(Effect::Send { to, seq, message });
    }

    fn is_at_hand(&self, message: &Message) -> bool {
        let mut needs = Needs::default();
        self.message_needs(message, &mut needs);
        needs.is_empty()
    }

    pub(super) fn message_needs(&self, message: &Message, needs: &mut Needs) {
        match message {
            Message::StartChild(start) => self.start_needs(start, needs),
            Message::ReopenChild { child, start } => {
                self.run_needs(*child, needs);
                if let Some(key) = &start.key {
                    // Only a run whose key has no newer one goes on.
                    self.key_needs(&key.id, needs);
                }
            }
            _ => self.run_needs(message.target(), needs),
        }
    }

    pub(super) fn receive(
        &mut self,
        from: PartitionId,
        seq: u64,
        message: Message,
    ) -> Result<Reply, Refusal> {
        let last = self.lines.received.iter().find(|(line, _)| *line == from).map_or(0, |(_, seq)| *seq);
        if seq > last + 1 {
            return Err(Refusal::OutOfOrder { got: seq, expected: last + 1 });
        }
        if seq == last + 1 {
            self.record(Record::MessageReceived { from, seq });
            self.inbox.push_back(message);
        }
        Ok(Reply::Received { seq: last.max(seq) })
    }

    /// Takes a message in. A target that is gone needs nothing any more.
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::StartChild(start) => self.start_for_parent(*start),
            Message::ReopenChild { child, start } => self.reopen_child(child, start),
            Message::ChildStarted { run, step, child, has_token } => {
                self.child_started(run, step, child, has_token);
            }
            Message::ChildEnded { run, step, child, outcome } => self.child_ended(run, step, child, outcome),
            Message::Signal { run, name, payload, id } => {
                if let Err(refusal) = self.take_signal(run, name, payload, id) {
                    debug_assert!(matches!(refusal, Refusal::UnknownRun(_) | Refusal::RunClosed(_)));
                }
            }
            Message::CancelRun { run, reason } => {
                if self.cancel(run, reason).is_err() {
                    // The run was deleted: there is nothing left to cancel.
                }
            }
            Message::CompleteStep { run, step, outcome } => {
                if self.complete_step(run, step, outcome).is_err() {
                    // Somebody else was first, or the step was given up: there is nothing left to complete.
                }
            }
        }
    }

    fn child_started(&mut self, run: RunId, step: StepId, child: RunId, has_token: bool) {
        let Some(state) = self.state(run) else { return };
        let open = state.steps.get(&step).filter(|_| !state.phase.is_closed() && !state.gives_up());
        let Some(open) = open else {
            // The parent gave the step up while the child was being started. With a token it may itself have been what ended the step.
            if !has_token {
                let gone = if state.steps.contains_key(&step) { "was cancelled" } else { "gave the step up" };
                self.post(Message::CancelRun { run: child, reason: format!("its parent {run} {gone}") });
            }
            return;
        };
        let goes_on = matches!(&open.work, Work::Child(work) if !work.wait && work.callback.is_none());
        self.emit(run, Entry::ChildStarted { step, run: child });
        if goes_on {
            let output = Json::from(serde_json::json!({ "run_id": child.to_string() }));
            self.emit(run, Entry::StepSucceeded { step, attempt: 0, output });
            self.to_advance.push_back(run);
        }
    }

    fn child_ended(&mut self, run: RunId, step: StepId, child: RunId, outcome: Result<Json, Failure>) {
        let Some(state) = self.state(run) else { return };
        // The child knows the step that started it. One that was reopened ends a later one.
        let link = state.children.get(&child);
        let (linked, step) = (link.is_some(), link.map_or(step, |link| link.step));
        // A step that waits for its token hears of a child only that it could not be started.
        let ends_with_it = |work: &Work| !(linked && work.takes_callback());
        let waits = state.steps.get(&step).is_some_and(|step| ends_with_it(&step.work));
        if linked {
            self.emit(run, Entry::ChildEnded { run: child });
        }
        if waits {
            self.emit(
                run,
                match outcome {
                    Ok(output) => Entry::StepSucceeded { step, attempt: 0, output },
                    Err(failure) => Entry::StepFailed { step, attempt: 0, failure, draining: false },
                },
            );
            self.to_advance.push_back(run);
        }
        self.finish_cancel(run);
        self.finish_ending(run);
    }
}
