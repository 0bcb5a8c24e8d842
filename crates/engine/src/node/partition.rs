//! The thread of one partition: it drives the sequencer with real clocks, a real store and real callers.

use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use riverrun_kernel::{Command, PartitionId, Reply};
use riverrun_store::{Epoch, Store, StoreError};
use tokio::sync::oneshot;

use super::lanes::{Lane, caught};
use super::{Handle, Mail, SystemClock};
use crate::error::{EngineError, OpenError};
use crate::hub::{Counters, Hub};
use crate::sequencer::{Answer, Ask, Done, Io, Output, Request, Sequencer, Standing, Tally};
use crate::settings::Settings;
use crate::worker_link::ToWorker;

/// Letters taken from the mailbox before the sequencer has its turn.
const MAIL_PER_TURN: usize = 4096;
/// Whatever the lease, a shorter time between two turns is not taken for a pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long a stopping partition works on its last checkpoint.
const STOP_MS: u64 = 10_000;

/// What the threads of a node share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) hub: Arc<Hub>,
    pub(super) readers: Arc<Lane>,
    pub(super) mailboxes: Vec<mpsc::Sender<Mail>>,
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

/// Starts the thread.
pub(super) fn spawn(
    opened: Opened,
    inbox: mpsc::Receiver<Mail>,
    shared: Shared,
) -> std::io::Result<JoinHandle<()>> {
    let id = opened.id.0;
    let thread = PartitionThread {
        appender: Lane::new(&format!("riverrun-log-{id}"), 1)?,
        checkpointer: Lane::new(&format!("riverrun-ckpt-{id}"), 1)?,
        id: opened.id,
        epoch: opened.epoch,
        sequencer: opened.sequencer,
        inbox,
        shared,
        pause: (opened.lease / 3).max(SHORTEST_PAUSE),
        checkpoints: Vec::new(),
        stop: None,
    };
    Builder::new().name(format!("riverrun-part-{id}")).spawn(move || thread.run())
}

struct PartitionThread {
    id: PartitionId,
    epoch: Epoch,
    sequencer: Sequencer<Handle>,
    inbox: mpsc::Receiver<Mail>,
    shared: Shared,
    appender: Lane,
    checkpointer: Lane,
    /// Between two turns a longer time than this was not spent waiting.
    pause: Duration,
    /// Who waits for a checkpoint.
    checkpoints: Vec<oneshot::Sender<()>>,
    /// Until when it may go on, once it was told to stop.
    stop: Option<u64>,
}

impl PartitionThread {
    fn run(mut self) {
        if let Err(panic) = caught(|| self.serve()) {
            tracing::error!(partition = self.id.0, "the partition's thread ended by a panic: {panic}");
            // Said before the callers that wait are let go, so that each learns why.
            let standing = Standing::Broken(format!("a panic while deciding: {panic}"));
            self.shared.hub.stands(usize::from(self.id.0), &standing, Tally::default());
            self.shared.hub.links.close_all();
        }
        self.end();
    }

    fn serve(&mut self) {
        let mut last = self.shared.clock.mono();
        loop {
            let clock = self.shared.clock.read();
            if clock.mono.saturating_sub(last) > self.pause.as_millis() as u64 {
                // The process stood still, or had no processor: nobody could be heard of.
                self.sequencer.renew_leases(clock);
            }
            last = clock.mono;
            self.sequencer.run(clock, &self.shared.hub.definitions);
            // A recovery, done in between, asks for more.
            loop {
                let outputs = self.sequencer.take_outputs();
                if outputs.is_empty() {
                    break;
                }
                for output in outputs {
                    self.perform(output);
                }
            }
            let partition = usize::from(self.id.0);
            self.shared.hub.stands(partition, self.sequencer.standing(), self.sequencer.tally());
            self.tell_of_checkpoint();
            if self.may_end() || !self.receive() {
                break;
            }
        }
    }

    /// Waits for mail or the next deadline, and takes in everything that is at hand. `false`: nobody will write any more.
    fn receive(&mut self) -> bool {
        let deadline = [self.sequencer.deadline(), self.stop].into_iter().flatten().min();
        let first = match deadline {
            Some(0) => None,
            // Never so long that waiting could be taken for a pause of the process.
            Some(at) => match self.inbox.recv_timeout(self.shared.clock.until(at).min(self.pause / 2)) {
                Ok(mail) => Some(mail),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            },
            None => match self.inbox.recv() {
                Ok(mail) => Some(mail),
                Err(mpsc::RecvError) => return false,
            },
        };
        if let Some(first) = first {
            self.take(first);
        }
        // Also after a time-out: what has arrived in time counts before what is over.
        for _ in 0..MAIL_PER_TURN {
            let Ok(mail) = self.inbox.try_recv() else { break };
            self.take(mail);
        }
        true
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Ask(to, ask) => self.sequencer.submit(to, ask),
            Mail::Done(life, done) => {
                let clock = self.shared.clock.read();
                self.sequencer.done(clock, life, done, &self.shared.hub.definitions);
            }
            Mail::Checkpoint(waiting) => {
                self.checkpoints.push(waiting);
                self.sequencer.request_checkpoint();
            }
            Mail::Panicked(reason) => self.sequencer.break_down(reason),
            Mail::Stop { checkpoint } => {
                let now = self.shared.clock.mono();
                self.stop = Some(if checkpoint { now + STOP_MS } else { now });
                if checkpoint {
                    self.sequencer.request_checkpoint();
                }
            }
        }
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

    fn may_end(&self) -> bool {
        self.stop.is_some_and(|limit| {
            let done = self.sequencer.is_idle() || *self.sequencer.standing() != Standing::Serving;
            done || self.shared.clock.mono() >= limit
        })
    }

    fn end(self) {
        let PartitionThread { id, epoch, sequencer, shared, appender, checkpointer, .. } = self;
        // What is being written is finished before somebody else may own the partition.
        drop(appender);
        drop(checkpointer);
        drop(sequencer);
        match shared.store.release(id, epoch) {
            Ok(()) | Err(StoreError::Fenced) => {}
            Err(error) => tracing::warn!(partition = id.0, "the partition was not given up: {error}"),
        }
    }

    fn perform(&mut self, output: Output<Handle>) {
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
        if let Some(mailbox) = self.shared.mailboxes.get(usize::from(partition.0)) {
            // A partition that has ended reads its messages from the log when it is back.
            let _ = mailbox.send(mail);
        }
    }

    fn call_store(&mut self, request: Request) {
        let (id, epoch, life) = (self.id, self.epoch, request.life);
        let store = self.shared.store.clone();
        let Some(mailbox) = self.shared.mailboxes.get(usize::from(id.0)).cloned() else { return };
        let answer = move |call: &mut dyn FnMut(&dyn Store) -> Done| {
            let mail = match caught(|| call(&*store)) {
                Ok(done) => Mail::Done(life, done),
                Err(panic) => Mail::Panicked(format!("a panic in a call of the store: {panic}")),
            };
            // The thread outlives its calls, unless it stops and has no use for the answer.
            let _ = mailbox.send(mail);
        };
        match request.io {
            Io::Append(batches) => {
                let hub = self.shared.hub.clone();
                self.appender.run(move || {
                    answer(&mut |store| {
                        let start = Instant::now();
                        let result = store.append(&batches);
                        Counters::add(&hub.counters.appends, 1);
                        Counters::add(&hub.counters.append_micros, start.elapsed().as_micros() as u64);
                        Done::Appended(result)
                    });
                });
            }
            Io::HasBatch(batch) => {
                let look_up = move |store: &dyn Store| Done::LookedUp(store.has_batch(id, epoch, batch));
                self.appender.run(move || answer(&mut { look_up }));
            }
            Io::Load(needs) => {
                let load = move |store: &dyn Store| Done::Loaded(store.load(id, &needs));
                self.shared.readers.run(move || answer(&mut { load }));
            }
            Io::Checkpoint(checkpoint) => {
                let write =
                    move |store: &dyn Store| Done::Checkpointed(store.checkpoint(id, epoch, &checkpoint));
                self.checkpointer.run(move || answer(&mut { write }));
            }
            Io::Recover => {
                let (definitions, store) = (&self.shared.hub.definitions, &self.shared.store);
                if let Err(error) = self.sequencer.recover(definitions, |each| store.recover(id, each)) {
                    tracing::warn!(
                        partition = id.0,
                        "the partition could not be read, and will be again: {error}"
                    );
                }
            }
        }
    }
}
