//! What is durable, watched from outside: every batch that the store took, and the rules that no batch and no output may break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use riverrun_kernel::callback;
use riverrun_kernel::schedule::{FiredBy, ScheduleEntry, ScheduleId};
use riverrun_kernel::{Entry, KeyId, LimiterSettings, Offer, PartitionId, Record, RunId, StepId, Wall};
use riverrun_store::Batch;

use super::clients::LIMITS;
use super::world::PARTITIONS;

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
    /// Its concurrency key.
    limit: Option<Arc<str>>,
    /// It tells how another run has ended, and stands in a queue of its own.
    tells: bool,
}

/// A schedule, as the log tells it.
#[derive(Debug, Default)]
pub struct Planned {
    cursor: Option<Wall>,
    /// Planned times that came due and have neither a run nor a reason yet.
    due: BTreeSet<Wall>,
    /// All that ever came due.
    settled: BTreeSet<Wall>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub runs: BTreeMap<RunId, Told>,
    pub schedules: BTreeMap<ScheduleId, Planned>,
    by_key: BTreeMap<KeyId, Vec<RunId>>,
    by_limit: BTreeMap<Arc<str>, BTreeSet<RunId>>,
    /// What is set for the queue of each partition.
    queues: BTreeMap<PartitionId, LimiterSettings>,
    /// When attempts of each concurrency key began.
    begun: BTreeMap<Arc<str>, Vec<u64>>,
}

impl Ledger {
    /// Takes in what the store has written.
    pub fn written(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.one_batch(batch);
        }
    }

    fn one_batch(&mut self, batch: &Batch) {
        for record in &batch.records {
            match record {
                Record::Schedule(id, entry) => {
                    self.schedule(id, entry);
                    if let ScheduleEntry::Started { run, .. } = **entry {
                        let created = |record: &Record| matches!(record, Record::Run(of, Entry::RunCreated(_)) if *of == run);
                        assert!(
                            batch.records.iter().any(created),
                            "{run} is not in the batch that settles its time"
                        );
                    }
                }
                Record::Run(run, entry) => {
                    self.entry(*run, entry);
                    if matches!(entry, Entry::AttemptStarted { .. }) {
                        self.within_limits(batch, *run);
                    }
                }
                Record::LimitSet { settings, .. } => {
                    self.queues.insert(batch.partition, *settings);
                }
                Record::RunDeleted(run) => {
                    let told = self.runs.get_mut(run).expect("a deleted run was created");
                    assert!(told.closed, "{run} was deleted while open");
                    told.deleted = true;
                }
                _ => {}
            }
        }
    }

    /// Each planned time comes due once and has one run or one reason; what is settled never goes back.
    fn schedule(&mut self, id: &ScheduleId, entry: &ScheduleEntry) {
        let told = self.schedules.entry(id.clone()).or_default();
        match entry {
            ScheduleEntry::Due { cursor, fire, .. } => {
                assert!(told.cursor.is_none_or(|before| before < *cursor), "the cursor of {id:?} went back");
                told.cursor = Some(*cursor);
                for time in fire {
                    assert!(told.settled.insert(*time), "{time:?} of {id:?} came due twice");
                    told.due.insert(*time);
                }
            }
            ScheduleEntry::Started { planned, by: FiredBy::Plan, .. }
            | ScheduleEntry::NotStarted { planned, .. } => {
                assert!(told.due.remove(planned), "{planned:?} of {id:?} was started twice");
            }
            ScheduleEntry::Skipped { times } => {
                assert!(times.iter().all(|time| told.due.remove(time)), "{times:?} of {id:?} were not due");
            }
            ScheduleEntry::Deleted => *told = Planned::default(),
            _ => {}
        }
    }

    /// No limit is exceeded at any instant. Attempts count from their start until they are known to have stopped.
    fn within_limits(&mut self, batch: &Batch, run: RunId) {
        let out = |told: &Told| told.live.len();
        if let Some(settings) = self.queues.get(&batch.partition).filter(|_| !self.runs[&run].tells) {
            assert!(!settings.paused, "{run} started in a paused queue");
            let here = |run: &RunId| PartitionId::of(run.slot(), PARTITIONS) == batch.partition;
            let of_queue = self
                .runs
                .iter()
                .filter(|(run, told)| here(run) && !told.tells)
                .map(|(_, told)| out(told))
                .sum::<usize>();
            // What was out when the limit was set stays out; nothing is added to it.
            let max = settings.max_running.map(|max| (max / 3).max(1) as usize);
            assert!(max.is_none_or(|max| of_queue <= max), "{run} is one of {of_queue} in its queue");
        }
        let Some(key) = self.runs[&run].limit.clone() else { return };
        // Any other key is that of a host that is told how runs have ended.
        let known = LIMITS.iter().find(|limit| *limit.0 == *key);
        let (_, max, per_ms) = known.copied().unwrap_or(("", Some(8), None));
        let running: usize = self.by_limit[&key].iter().map(|run| out(&self.runs[run])).sum();
        assert!(max.is_none_or(|max| running <= max as usize), "{run} is one of {running} with key {key}");
        let begun = self.begun.entry(key).or_default();
        let now = batch.now.ticks.0;
        let gap = begun.last().map(|last| now - last);
        assert!(
            per_ms.is_none_or(|per| gap.is_none_or(|gap| gap >= per)),
            "{run} began {gap:?} ms after another"
        );
        begun.push(now);
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
            let limit = created.options.task.as_ref().and_then(|task| Some(task.limit.as_ref()?.key.clone()));
            if let Some(limit) = &limit {
                self.by_limit.entry(limit.clone()).or_default().insert(run);
            }
            let tells = &*created.definition.name == callback::CALLBACK;
            self.runs.insert(run, Told { key, limit, tells, ..Told::default() });
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
