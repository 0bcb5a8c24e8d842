//! Steps that are executed by the workflow's own worker.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use riverrun_kernel::{Failure, RunId, idempotency_key};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Ctx, decode, encode};
use super::core::{Kind, Outcome, Turn};
use super::error::{Error, Result, panicked};
use super::ticket::Ticket;

/// The largest outcome of a step, in bytes of JSON.
const MAX_RESULT: usize = 32 << 20;

/// A try at a step.
type Trying<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Begins tries. Its type is erased, and its future's with it: a step that borrows from the code could not be sent between threads
/// otherwise, for the compiler loses the connection between the two types.
type Body<'a, T> = Box<dyn FnMut(StepInfo) -> Trying<'a, T> + Send + 'a>;

/// Which step is being executed.
#[derive(Debug, Clone)]
pub struct StepInfo {
    run: RunId,
    name: Arc<str>,
    path: Arc<str>,
    attempt: u32,
}

impl StepInfo {
    /// The step's path in its run: its name, `#2` at the second use of that name, `~2` at the second try.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which try it is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The same in every execution of and every try at this step, and nowhere else: hand it to whatever must not happen twice.
    pub fn idempotency_key(&self) -> String {
        idempotency_key(self.run, &self.name)
    }
}

/// When to try a failed step again. Errors that are [terminal](Error::terminal), panics and cancellation end the tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Tries after the first.
    pub max: u32,
    /// Wait before the first retry. The waits are durable.
    pub interval: Duration,
    /// Factor for each further one.
    pub multiplier: f64,
    /// The longest wait.
    pub max_interval: Duration,
}

impl Default for Retry {
    /// Five more tries, after 1, 2, 4, 8 and 16 seconds.
    fn default() -> Self {
        Retry {
            max: 5,
            interval: Duration::from_secs(1),
            multiplier: 2.0,
            max_interval: Duration::from_mins(1),
        }
    }
}

impl Retry {
    /// So many more tries, with the default waits.
    pub fn times(max: u32) -> Self {
        Retry { max, ..Retry::default() }
    }

    /// The wait after a failed try, counted from 1.
    fn wait(&self, attempt: u32) -> Duration {
        let factor = self.multiplier.max(1.0).powi(i32::try_from(attempt - 1).unwrap_or(i32::MAX));
        let longest = self.max_interval.as_secs_f64();
        Duration::from_secs_f64((self.interval.as_secs_f64() * factor).clamp(0.0, longest))
    }
}

/// A step to be awaited. Created by [`Ctx::step`]; nothing happens before it is polled.
#[must_use = "a step does nothing unless it is awaited"]
pub struct Step<'a, T> {
    ticket: Ticket,
    info: StepInfo,
    body: Body<'a, T>,
    executing: Option<Trying<'a, T>>,
    limit: Option<Duration>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    once: bool,
}

impl<'a, T> Step<'a, T> {
    pub(crate) fn new<F, Fut>(ctx: Ctx, name: &str, mut body: F) -> Self
    where
        F: FnMut(StepInfo) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        let body: Body<'a, T> = Box::new(move |info| Box::pin(body(info)));
        let run = ctx.run_id();
        let (ticket, path) = Ticket::named(ctx, name);
        let path: Arc<str> = path.into();
        let info = StepInfo { run, name: Arc::clone(&path), path, attempt: 1 };
        Step { ticket, info, body, executing: None, limit: None, timer: None, once: false }
    }

    /// Never executes it again once it may have begun: if the process died before its outcome was on record, the step fails with an
    /// error that [`Error::is_unknown_outcome`]. It costs one more record.
    pub fn at_most_once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Fails with a time-out when one try takes longer; what it awaits is dropped then.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Tries it again when it fails. Each try is recorded as a step of its own (`charge`, `charge~2`, …), and the waits between
    /// them are durable.
    pub async fn retry(mut self, policy: Retry) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        loop {
            let error = match (&mut self).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_retryable() || self.info.attempt > policy.max {
                return Err(error);
            }
            let wait = policy.wait(self.info.attempt);
            self.info.attempt += 1;
            self.info.path = format!("{}~{}", self.info.name, self.info.attempt).into();
            let ctx = self.ticket.ctx().clone();
            ctx.sleep_before(&self.info.path, wait).await?;
            self.ticket = Ticket::derived(ctx);
        }
    }
}

impl<T: Serialize> Step<'_, T> {
    /// Executes it as far as that goes at once. Its outcome, when it has one.
    fn go_on(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(executing) = &mut self.executing else { return Poll::Pending };
        let polled = self
            .ticket
            .inside(|| std::panic::catch_unwind(AssertUnwindSafe(|| executing.as_mut().poll(context))));
        match polled {
            Ok(Poll::Ready(Ok(value))) => Poll::Ready(written(&value)),
            Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(error.into_failure())),
            Err(panic) => Poll::Ready(Err(panicked("the step", &*panic))),
            Ok(Poll::Pending) => match self.timer.as_mut().map(|timer| timer.as_mut().poll(context)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(self.timed_out())),
                _ => Poll::Pending,
            },
        }
    }

    fn timed_out(&self) -> Failure {
        let seconds = self.limit.unwrap_or_default().as_secs_f64();
        Failure::new(Failure::TIMEOUT, format!("the step was not done within its time limit of {seconds} s"))
    }
}

fn written(value: &impl Serialize) -> Outcome {
    let json = encode(value)?;
    if json.get().len() > MAX_RESULT {
        let text = format!("the outcome has {} bytes, over the limit of {MAX_RESULT}", json.get().len());
        return Err(Failure::new("ResultTooLarge", text).not_retryable());
    }
    Ok(json)
}

impl<T: Serialize + DeserializeOwned> Future for Step<'_, T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.ticket.is_open() {
            let kind = if this.once { Kind::StepOnce } else { Kind::Step };
            let path = this.info.path.to_string();
            if let Err(failure) = this.ticket.open(kind, |_| (path, None)) {
                return Poll::Ready(Err(Error::of(failure)));
            }
        }
        match this.ticket.poll_step(context.waker()) {
            Turn::Wait => return Poll::Pending,
            Turn::Done(outcome) => {
                return Poll::Ready(outcome.map_err(Error::of).and_then(|json| decode(&json)));
            }
            Turn::GoOn => {}
            Turn::Execute => {
                this.timer = this.limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
                let info = this.info.clone();
                let body = &mut this.body;
                let begun = this.ticket.inside(|| std::panic::catch_unwind(AssertUnwindSafe(|| body(info))));
                match begun {
                    Ok(executing) => this.executing = Some(executing),
                    Err(panic) => {
                        this.ticket.ran(Err(panicked("the step", &*panic)));
                        return Poll::Pending;
                    }
                }
            }
        }
        if let Poll::Ready(outcome) = this.go_on(context) {
            (this.executing, this.timer) = (None, None);
            this.ticket.ran(outcome);
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Step<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("path", &self.info.path).finish_non_exhaustive()
    }
}
