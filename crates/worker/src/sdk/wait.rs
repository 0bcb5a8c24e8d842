//! What a workflow waits for: time, signals, calls, other runs.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use riverrun_kernel::driver::{OnParentEnd, RetryPolicy, Tag};
use riverrun_kernel::{DefinitionKind, Failure, Json, RunId};
use riverrun_wire::workflow::{self as wire, Act};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::context::{Ctx, decode};
use super::core::{Kind, Outcome};
use super::error::{Error, Result};
use super::step::Retry;
use super::ticket::Ticket;

/// A wait of any kind.
#[derive(Debug)]
struct Wait {
    ticket: Ticket,
    path: String,
}

impl Wait {
    fn named(ctx: Ctx, name: &str) -> Self {
        let (ticket, path) = Ticket::named(ctx, name);
        Wait { ticket, path }
    }

    /// `act` is what it asks for, when it is polled for the first time.
    fn poll(
        &mut self,
        context: &Context<'_>,
        kind: Kind,
        act: impl FnOnce(Tag, String) -> Act,
    ) -> Poll<Outcome> {
        if !self.ticket.is_open() {
            let path = std::mem::take(&mut self.path);
            let opened = self.ticket.open(kind, |tag| (path.clone(), Some(act(tag, path))));
            if let Err(failure) = opened {
                return Poll::Ready(Err(failure));
            }
        }
        self.ticket.poll_wait(context.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A durable wait. Created by [`Ctx::sleep`].
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    wait: Wait,
    long: bool,
    moment: Moment,
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    After(u64),
    At(i64),
}

impl Sleep {
    pub(crate) fn lasting(ctx: Ctx, duration: Duration) -> Self {
        let long = duration > ctx.shared().park_after;
        Sleep { wait: Wait::named(ctx, "sleep"), long, moment: Moment::After(ms(duration)) }
    }

    /// A wait before a step is tried again.
    pub(crate) fn before(ctx: Ctx, path: &str, duration: Duration) -> Self {
        let long = duration > ctx.shared().park_after;
        let wait = Wait { path: format!("{path}/wait"), ticket: Ticket::derived(ctx) };
        Sleep { wait, long, moment: Moment::After(ms(duration)) }
    }

    pub(crate) fn until(ctx: Ctx, date: SystemTime) -> Self {
        let at = date
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        // How long that is only decides when the run leaves memory.
        let left = date.duration_since(SystemTime::now()).unwrap_or_default();
        let long = left > ctx.shared().park_after;
        Sleep { wait: Wait::named(ctx, "sleep"), long, moment: Moment::At(at) }
    }
}

impl Future for Sleep {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (kind, moment) = (Kind::Sleep { long: self.long }, self.moment);
        let outcome = self.wait.poll(context, kind, |tag, path| match moment {
            Moment::After(ms) => Act::Sleep { tag, path, ms },
            Moment::At(at_ms) => Act::SleepUntil { tag, path, at_ms },
        });
        outcome.map(|outcome| outcome.map(drop).map_err(Error::of))
    }
}

/// A wait for a signal. Created by [`Ctx::signal`].
#[derive(Debug)]
#[must_use = "a wait does nothing unless it is awaited"]
pub struct Signal<T> {
    wait: Wait,
    name: String,
    timeout_ms: Option<u64>,
    payload: PhantomData<fn() -> T>,
}

impl<T> Signal<T> {
    pub(crate) fn new(ctx: Ctx, name: &str) -> Self {
        let wait = Wait::named(ctx, &format!("signal {name}"));
        Signal { wait, name: name.to_owned(), timeout_ms: None, payload: PhantomData }
    }

    /// Fails with an error that [`Error::is_timeout`] if none has come after so long.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout_ms = Some(ms(limit));
        self
    }
}

impl<T: DeserializeOwned> Future for Signal<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = this.wait.poll(context, Kind::Wait("a signal"), |tag, path| Act::Signal {
            tag,
            path,
            name: std::mem::take(&mut this.name),
            timeout_ms: this.timeout_ms,
        });
        outcome.map(answer)
    }
}

fn answer<T: DeserializeOwned>(outcome: Outcome) -> Result<T> {
    outcome.map_err(Error::of).and_then(|json| decode(&json))
}

/// A task being executed by a worker. Created by [`Ctx::call`].
#[derive(Debug)]
#[must_use = "a call does nothing unless it is awaited"]
pub struct Call<O> {
    wait: Wait,
    asked: Option<Box<wire::Call>>,
    output: PhantomData<fn() -> O>,
}

impl<O> Call<O> {
    pub(crate) fn new(ctx: Ctx, task: &str, input: Result<Json, Failure>) -> Self {
        let mut wait = Wait::named(ctx, task);
        let input = input.unwrap_or_else(|failure| {
            wait.ticket.refuse(failure);
            Json::null()
        });
        let call = wire::Call {
            function: task.to_owned(),
            input,
            queue: String::new(),
            priority: 0,
            timeout_ms: None,
            retry: Vec::new(),
            at_most_once: false,
        };
        Call { wait, asked: Some(Box::new(call)), output: PhantomData }
    }

    fn with(mut self, change: impl FnOnce(&mut wire::Call)) -> Self {
        if let Some(call) = &mut self.asked {
            change(call);
        }
        self
    }

    /// The queue it stands in; `default` unless given.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|call| call.queue = queue.into())
    }

    /// 0 to 9, higher first; 0 unless given.
    pub fn priority(mut self, priority: u8) -> Self {
        if priority > 9 {
            let text = format!("the priority of a call is {priority}: it goes from 0 to 9");
            self.wait.ticket.refuse(Failure::new("InvalidPriority", text).not_retryable());
        }
        self.with(|call| call.priority = priority)
    }

    /// The time limit of each attempt.
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|call| call.timeout_ms = Some(ms(limit)))
    }

    /// When to try again.
    pub fn retry(self, policy: Retry) -> Self {
        let policy = RetryPolicy {
            errors: Vec::new(),
            max_retries: policy.max,
            interval_ms: ms(policy.interval),
            multiplier: policy.multiplier.max(1.0),
            max_interval_ms: ms(policy.max_interval),
            ..RetryPolicy::default()
        };
        self.with(|call| call.retry = vec![policy])
    }

    /// Never executed again once it may have begun.
    pub fn at_most_once(self) -> Self {
        self.with(|call| call.at_most_once = true)
    }
}

impl<O: DeserializeOwned> Future for Call<O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = this.wait.poll(context, Kind::Wait("a call"), |tag, path| {
            let call = this.asked.take().expect("a call is sent once");
            Act::Call { tag, path, call }
        });
        outcome.map(answer)
    }
}

/// What can be run: a name is a workflow's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    kind: DefinitionKind,
    name: String,
    version: String,
}

impl Target {
    fn new(kind: DefinitionKind, name: impl Into<String>) -> Self {
        Target { kind, name: name.into(), version: String::new() }
    }

    /// Code.
    pub fn workflow(name: impl Into<String>) -> Self {
        Target::new(DefinitionKind::Workflow, name)
    }

    /// A flow, in its newest version.
    pub fn flow(name: impl Into<String>) -> Self {
        Target::new(DefinitionKind::Flow, name)
    }

    /// One function.
    pub fn task(name: impl Into<String>) -> Self {
        Target::new(DefinitionKind::Task, name)
    }

    pub(crate) fn into_parts(self) -> (DefinitionKind, String, String) {
        (self.kind, self.name, self.version)
    }

    /// This version of a flow.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        Target::workflow(name)
    }
}

impl From<String> for Target {
    fn from(name: String) -> Self {
        Target::workflow(name)
    }
}

/// The start of another run. Created by [`Ctx::start`].
#[derive(Debug)]
#[must_use = "a start does nothing unless it is awaited"]
pub struct Start {
    wait: Wait,
    child: Option<Box<wire::Child>>,
}

#[derive(Deserialize)]
struct Started {
    run_id: RunId,
}

impl Start {
    pub(crate) fn new(ctx: Ctx, target: Target, input: Result<Json, Failure>) -> Self {
        let mut wait = Wait::named(ctx, &target.name);
        let input = input.unwrap_or_else(|failure| {
            wait.ticket.refuse(failure);
            Json::null()
        });
        let child = wire::Child {
            kind: target.kind,
            name: target.name,
            version: target.version,
            input,
            continue_id: None,
            wait: false,
            on_parent_end: OnParentEnd::default(),
        };
        Start { wait, child: Some(Box::new(child)) }
    }

    fn with(mut self, change: impl FnOnce(&mut wire::Child)) -> Self {
        if let Some(child) = &mut self.child {
            change(child);
        }
        self
    }

    /// The key that makes the start idempotent beyond this run.
    pub fn continue_id(self, id: impl Into<String>) -> Self {
        self.with(|child| child.continue_id = Some(id.into()))
    }

    /// What becomes of it when this run ends first; it is cancelled unless told otherwise.
    pub fn on_parent_end(self, then: OnParentEnd) -> Self {
        self.with(|child| child.on_parent_end = then)
    }

    fn poll_outcome(&mut self, context: &Context<'_>) -> Poll<Outcome> {
        let child = &mut self.child;
        self.wait.poll(context, Kind::Wait("another run"), |tag, path| {
            let child = child.take().expect("a start is sent once");
            Act::Start { tag, path, child }
        })
    }
}

impl Future for Start {
    type Output = Result<RunId>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(context).map(|outcome| answer::<Started>(outcome).map(|started| started.run_id))
    }
}

/// Another run, awaited. Created by [`Ctx::run`].
#[derive(Debug)]
#[must_use = "a run does nothing unless it is awaited"]
pub struct Run<O> {
    start: Start,
    output: PhantomData<fn() -> O>,
}

impl<O> Run<O> {
    pub(crate) fn new(start: Start) -> Self {
        Run { start: start.with(|child| child.wait = true), output: PhantomData }
    }

    /// The key that makes the start idempotent beyond this run.
    pub fn continue_id(self, id: impl Into<String>) -> Self {
        Run { start: self.start.continue_id(id), ..self }
    }

    /// What becomes of it when this run ends first; it is cancelled unless told otherwise.
    pub fn on_parent_end(self, then: OnParentEnd) -> Self {
        Run { start: self.start.on_parent_end(then), ..self }
    }
}

impl<O: DeserializeOwned> Future for Run<O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.start.poll_outcome(context).map(answer)
    }
}
