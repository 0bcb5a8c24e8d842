//! The functions that a worker has, with their types erased.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::Poll;

use riverrun_kernel::{Failure, Json};
use riverrun_wire::worker::Function;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Ctx, encode};
use super::core::Outcome;
use super::error::{Error, panicked};
use super::task::TaskCtx;

/// A call of user code under way.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Outcome> + Send>>;

type Code<C> = Box<dyn Fn(C, Json) -> Calling + Send + Sync>;

/// One function.
pub(crate) enum Entry {
    Workflow(Code<Ctx>),
    Task(Code<TaskCtx>),
}

/// The functions that a worker has, by name.
#[derive(Default)]
pub(crate) struct Registry(BTreeMap<String, Entry>);

impl Registry {
    /// False if the name is taken.
    pub fn add(&mut self, name: String, entry: Entry) -> bool {
        self.0.insert(name, entry).is_none()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    pub fn functions(&self) -> Vec<Function> {
        let function = |(name, entry): (&String, &Entry)| Function {
            name: name.clone(),
            broken: None,
            parameters: None,
            options: None,
            workflow: matches!(entry, Entry::Workflow(_)),
        };
        self.0.iter().map(function).collect()
    }
}

/// A typed function as one from JSON to JSON.
pub(crate) fn erase<C, I, O, E, F, Fut>(function: F, max_result_bytes: usize) -> Code<C>
where
    C: Send + 'static,
    I: DeserializeOwned + Send + 'static,
    O: Serialize,
    E: Into<Error>,
    F: Fn(C, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    let function = std::sync::Arc::new(function);
    Box::new(move |context, input| {
        let function = std::sync::Arc::clone(&function);
        Box::pin(async move {
            let input = read(&input)?;
            let output = function(context, input).await.map_err(|error| error.into().into_failure())?;
            let json = encode(&output)?;
            if json.get().len() > max_result_bytes {
                let text = format!(
                    "the result has {} bytes, over the limit max_result_bytes of {max_result_bytes}",
                    json.get().len()
                );
                return Err(Failure::new("ResultTooLarge", text).not_retryable());
            }
            Ok(json)
        })
    })
}

/// An input that was not given is `{}`; a function that takes nothing takes that too.
fn read<I: DeserializeOwned>(input: &Json) -> Result<I, Failure> {
    let read = serde_json::from_str(input.get());
    let read = if input.get() == "{}" {
        read.or_else(|error| serde_json::from_str("null").map_err(|_| error))
    } else {
        read
    };
    read.map_err(|error| {
        Failure::new("InvalidInput", format!("the input is not what the function takes: {error}"))
            .not_retryable()
    })
}

/// Polls a call to its end; a panic in it is a failure.
pub(crate) async fn caught(mut calling: Calling) -> Outcome {
    poll_fn(|context| match std::panic::catch_unwind(AssertUnwindSafe(|| calling.as_mut().poll(context))) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(panicked("the task", &*panic))),
    })
    .await
}
