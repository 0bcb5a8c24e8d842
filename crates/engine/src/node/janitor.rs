//! Removes closed runs that were kept long enough, and keys that have expired, a slice at a time.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use riverrun_kernel::{Command, DefinitionKind, KeyId, PartitionId, RunSummary, State, Ttl, Wall};
use riverrun_store::{Cursor, KeyFilter, RunFilter, StoreError};

use super::{Node, wall};
use crate::hub::lock;
use crate::sequencer::{Answer, Ask, Query};

/// Between two sweeps.
const PAUSE: Duration = Duration::from_mins(5);
/// Between two slices of a sweep, so that other work has its turn: a quarter of what the slice took, within these bounds.
const BREATH: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// While checkpoints are behind by so many times the size of log that starts one, a sweep waits: what it removes is in the log too, and
/// at four times that new work would be refused.
const BEHIND: u64 = 2;
/// Runs or keys removed in one slice: less than a millisecond's work for a partition's thread.
const SLICE: usize = 200;
/// Rows of keys read in one slice.
const KEYS_READ: usize = 1_000;

/// The thread that sweeps.
#[derive(Debug)]
pub(super) struct Janitor {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Janitor {
    pub(super) fn start(node: Weak<Node>) -> std::io::Result<Janitor> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let told = stop.clone();
        let thread = Builder::new().name("riverrun-sweep".to_owned()).spawn(move || {
            let mut pause = PAUSE;
            let mut sweep = Sweep::default();
            while !wait(&told, pause) {
                let Some(node) = node.upgrade() else { return };
                if node.checkpoints_are_behind() {
                    pause = BREATH.1;
                    continue;
                }
                let begun = Instant::now();
                let more = node.sweep(wall(), &mut sweep).unwrap_or_else(|error| {
                    tracing::warn!("the sweep of old runs and keys was given up until the next: {error}");
                    false
                });
                pause = if more { (begun.elapsed() / 4).clamp(BREATH.0, BREATH.1) } else { PAUSE };
                if !more {
                    sweep = Sweep::default();
                }
            }
        })?;
        Ok(Janitor { stop, thread })
    }

    pub(super) fn stop(self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        // It may itself hold the last reference to the node that stops it.
        if self.thread.thread().id() != std::thread::current().id() && self.thread.join().is_err() {
            tracing::error!("the sweep of old runs and keys ended by a panic");
        }
    }
}

/// Waits, and says whether to stop.
fn wait(stop: &(Mutex<bool>, Condvar), pause: Duration) -> bool {
    let guard = lock(&stop.0);
    let (guard, _) =
        stop.1.wait_timeout_while(guard, pause, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
    *guard
}

/// How far a sweep has come: runs first, then keys.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Runs that it asked to remove.
    pub(crate) runs: usize,
    /// Keys that it asked to forget.
    pub(crate) keys: usize,
    runs_left: Option<RunsLeft>,
    keys_left: Option<KeysLeft>,
}

/// The part of the runs that a sweep has not seen.
#[derive(Debug)]
struct RunsLeft {
    /// Which runs are removed, namespace by namespace; the last is being read. The moments in them are the same for the whole sweep, so
    /// that it comes to an end.
    filters: Vec<RunFilter>,
    /// The last run seen of the last.
    after: Option<Cursor>,
}

/// The part of the keys that a sweep has not seen.
#[derive(Debug)]
struct KeysLeft {
    /// Those that have expired and wait for the next slice.
    found: Vec<KeyId>,
    /// Namespaces whose rows are not all read; the last is being read.
    namespaces: Vec<String>,
    /// The last row read of it.
    after: Option<KeyId>,
}

impl Node {
    /// Whether more of the log waits for a checkpoint than a sweep may add to.
    fn checkpoints_are_behind(&self) -> bool {
        let limit = BEHIND * self.settings.checkpoint_records;
        self.hub.tallies().iter().any(|tally| tally.dirty_records > limit)
    }

    /// Does the next slice of a sweep and says whether there is more to do. Blocks.
    pub(crate) fn sweep(&self, now: Wall, sweep: &mut Sweep) -> Result<bool, StoreError> {
        if sweep.runs_left.is_none() {
            sweep.runs_left = Some(self.runs_to_sweep(now)?);
        }
        if let Some(left) = &mut sweep.runs_left
            && let Some(swept) = self.sweep_runs(left)?
        {
            sweep.runs += swept;
            return Ok(true);
        }
        if sweep.keys_left.is_none() {
            sweep.keys_left = Some(self.keys_to_sweep(now)?);
        }
        let Some(left) = &mut sweep.keys_left else { return Ok(false) };
        let Some(swept) = self.sweep_keys(now, left)? else { return Ok(false) };
        sweep.keys += swept;
        Ok(true)
    }

    /// Where a sweep of the runs begins.
    fn runs_to_sweep(&self, now: Wall) -> Result<RunsLeft, StoreError> {
        let mut filters = Vec::new();
        let retention =
            self.settings.retention.map(|kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
        for namespace in self.store.namespaces()? {
            let closed = RunFilter {
                namespace,
                states: State::ALL.into_iter().filter(|state| state.is_closed()).collect(),
                ..RunFilter::default()
            };
            filters.push(RunFilter { expires_before: Some(now), ..closed.clone() });
            let Some(retention) = retention else { continue };
            let kept_for = |ms: u64, kind: Option<DefinitionKind>| {
                let before = Some(Wall(now.0.saturating_sub_unsigned(ms)));
                // A run ends after it was created, and what is newer need not be looked at.
                RunFilter { kind, created_before: before, ended_before: before, ..closed.clone() }
            };
            if Ttl::TASK_MS < retention {
                filters.push(kept_for(Ttl::TASK_MS, Some(DefinitionKind::Task)));
            }
            filters.push(kept_for(retention, None));
        }
        Ok(RunsLeft { filters, after: None })
    }

    /// Removes at most a slice of closed runs that were kept long enough, and says how many; `None` when all were seen.
    fn sweep_runs(&self, left: &mut RunsLeft) -> Result<Option<usize>, StoreError> {
        let Some(filter) = left.filters.last() else { return Ok(None) };
        let page = self.store.list(filter, left.after, SLICE, &HashSet::new())?;
        // What has an expiry of its own goes by that alone.
        let by_expiry = filter.expires_before.is_some();
        left.after = page.next;
        if page.next.is_none() {
            left.filters.pop();
        }
        let swept: Vec<RunSummary> =
            page.items.into_iter().filter(|run| by_expiry || run.expires.is_none()).collect();
        let count = swept.len();
        let remove = |run: RunSummary| (self.partition_of_run(run.id), Command::Delete { run: run.id });
        self.command_all(swept.into_iter().map(remove));
        Ok(Some(count))
    }

    /// Where a sweep of the keys begins: with those in memory, which may have no row yet.
    fn keys_to_sweep(&self, now: Wall) -> Result<KeysLeft, StoreError> {
        let mut found = Vec::new();
        for answer in self.ask_all_freely(&|| Ask::Query(Query::DirtyKeys)) {
            // A partition that does not answer now is swept another time.
            let Ok(Answer::DirtyKeys(keys)) = blocking(answer) else { continue };
            let expired = keys.into_iter().filter_map(|(_, key)| key).filter(|key| key.is_expired(now));
            found.extend(expired.map(|key| key.id));
        }
        Ok(KeysLeft { found, namespaces: self.store.namespaces()?, after: None })
    }

    /// Forgets at most a slice of expired keys, and says how many; `None` when all were seen. Whether one has really expired is the
    /// partition's to decide: it may stand for a new run since its row was written.
    fn sweep_keys(&self, now: Wall, left: &mut KeysLeft) -> Result<Option<usize>, StoreError> {
        if left.found.is_empty() {
            let Some(namespace) = left.namespaces.last() else { return Ok(None) };
            let filter = KeyFilter { namespace: namespace.clone(), definition: None };
            let rows = self.store.keys(&filter, left.after.as_ref(), KEYS_READ)?;
            left.after = rows.last().map(|key| key.id.clone());
            if rows.len() < KEYS_READ {
                left.namespaces.pop();
                left.after = None;
            }
            left.found = rows.into_iter().filter(|key| key.is_expired(now)).map(|key| key.id).collect();
        }
        let slice = left.found.split_off(left.found.len().saturating_sub(SLICE));
        let swept = slice.len();
        self.command_all(
            slice.into_iter().map(|key| (self.partition_of(key.slot()), Command::SweepKey { key })),
        );
        Ok(Some(swept))
    }

    /// Has commands decided and waits for that. What could not be done now is found again by a later sweep.
    fn command_all(&self, commands: impl Iterator<Item = (PartitionId, Command)>) {
        let answers: Vec<_> =
            commands.map(|(partition, command)| self.ask_freely(partition, Ask::Command(command))).collect();
        for answer in answers {
            let _ = blocking(answer);
        }
    }
}

/// Waits for an answer on a thread that may block.
fn blocking<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
