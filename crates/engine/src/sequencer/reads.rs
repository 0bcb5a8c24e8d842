//! Reads. Memory is ahead of the log, so an answer that shows what is not durable leaves with the turn that decided it; any other leaves at
//! once, whatever the disk does.

use std::collections::{HashMap, HashSet};

use riverrun_kernel::{Command, Drivers, Entry, Needs, Record, Refusal, RunId, RunSummary, State};
use riverrun_store::{Batch, RunFilter};

use crate::error::EngineError;

use super::intake::topics;
use super::types::{Answer, Ask, Dirty, Query};
use super::{Sequencer, Topic};

/// What is being written about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// That it exists.
    Created,
    /// What it did.
    Changed,
    /// That it is gone.
    Deleted,
}

impl<H> Sequencer<H> {
    /// Answers what is durable although too much waits for the log to decide anything.
    pub(super) fn read_past(&mut self, drivers: &dyn Drivers) {
        if !self.incoming.iter().any(|asked| matches!(asked.ask, Ask::Query(_))) {
            return;
        }
        // What a request that still waits may change is read after it.
        let mut named: HashSet<RunId> = HashSet::new();
        for asked in std::mem::take(&mut self.incoming) {
            match &asked.ask {
                Ask::Query(query) if self.is_durable(query) && !names(query, &named) => {
                    self.take(asked, drivers, &Needs::default());
                    continue;
                }
                Ask::Query(_) => {}
                Ask::Command(command) => named.extend(topics(command).into_iter().filter_map(run_of)),
            }
            self.incoming.push_back(asked);
        }
    }

    /// Whether everything that the answer will show is durable.
    pub(super) fn is_durable(&self, query: &Query) -> bool {
        match query {
            Query::Run(run) | Query::Tail(run, _) => !self.unwritten().any(|record| is_about(record, *run)),
            Query::DurableRuns(_) => true,
            _ => false,
        }
    }

    /// Records that were decided and are not known to be durable.
    fn unwritten(&self) -> impl Iterator<Item = &Record> {
        let flying = self.in_flight.iter().flat_map(|flight| flight.batches.iter());
        let sealed = self.sealed.iter().filter_map(|turn| turn.batch.as_ref());
        let written = flying.chain(sealed).flat_map(|batch: &Batch| &batch.records);
        written.chain(self.kernel.decided_records())
    }

    fn durable_runs(&self, filter: &RunFilter) -> Dirty {
        let mut writing: HashMap<RunId, Writing> = HashMap::new();
        for record in self.unwritten() {
            match record {
                Record::Run(run, Entry::RunCreated(_)) => {
                    writing.insert(*run, Writing::Created);
                }
                Record::Run(run, _) => {
                    writing.entry(*run).or_insert(Writing::Changed);
                }
                Record::RunDeleted(run) => {
                    writing.insert(*run, Writing::Deleted);
                }
                _ => {}
            }
        }
        let mut dirty = Dirty::default();
        for (run, summary) in self.kernel.dirty_runs(self.now()) {
            let summary = match writing.get(&run) {
                // Its row, if it has one, is still right.
                Some(Writing::Deleted) => continue,
                Some(Writing::Created) => None,
                Some(Writing::Changed) => summary.map(going_on),
                None => summary,
            };
            dirty.ids.push(run);
            dirty.matching.extend(summary.filter(|summary| filter.matches(summary)));
        }
        dirty
    }

    pub(super) fn query_needs(&self, query: &Query) -> Needs {
        match query {
            // What a cancellation would need is what it takes to know the run.
            Query::Run(run) | Query::Tail(run, _) => self.kernel.needs(&Command::Pause { run: *run }),
            Query::Key(key) if self.kernel.key(key).is_none() => {
                Needs { keys: vec![key.clone()], ..Needs::default() }
            }
            Query::Schedule(id) => self.kernel.needs_of_schedules(std::slice::from_ref(id)),
            Query::Schedules { namespace, prefix, after, limit } => {
                let ids = self.kernel.schedule_ids(namespace, prefix, after.as_deref(), *limit);
                self.kernel.needs_of_schedules(&ids)
            }
            _ => Needs::default(),
        }
    }

    pub(super) fn read(&self, query: Query) -> Result<Answer, EngineError> {
        let now = self.now();
        Ok(match query {
            Query::Run(run) => {
                Answer::Run(Box::new(self.kernel.run(now, run).ok_or(Refusal::UnknownRun(run))?))
            }
            Query::Tail(run, after) => {
                let view = self.kernel.run(now, run).ok_or(Refusal::UnknownRun(run))?;
                Answer::Tail {
                    rows: self.kernel.journal_tail(run, after),
                    entries: view.entries,
                    closed: view.summary.state.is_closed(),
                }
            }
            Query::Key(key) => {
                let live = |key: &riverrun_kernel::Key| !key.is_expired(now.wall);
                Answer::Key(self.kernel.key(&key).flatten().filter(live))
            }
            Query::DirtyRuns(filter) => {
                let mut dirty = Dirty::default();
                for (run, summary) in self.kernel.dirty_runs(now) {
                    dirty.ids.push(run);
                    dirty.matching.extend(summary.filter(|summary| filter.matches(summary)));
                }
                Answer::DirtyRuns(dirty)
            }
            Query::DurableRuns(filter) => Answer::DirtyRuns(self.durable_runs(&filter)),
            Query::DirtyKeys => Answer::DirtyKeys(self.kernel.dirty_keys()),
            Query::Schedule(id) => {
                let found = self.kernel.schedule(&id).ok_or(Refusal::UnknownSchedule(id))?;
                Answer::Schedules(vec![found.clone()])
            }
            Query::Schedules { namespace, prefix, after, limit } => {
                let ids = self.kernel.schedule_ids(&namespace, &prefix, after.as_deref(), limit);
                Answer::Schedules(ids.iter().filter_map(|id| self.kernel.schedule(id)).cloned().collect())
            }
            Query::Workers => Answer::Workers(self.kernel.workers()),
            Query::QueueDepths => Answer::QueueDepths(self.kernel.queue_depths()),
            Query::Queues => Answer::Queues(self.kernel.queues()),
            Query::Holdups(runs) => {
                Answer::Holdups(runs.into_iter().map(|run| self.kernel.holdup(run)).collect())
            }
        })
    }
}

/// A run of which only what it does now is not durable.
fn going_on(summary: RunSummary) -> RunSummary {
    RunSummary { state: State::Running, waiting: None, ended: None, error: None, ..summary }
}

fn is_about(record: &Record, run: RunId) -> bool {
    matches!(record, Record::Run(about, _) | Record::RunDeleted(about) if *about == run)
}

fn names(query: &Query, named: &HashSet<RunId>) -> bool {
    match query {
        Query::Run(run) | Query::Tail(run, _) => named.contains(run),
        _ => false,
    }
}

fn run_of(topic: Topic) -> Option<RunId> {
    match topic {
        Topic::Run(run) => Some(run),
        Topic::Key(_) | Topic::Schedule(_) | Topic::Line(_) | Topic::Worker(_) => None,
    }
}
