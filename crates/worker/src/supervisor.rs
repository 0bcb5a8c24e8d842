//! The supervisor: one loop that joins the connection, what executes attempts, the clock and the wish to shut down.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use bytes::BytesMut;
use riverrun_kernel::Incarnation;
use riverrun_wire::frame::{self, MAX_FRAME};
use riverrun_wire::worker::{FromWorker, PROTOCOL, ToWorker};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, Service};
use crate::connection::{self, Address, ConnectError, Received, Upgraded};
use crate::error::WorkerError;
use crate::executor::{Executor, Tiding};
use crate::pool::Pool;

const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(2);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// The one error of a server that does not pass by itself.
const WRONG_PROTOCOL: &str = "protocol";
/// How long the last frame may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);
/// Frames that wait for the socket. With a few, what comes up meanwhile gathers into the next one.
const FRAMES: usize = 4;

/// Executes the functions of a folder for a server, until it is told to stop.
#[derive(Debug)]
pub struct Supervisor {
    config: Config,
    address: Address,
}

impl Supervisor {
    /// Checks the settings. Nothing is started yet.
    pub fn new(config: Config) -> Result<Self, WorkerError> {
        let address = Address::parse(&config.server)?;
        if !config.functions.exists() {
            return Err(WorkerError::NoFunctions(config.functions));
        }
        Ok(Supervisor { config, address })
    }

    /// Runs until `shutdown` is cancelled, what was executing has ended or was killed after `drain_timeout`, and the server has
    /// acknowledged every report. Past `drain_timeout` that is waited for no longer than `settle_timeout`.
    ///
    /// A server that cannot be reached is tried again for ever; only what will not pass by itself is an error.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let service = self.config.service();
        let (events, received) = mpsc::channel(EVENTS);
        let pool = Pool::new(self.config, events);
        serve(service, self.address, pool, received, shutdown).await
    }
}

/// How many events of an executor may wait for its loop.
pub(crate) const EVENTS: usize = 1024;

/// The loop: executes what a server offers until `shutdown`, and after it what [`Supervisor::run`] says.
pub(crate) async fn serve<E: Executor>(
    service: Service,
    address: Address,
    executor: E,
    events: mpsc::Receiver<E::Event>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let mut work = Work {
        link: Link::Waiting,
        incarnation: Incarnation { process: process().into(), connection: 0 },
        executor,
        service,
        address,
        retry: MIN_RETRY,
        welcomed: false,
        told: Told::Nothing,
        draining: None,
    };
    let result = work.run(events, shutdown).await;
    work.leave(result.is_ok()).await;
    result
}

/// A name that no other run of the loop has, here or elsewhere.
fn process() -> String {
    format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

/// The state of a running supervisor.
struct Work<E> {
    service: Service,
    address: Address,
    executor: E,
    link: Link,
    /// This run of the loop, and its last connection.
    incarnation: Incarnation,
    retry: Duration,
    /// Whether a server has ever taken this worker: then no refusal is for ever.
    welcomed: bool,
    /// What has been told about the connection that is missing.
    told: Told,
    /// Since the shutdown was asked for: until when attempts may go on.
    draining: Option<Instant>,
}

/// What has been told about a lost connection, so that each thing is told once and not with every try.
#[derive(PartialEq, PartialOrd)]
enum Told {
    Nothing,
    Lost,
    Refused,
}

/// The way to the server.
enum Link {
    /// The functions are not known yet, so there is nothing to say.
    Waiting,
    Connecting(AbortOnDropHandle<Result<Upgraded, ConnectError>>),
    Open(Open),
}

struct Open {
    received: mpsc::Receiver<Received>,
    frames: mpsc::Sender<BytesMut>,
    writer: JoinHandle<()>,
    _reader: AbortOnDropHandle<()>,
    /// A third of the lease, once welcomed.
    beat: Option<Duration>,
    /// When something was last sent; until the welcome, when the connection was made.
    last_sent: Instant,
    /// Messages that fit nowhere else: draining, beat.
    pending: Vec<FromWorker>,
}

enum LinkEvent {
    Connected(Result<Upgraded, ConnectError>),
    Received(Received),
    Writable,
}

impl Link {
    /// Waits for something to happen. Cancel-safe.
    async fn event(&mut self, outgoing: bool) -> LinkEvent {
        match self {
            Link::Waiting => std::future::pending().await,
            Link::Connecting(task) => LinkEvent::Connected(
                task.await.unwrap_or_else(|error| Err(ConnectError::Passing(error.to_string()))),
            ),
            Link::Open(open) => tokio::select! {
                received = open.received.recv() => LinkEvent::Received(
                    received.unwrap_or_else(|| Received::Closed("its reader has ended".to_owned())),
                ),
                Ok(_) = open.frames.reserve(), if outgoing => LinkEvent::Writable,
            },
        }
    }
}

impl<E: Executor> Work<E> {
    async fn run(
        &mut self,
        mut events: mpsc::Receiver<E::Event>,
        shutdown: CancellationToken,
    ) -> Result<(), WorkerError> {
        self.executor.open(Instant::now())?;
        self.connect_once_loaded();
        loop {
            self.executor.dispatch(Instant::now())?;
            if self.is_done() {
                return Ok(());
            }
            let wake = self.next_wake();
            let outgoing = self.has_outgoing();
            tokio::select! {
                event = events.recv() => {
                    self.take(event, &mut events)?;
                    // What wakes this loop runs it at once, before others that are ready to report have had their turn. Everything
                    // at hand goes into one frame, so they go first.
                    tokio::task::yield_now().await;
                    let next = events.try_recv().ok();
                    self.take(next, &mut events)?;
                    self.connect_once_loaded();
                }
                event = self.link.event(outgoing) => self.on_link(event)?,
                () = tokio::time::sleep_until(wake) => self.on_time(Instant::now()),
                () = shutdown.cancelled(), if self.draining.is_none() => self.drain(Instant::now()),
            }
        }
    }

    /// Takes in an event and everything behind it.
    fn take(
        &mut self,
        first: Option<E::Event>,
        events: &mut mpsc::Receiver<E::Event>,
    ) -> Result<(), WorkerError> {
        let mut next = first;
        while let Some(event) = next {
            self.executor.on_event(event, Instant::now())?;
            next = events.try_recv().ok();
        }
        Ok(())
    }

    /// Ends the connection and the children. Goodbye is said only when the server has acknowledged everything: it gives up what it
    /// has no report of at once, while a lost connection leaves it time to make reports durable that are on their way.
    async fn leave(mut self, politely: bool) {
        let unsettled = self.executor.desk().ledger.claims().len();
        if politely && unsettled > 0 {
            tracing::warn!(
                attempts = unsettled,
                "leaving without a goodbye: the server has not acknowledged how these attempts ended"
            );
        }
        if let Link::Open(open) = self.link {
            let mut bytes = BytesMut::new();
            if politely && unsettled == 0 && frame::encode(&[FromWorker::Bye {}], &mut bytes).is_ok() {
                let _ = tokio::time::timeout(FAREWELL, open.frames.send(bytes)).await;
            }
            drop(open.frames);
            let _ = tokio::time::timeout(FAREWELL, open.writer).await;
        }
        self.executor.close().await;
    }

    fn is_done(&mut self) -> bool {
        let Some(deadline) = self.draining else {
            return false;
        };
        let desk = self.executor.desk();
        let settled = desk.ledger.is_settled() && desk.asides.is_empty();
        settled || Instant::now() >= deadline + self.service.settle_timeout
    }

    fn connect_once_loaded(&mut self) {
        if matches!(self.link, Link::Waiting) && self.executor.desk().functions.is_some() {
            self.connect(Duration::ZERO);
        }
    }

    fn connect(&mut self, delay: Duration) {
        let (address, token) = (self.address.clone(), self.service.token.clone());
        self.link = Link::Connecting(AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            connection::connect(&address, token.as_deref()).await
        })));
    }

    fn on_link(&mut self, event: LinkEvent) -> Result<(), WorkerError> {
        match event {
            LinkEvent::Connected(Ok(upgraded)) => self.say_hello(upgraded),
            LinkEvent::Connected(Err(ConnectError::Passing(reason))) => self.disconnected(&reason),
            LinkEvent::Connected(Err(ConnectError::Refused(error))) => self.refused(error)?,
            LinkEvent::Received(Received::Closed(reason)) => self.disconnected(&reason),
            LinkEvent::Received(Received::Messages(messages)) => {
                for message in messages {
                    self.on_message(message)?;
                }
            }
            LinkEvent::Writable => self.flush(),
        }
        Ok(())
    }

    fn say_hello(&mut self, upgraded: Upgraded) {
        let (read, write, input) = upgraded.into_parts();
        let (sender, received) = mpsc::channel(FRAMES);
        let (frames, outgoing) = mpsc::channel(FRAMES);
        self.executor.desk().ledger.reconnect();
        self.incarnation.connection += 1;
        let hello = FromWorker::Hello {
            protocol: PROTOCOL,
            name: self.service.worker_name(),
            namespace: self.service.namespace.clone(),
            queues: self.service.queues.clone(),
            functions: self.executor.desk().functions.clone().unwrap_or_default(),
            slots: self.service.slots.max(1),
            in_process: self.service.in_process,
            incarnation: Some(self.incarnation.clone()),
            attempts: self.executor.desk().ledger.claims(),
        };
        let mut open = Open {
            received,
            frames,
            writer: tokio::spawn(connection::write(write, outgoing)),
            _reader: AbortOnDropHandle::new(tokio::spawn(connection::read(read, input, sender))),
            beat: None,
            last_sent: Instant::now(),
            pending: Vec::new(),
        };
        open.send(&[&hello]);
        self.link = Link::Open(open);
    }

    /// The server does not want this worker. At the start that is a mistake in the settings, and ends it. Later it is more likely a
    /// passing one of the server's or of a proxy before it, and no reason to kill what executes.
    fn refused(&mut self, error: WorkerError) -> Result<(), WorkerError> {
        if !self.welcomed {
            return Err(error);
        }
        if self.told < Told::Refused {
            let executing = self.executor.desk().ledger.executing().len();
            tracing::warn!(
                executing,
                "{error}. It had taken the worker before, so the attempts go on and it is tried again; if the access token or the \
                 address has changed, start the worker anew"
            );
            self.told = Told::Refused;
        }
        self.disconnected("it refused the worker");
        Ok(())
    }

    fn disconnected(&mut self, reason: &str) {
        if self.told < Told::Lost {
            tracing::warn!(server = %self.address.url, "no connection to the server: {reason}; trying again");
            self.told = Told::Lost;
        }
        // Spread, so that a thousand workers do not come back in the same millisecond.
        let noise = std::hash::RandomState::new().build_hasher().finish() % 512;
        let delay = self.retry.mul_f64(0.5 + noise as f64 / 1024.0);
        self.retry = (self.retry * 2).min(MAX_RETRY);
        self.connect(delay);
    }

    fn on_message(&mut self, message: ToWorker) -> Result<(), WorkerError> {
        let now = Instant::now();
        match message {
            ToWorker::Welcome { server, lease_ms, drop, keep, .. } => {
                for attempt in drop {
                    self.executor.desk().ledger.forget(attempt);
                    self.executor.drop_attempt(attempt, now);
                }
                self.executor.kept(&keep);
                tracing::info!(server = %self.address.url, version = %server, kept = keep.len(), "connected");
                (self.retry, self.told, self.welcomed) = (MIN_RETRY, Told::Nothing, true);
                if let Link::Open(open) = &mut self.link {
                    open.beat = Some(Duration::from_millis((lease_ms / 3).max(1)));
                    if self.draining.is_some() {
                        open.pending.push(FromWorker::Draining {});
                    }
                }
            }
            ToWorker::Offer(offer) => {
                self.executor.offer(offer, now);
                if self.draining.is_some() {
                    self.executor.drain();
                }
            }
            ToWorker::Stop { attempt, grace_ms } => {
                self.executor.stop(attempt, Duration::from_millis(grace_ms), now);
            }
            ToWorker::Ack { seq } => self.executor.desk().ledger.acknowledge(seq),
            ToWorker::Refused { seq, code, message } => {
                let ledger = &mut self.executor.desk().ledger;
                let attempt = ledger.reported(seq);
                let name = attempt.map(|attempt| attempt.to_string());
                tracing::warn!(attempt = name, code, "a report changed nothing: {message}");
                // One that goes on does so for nothing.
                if let Some(attempt) = attempt.filter(|attempt| ledger.token(*attempt).is_some()) {
                    ledger.abandon(attempt);
                    self.executor.drop_attempt(attempt, now);
                }
            }
            ToWorker::Events { attempt, events } => self.executor.tell(attempt, Tiding::Events(events)),
            ToWorker::History { attempt, events, upto, last } => {
                self.executor.tell(attempt, Tiding::History { events, upto, last });
            }
            ToWorker::Park { attempt } => self.executor.tell(attempt, Tiding::Park),
            ToWorker::Going {} => tracing::info!("the server is going; the attempts are kept"),
            ToWorker::Error { code, message } => return self.on_error(code, message),
        }
        Ok(())
    }

    fn on_error(&mut self, code: String, message: String) -> Result<(), WorkerError> {
        if code == WRONG_PROTOCOL {
            return Err(WorkerError::Refused { server: self.address.url.clone(), code, message });
        }
        self.disconnected(&format!("{message} ({code})"));
        Ok(())
    }

    fn drain(&mut self, now: Instant) {
        tracing::info!(
            "shutting down: no new attempts, {} to finish",
            self.executor.desk().ledger.executing().len()
        );
        self.draining = Some(now + self.service.drain_timeout);
        self.executor.drain();
        if self.service.drain_timeout.is_zero() {
            self.executor.cut_off(now);
        }
        if let Link::Open(open) = &mut self.link {
            open.pending.push(FromWorker::Draining {});
        }
    }

    fn next_wake(&self) -> Instant {
        let beat = match &self.link {
            Link::Open(open) => Some(open.last_sent + open.beat.unwrap_or(WELCOME_TIMEOUT)),
            _ => None,
        };
        let drain = self.draining.map(|deadline| {
            if Instant::now() < deadline { deadline } else { deadline + self.service.settle_timeout }
        });
        let idle = Instant::now() + Duration::from_hours(1);
        [beat, drain, self.executor.next_deadline()].into_iter().flatten().min().unwrap_or(idle)
    }

    fn on_time(&mut self, now: Instant) {
        self.executor.tick(now);
        if self.draining.is_some_and(|deadline| deadline <= now) {
            self.executor.cut_off(now);
        }
        let Link::Open(open) = &mut self.link else {
            return;
        };
        match open.beat {
            None if now >= open.last_sent + WELCOME_TIMEOUT => {
                self.disconnected("it did not answer the hello");
            }
            Some(beat) if now >= open.last_sent + beat => {
                open.pending.push(FromWorker::Beat {});
                // Whether or not the socket takes it at once, the next one is due a beat later.
                open.last_sent = now;
            }
            _ => {}
        }
    }

    fn has_outgoing(&mut self) -> bool {
        let Link::Open(open) = &self.link else {
            return false;
        };
        let desk = self.executor.desk();
        open.beat.is_some()
            && (!open.pending.is_empty() || !desk.asides.is_empty() || desk.ledger.has_unsent())
    }

    /// Sends everything that is at hand: what was printed before the outcome it belongs to.
    fn flush(&mut self) {
        if let Link::Open(open) = &mut self.link {
            let desk = self.executor.desk();
            let mut first = std::mem::take(&mut open.pending);
            first.append(&mut desk.asides);
            let messages: Vec<&FromWorker> = first.iter().chain(desk.ledger.unsent()).collect();
            open.send(&messages);
        }
    }
}

impl Open {
    fn send(&mut self, messages: &[&FromWorker]) {
        let mut bytes = BytesMut::new();
        if let Err(error) = frame::encode_within(messages, MAX_FRAME, &mut bytes) {
            // Every payload was checked to be JSON when it came in.
            tracing::error!(%error, "messages that cannot be written");
            return;
        }
        self.last_sent = Instant::now();
        // Called with room in the channel only; if the writer has ended, the reader tells why.
        let _ = self.frames.try_send(bytes);
    }
}
