//! Starting runs: what a start under a key finds, and what follows from it. The table is `continue_id`'s contract.

use std::sync::Arc;

use super::Partition;
use super::life::Phase;
use crate::command::{AwaitedStep, Refusal, Reply, StartKind, StartRun};
use crate::effect::Needs;
use crate::entry::{Created, CreatedKey, Entry};
use crate::ids::RunId;
use crate::json::Json;
use crate::keys::{Key, KeyId, KeyOptions, KeyStatus, KeyUse, OnFailure, OnInput, OnRunning, OnSuccess};
use crate::message::Message;
use crate::run::{Failure, Parent, State};

/// What a start under a key leads to.
enum Found {
    /// A new run.
    Create {
        generation: u32,
        /// The generation before it, if it is in flight.
        cancel: Option<RunId>,
    },
    /// The run that is there.
    Answer { run: RunId, generation: u32, kind: StartKind },
}

impl Partition {
    pub(super) fn start_needs(&self, start: &StartRun, needs: &mut Needs) {
        match &start.key {
            Some(key) => {
                self.key_needs(&key.id, needs);
                // One of these may be an earlier run of the key whose attempts have not ended.
                needs.runs.extend(self.recovering.iter().filter(|run| !self.runs.contains_key(*run)));
            }
            None if start.client_id => self.run_needs(start.run, needs),
            None => {}
        }
    }

    pub(super) fn start(&mut self, start: StartRun) -> Result<Reply, Refusal> {
        if let Some(key) = start.key.clone() {
            return self.start_keyed(start, &key);
        }
        if start.client_id
            && let Ok(slot) = self.slot(start.run)
        {
            let created = &slot.state.created;
            if created.definition.name != start.definition.name || created.input != start.input {
                return Err(Refusal::RunIdTaken(start.run));
            }
            let closed = slot.state.phase.is_closed();
            let kind = if closed { StartKind::Reused } else { StartKind::Attached };
            return Ok(Reply::Started { run: start.run, kind, generation: 1 });
        }
        let run = start.run;
        self.create(start, None, None);
        Ok(Reply::Started { run, kind: StartKind::Created, generation: 1 })
    }

    /// Starts many runs in one commit.
    pub(super) fn start_many(&mut self, starts: Vec<StartRun>) -> Reply {
        // Each has its first turn in this commit, too.
        self.turns_left = self.turns_left.saturating_add(u32::try_from(starts.len()).unwrap_or(u32::MAX));
        let answers = starts.into_iter().map(|start| match self.start(start)? {
            Reply::Started { run, kind, generation } => Ok((run, kind, generation)),
            other => unreachable!("a start is answered with {other:?}"),
        });
        Reply::StartedMany(answers.collect())
    }

    fn start_keyed(&mut self, start: StartRun, options: &KeyOptions) -> Result<Reply, Refusal> {
        match self.look_up(options, start.parent)? {
            Found::Create { generation, cancel } => {
                if let Some(earlier) = cancel {
                    self.cancel(earlier, "a new generation of its key was started".to_owned())?;
                }
                let predecessor = self.unfinished_of(&options.id);
                let key = CreatedKey {
                    key: KeyUse { id: options.id.clone(), generation },
                    fingerprint: options.fingerprint,
                    ttl: options.ttl,
                };
                let run = start.run;
                self.create(start, Some(key), predecessor);
                Ok(Reply::Started { run, kind: StartKind::Created, generation })
            }
            Found::Answer { run, generation, kind } => {
                if kind == StartKind::Resumed {
                    self.reopen(run);
                }
                self.count_hit(options);
                Ok(Reply::Started { run, kind, generation })
            }
        }
    }

    pub(super) fn create(&mut self, start: StartRun, key: Option<CreatedKey>, predecessor: Option<RunId>) {
        let run = start.run;
        let child = start.parent.is_some();
        let created = Created {
            definition: start.definition,
            input: start.input,
            key,
            parent: start.parent,
            predecessor,
            options: start.options,
        };
        self.emit(run, Entry::RunCreated(Arc::new(created)));
        if child {
            // A child begins with a command of its own: a flow that starts itself must not hold up the others.
            self.effect(crate::effect::Effect::Continue { run });
        } else {
            self.to_advance.push_back(run);
        }
    }

    /// A child is started, or the parent's step told why not.
    pub(super) fn start_for_parent(&mut self, start: StartRun) {
        let Some(parent) = start.parent else {
            // Nobody waits for it: it comes after a run that is over.
            if let Err(refusal) = self.start(start) {
                debug_assert!(false, "a start without a key was refused: {refusal}");
            }
            return;
        };
        let wanted = start.run;
        let (run, step) = (parent.run, parent.step);
        let has_token = start.options.tokens.contains(&AwaitedStep { run, step });
        let ended = |child, outcome| Message::ChildEnded { run, step, child, outcome };
        match self.start(start) {
            Ok(Reply::Started { run: child, .. }) => {
                self.tell_of_child(parent, wanted, child, has_token);
            }
            Ok(_) => {}
            Err(refusal) => {
                let failure = match &refusal {
                    Refusal::KeyRejected { .. } => {
                        Failure::new(Failure::NAME_TAKEN, refusal.to_string()).not_retryable()
                    }
                    _ => Failure::new(Failure::START_REFUSED, refusal.to_string()),
                };
                self.post(ended(wanted, Err(failure)));
            }
        }
    }

    /// Lets the child of a resumed run go on for the step that waits now. What it has done is not done again by another run, and where
    /// it has succeeded since, it has succeeded.
    pub(super) fn reopen_child(&mut self, child: RunId, start: Box<StartRun>) {
        let Some(parent) = start.parent else { return };
        let (run, step) = (parent.run, parent.step);
        match self.state(child).filter(|state| state.created.is_same_work(&start)) {
            Some(state) if state.phase == Phase::Succeeded => {
                if let Some(outcome) = state.outcome.clone() {
                    self.post(Message::ChildEnded { run, step, child, outcome });
                }
            }
            Some(state) if matches!(state.phase, Phase::Queued | Phase::Open) => {
                self.post(Message::ChildStarted { run, step, child, has_token: false });
            }
            Some(state)
                if state.created.definition == start.definition
                    && self.can_reopen(child)
                    && !self.is_superseded(child) =>
            {
                self.reopen(child);
                self.post(Message::ChildStarted { run, step, child, has_token: false });
            }
            // It is gone, its end is final, or there is a newer version of it.
            _ => self.post(Message::StartChild(start)),
        }
    }

    /// Tells a parent's step about its child. A run that was there before has its own parent or none: this one only hears of it.
    fn tell_of_child(&mut self, parent: Parent, wanted: RunId, child: RunId, has_token: bool) {
        let (run, step) = (parent.run, parent.step);
        if child == wanted {
            return self.post(Message::ChildStarted { run, step, child, has_token });
        }
        let outcome = if has_token {
            let text = format!(
                "{child} was there before under the same key, and has no callback token of this step"
            );
            Err(Failure::new(Failure::START_REFUSED, text))
        } else if parent.waits {
            self.state(child).and_then(|state| state.outcome.clone()).unwrap_or_else(|| {
                let text = format!("{child} is in flight under the same key for another caller");
                Err(Failure::new(Failure::START_REFUSED, text))
            })
        } else {
            Ok(Json::from(serde_json::json!({ "run_id": child.to_string() })))
        };
        self.post(Message::ChildEnded { run, step, child, outcome });
    }

    /// The newest run of a key that has not ended with all its attempts.
    fn unfinished_of(&self, key: &KeyId) -> Option<RunId> {
        let runs = self.key_runs.get(key)?.iter();
        let unfinished = runs.filter(|run| !self.is_over(**run)).filter_map(|run| self.state(*run));
        unfinished.max_by_key(|state| state.number).map(|state| state.id)
    }

    /// Whether every run of its key that came before this one has ended with all its attempts.
    pub(super) fn is_next_of_key(&self, run: RunId) -> bool {
        let Some(state) = self.state(run) else { return false };
        let runs = state.created.key.as_ref().and_then(|created| self.key_runs.get(&created.key.id));
        let earlier = |other: &&RunId| self.state(**other).is_some_and(|other| other.number < state.number);
        runs.is_none_or(|runs| runs.iter().filter(earlier).all(|other| self.is_over(*other)))
    }

    /// Counts an answer from what was there. Kept in memory and in rows: not worth a commit of its own.
    fn count_hit(&mut self, options: &KeyOptions) {
        // Dirty since the last record there is, so that the next checkpoint takes it along.
        let number = self.next - 1;
        if let Some(key) = self.keys.get_mut(&options.id).and_then(|slot| slot.key.as_mut()) {
            key.hits += 1;
            self.touch_key(number, &options.id);
        }
    }

    fn look_up(&self, options: &KeyOptions, parent: Option<Parent>) -> Result<Found, Refusal> {
        let found = self.keys.get(&options.id).and_then(|slot| slot.key.as_ref());
        let Some(key) = found.filter(|key| !key.is_expired(self.now.wall)) else {
            return Ok(Found::Create { generation: 1, cancel: None });
        };
        if options.is_name && self.is_taken(key, parent) {
            return Err(self.rejected(key));
        }
        let again = |cancel: bool| Found::Create {
            generation: key.generation + 1,
            cancel: cancel.then_some(key.run),
        };
        if options.force {
            return Ok(again(key.status == KeyStatus::InFlight));
        }
        let other_input = key.fingerprint != options.fingerprint && options.on_input == OnInput::Refuse;
        let failed = matches!(key.status, KeyStatus::Failed | KeyStatus::Cancelled);
        let rerun = match key.status {
            KeyStatus::Failed => options.on_failure.unwrap_or(OnFailure::Rerun),
            _ => options.on_failure.unwrap_or(OnFailure::Return),
        };
        if other_input && !(failed && rerun == OnFailure::Rerun && options.allow_new_input) {
            return Err(Refusal::KeyMismatch {
                key: key.id.clone(),
                run: key.run,
                stored: key.fingerprint,
                given: options.fingerprint,
            });
        }
        // A run without a row was deleted: its key may be older than that.
        if key.purged || (key.status != KeyStatus::InFlight && self.state(key.run).is_none()) {
            if options.rerun_purged || options.on_success == OnSuccess::Rerun {
                return Ok(again(false));
            }
            return Err(Refusal::KeyPurged { key: key.id.clone(), run: key.run });
        }
        let answer = |kind| Ok(Found::Answer { run: key.run, generation: key.generation, kind });
        match key.status {
            KeyStatus::InFlight => match options.on_running {
                OnRunning::Attach => answer(StartKind::Attached),
                OnRunning::Reject => Err(self.rejected(key)),
                OnRunning::Restart => Ok(again(true)),
            },
            KeyStatus::Succeeded => match options.on_success {
                OnSuccess::Reuse => answer(StartKind::Reused),
                OnSuccess::Rerun => Ok(again(false)),
                OnSuccess::Reject => Err(self.rejected(key)),
            },
            KeyStatus::Failed | KeyStatus::Cancelled => match rerun {
                OnFailure::Return => answer(StartKind::Reused),
                OnFailure::Resume if self.can_reopen(key.run) => answer(StartKind::Resumed),
                OnFailure::Resume => Err(Refusal::WrongState {
                    run: key.run,
                    state: self.summary(key.run).map_or(State::Cancelled, |summary| summary.state),
                    hint: "this state is final and cannot be resumed; ask for a rerun",
                }),
                OnFailure::Rerun if key.failures_in_row >= options.max_generations => {
                    Err(Refusal::TooManyGenerations {
                        key: key.id.clone(),
                        run: key.run,
                        failures: key.failures_in_row,
                    })
                }
                OnFailure::Rerun => Ok(again(false)),
            },
        }
    }

    fn can_reopen(&self, run: RunId) -> bool {
        self.state(run).is_some_and(|state| matches!(state.phase, Phase::Failed | Phase::TimedOut))
    }

    /// Whether an ended run has the name. Who started that run may do so again: it tries a step once more.
    fn is_taken(&self, key: &Key, parent: Option<Parent>) -> bool {
        let starter = |parent: Option<Parent>| parent.map(|parent| parent.run);
        let kept = self.state(key.run).filter(|_| key.status != KeyStatus::InFlight && !key.purged);
        kept.is_some_and(|state| {
            starter(parent).is_none() || starter(state.created.parent) != starter(parent)
        })
    }

    fn rejected(&self, key: &Key) -> Refusal {
        let state = self.summary(key.run).map_or(State::Succeeded, |summary| summary.state);
        Refusal::KeyRejected { key: key.id.clone(), run: key.run, state }
    }
}
