//! Queues and limits: what they hold, what is set for them, and emptying one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use riverrun_kernel::{
    Command, DefinitionKind, LimiterChange, LimiterId, LimiterKind, LimiterSettings, PartitionId, QueueView,
    Reply, RunId, RunSummary, State,
};
use riverrun_store::RunFilter;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::{mismatch, reply};
use crate::sequencer::{Answer, Ask, Query};
use crate::start::check_name;

/// Runs looked at, and cancelled in one commit, while a queue is emptied.
const SLICE: usize = 500;
/// A queue is emptied for so long at a time.
const SPELL: Duration = Duration::from_secs(10);

impl Engine {
    /// Every queue that has something in it, has done something since the node was started, or has something set.
    pub async fn queues(&self) -> Result<Vec<QueueView>, EngineError> {
        let mut queues: BTreeMap<(Arc<str>, Arc<str>), QueueView> = BTreeMap::new();
        for answer in self.node.ask_all_freely(&|| Ask::Query(Query::Queues)) {
            let found = match answer.await? {
                Answer::Queues(found) => found,
                other => return Err(mismatch(&other)),
            };
            for queue in found {
                match queues.get_mut(&(queue.namespace.clone(), queue.queue.clone())) {
                    Some(known) => add(known, queue),
                    None => {
                        queues.insert((queue.namespace.clone(), queue.queue.clone()), queue);
                    }
                }
            }
        }
        Ok(queues.into_values().collect())
    }

    /// Changes what is set for a queue or a concurrency key. With several partitions a queue's limits are shared out among them, at least
    /// one start or attempt each.
    pub async fn change_limit(&self, limiter: LimiterId, change: LimiterChange) -> Result<(), EngineError> {
        check_name("namespace", &limiter.namespace)?;
        check_name(
            if limiter.kind == LimiterKind::Queue { "queue" } else { "concurrency key" },
            &limiter.name,
        )?;
        let command = || Ask::Command(Command::ChangeLimit { limiter: limiter.clone(), change });
        if limiter.kind == LimiterKind::Key {
            let partition = self.node.partition_of(limiter.slot());
            return reply(self.node.ask_freely(partition, command()).await?).map(drop);
        }
        for answer in self.node.ask_all_freely(&command) {
            reply(answer.await?)?;
        }
        Ok(())
    }

    /// Cancels what of a queue has not been started: what waits in it, what is delayed, and what waits for another try. Each commit
    /// takes a slice of them, and the same again goes on where a crash cut it off. Says how many, and whether some may be left because of
    /// `most` or the time that it took.
    pub async fn empty_queue(
        &self,
        namespace: &str,
        queue: &str,
        most: usize,
    ) -> Result<(usize, bool), EngineError> {
        check_name("namespace", namespace)?;
        check_name("queue", queue)?;
        // Rows are read, so that nothing has to be in memory at once: what has none yet gets one.
        self.checkpoint().await?;
        let begun = Instant::now();
        let mut cancelled = 0;
        for kind in [DefinitionKind::Task, DefinitionKind::Workflow] {
            let filter = RunFilter {
                namespace: namespace.to_owned(),
                kind: Some(kind),
                states: vec![State::Queued, State::Running],
                ..RunFilter::default()
            };
            let mut after = None;
            loop {
                let asked = filter.clone();
                let page =
                    self.blocking(move |store| store.list(&asked, after, SLICE, &HashSet::new())).await?;
                let named = |run: &RunSummary| run.queue.as_deref().is_none_or(|known| known == queue);
                let runs = page.items.into_iter().filter(named).map(|run| run.id);
                cancelled += self.withdraw(queue, runs).await?;
                if cancelled >= most || begun.elapsed() > SPELL {
                    return Ok((cancelled, true));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok((cancelled, false))
    }

    /// Cancels those of these runs that wait in a queue, in one commit of each partition.
    async fn withdraw(&self, queue: &str, runs: impl Iterator<Item = RunId>) -> Result<usize, EngineError> {
        let mut shares: BTreeMap<PartitionId, Vec<RunId>> = BTreeMap::new();
        for run in runs {
            shares.entry(self.node.partition_of_run(run)).or_default().push(run);
        }
        let mut asked = Vec::new();
        for (partition, runs) in shares {
            let reason = "its queue was emptied".to_owned();
            let command = Command::Withdraw { queue: queue.to_owned(), runs, reason };
            asked.push(self.node.ask(partition, Ask::Command(command), 0));
        }
        let mut withdrawn = 0;
        for answer in asked {
            match reply(answer.await?)? {
                Reply::Withdrawn(count) => withdrawn += count,
                other => return Err(mismatch(&Answer::Reply(other))),
            }
        }
        Ok(withdrawn)
    }
}

fn add(known: &mut QueueView, more: QueueView) {
    if more.settings != LimiterSettings::default() {
        known.settings = more.settings;
    }
    known.waiting += more.waiting;
    known.running += more.running;
    known.oldest = [known.oldest, more.oldest].into_iter().flatten().min();
    known.started += more.started;
    known.ended += more.ended;
    known.failed += more.failed;
    known.last_minute += more.last_minute;
    for (function, count) in more.functions {
        match known.functions.iter_mut().find(|(name, _)| *name == function) {
            Some((_, known)) => *known += count,
            None => known.functions.push((function, count)),
        }
    }
}
