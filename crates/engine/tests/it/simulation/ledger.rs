//! What is durable, watched from outside: every batch that the store took, and the rules that no batch and no output may break.

use std::collections::{BTreeMap, BTreeSet};

use riverrun_kernel::{Entry, KeyId, Offer, Record, RunId, StepId};
use riverrun_store::Batch;

/// A run, as the log tells it.
#[derive(Debug, Default)]
pub struct Told {
    pub entries: Vec<Entry>,
    /// Steps whose outcome is recorded.
    outcomes: BTreeSet<StepId>,
    /// Steps that have begun.
    begun: BTreeSet<StepId>,
    started: BTreeSet<(StepId, u32)>,
    /// Attempts that may be executing.
    pub live: BTreeSet<(StepId, u32)>,
    key: Option<KeyId>,
    pub closed: bool,
    end: Option<&'static str>,
    pub deleted: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub runs: BTreeMap<RunId, Told>,
    by_key: BTreeMap<KeyId, Vec<RunId>>,
}

impl Ledger {
    /// Takes in what the store has written.
    pub fn written(&mut self, batches: &[Batch]) {
        for record in batches.iter().flat_map(|batch| &batch.records) {
            match record {
                Record::Run(run, entry) => self.entry(*run, entry),
                Record::RunDeleted(run) => {
                    let told = self.runs.get_mut(run).expect("a deleted run was created");
                    assert!(told.closed, "{run} was deleted while open");
                    told.deleted = true;
                }
                _ => {}
            }
        }
    }

    fn entry(&mut self, run: RunId, entry: &Entry) {
        if let Entry::RunCreated(created) = entry {
            // The id of a run that was deleted may be used again: a start that is repeated so late makes a new run.
            let earlier = self.runs.get(&run);
            assert!(
                earlier.is_none_or(|told| told.deleted),
                "{run} was created twice: {:?}",
                earlier.map(|told| &told.entries)
            );
            let key = created.key.as_ref().map(|key| key.key.id.clone());
            if let Some(key) = &key {
                self.by_key.entry(key.clone()).or_default().push(run);
            }
            self.runs.insert(run, Told { key, ..Told::default() });
        }
        let told = self.runs.get_mut(&run).unwrap_or_else(|| panic!("{run} was never created: {entry:?}"));
        assert!(!told.deleted, "{run} was deleted, and then: {entry:?}");
        told.entries.push(entry.clone());
        told.steps(run, entry);
        told.life(run, entry);
    }

    /// An offer leaves: its attempt must be durable and without outcome, and no attempt of another generation of its key alive.
    pub fn offered(&self, offer: &Offer) {
        let attempt = offer.attempt;
        let told = self
            .runs
            .get(&attempt.run)
            .unwrap_or_else(|| panic!("{attempt} was offered before its run was durable"));
        let place = (attempt.step, attempt.attempt);
        assert!(told.started.contains(&place), "{attempt} was offered before it was durable");
        // One that is to be stopped may still go out, before the word to stop it: it counts as alive until it has stopped.
        assert!(
            told.live.contains(&place),
            "{attempt} was offered after its outcome was durable: {:?}",
            told.entries
        );
        let Some(key) = &told.key else { return };
        for other in self.by_key.get(key).into_iter().flatten().filter(|other| **other != attempt.run) {
            let live = &self.runs[other].live;
            assert!(
                live.is_empty(),
                "{attempt} was offered beside {live:?} of {other}, another generation of {key:?}"
            );
        }
    }

    pub fn has(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }
}

impl Told {
    /// Whether it was closed at any time; it may have been reopened since.
    pub fn has_closed(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry,
                Entry::RunSucceeded { .. }
                    | Entry::RunFailed { .. }
                    | Entry::RunTimedOut
                    | Entry::RunCancelled
                    | Entry::RunExpired
            )
        })
    }

    fn steps(&mut self, run: RunId, entry: &Entry) {
        match entry {
            Entry::StepBegun { step, .. } => {
                assert!(self.begun.insert(*step), "step {step:?} of {run} began twice");
            }
            Entry::AttemptStarted { step, attempt, .. } => {
                assert!(!self.outcomes.contains(step), "step {step:?} of {run} was tried after its outcome");
                assert!(
                    self.started.insert((*step, *attempt)),
                    "attempt {step:?}.{attempt} of {run} started twice"
                );
                self.live.insert((*step, *attempt));
            }
            Entry::AttemptFailed { step, attempt, draining: false, .. }
            | Entry::AttemptLost { step, attempt, .. }
            | Entry::AttemptStopped { step, attempt }
            | Entry::CallReturned { step, attempt } => {
                self.live.remove(&(*step, *attempt));
            }
            Entry::StepSucceeded { step, attempt, .. } => {
                self.outcome(run, *step);
                self.live.remove(&(*step, *attempt));
            }
            Entry::StepFailed { step, attempt, draining, .. } => {
                self.outcome(run, *step);
                if !draining {
                    self.live.remove(&(*step, *attempt));
                }
            }
            Entry::StepCancelled { step } => self.outcome(run, *step),
            _ => {}
        }
    }

    fn outcome(&mut self, run: RunId, step: StepId) {
        assert!(self.begun.contains(&step), "step {step:?} of {run} ended before it began");
        assert!(self.outcomes.insert(step), "step {step:?} of {run} has two outcomes");
    }

    fn life(&mut self, run: RunId, entry: &Entry) {
        match entry {
            Entry::RunSucceeded { .. }
            | Entry::RunFailed { .. }
            | Entry::RunTimedOut
            | Entry::RunCancelled
            | Entry::RunExpired => {
                assert!(!self.closed, "{run} ended as {:?}, then as {}", self.end, entry.name());
                self.closed = true;
                self.end = Some(entry.name());
            }
            Entry::RunReopened => {
                let may = matches!(self.end, Some("RunFailed" | "RunTimedOut"));
                assert!(self.closed && may, "{run} was reopened after {:?}", self.end);
                self.closed = false;
            }
            Entry::StepBegun { .. }
            | Entry::AttemptStarted { .. }
            | Entry::Advanced { .. }
            | Entry::RunStarted => {
                assert!(!self.closed, "{run} ended as {:?}, and then: {entry:?}", self.end);
            }
            _ => {}
        }
    }
}
