//! What the threads and handles of one engine share: who watches which run, who is connected, how it stands, what was counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use riverrun_kernel::{RunId, WorkerId};
use riverrun_plan::Limits;
use tokio::sync::{mpsc, watch};

use crate::error::{EngineError, Health};
use crate::library::Definitions;
use crate::sequencer::{Standing, Tally};
use crate::worker_link::ToWorker;

/// Shared by everything that belongs to one engine.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) definitions: Definitions,
    pub(crate) watches: Watches,
    pub(crate) links: Links,
    pub(crate) gates: Vec<Gate>,
    pub(crate) counters: Counters,
    pub(crate) stopping: AtomicBool,
    partitions: Mutex<Vec<(Standing, Tally)>>,
    health: watch::Sender<Health>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is whole after every statement, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(gates: Vec<Gate>, flow_limits: Limits) -> Self {
        let partitions = vec![(Standing::Recovering, Tally::default()); gates.len()];
        Hub {
            definitions: Definitions::within(flow_limits),
            watches: Watches::default(),
            links: Links::default(),
            gates,
            counters: Counters::default(),
            stopping: AtomicBool::new(false),
            partitions: Mutex::new(partitions),
            health: watch::Sender::new(Health::Serving),
        }
    }

    /// Takes in where a partition stands.
    pub(crate) fn stands(&self, partition: usize, standing: &Standing, tally: Tally) {
        let mut partitions = lock(&self.partitions);
        let Some(place) = partitions.get_mut(partition) else { return };
        place.1 = tally;
        if place.0 != *standing {
            place.0 = standing.clone();
            let health = self.health_of(&partitions);
            drop(partitions);
            self.health.send_if_modified(|known| {
                let changed = *known != health;
                *known = health;
                changed
            });
            self.watches.wake_all();
        }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let health = self.health_of(&lock(&self.partitions));
        self.health.send_replace(health);
    }

    fn health_of(&self, partitions: &[(Standing, Tally)]) -> Health {
        let broken = partitions.iter().find_map(|(standing, _)| match standing {
            Standing::Broken(reason) => Some(Health::Broken(reason.clone())),
            _ => None,
        });
        let hindered = partitions.iter().find_map(|(standing, _)| match standing {
            Standing::ReadOnly(reason) => Some(Health::ReadOnly(reason.clone())),
            Standing::Recovering => {
                Some(Health::ReadOnly("a partition is being read from the store".to_owned()))
            }
            Standing::Fenced => {
                Some(Health::ReadOnly("another node owns a partition of this one".to_owned()))
            }
            Standing::Serving | Standing::Broken(_) => None,
        });
        let stopping = self.stopping.load(Ordering::Acquire).then_some(Health::Stopping);
        broken.or(stopping).or(hindered).unwrap_or(Health::Serving)
    }

    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(crate) fn watch_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(crate) fn tallies(&self) -> Vec<Tally> {
        lock(&self.partitions).iter().map(|(_, tally)| *tally).collect()
    }
}

// ---- back-pressure

/// How much may wait for one partition.
#[derive(Debug)]
pub(crate) struct Gate {
    waiting: Arc<Waiting>,
    max_count: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// A place among what waits, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    waiting: Arc<Waiting>,
    bytes: usize,
}

impl Gate {
    pub(crate) fn new(max_count: usize, max_bytes: usize) -> Self {
        Gate { waiting: Arc::default(), max_count, max_bytes }
    }

    /// A place for a request of so many bytes. One that is larger than the limit alone is let in when nothing else waits.
    pub(crate) fn enter(&self, bytes: usize) -> Result<Permit, EngineError> {
        let count = self.waiting.count.fetch_add(1, Ordering::Relaxed);
        let before = self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { waiting: self.waiting.clone(), bytes };
        if count >= self.max_count {
            return Err(EngineError::Busy { limit: "max_waiting" });
        }
        if before > 0 && before + bytes > self.max_bytes {
            return Err(EngineError::Busy { limit: "max_waiting_bytes" });
        }
        Ok(permit)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.count.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.waiting.count.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// ---- watches

/// What is known of a watched run without asking.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) changes: u64,
    pub(crate) closed: bool,
    /// Counts what concerns every run: a partition fell out or came back.
    pub(crate) woken: u64,
}

/// Who watches which run.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    runs: Mutex<HashMap<RunId, watch::Sender<Seen>>>,
}

impl Watches {
    pub(crate) fn subscribe(&self, run: RunId) -> watch::Receiver<Seen> {
        lock(&self.runs).entry(run).or_default().subscribe()
    }

    /// To be called by the last owner of a receiver, while it still has it.
    pub(crate) fn unsubscribe(&self, run: RunId) {
        let mut runs = lock(&self.runs);
        if runs.get(&run).is_some_and(|sender| sender.receiver_count() <= 1) {
            runs.remove(&run);
        }
    }

    pub(crate) fn changed(&self, run: RunId, closed: bool) {
        if let Some(sender) = lock(&self.runs).get(&run) {
            sender.send_modify(|seen| {
                seen.changes += 1;
                seen.closed = closed;
            });
        }
    }

    pub(crate) fn wake_all(&self) {
        for sender in lock(&self.runs).values() {
            sender.send_modify(|seen| seen.woken += 1);
        }
    }
}

// ---- workers

/// The connections of workers. What waits for one is bounded by the attempts that it has: no more are offered than it has slots.
#[derive(Debug, Default)]
pub(crate) struct Links {
    workers: Mutex<HashMap<WorkerId, mpsc::UnboundedSender<ToWorker>>>,
    last: AtomicU64,
}

impl Links {
    pub(crate) fn add(&self) -> (WorkerId, mpsc::UnboundedReceiver<ToWorker>) {
        let id = WorkerId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.workers).insert(id, sender);
        (id, receiver)
    }

    pub(crate) fn remove(&self, worker: WorkerId) {
        lock(&self.workers).remove(&worker);
    }

    /// A worker that is gone misses nothing: its attempts are given to others.
    pub(crate) fn tell(&self, worker: WorkerId, message: ToWorker) {
        if let Some(sender) = lock(&self.workers).get(&worker) {
            let _ = sender.send(message);
        }
    }

    pub(crate) fn close(&self, worker: WorkerId) {
        if let Some(sender) = lock(&self.workers).remove(&worker) {
            let _ = sender.send(ToWorker::Close);
        }
    }

    pub(crate) fn close_all(&self) {
        for (_, sender) in lock(&self.workers).drain() {
            let _ = sender.send(ToWorker::Close);
        }
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.workers).len()
    }
}

// ---- counters

/// What was counted outside the partitions.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) keys_reused: AtomicU64,
    pub(crate) keys_attached: AtomicU64,
    pub(crate) keys_mismatched: AtomicU64,
    pub(crate) refused_busy: AtomicU64,
    pub(crate) appends: AtomicU64,
    pub(crate) append_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
