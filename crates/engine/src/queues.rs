//! Queues and limits: what they hold, what is set for them, and emptying one.

use std::collections::BTreeMap;
use std::sync::Arc;

use riverrun_kernel::{Command, LimiterChange, LimiterId, LimiterKind, LimiterSettings, QueueView};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::node::{mismatch, reply};
use crate::sequencer::{Answer, Ask, Query};
use crate::start::check_name;

/// Runs cancelled in one go while a queue is emptied.
const SLICE: usize = 500;

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

    /// Cancels every run that waits in a queue and has not begun, and says how many.
    pub async fn empty_queue(&self, namespace: &str, queue: &str) -> Result<usize, EngineError> {
        let mut cancelled = 0;
        loop {
            let wanted = || Ask::Query(Query::QueuedIn(namespace.to_owned(), queue.to_owned(), SLICE));
            let mut runs = Vec::new();
            for answer in self.node.ask_all_freely(&wanted) {
                match answer.await? {
                    Answer::QueuedIn(found) => runs.extend(found),
                    other => return Err(mismatch(&other)),
                }
            }
            let asked: Vec<_> = runs
                .into_iter()
                .map(|run| {
                    let reason = "its queue was emptied".to_owned();
                    self.node.ask_freely(
                        self.node.partition_of_run(run),
                        Ask::Command(Command::Cancel { run, reason }),
                    )
                })
                .collect();
            let before = cancelled;
            for answer in asked {
                cancelled += usize::from(answer.await.and_then(reply).is_ok());
            }
            if cancelled == before {
                return Ok(cancelled);
            }
        }
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
