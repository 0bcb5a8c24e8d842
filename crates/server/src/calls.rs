//! Functions that have an address: the server calls them itself.
//!
//! To the engine this is a worker like any other, with leases, time limits and cancellation, that lives in the server's process. A call
//! that was out when the process died is made again, under the same idempotency key.

mod answer;
pub(crate) mod callback;
mod certificates;
mod request;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use riverrun_engine::{EngineError, ToWorker, WorkerLink};
use riverrun_kernel::callback::CALLBACK;
use riverrun_kernel::driver::ANY_ADDRESS;
use riverrun_kernel::{AttemptId, Failure, Incarnation, Json, Offer, Report, Token, WorkerSpec};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::app::{App, Shared, now};
pub(crate) use request::Caller;

/// Its name, where workers are shown, and that of the one that tells how runs have ended.
const NAME: &str = "http";
const TELLER: &str = "callbacks";
/// Before a report that the store could not take is handed in again, and before the engine is asked again for work.
const PAUSE: Duration = Duration::from_millis(500);

/// Calls what is to be called until the server stops. Calls that are out then have most of `shutdown_grace` to come back; the others are
/// made again by whoever serves the directory next. `asked` is dropped when the engine has been asked for work: from then on it is shown what
/// is served here.
pub(crate) async fn serve(app: Shared, caller: Arc<Caller>, asked: oneshot::Sender<()>) {
    let spec = spec(&app);
    work(app, caller, spec, Some(asked)).await;
}

/// The same for the addresses that are told how runs have ended: slow ones hold up no step of a flow.
pub(crate) async fn serve_callbacks(app: Shared, caller: Arc<Caller>) {
    let spec = WorkerSpec {
        name: TELLER.into(),
        functions: BTreeSet::from([CALLBACK.to_owned()]),
        slots: app.config.callbacks.max_deliveries,
        ..spec(&app)
    };
    work(app, caller, spec, None).await;
}

async fn work(app: Shared, caller: Arc<Caller>, spec: WorkerSpec, mut asked: Option<oneshot::Sender<()>>) {
    let mut desk = Desk {
        app: app.clone(),
        caller,
        out: HashMap::new(),
        calls: JoinSet::new(),
        reports: FuturesUnordered::new(),
    };
    let process: Arc<str> = format!("{:016x}", RandomState::new().build_hasher().finish()).into();
    for connection in 1.. {
        if app.stopping.is_cancelled() {
            return;
        }
        let incarnation = Some(Incarnation { process: process.clone(), connection });
        let spec = WorkerSpec { incarnation, ..spec.clone() };
        let claims = desk.out.iter().map(|(attempt, call)| (*attempt, call.token)).collect();
        let connected = app.engine.connect_worker(spec, claims).await;
        drop(asked.take());
        match connected {
            Ok(mut link) => {
                for attempt in &link.claims().drop.clone() {
                    desk.give_up(*attempt);
                }
                if desk.work(&mut link).await == End::Stopping {
                    desk.finish(&mut link).await;
                    link.goodbye().await;
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the server cannot take calls of addresses");
                sleep(PAUSE).await;
            }
        }
    }
}

fn spec(app: &App) -> WorkerSpec {
    let config = &app.config.calls;
    let functions = config.functions.keys().cloned().chain([ANY_ADDRESS.to_owned()]);
    WorkerSpec {
        name: NAME.into(),
        namespace: WorkerSpec::EVERY_NAMESPACE.into(),
        queues: BTreeSet::new(),
        functions: functions.collect(),
        slots: config.max_calls,
        in_process: true,
        incarnation: None,
    }
}

/// Why the work at a link ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Stopping,
    /// The engine took it for dead: it connects again.
    Closed,
}

/// What is out.
struct Desk {
    app: Shared,
    caller: Arc<Caller>,
    out: HashMap<AttemptId, Call>,
    calls: JoinSet<(AttemptId, Result<Json, Failure>)>,
    reports: FuturesUnordered<BoxFuture<'static, Handed>>,
}

struct Call {
    token: Token,
    handle: AbortHandle,
}

/// A report, and what became of it.
struct Handed {
    attempt: AttemptId,
    token: Token,
    report: Report,
    result: Result<(), EngineError>,
}

impl Desk {
    async fn work(&mut self, link: &mut WorkerLink) -> End {
        let app = self.app.clone();
        let mut beat = interval(Duration::from_millis((link.lease_ms() / 3).max(1)));
        loop {
            tokio::select! {
                told = link.next() => match told {
                    Some(ToWorker::Offer(offer)) => self.call(*offer),
                    Some(ToWorker::Stop { attempt, .. }) => self.stop(link, attempt),
                    // There is no code of workflows here.
                    Some(ToWorker::Event { .. } | ToWorker::Park { .. }) => {}
                    Some(ToWorker::Close) | None => return End::Closed,
                },
                Some(done) = self.calls.join_next() => self.done(link, done.ok()),
                Some(handed) = self.reports.next() => self.settle(link, handed),
                _ = beat.tick() => link.heartbeat(),
                () = app.stopping.cancelled() => return End::Stopping,
            }
        }
    }

    /// Waits for what is out, within the time that there is.
    async fn finish(&mut self, link: &mut WorkerLink) {
        link.drain();
        let grace = self.app.config.limits.shutdown_grace;
        let deadline = Instant::now() + grace * 3 / 5;
        while !self.calls.is_empty() || !self.reports.is_empty() {
            tokio::select! {
                Some(done) = self.calls.join_next() => self.done(link, done.ok()),
                Some(handed) = self.reports.next() => self.settle(link, handed),
                _ = timeout_at(deadline, std::future::pending::<()>()) => break,
            }
        }
        self.calls.abort_all();
    }

    fn call(&mut self, offer: Offer) {
        let (attempt, token) = (offer.attempt, offer.token);
        let (app, caller) = (self.app.clone(), self.caller.clone());
        let handle = self.calls.spawn(async move {
            let begun = Instant::now();
            let outcome = caller.call(&offer).await;
            let how = match &outcome {
                Ok(_) => "answered".to_owned(),
                Err(failure) => failure.to_string(),
            };
            let text =
                format!("POST {}: {how} after {} ms\n", caller.shown(&offer), begun.elapsed().as_millis());
            app.logs.write(now(), attempt, "log".to_owned(), text);
            (attempt, outcome)
        });
        self.out.insert(attempt, Call { token, handle });
    }

    /// A call has come back; what was given up meanwhile counts no more.
    fn done(&mut self, link: &WorkerLink, done: Option<(AttemptId, Result<Json, Failure>)>) {
        let Some((attempt, outcome)) = done else { return };
        let Some(call) = self.out.get(&attempt) else { return };
        let report = match outcome {
            Ok(output) => Report::Succeeded(output),
            Err(failure) => Report::Failed(failure),
        };
        self.report(link, attempt, call.token, report);
    }

    fn stop(&mut self, link: &WorkerLink, attempt: AttemptId) {
        if let Some(call) = self.give_up(attempt) {
            self.report(link, attempt, call.token, Report::Stopped);
        }
    }

    fn give_up(&mut self, attempt: AttemptId) -> Option<Call> {
        let call = self.out.remove(&attempt)?;
        call.handle.abort();
        Some(call)
    }

    fn report(&self, link: &WorkerLink, attempt: AttemptId, token: Token, report: Report) {
        let handing = link.report(attempt, token, report.clone(), 0);
        let handed = handing.map(move |result| Handed { attempt, token, report, result: result.map(drop) });
        self.reports.push(handed.boxed());
    }

    fn settle(&mut self, link: &WorkerLink, handed: Handed) {
        let Handed { attempt, token, report, result } = handed;
        match result {
            // What the store could not take now, it takes later. That is asked for with the pause as a report of its own.
            Err(EngineError::Busy { .. } | EngineError::Unavailable(_)) => {
                let handing = link.report(attempt, token, report.clone(), 0);
                let again = async move {
                    sleep(PAUSE).await;
                    let result = handing.await.map(drop);
                    Handed { attempt, token, report, result }
                };
                self.reports.push(again.boxed());
            }
            // Taken, or refused for good: somebody else's word counts.
            _ => drop(self.out.remove(&attempt)),
        }
    }
}
