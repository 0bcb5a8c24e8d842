//! Removes closed runs that were kept long enough, a slice at a time.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use riverrun_kernel::{Command, RunId, State, Wall};
use riverrun_store::{RunFilter, StoreError};

use super::{Node, wall};
use crate::hub::lock;
use crate::sequencer::Ask;

/// Between two sweeps.
const PAUSE: Duration = Duration::from_mins(5);
/// Between two slices of a sweep, so that other work has its turn.
const BREATH: Duration = Duration::from_millis(50);
/// Runs removed in one slice.
const SLICE: usize = 200;

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
            let mut removed = HashSet::new();
            while !wait(&told, pause) {
                let Some(node) = node.upgrade() else { return };
                let more = node.sweep(wall(), SLICE, &mut removed).is_ok_and(|count| count == SLICE);
                pause = if more { BREATH } else { PAUSE };
                if !more {
                    removed.clear();
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
            tracing::error!("the sweep of closed runs ended by a panic");
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

impl Node {
    /// Asks for the removal of at most `limit` closed runs that ended longer ago than the retention, and says of how many. Blocks.
    /// Those that are already in `removed`, whose rows may still be there, are left out; the others join it.
    pub(crate) fn sweep(
        &self,
        now: Wall,
        limit: usize,
        removed: &mut HashSet<RunId>,
    ) -> Result<usize, StoreError> {
        let Some(retention) = self.settings.retention else { return Ok(0) };
        let before = Wall(now.0.saturating_sub(retention.as_millis() as i64));
        let mut found = Vec::new();
        for namespace in self.hub.definitions.namespaces() {
            let filter = RunFilter {
                namespace: namespace.to_string(),
                states: State::ALL.into_iter().filter(|state| state.is_closed()).collect(),
                ended_before: Some(before),
                ..RunFilter::default()
            };
            let page = self.store.list(&filter, None, limit - found.len(), removed)?;
            found.extend(page.items.iter().map(|run| run.id));
            if found.len() >= limit {
                break;
            }
        }
        let remove = |run: &RunId| {
            let ask = Ask::Command(Command::Delete { run: *run });
            self.ask_freely(self.partition_of_run(*run), ask)
        };
        let answers: Vec<_> = found.iter().map(remove).collect();
        for answer in answers {
            // One that could not be removed now is found again by a later sweep.
            let _ = blocking(answer);
        }
        removed.extend(&found);
        Ok(found.len())
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
