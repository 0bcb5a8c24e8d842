//! One worker's conversation, from `hello` to its end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use riverrun_engine::{EngineError, TaskContract, ToWorker as FromEngine, WorkerLink};
use riverrun_kernel::callback::RESERVED;
use riverrun_kernel::workflow::{Act, Event, function};
use riverrun_kernel::{AttemptId, Failure, Incarnation, Json, Offer, Refusal, Report, Token, WorkerSpec};
use riverrun_wire::frame::MAX_FRAME;
use riverrun_wire::worker::{self as wire, Claim, FromWorker, Function, PROTOCOL, ToWorker};
use riverrun_wire::workflow::Activation;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};

use super::announced::announced_options;
use super::transport::{Broken, Frames, fits, frames_of, writer};
use super::workflows;
use crate::app::{App, Shared, now};

/// How long a connection may take to say `hello`.
const HELLO: Duration = Duration::from_secs(10);
/// Reports of one worker that may wait for the store; no more is read until some are durable.
const MAX_REPORTS: usize = 4_096;
/// Messages that may wait for the writer before the connection is given up: the limit `max_worker_backlog`.
const MAX_BACKLOG: usize = 65_536;
/// The longest name of a process, in bytes: it is kept with every attempt that it gets.
const MAX_PROCESS: usize = 64;
/// So many attempts beyond its slots a worker may ask for at most.
const MAX_AHEAD: u32 = 4_096;
/// How long what was reported may take to become durable when the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Pauses before a report that the store could not take is handed in again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Holds a worker's connection until it ends.
pub(super) async fn run<S>(app: Shared, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (reading, writing) = tokio::io::split(stream);
    let (frames_out, write) = writer(writing);
    let mut frames = Frames::new(reading, app.config.limits.max_frame);
    let talk = async {
        let _open = app.counters.worker();
        let (link, namespace, welcome) = match welcome(&app, &mut frames).await {
            Ok(greeted) => greeted,
            Err(refusal) => {
                say(&frames_out, &[refusal]).await;
                return;
            }
        };
        let known = link.claims().keep.iter().copied().collect();
        let mut conversation = Conversation {
            app: &app,
            link,
            frames_out,
            max_frame: app.config.limits.max_frame.min(MAX_FRAME),
            out: vec![welcome],
            namespace,
            reports: FuturesOrdered::new(),
            last_report: 0,
            disturbed: 0,
            histories: FuturesUnordered::new(),
            pause: FIRST_PAUSE,
            known,
            heard: Instant::now(),
        };
        let end = conversation.talk(&mut frames).await;
        conversation.finish(end).await;
    };
    // The writer ends when the conversation has dropped its queue, after the last frame.
    tokio::join!(talk, write);
}

async fn say(frames_out: &Sender<BytesMut>, messages: &[ToWorker]) {
    if let Some(bytes) = frames_of(messages, MAX_FRAME)
        && frames_out.send(bytes).await.is_err()
    {
        tracing::debug!("a worker went away before it was told why");
    }
}

fn error(code: &str, message: impl Into<String>) -> ToWorker {
    ToWorker::Error { code: code.to_owned(), message: message.into() }
}

/// Reads the `hello` and connects the worker to the engine.
async fn welcome<R: AsyncRead + Unpin>(
    app: &App,
    frames: &mut Frames<R>,
) -> Result<(WorkerLink, Arc<str>, ToWorker), ToWorker> {
    let read = tokio::select! {
        read = timeout(HELLO, frames.next()) => read,
        () = app.stopping.cancelled() => return Err(ToWorker::Going {}),
    };
    let messages = match read {
        Ok(Ok(messages)) => messages,
        Ok(Err(broken)) => return Err(unreadable(&broken)),
        Err(_) => return Err(error("no_hello", "no hello came within 10 seconds: say hello first")),
    };
    let (spec, contracts, claims) = hello(messages)?;
    let namespace = spec.namespace.clone();
    let link = app
        .engine
        .connect_worker_taking(spec, &contracts, claims)
        .await
        .map_err(|refused| error("refused", refused.to_string()))?;
    let claims = link.claims();
    let welcome = ToWorker::Welcome {
        protocol: PROTOCOL,
        server: env!("CARGO_PKG_VERSION").to_owned(),
        lease_ms: link.lease_ms(),
        keep: claims.keep.clone(),
        drop: claims.drop.clone(),
    };
    Ok((link, namespace, welcome))
}

/// What a worker says first: what it can do, what its functions take and how they are run, and what it executes.
type Greeting = (WorkerSpec, BTreeMap<String, TaskContract>, Vec<(AttemptId, Token)>);

fn hello(messages: Vec<FromWorker>) -> Result<Greeting, ToWorker> {
    let mut messages = messages.into_iter();
    let (Some(first), None) = (messages.next(), messages.next()) else {
        return Err(error("no_hello", "the first frame must be a hello, alone"));
    };
    let FromWorker::Hello {
        protocol,
        name,
        namespace,
        queues,
        functions,
        slots,
        in_process,
        incarnation,
        attempts,
    } = first
    else {
        return Err(error("no_hello", "the first message must be a hello"));
    };
    if protocol != PROTOCOL {
        return Err(error(
            "protocol",
            format!(
                "this server speaks protocol {PROTOCOL}, the worker {protocol}: use the same release on both sides"
            ),
        ));
    }
    if let Some(Incarnation { process, .. }) = &incarnation
        && !(1..=MAX_PROCESS).contains(&process.len())
    {
        let text = format!(
            "the `process` of `incarnation` has {} bytes; it takes 1 to {MAX_PROCESS}, drawn at random when the process starts",
            process.len()
        );
        return Err(error("bad_incarnation", text));
    }
    let contract = |found: &Function| {
        let options = announced_options(found).map_err(|problem| error("invalid_options", problem))?;
        Ok((found.name.clone(), TaskContract { parameters: found.parameters.clone(), options }))
    };
    let contracts = functions.iter().map(contract).collect::<Result<_, ToWorker>>()?;
    let spec = WorkerSpec {
        name: name.into(),
        namespace: if namespace.is_empty() { "default".into() } else { namespace.into() },
        queues: queues.into_iter().collect(),
        functions: functions
            .into_iter()
            .map(|found| if found.workflow { function(&found.name) } else { found.name })
            .collect(),
        slots,
        in_process,
        incarnation,
    };
    if let Some(taken) = spec.functions.iter().find(|name| name.starts_with(RESERVED)) {
        let text = format!(
            "the name `{taken}` begins with `{RESERVED}`, which is kept for the server's own tasks: rename the function"
        );
        return Err(error("reserved_name", text));
    }
    let claims = attempts.into_iter().map(|Claim { attempt, token }| (attempt, token)).collect();
    Ok((spec, contracts, claims))
}

fn unreadable(broken: &Broken) -> ToWorker {
    match broken {
        Broken::Gone => error("gone", "the connection ended"),
        Broken::Frame(frame) => error("bad_frame", frame.to_string()),
    }
}

/// How a conversation ends.
enum End {
    /// The worker said so: what it has goes to others at once.
    Bye,
    /// The connection broke, or must: the worker has the grace to come back.
    Lost,
    /// The worker is told something last.
    Last(ToWorker),
}

/// A report on its way, kept so that it can be handed in again.
struct Outcome {
    /// The worker's number for it; `None` if it is the server's own.
    seq: Option<u64>,
    attempt: AttemptId,
    token: Token,
    said: Said,
    result: Result<(), EngineError>,
}

/// What is reported of an attempt.
#[derive(Clone)]
enum Said {
    /// How it ended, after so many acts of its code.
    Ended(Report, u64),
    /// Acts of its code, from this number on.
    Progress(u64, Vec<Act>),
}

struct Conversation<'a> {
    app: &'a Shared,
    link: WorkerLink,
    namespace: Arc<str>,
    frames_out: Sender<BytesMut>,
    /// The longest frame that is sent. No worker reads more than [`MAX_FRAME`].
    max_frame: usize,
    /// What goes into the next frame.
    out: Vec<ToWorker>,
    /// Reports on their way to the store, in the order in which they are acknowledged.
    reports: FuturesOrdered<BoxFuture<'static, Outcome>>,
    last_report: u64,
    /// Reports up to this one may have been handed in while an earlier one had to be handed in again.
    disturbed: u64,
    /// Histories that are being read.
    histories: FuturesUnordered<BoxFuture<'static, Result<Vec<ToWorker>, EngineError>>>,
    pause: Duration,
    /// Attempts that this worker has: only these may log.
    known: HashSet<AttemptId>,
    heard: Instant,
}

impl Conversation<'_> {
    async fn talk<R: AsyncRead + Unpin>(&mut self, frames: &mut Frames<R>) -> End {
        // Borrowed apart from `self`, whose methods run in the arms.
        let queue = self.frames_out.clone();
        loop {
            if self.out.len() > MAX_BACKLOG {
                return End::Lost;
            }
            tokio::select! {
                place = queue.reserve(), if !self.out.is_empty() => {
                    let Ok(place) = place else { return End::Lost };
                    if let Some(bytes) = frames_of(&std::mem::take(&mut self.out), self.max_frame) {
                        place.send(bytes);
                    }
                }
                told = self.link.next() => {
                    if let Some(end) = self.tell(told) {
                        return end;
                    }
                }
                Some(outcome) = self.reports.next() => self.settle(outcome),
                Some(history) = self.histories.next() => match history {
                    Ok(parts) => self.out.extend(parts),
                    // It asks again when it is back, if the attempt is still its own.
                    Err(refused) => return End::Last(error("history", refused.to_string())),
                },
                messages = frames.next(), if self.reports.len() < MAX_REPORTS => {
                    match messages {
                        Ok(messages) => if let Some(end) = self.hear(messages) {
                            return end;
                        },
                        Err(Broken::Gone) => return End::Lost,
                        Err(broken) => return End::Last(unreadable(&broken)),
                    }
                }
                () = self.app.stopping.cancelled() => return End::Last(ToWorker::Going {}),
            }
        }
    }

    /// Passes on what the engine says, and everything more that is at hand.
    fn tell(&mut self, first: Option<FromEngine>) -> Option<End> {
        let more = self.link.ready();
        for told in std::iter::once(first).chain(more.into_iter().map(Some)) {
            match told {
                Some(FromEngine::Offer(offer)) => self.offer(*offer),
                Some(FromEngine::Stop { attempt, grace_ms }) => {
                    self.out.push(ToWorker::Stop { attempt, grace_ms });
                }
                Some(FromEngine::Event { attempt, event }) => self.event(attempt, event),
                Some(FromEngine::Park { attempt }) => self.out.push(ToWorker::Park { attempt }),
                Some(FromEngine::Close) | None => {
                    return Some(End::Last(error(
                        "closed",
                        "the server heard nothing for the length of a lease, or is stopping: connect again and claim what you still execute",
                    )));
                }
            }
        }
        None
    }

    /// Tells of something recorded, together with what was said of the same attempt right before.
    fn event(&mut self, attempt: AttemptId, event: Event) {
        let event = workflows::event(event);
        match self.out.last_mut() {
            Some(ToWorker::Events { attempt: last, events }) if *last == attempt => events.push(event),
            _ => self.out.push(ToWorker::Events { attempt, events: vec![event] }),
        }
    }

    /// Offers an attempt. One that no frame can hold fails here: sent all the same, it would cut the connection, and everybody else's.
    fn offer(&mut self, offer: Offer) {
        let (attempt, token, size) = (offer.attempt, offer.token, offer.call.input.get().len());
        let message = ToWorker::Offer(Box::new(show(offer)));
        // Most are far from the limit, and are written once only.
        if size < self.max_frame / 2 || fits(&message, self.max_frame) {
            self.known.insert(attempt);
            self.out.push(message);
            return;
        }
        let text = format!(
            "the input is {size} bytes of JSON, and with it the offer to a worker is over the limit max_frame of {} bytes: keep large \
             data in a file or an object store and send its address",
            self.max_frame
        );
        let report = Report::Failed(Failure::new("InputTooLarge", text).not_retryable());
        let future = self.hand_in(None, attempt, token, Said::Ended(report, 0));
        self.reports.push_back(future);
    }

    /// Takes in a frame.
    fn hear(&mut self, messages: Vec<FromWorker>) -> Option<End> {
        self.sign_of_life(&messages);
        for message in messages {
            let end = match message {
                FromWorker::Done { seq, attempt, token, output, acts } => {
                    self.report(seq, attempt, token, Said::Ended(verdict(Ok(output)), acts))
                }
                FromWorker::Failed { seq, attempt, token, failure, acts } => {
                    self.report(seq, attempt, token, Said::Ended(verdict(Err(failure)), acts))
                }
                FromWorker::Lost { seq, attempt, token, reason } => {
                    self.report(seq, attempt, token, Said::Ended(Report::Lost(reason), 0))
                }
                FromWorker::Stopped { seq, attempt, token } => {
                    self.report(seq, attempt, token, Said::Ended(Report::Stopped, 0))
                }
                FromWorker::Parked { seq, attempt, token, seen, acts } => {
                    self.report(seq, attempt, token, Said::Ended(Report::Parked { seen }, acts))
                }
                FromWorker::Unreplayable { seq, attempt, token, reason } => {
                    self.report(seq, attempt, token, Said::Ended(Report::Unreplayable(reason), 0))
                }
                FromWorker::Progress { seq, attempt, token, first, acts } => {
                    match workflows::acts(&self.namespace, acts) {
                        Ok(acts) => self.report(seq, attempt, token, Said::Progress(first, acts)),
                        Err(problem) => Some(End::Last(error("bad_act", problem))),
                    }
                }
                FromWorker::WantHistory { attempt, .. } => {
                    // Of an attempt that it lost meanwhile it needs none.
                    if self.known.contains(&attempt) {
                        let history = workflows::history(self.app.clone(), attempt);
                        self.histories.push(history.boxed());
                    }
                    None
                }
                FromWorker::Log { attempt, stream, text } => {
                    if self.known.contains(&attempt) {
                        self.app.logs.write(now(), attempt, stream, text);
                    }
                    None
                }
                FromWorker::Beat {} => None,
                FromWorker::Ahead { attempts } => {
                    self.link.ahead(attempts.min(MAX_AHEAD));
                    None
                }
                FromWorker::Slots { slots, why } => {
                    self.link.limit(slots, why);
                    None
                }
                FromWorker::Draining {} => {
                    self.link.drain();
                    None
                }
                FromWorker::Bye {} => Some(End::Bye),
                FromWorker::Hello { .. } => Some(End::Last(error("second_hello", "hello is said once"))),
            };
            if end.is_some() {
                return end;
            }
        }
        None
    }

    /// Tells the engine that the worker lives: for every beat, and now and then for what else it says.
    fn sign_of_life(&mut self, messages: &[FromWorker]) {
        let seldom = Duration::from_millis(self.link.lease_ms() / 10);
        let beat = messages.iter().any(|message| matches!(message, FromWorker::Beat {}));
        if beat || self.heard.elapsed() > seldom {
            self.heard = Instant::now();
            self.link.heartbeat();
        }
    }

    fn report(&mut self, seq: u64, attempt: AttemptId, token: Token, said: Said) -> Option<End> {
        if seq != self.last_report + 1 {
            return Some(End::Last(error(
                "bad_sequence",
                format!(
                    "report {seq} came after report {}: they are numbered without gaps, from 1 on each connection",
                    self.last_report
                ),
            )));
        }
        self.last_report = seq;
        let future = self.hand_in(Some(seq), attempt, token, said);
        self.reports.push_back(future);
        None
    }

    fn hand_in(
        &self,
        seq: Option<u64>,
        attempt: AttemptId,
        token: Token,
        said: Said,
    ) -> BoxFuture<'static, Outcome> {
        let done =
            move |result: Result<_, _>, said| Outcome { seq, attempt, token, said, result: result.map(drop) };
        match said.clone() {
            Said::Ended(report, acts) => {
                let handed = self.link.report(attempt, token, report, acts);
                async move { done(handed.await, said) }.boxed()
            }
            Said::Progress(first, acts) => {
                let handed = self.link.progress(attempt, token, first, acts);
                async move { done(handed.await, said) }.boxed()
            }
        }
    }

    /// Acknowledges what has become durable or was refused, up to the first report that has not.
    fn settle(&mut self, first: Outcome) {
        let mut next = Some(first);
        let mut acknowledged = None;
        while let Some(outcome) = next {
            match (&outcome.result, outcome.seq) {
                (Err(EngineError::Busy { .. } | EngineError::Unavailable(_)), _) => {
                    self.disturbed = self.last_report;
                    self.try_again(outcome);
                    break;
                }
                // It overtook an earlier one that had to be handed in again.
                (Err(EngineError::Refused(Refusal::OutOfOrder { .. })), Some(seq))
                    if seq <= self.disturbed =>
                {
                    self.try_again(outcome);
                    break;
                }
                (Err(refused), Some(seq)) => self.out.push(ToWorker::Refused {
                    seq,
                    code: code(refused),
                    message: refused.to_string(),
                }),
                (Err(_), None) | (Ok(()), _) => {}
            }
            self.pause = FIRST_PAUSE;
            if matches!(outcome.said, Said::Ended(..)) {
                self.known.remove(&outcome.attempt);
            }
            acknowledged = outcome.seq.or(acknowledged);
            next = self.reports.next().now_or_never().flatten();
        }
        if let Some(seq) = acknowledged {
            self.out.push(ToWorker::Ack { seq });
        }
    }

    /// The store could not take it: the worker keeps waiting for its acknowledgement, and the report is handed in again.
    fn try_again(&mut self, outcome: Outcome) {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        let again = self.hand_in(outcome.seq, outcome.attempt, outcome.token, outcome.said);
        self.reports.push_front(
            async move {
                sleep(pause).await;
                again.await
            }
            .boxed(),
        );
    }

    /// Lets what was reported become durable, says the last words, and leaves.
    async fn finish(mut self, end: End) {
        let settle = async {
            while let Some(outcome) = self.reports.next().await {
                self.settle(outcome);
            }
        };
        let settled = timeout(LAST_WORDS, settle).await.is_ok();
        let bye = matches!(end, End::Bye);
        if let End::Last(last) = end {
            self.out.push(last);
        }
        if !self.out.is_empty() {
            let last = timeout(LAST_WORDS, say(&self.frames_out, &self.out));
            if last.await.is_err() {
                tracing::debug!("a worker did not take the last words");
            }
        }
        if bye && settled {
            self.link.goodbye().await;
        } else if !settled {
            // Not even a goodbye gives these attempts to others at once: they have ended, and the store does not know it yet. As after a
            // lost connection, their worker has the grace to come back and to report again.
            tracing::warn!(
                reports = self.reports.len(),
                "a worker's last reports were not durable in time; if it does not send them again, the attempts are lost"
            );
        }
    }
}

/// An outcome as it is recorded.
fn verdict(outcome: Result<Json, Failure>) -> Report {
    match workflows::checked(outcome) {
        Ok(output) => Report::Succeeded(output),
        Err(failure) => Report::Failed(failure),
    }
}

/// The code of a refused report.
fn code(error: &EngineError) -> String {
    match error {
        EngineError::Refused(Refusal::Conflict(_)) => "Conflict",
        EngineError::Refused(Refusal::LeaseLost(_)) => "LeaseLost",
        EngineError::Refused(Refusal::RunClosed(_)) => "RunClosed",
        EngineError::Refused(Refusal::UnknownRun(_)) => "UnknownRun",
        EngineError::Refused(Refusal::OutOfOrder { .. }) => "OutOfOrder",
        _ => "Refused",
    }
    .to_owned()
}

/// An offer as it goes over the wire.
fn show(offer: Offer) -> wire::Offer {
    wire::Offer {
        attempt: offer.attempt,
        token: offer.token,
        function: if offer.body.is_some() { offer.definition.to_string() } else { offer.call.function },
        input: offer.call.input,
        definition: offer.definition.to_string(),
        path: offer.path,
        timeout_ms: offer.call.timeout_ms,
        idempotency_key: offer.idempotency_key,
        callback: offer.callback,
        workflow: offer.body.map(|body| Activation { fresh: body.fresh, at: body.at }),
    }
}
