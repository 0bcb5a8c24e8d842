//! The threads of one engine and the way to them.
//!
//! A partition's [`crate::sequencer::Sequencer`] is driven by whoever has something for it. Each partition has a thread that appends and one
//! that writes checkpoints; a few threads read. Everything that calls the store blocks on a thread of its own kind, so that a slow
//! checkpoint holds up no append and no read.

mod janitor;
mod lanes;
mod partition;
mod post;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use riverrun_kernel::{Command, PartitionId, Reply, RunId, Slot, Wall};
use riverrun_store::Store;
use tokio::sync::oneshot;

use crate::error::{EngineError, Health, OpenError};
use crate::hub::{Counters, Gate, Hub, Permit, lock};
use crate::sequencer::{Answer, Ask, Clock};
use crate::settings::Settings;

pub(crate) use janitor::Sweep;
pub(crate) use lanes::Lane;
use partition::{Desk, Kick};
use post::{Mail, Post};

/// Threads that read.
const READERS: usize = 2;

/// Who wants to know an answer.
#[derive(Debug)]
pub(crate) enum Handle {
    /// A caller of the engine.
    Caller(oneshot::Sender<Result<Answer, EngineError>>, Option<Permit>),
    /// The partition whose message this was.
    Line(PartitionId),
}

/// The inside of an [`crate::Engine`].
pub(crate) struct Node {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) readers: Arc<Lane>,
    desks: Vec<Arc<Desk>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    janitor: Mutex<Option<janitor::Janitor>>,
    clock: SystemClock,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    pub(crate) fn read(self) -> Clock {
        Clock { wall: wall(), mono: self.mono() }
    }

    pub(crate) fn mono(self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// How long it is until a moment of the monotonic clock.
    pub(crate) fn until(self, mono: u64) -> std::time::Duration {
        let at = std::time::Duration::from_millis(mono);
        at.saturating_sub(self.start.elapsed())
    }
}

/// The wall clock.
pub(crate) fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(since.as_millis() as i64)
}

impl Node {
    /// Acquires and recovers every partition, then starts the threads.
    pub(crate) fn open(store: Arc<dyn Store>, settings: Settings) -> Result<Arc<Node>, OpenError> {
        let partitions = store.partitions();
        let gate = || Gate::new(settings.max_waiting, settings.max_waiting_bytes);
        let hub = Arc::new(Hub::new((0..partitions).map(|_| gate()).collect(), settings.flow_limits));
        let clock = SystemClock { start: Instant::now() };
        let mut opened = Vec::new();
        for id in 0..partitions {
            // All are read before any decides: a definition may live in another partition than its runs.
            let loaded = partition::open(PartitionId(id), &store, &settings, &hub, clock)?;
            opened.push(loaded);
        }
        let readers = Arc::new(Lane::new("riverrun-read", READERS)?);
        let posts = opened.iter().map(|_| Post::default()).collect();
        let shared = partition::Shared {
            store: store.clone(),
            hub: hub.clone(),
            readers: readers.clone(),
            posts,
            clock,
        };
        let (mut desks, mut threads) = (Vec::new(), Vec::new());
        for loaded in opened {
            let spawned = partition::spawn(loaded, shared.clone());
            let (desk, thread) =
                spawned.inspect_err(|_| desks.iter().for_each(|desk: &Arc<Desk>| desk.stop(false)))?;
            desks.push(desk);
            threads.push(thread);
        }
        let node = Arc::new(Node {
            settings,
            store,
            hub,
            readers,
            desks,
            threads: Mutex::new(threads),
            janitor: Mutex::new(None),
            clock,
        });
        let janitor = janitor::Janitor::start(Arc::downgrade(&node))?;
        *lock(&node.janitor) = Some(janitor);
        Ok(node)
    }

    pub(crate) fn mono(&self) -> u64 {
        self.clock.mono()
    }

    pub(crate) fn partitions(&self) -> u16 {
        self.desks.len() as u16
    }

    pub(crate) fn partition_of(&self, slot: Slot) -> PartitionId {
        PartitionId::of(slot, self.partitions())
    }

    pub(crate) fn partition_of_run(&self, run: RunId) -> PartitionId {
        self.partition_of(run.slot())
    }

    /// Asks a partition, among at most so many others; `bytes` is the size of what the request carries.
    pub(crate) async fn ask(
        &self,
        partition: PartitionId,
        ask: Ask,
        bytes: usize,
    ) -> Result<Answer, EngineError> {
        if self.hub.stopping.load(Ordering::Acquire) {
            return Err(stopping());
        }
        let entered = match self.hub.gates.get(usize::from(partition.0)) {
            Some(gate) => gate.enter(bytes),
            None => Err(EngineError::Unavailable("there is no such partition".to_owned())),
        };
        let permit = entered.inspect_err(|_| Counters::add(&self.hub.counters.refused_busy, 1))?;
        self.post(partition, ask, Some(permit)).await
    }

    /// Asks a partition whatever waits there: for what is bounded elsewhere, and for the end of work.
    pub(crate) fn ask_freely(
        &self,
        partition: PartitionId,
        ask: Ask,
    ) -> impl Future<Output = Result<Answer, EngineError>> + Send + use<> {
        self.post(partition, ask, None)
    }

    /// Asks every partition.
    pub(crate) fn ask_all_freely(
        &self,
        ask: &dyn Fn() -> Ask,
    ) -> Vec<impl Future<Output = Result<Answer, EngineError>> + Send + use<>> {
        let partitions = 0..self.partitions();
        partitions.map(|id| self.post(PartitionId(id), ask(), None)).collect()
    }

    /// Tells every partition something that needs no answer.
    pub(crate) fn tell_all(&self, command: impl Fn() -> Command) {
        for desk in &self.desks {
            desk.leave(Mail::Ask(None, Ask::Command(command())));
            desk.visit(false);
        }
    }

    /// Has every partition write a checkpoint. The receivers are dropped where none can be written.
    pub(crate) fn checkpoint_all(&self) -> Vec<oneshot::Receiver<()>> {
        let ask = |desk: &Arc<Desk>| {
            let (sender, receiver) = oneshot::channel();
            desk.leave(Mail::Checkpoint(sender));
            desk.call();
            receiver
        };
        self.desks.iter().map(ask).collect()
    }

    /// Leaves a request at once; it is decided when its answer is first waited for, together with whatever else was left before that.
    fn post(
        &self,
        partition: PartitionId,
        ask: Ask,
        permit: Option<Permit>,
    ) -> impl Future<Output = Result<Answer, EngineError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let reads = matches!(ask, Ask::Query(_));
        let kick = self.desks.get(usize::from(partition.0)).map(|desk| {
            desk.leave(Mail::Ask(Some(Handle::Caller(sender, permit)), ask));
            Kick { desk: desk.clone(), reads }
        });
        let hub = self.hub.clone();
        async move {
            drop(kick);
            receiver.await.unwrap_or_else(|_| Err(gone(&hub)))
        }
    }

    /// Ends every thread and waits for that.
    pub(crate) fn stop(&self, checkpoint: bool) {
        self.hub.stop();
        self.hub.links.close_all();
        if let Some(janitor) = lock(&self.janitor).take() {
            janitor.stop();
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        if !threads.is_empty() {
            self.desks.iter().for_each(|desk| desk.stop(checkpoint));
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a partition's thread ended by a panic");
            }
        }
        self.hub.watches.wake_all();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(false);
    }
}

/// What is answered once the node takes nothing more.
pub(crate) fn stopping() -> EngineError {
    EngineError::Unavailable("the node is stopping; try again when it is back".to_owned())
}

/// What is answered where a partition's thread has ended.
fn gone(hub: &Hub) -> EngineError {
    match hub.health() {
        Health::Broken(reason) => EngineError::Unavailable(format!(
            "the server failed ({reason}) and stops; try again when it is back"
        )),
        _ => stopping(),
    }
}

/// The reply in an answer to a command.
pub(crate) fn reply(answer: Answer) -> Result<Reply, EngineError> {
    match answer {
        Answer::Reply(reply) => Ok(reply),
        other => Err(mismatch(&other)),
    }
}

/// An answer of another kind than was asked for: never, unless the engine itself is wrong.
pub(crate) fn mismatch(answer: &Answer) -> EngineError {
    EngineError::Unavailable(format!("the engine gave an answer of the wrong kind: {answer:?}"))
}
