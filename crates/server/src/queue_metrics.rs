//! What `/metrics` tells of each queue.
//!
//! Names of queues are anybody's, and a label with a value for each would fill the memory of whoever collects them. So only the first
//! queues that are seen are told apart; all others are one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use riverrun_kernel::{QueueView, WorkerView};

use crate::app::{App, now};
use crate::metrics::head;
use crate::queues::takes;

/// Queues that are told apart: the limit `max_metric_queues`.
const MAX_QUEUES: usize = 200;
/// The name of all others.
const OTHERS: &str = "_others";
/// A partition that does not answer within this time is left out for once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Namespace and name.
type Name = (String, String);

/// The queues that are told apart. One stays so for as long as the server runs, so that its counters never go back.
#[derive(Default)]
pub(crate) struct QueueMetrics {
    named: Mutex<BTreeSet<Name>>,
}

/// What is told of one.
#[derive(Default)]
struct Figures {
    waiting: usize,
    unserved: usize,
    oldest_seconds: f64,
    running: u64,
    started: u64,
    ended: u64,
    failed: u64,
}

/// A metric: name, help, whether it is a counter, and its value.
struct Row(&'static str, &'static str, bool, fn(&Figures) -> f64);

const ROWS: [Row; 7] = [
    Row("riverrun_queue_waiting", "Calls that wait in a queue", false, |of| of.waiting as f64),
    Row("riverrun_queue_unserved", "Those of them that no connected worker serves", false, |of| {
        of.unserved as f64
    }),
    Row("riverrun_queue_oldest_seconds", "Age of the run that waits longest", false, |of| of.oldest_seconds),
    Row("riverrun_queue_running", "Attempts that execute now", false, |of| of.running as f64),
    Row("riverrun_queue_started_total", "Attempts begun", true, |of| of.started as f64),
    Row("riverrun_queue_ended_total", "Calls that ended by an attempt", true, |of| of.ended as f64),
    Row("riverrun_queue_failed_total", "Those of them that failed for good", true, |of| of.failed as f64),
];

impl QueueMetrics {
    /// Writes them in Prometheus' text format. Nothing is written while the engine does not answer.
    pub async fn write(&self, app: &App, text: &mut String) {
        let seen = async {
            Ok::<_, riverrun_engine::EngineError>((app.engine.queues().await?, app.engine.workers().await?))
        };
        let Ok(Ok((queues, workers))) = tokio::time::timeout(PATIENCE, seen).await else { return };
        let all = self.figures(&queues, &workers, now().0);
        for Row(name, help, is_counter, value) in &ROWS {
            head(text, name, help, *is_counter);
            for ((namespace, queue), figures) in &all {
                let (namespace, queue) = (escaped(namespace), escaped(queue));
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "{name}{{namespace=\"{namespace}\",queue=\"{queue}\"}} {}",
                    value(figures)
                );
            }
        }
    }

    fn figures(&self, queues: &[QueueView], workers: &[WorkerView], now_ms: i64) -> BTreeMap<Name, Figures> {
        let mut all: BTreeMap<Name, Figures> = BTreeMap::new();
        for queue in queues {
            let figures = all.entry(self.name(queue)).or_default();
            let unserved = queue.functions.iter().filter(|(function, _)| {
                !workers.iter().any(|worker| takes(worker, &queue.namespace, &queue.queue, Some(function)))
            });
            let age = queue.oldest.map_or(0, |oldest| now_ms.saturating_sub_unsigned(oldest).max(0));
            figures.waiting += queue.waiting;
            figures.unserved += unserved.map(|(_, waiting)| waiting).sum::<usize>();
            figures.oldest_seconds = figures.oldest_seconds.max(age as f64 / 1e3);
            figures.running += u64::from(queue.running);
            figures.started += queue.started;
            figures.ended += queue.ended;
            figures.failed += queue.failed;
        }
        all
    }

    fn name(&self, queue: &QueueView) -> Name {
        let name = (queue.namespace.to_string(), queue.queue.to_string());
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(&name) || named.len() < MAX_QUEUES && named.insert(name.clone()) {
            name
        } else {
            (OTHERS.to_owned(), OTHERS.to_owned())
        }
    }
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_beyond_the_limit_are_one_and_those_before_stay() {
        let metrics = QueueMetrics::default();
        let queue = |n: usize| QueueView {
            namespace: "default".into(),
            queue: format!("q{n:04}").into(),
            settings: riverrun_kernel::LimiterSettings::default(),
            waiting: 1,
            functions: vec![("f".into(), 1)],
            oldest: Some(1_000),
            running: 0,
            started: 3,
            ended: 2,
            failed: 1,
            last_minute: 0,
        };
        let late: Vec<QueueView> = (100..400).map(queue).collect();
        assert_eq!(metrics.figures(&late, &[], 4_500).len(), MAX_QUEUES + 1);
        let all: Vec<QueueView> = (0..400).map(queue).collect();
        let figures = metrics.figures(&all, &[], 4_500);
        assert_eq!(figures.len(), MAX_QUEUES + 1);
        let others = &figures[&(OTHERS.to_owned(), OTHERS.to_owned())];
        assert_eq!((others.waiting, others.unserved, others.started), (200, 200, 600));
        assert!((others.oldest_seconds - 3.5).abs() < 1e-9);
        assert!(figures.contains_key(&("default".to_owned(), "q0100".to_owned())));
    }

    #[test]
    fn a_name_of_any_characters_is_one_label() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
