//! What the code of a workflow is given: everything durable that it can do.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use riverrun_kernel::driver::Tag;
use riverrun_kernel::{Failure, Json, RunId};
use riverrun_wire::http::check;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Core, Mode};
use super::error::{Error, Result};
use super::step::{Step, StepInfo};
use super::wait::{Call, Run, Signal, Sleep, Start, Target};

/// The run that a workflow's code executes, and everything durable that it can do. Cheap to clone.
///
/// What is asked of it is recorded in the run's journal. When the code is executed again, after a crash or a long wait, the same
/// questions get the recorded answers and nothing is done twice. So the code must ask the same questions each time: what differs
/// from one execution to the next (time, random numbers, files, the network) belongs into a [`Ctx::step`].
#[derive(Clone)]
pub struct Ctx(Arc<Shared>);

/// What the context and the machine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub run: RunId,
    pub workflow: String,
    pub key: String,
    /// Waits that are known to take longer than this leave memory at once.
    pub park_after: Duration,
    core: Mutex<Core>,
}

impl Shared {
    pub fn new(run: RunId, workflow: String, key: String, park_after: Duration) -> Arc<Self> {
        Arc::new(Shared { run, workflow, key, park_after, core: Mutex::new(Core::new(Mode::Replaying)) })
    }

    /// Never held while user code runs.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ctx {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Ctx(shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.0.run
    }

    /// The workflow's name.
    pub fn workflow(&self) -> &str {
        &self.0.workflow
    }

    /// The same in every execution of this run, and in no other run. A step's own key is in its [`StepInfo`].
    pub fn idempotency_key(&self) -> &str {
        &self.0.key
    }

    /// Executes `body` as a step: once it has returned, its outcome is on record and it is never executed again. If the process
    /// dies before that, it is executed again, under the same idempotency key; see [`Step::at_most_once`].
    ///
    /// The future that `body` returns is executed by the one who awaits the step, may borrow, and may await anything. Steps that are
    /// awaited together are executed together. One that is dropped before its outcome was on record has no outcome: whatever it
    /// did by then, the workflow goes on without it.
    pub fn step<'a, T, F, Fut>(&self, name: &str, mut body: F) -> Step<'a, T>
    where
        F: FnMut() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        Step::new(self.clone(), name, move |_| body())
    }

    /// The same for a body that wants to know which step it is: its idempotency key, above all.
    pub fn step_with<'a, T, F, Fut>(&self, name: &str, body: F) -> Step<'a, T>
    where
        F: FnMut(StepInfo) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T>> + Send + 'a,
    {
        Step::new(self.clone(), name, body)
    }

    /// Waits. A long wait costs nothing: the run leaves the worker's memory meanwhile.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::lasting(self.clone(), duration)
    }

    pub(crate) fn sleep_before(&self, path: &str, duration: Duration) -> Sleep {
        Sleep::before(self.clone(), path, duration)
    }

    /// Waits until a date.
    pub fn sleep_until(&self, date: SystemTime) -> Sleep {
        Sleep::until(self.clone(), date)
    }

    /// Waits for a signal to this run and returns its payload. Each signal is taken once, in the order in which they came; one
    /// that came before the wait is kept for it.
    pub fn signal<T: DeserializeOwned>(&self, name: &str) -> Signal<T> {
        Signal::new(self.clone(), name)
    }

    /// Has a worker execute a task, this one or another, and returns its result.
    pub fn call<O: DeserializeOwned>(&self, task: &str, input: &impl Serialize) -> Call<O> {
        Call::new(self.clone(), task, encode(input))
    }

    /// Starts another run and returns its id.
    pub fn start(&self, definition: impl Into<Target>, input: &impl Serialize) -> Start {
        Start::new(self.clone(), definition.into(), encode(input))
    }

    /// Starts another run, waits for its end and returns its output.
    pub fn run<O: DeserializeOwned>(&self, definition: impl Into<Target>, input: &impl Serialize) -> Run<O> {
        Run::new(Start::new(self.clone(), definition.into(), encode(input)))
    }

    /// The time, the same in every execution.
    pub fn now(&self) -> SystemTime {
        let since: Duration =
            self.value("now", || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        UNIX_EPOCH + since
    }

    /// A random number, the same in every execution.
    pub fn random(&self) -> u64 {
        self.value("random", random)
    }

    /// What `make` returns, the same in every execution. It is recorded together with what follows and not waited for, so `make` must
    /// have no effect, and may be called again after a crash; what has one is a [`Ctx::step`].
    ///
    /// # Panics
    ///
    /// If the value cannot be written as JSON, or the recorded one is of another type.
    pub fn value<T: Serialize + DeserializeOwned>(&self, name: &str, make: impl FnOnce() -> T) -> T {
        // Made outside the lock: it is user code.
        let recorded = self.0.core().recorded_value(name);
        let json = match recorded {
            Ok(json) => json,
            Err(asked) => {
                let made = encode(&make()).unwrap_or_else(|failure| panic!("the value `{name}`: {failure}"));
                if let Some(asked) = asked {
                    self.0.core().new_value(asked, made.clone());
                }
                made
            }
        };
        serde_json::from_str(json.get()).unwrap_or_else(|error| {
            panic!("the recorded value `{name}` is not what the code takes it for: {error}")
        })
    }

    /// Publishes what the run is doing, for everyone who looks at it.
    pub fn set_status(&self, status: &impl Serialize) {
        if let Ok(status) = encode(status) {
            self.0.core().status(status);
        }
    }

    /// Says something that `riverrun runs logs` shows. While the code is executed again, up to where it was, that says nothing.
    pub fn log(&self, line: impl AsRef<str>) {
        self.0.core().say(line.as_ref());
    }

    /// Whether the code is being executed again and gets recorded answers: to log things once.
    pub fn is_replaying(&self) -> bool {
        self.0.core().mode == Mode::Replaying
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("run", &self.0.run).finish_non_exhaustive()
    }
}

/// A value that the code asked for and that is not on record.
#[derive(Debug)]
pub(crate) struct Asked {
    pub tag: Tag,
    pub path: String,
}

/// The value as JSON that everybody can read: the server would record a failure for another, and the code would not know.
pub(crate) fn encode(value: &impl Serialize) -> Result<Json, Failure> {
    let invalid = |error: String| {
        Failure::new("InvalidOutput", format!("it cannot be written as plain JSON: {error}")).not_retryable()
    };
    let text = serde_json::to_string(value).map_err(|error| invalid(error.to_string()))?;
    check(text.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    Ok(Json::trusted(text))
}

pub(crate) fn decode<T: DeserializeOwned>(json: &Json) -> Result<T> {
    serde_json::from_str(json.get()).map_err(|error| {
        let text = format!("the recorded value is not what the code takes it for: {error}");
        Error::terminal("InvalidValue", text)
    })
}

/// A random number, good enough for anything but secrets.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
