//! What a task is given.

use std::sync::Arc;

use riverrun_kernel::{AttemptId, RunId};
use tokio_util::sync::CancellationToken;

use super::run::{Mouth, Said};

/// An attempt at a task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskCtx(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mouth: Mouth,
    definition: String,
    path: String,
    key: String,
    callback: Option<String>,
    stop: CancellationToken,
}

impl TaskCtx {
    pub(crate) fn new(mouth: Mouth, stop: CancellationToken, offer: &riverrun_wire::worker::Offer) -> Self {
        TaskCtx(Arc::new(Inner {
            mouth,
            definition: offer.definition.clone(),
            path: offer.path.clone(),
            key: offer.idempotency_key.clone(),
            callback: offer.callback.clone(),
            stop,
        }))
    }

    /// The run that it belongs to.
    pub fn run_id(&self) -> RunId {
        self.0.mouth.attempt.run
    }

    /// The attempt's id.
    pub fn attempt(&self) -> AttemptId {
        self.0.mouth.attempt
    }

    /// The definition of the run that it belongs to.
    pub fn definition(&self) -> &str {
        &self.0.definition
    }

    /// The step's path in that run.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The same in every attempt at this step, and nowhere else: hand it to whatever must not happen twice.
    pub fn idempotency_key(&self) -> &str {
        &self.0.key
    }

    /// For a step that is completed from outside: the token to complete it with.
    pub fn callback(&self) -> Option<&str> {
        self.0.callback.as_deref()
    }

    /// Becomes ready when the attempt is no longer wanted: it was cancelled, or its time is up. What does not return soon after is dropped.
    pub async fn cancelled(&self) {
        self.0.stop.cancelled().await;
    }

    /// Whether the attempt is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    /// Says something that `riverrun runs logs` shows.
    pub async fn log(&self, text: impl Into<String>) {
        let mut text = text.into();
        text.push('\n');
        self.0.mouth.say(Said::Log(text)).await;
    }
}
