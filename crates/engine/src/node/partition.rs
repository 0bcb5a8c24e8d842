//! One partition: a lock around its sequencer, and a thread of its own.
//!
//! A request is decided where it arrives, if nobody else is deciding; else it is left as a letter for who does, who looks again before it
//! leaves. So a step changes threads only for the disk. What takes long is the partition's own thread's: appends, outside the lock, so
//! that requests are decided and reads answered while a disk is slow; slices of checkpoints; recovery; and what is due at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use riverrun_kernel::{Command, PartitionId, Reply};
use riverrun_store::{Batch, Epoch, Store, StoreError};
use tokio::sync::oneshot;

use super::lanes::{Lane, caught};
use super::post::{Mail, Post, Work};
use super::{Handle, SystemClock};
use crate::error::{EngineError, OpenError};
use crate::hub::{Counters, Hub, lock};
use crate::sequencer::{Answer, Ask, Done, Io, Output, Request, Sequencer, Standing, Tally};
use crate::settings::Settings;
use crate::worker_link::ToWorker;

/// Letters taken in before the sequencer has its turn.
const LETTERS_PER_TURN: usize = 1_024;
/// While the log is being written so many requests are left to who writes it: they are decided together, on one processor, and could not be
/// answered before anyway.
const LEFT_TO_KEEPER: usize = 32;
/// After so long a thread that came along leaves what there still is to others.
const VISIT: Duration = Duration::from_millis(2);
/// Whatever the lease, a shorter time between two turns is not taken for a pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long a stopping partition works on its last checkpoint.
const STOP_MS: u64 = 10_000;

/// What the partitions of a node share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) hub: Arc<Hub>,
    pub(super) readers: Arc<Lane>,
    pub(super) posts: Arc<[Post]>,
    pub(super) clock: SystemClock,
}

/// A partition that has been recovered and waits for its thread.
pub(super) struct Opened {
    id: PartitionId,
    epoch: Epoch,
    sequencer: Sequencer<Handle>,
    lease: Duration,
}

/// Acquires a partition and recovers it, on the calling thread.
pub(super) fn open(
    id: PartitionId,
    store: &Arc<dyn Store>,
    settings: &Settings,
    hub: &Hub,
    clock: SystemClock,
) -> Result<Opened, OpenError> {
    let epoch = store.acquire(id, &settings.node)?;
    let config = settings.config(id, store.partitions(), store.secret());
    let mut sequencer = Sequencer::new(settings.clone(), config, epoch, clock.read());
    while *sequencer.standing() == Standing::Recovering {
        sequencer.run(clock.read(), &hub.definitions);
        for output in sequencer.take_outputs() {
            let Output::Request(request) = output else { continue };
            match request.io {
                Io::Recover => sequencer.recover(&hub.definitions, |each| store.recover(id, each))?,
                Io::Load(needs) => {
                    let rows = store.load(id, &needs)?;
                    sequencer.done(clock.read(), request.life, Done::Loaded(Ok(rows)), &hub.definitions);
                }
                Io::Append(_) | Io::HasBatch(_) | Io::Checkpoint(_) => {}
            }
        }
    }
    hub.stands(usize::from(id.0), sequencer.standing(), sequencer.tally());
    Ok(Opened { id, epoch, sequencer, lease: Duration::from_millis(settings.lease_ms) })
}

/// Which thread decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visitor {
    /// A caller's: it does not stay long.
    Guest,
    /// One that has read or written for the partition.
    Helper,
    /// The partition's own.
    Keeper,
}

/// What a turn leaves.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    /// The next turn is due at once.
    more: bool,
    /// There is something that the partition's own thread must do.
    for_keeper: bool,
    /// Nothing more will be decided.
    over: bool,
}

/// A partition that serves.
pub(super) struct Desk {
    id: PartitionId,
    epoch: Epoch,
    shared: Shared,
    seat: Mutex<Option<Seat>>,
    checkpointer: Mutex<Option<Lane>>,
    /// Whether the partition's own thread writes the log, and looks at what was left after that.
    writing: AtomicBool,
    /// Between two turns a longer time than this was not spent waiting.
    pause: Duration,
}

/// What only one thread at a time has.
struct Seat {
    sequencer: Sequencer<Handle>,
    /// When it was last taken, on the monotonic clock.
    last: u64,
    /// Who waits for a checkpoint.
    checkpoints: Vec<oneshot::Sender<()>>,
    /// Until when it may go on, once it was told to stop.
    stop: Option<u64>,
}

/// Has what was left for a partition decided when it is dropped: by then everything that belongs together was left.
pub(super) struct Kick {
    pub(super) desk: Arc<Desk>,
    /// It may be answered while the log is being written.
    pub(super) reads: bool,
}

impl Drop for Kick {
    fn drop(&mut self) {
        self.desk.visit(self.reads);
    }
}

/// Starts the partition's thread.
pub(super) fn spawn(opened: Opened, shared: Shared) -> std::io::Result<(Arc<Desk>, JoinHandle<()>)> {
    let id = opened.id;
    let seat =
        Seat { sequencer: opened.sequencer, last: shared.clock.mono(), checkpoints: Vec::new(), stop: None };
    let desk = Arc::new(Desk {
        id,
        epoch: opened.epoch,
        shared,
        seat: Mutex::new(Some(seat)),
        checkpointer: Mutex::new(Some(Lane::new(&format!("riverrun-ckpt-{}", id.0), 1)?)),
        writing: AtomicBool::new(false),
        pause: (opened.lease / 3).max(SHORTEST_PAUSE),
    });
    let own = desk.clone();
    let thread = Builder::new().name(format!("riverrun-part-{}", id.0)).spawn(move || own.keep())?;
    Ok((desk, thread))
}

impl Desk {
    /// Leaves a letter. It is read at the next visit.
    pub(super) fn leave(&self, mail: Mail) {
        self.post().leave(mail);
    }

    /// Has what was left decided: here, or by who is at it, or, unless there is something to read, by who will have written the log.
    pub(super) fn visit(self: &Arc<Self>, reads: bool) {
        if reads || !self.writing.load(Ordering::SeqCst) || self.post().len() > LEFT_TO_KEEPER {
            self.decide(Visitor::Guest);
        }
    }

    /// Has the partition's own thread look at what was left.
    pub(super) fn call(&self) {
        self.post().ring();
    }

    /// Has it end, with a checkpoint or at once.
    pub(super) fn stop(&self, checkpoint: bool) {
        self.leave(Mail::Stop { checkpoint });
        self.call();
    }

    fn post(&self) -> &Post {
        &self.shared.posts[usize::from(self.id.0)]
    }

    /// The life of the partition's own thread.
    fn keep(self: Arc<Self>) {
        let mut over = self.decide(Visitor::Keeper);
        while !over {
            match self.post().wait(self.shared.clock, self.pause / 2) {
                Some(Work::Append(life, batches)) => self.append(life, &batches),
                Some(Work::LookUp(life, batch)) => {
                    self.answer(life, |store| Done::LookedUp(store.has_batch(self.id, self.epoch, batch)));
                }
                Some(Work::Recover) => self.recover(),
                None => {}
            }
            over = self.decide(Visitor::Keeper);
        }
        self.end();
    }

    /// Takes the seat, unless somebody has it, until nothing is left to decide; says whether the partition is at its end. Who finds the seat
    /// taken may go: who has it looks again after leaving it. So it must not be taken in any other way.
    fn decide(self: &Arc<Self>, visitor: Visitor) -> bool {
        let begun = Instant::now();
        loop {
            let mut seat = match self.seat.try_lock() {
                Ok(seat) => seat,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            let left = self.sit(&mut seat, visitor);
            drop(seat);
            if left.for_keeper {
                // Only now: it would find the seat taken.
                self.call();
            }
            if left.over || (!left.more && self.post().is_empty()) {
                return left.over;
            }
            if begun.elapsed() > VISIT {
                break;
            }
        }
        match visitor {
            Visitor::Keeper => self.call(),
            // The partition's own thread may be waiting for the disk.
            Visitor::Guest | Visitor::Helper => {
                let desk = self.clone();
                self.shared.readers.run(move || {
                    desk.decide(Visitor::Helper);
                });
            }
        }
        false
    }

    /// Has a turn.
    fn sit(self: &Arc<Self>, place: &mut Option<Seat>, visitor: Visitor) -> Left {
        let Some(seat) = place else {
            self.post().close();
            return Left { over: true, ..Left::default() };
        };
        caught(|| self.serve(seat, visitor)).unwrap_or_else(|panic| {
            tracing::error!(partition = self.id.0, "deciding ended by a panic: {panic}");
            // Said before the callers that wait are let go, so that each learns why.
            let standing = Standing::Broken(format!("a panic while deciding: {panic}"));
            self.shared.hub.stands(usize::from(self.id.0), &standing, Tally::default());
            self.shared.hub.links.close_all();
            *place = None;
            self.post().close();
            Left { for_keeper: true, over: true, ..Left::default() }
        })
    }

    fn serve(self: &Arc<Self>, seat: &mut Seat, visitor: Visitor) -> Left {
        let (hub, clock) = (&self.shared.hub, self.shared.clock.read());
        if clock.mono.saturating_sub(seat.last) > self.pause.as_millis() as u64 {
            // The process stood still, or had no processor: nobody could be heard of.
            seat.sequencer.renew_leases(clock);
        }
        seat.last = clock.mono;
        // Also when a time has come: what has arrived in time counts before what is over.
        for mail in self.post().take(LETTERS_PER_TURN) {
            self.read(seat, mail);
        }
        match visitor {
            Visitor::Guest => seat.sequencer.run_briefly(clock, &hub.definitions),
            Visitor::Helper | Visitor::Keeper => seat.sequencer.run(clock, &hub.definitions),
        }
        for output in seat.sequencer.take_outputs() {
            self.perform(output);
        }
        hub.stands(usize::from(self.id.0), seat.sequencer.standing(), seat.sequencer.tally());
        seat.tell_of_checkpoint();
        let deadline = seat.sequencer.deadline();
        self.post().look_again([deadline, seat.stop].into_iter().flatten().min());
        Left {
            more: deadline == Some(0),
            for_keeper: match visitor {
                Visitor::Guest => seat.sequencer.leaves_work() || seat.stop.is_some(),
                Visitor::Helper => seat.stop.is_some(),
                Visitor::Keeper => false,
            },
            over: visitor == Visitor::Keeper && seat.may_end(clock.mono),
        }
    }

    fn read(&self, seat: &mut Seat, mail: Mail) {
        match mail {
            Mail::Ask(to, ask) => seat.sequencer.submit(to, ask),
            Mail::Done(life, done) => {
                let clock = self.shared.clock.read();
                seat.sequencer.done(clock, life, done, &self.shared.hub.definitions);
            }
            Mail::Checkpoint(waiting) => {
                seat.checkpoints.push(waiting);
                seat.sequencer.request_checkpoint();
            }
            Mail::Panicked(reason) => seat.sequencer.break_down(reason),
            Mail::Stop { checkpoint } => {
                let now = self.shared.clock.mono();
                seat.stop = Some(if checkpoint { now + STOP_MS } else { now });
                if checkpoint {
                    seat.sequencer.request_checkpoint();
                }
            }
        }
    }

    // ---- the partition's own thread

    fn end(&self) {
        // What is being written is finished before somebody else may own the partition. No lock is held meanwhile: a last slice asks for it.
        let checkpointer = lock(&self.checkpointer).take();
        drop(checkpointer);
        let seat = lock(&self.seat).take();
        drop(seat);
        self.post().close();
        match self.shared.store.release(self.id, self.epoch) {
            Ok(()) | Err(StoreError::Fenced) => {}
            Err(error) => tracing::warn!(partition = self.id.0, "the partition was not given up: {error}"),
        }
    }

    fn append(&self, life: u64, batches: &[Batch]) {
        self.writing.store(true, Ordering::SeqCst);
        let counters = &self.shared.hub.counters;
        self.answer(life, |store| {
            let start = Instant::now();
            let result = store.append(batches);
            Counters::add(&counters.appends, 1);
            Counters::add(&counters.append_micros, start.elapsed().as_micros() as u64);
            Done::Appended(result)
        });
        // Whoever has seen it set has left a letter before, which is read right after this.
        self.writing.store(false, Ordering::SeqCst);
    }

    /// Makes a call of the store and leaves a letter about how it went.
    fn answer(&self, life: u64, call: impl FnOnce(&dyn Store) -> Done) {
        self.leave(match caught(|| call(&*self.shared.store)) {
            Ok(done) => Mail::Done(life, done),
            Err(panic) => Mail::Panicked(format!("a panic in a call of the store: {panic}")),
        });
    }

    /// Reads the partition again. Nothing can be decided meanwhile, so the seat is kept.
    fn recover(self: &Arc<Self>) {
        let mut place = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seat) = &mut *place else { return };
        let (definitions, store) = (&self.shared.hub.definitions, &self.shared.store);
        match caught(|| seat.sequencer.recover(definitions, |each| store.recover(self.id, each))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                partition = self.id.0,
                "the partition could not be read, and will be again: {error}"
            ),
            Err(panic) => {
                self.leave(Mail::Panicked(format!("a panic while the partition was read: {panic}")));
            }
        }
    }

    // ---- what comes out

    fn perform(self: &Arc<Self>, output: Output<Handle>) {
        let hub = &self.shared.hub;
        match output {
            Output::Request(request) => self.call_store(request),
            Output::Answer { to: Handle::Caller(sender, permit), answer } => {
                drop(permit);
                // The caller may be gone; what it asked for was done all the same.
                let _ = sender.send(answer);
            }
            Output::Answer { to: Handle::Line(from), answer } => self.acknowledge(from, answer),
            Output::Offer { worker, offer } => hub.links.tell(worker, ToWorker::Offer(offer)),
            Output::Stop { worker, attempt, grace_ms } => {
                hub.links.tell(worker, ToWorker::Stop { attempt, grace_ms });
            }
            Output::Tell { worker, attempt, event } => {
                hub.links.tell(worker, ToWorker::Event { attempt, event });
            }
            Output::Park { worker, attempt } => hub.links.tell(worker, ToWorker::Park { attempt }),
            Output::Evict(worker) => hub.links.close(worker),
            Output::Send { to, seq, message } => {
                let ask = Ask::Command(Command::Receive { from: self.id, seq, message });
                self.write_to(to, Mail::Ask(Some(Handle::Line(self.id)), ask));
            }
            Output::Changed { run, closed } => hub.watches.changed(run, closed),
            Output::Forgotten => hub.links.close_all(),
        }
    }

    /// Tells the sender of a message that it took effect. One that did not is sent again.
    fn acknowledge(&self, from: PartitionId, answer: Result<Answer, EngineError>) {
        if let Ok(Answer::Reply(Reply::Received { seq })) = answer {
            let ask = Ask::Command(Command::Acknowledge { to: self.id, seq });
            self.write_to(from, Mail::Ask(None, ask));
        }
    }

    fn write_to(&self, partition: PartitionId, mail: Mail) {
        let Some(post) = self.shared.posts.get(usize::from(partition.0)) else { return };
        // A partition that has ended reads its messages from the log when it is back.
        post.leave(mail);
        if partition != self.id {
            // Not decided here: two partitions that write to each other would never come to an end.
            post.ring();
        }
    }

    fn call_store(self: &Arc<Self>, request: Request) {
        let life = request.life;
        match request.io {
            Io::Append(batches) => self.post().give(Work::Append(life, batches)),
            Io::HasBatch(batch) => self.post().give(Work::LookUp(life, batch)),
            Io::Recover => self.post().give(Work::Recover),
            Io::Load(needs) => {
                let desk = self.clone();
                self.shared.readers.run(move || {
                    desk.answer(life, |store| Done::Loaded(store.load(desk.id, &needs)));
                    desk.decide(Visitor::Helper);
                });
            }
            Io::Checkpoint(checkpoint) => {
                let desk = self.clone();
                let write = move || {
                    let done = |store: &dyn Store| {
                        Done::Checkpointed(store.checkpoint(desk.id, desk.epoch, &checkpoint))
                    };
                    desk.answer(life, done);
                    desk.decide(Visitor::Helper);
                };
                if let Some(checkpointer) = &*lock(&self.checkpointer) {
                    checkpointer.run(write);
                }
            }
        }
    }
}

impl Seat {
    /// Whether it was told to stop, and has done what it could.
    fn may_end(&self, now: u64) -> bool {
        self.stop.is_some_and(|limit| {
            self.sequencer.is_idle() || *self.sequencer.standing() != Standing::Serving || now >= limit
        })
    }

    /// Tells who waits for a checkpoint that it is written, or, by letting go of them, that none can be.
    fn tell_of_checkpoint(&mut self) {
        if *self.sequencer.standing() != Standing::Serving {
            self.checkpoints.clear();
        } else if !self.sequencer.is_checkpointing() {
            for waiting in self.checkpoints.drain(..) {
                // Who asked may be gone.
                let _ = waiting.send(());
            }
        }
    }
}
