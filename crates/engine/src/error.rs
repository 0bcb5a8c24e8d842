//! How the engine fails, by what the caller can do about it.

use riverrun_kernel::Refusal;
use riverrun_plan::Misfit;
use riverrun_store::StoreError;

/// Why an engine did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no thread.
    #[error("the engine's threads could not be started: {0}")]
    Threads(#[from] std::io::Error),
}

/// Why a request was not done. Nothing was changed, except where `Unavailable` says that it is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The kernel refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No definition of that name (or version). The text names near ones.
    #[error("{0}")]
    UnknownDefinition(String),
    /// It is used: the text says by what.
    #[error("{0}")]
    DefinitionInUse(String),
    /// Nobody has announced this task. The text names near ones.
    #[error("{0}")]
    UnknownTask(String),
    /// The task does not take these parameters.
    #[error("task `{task}` does not take these parameters: {}. It takes {signature}", told(misfits))]
    Misfit {
        /// The task.
        task: String,
        /// What it takes, as a person reads it.
        signature: String,
        /// What does not fit; at least one.
        misfits: Vec<Misfit>,
    },
    /// Too much waits already. Try again after a while.
    #[error("the server has more work waiting than it takes in (limit {limit}); try again in a second")]
    Busy {
        /// The name of the limit.
        limit: &'static str,
    },
    /// The store cannot be written or read now; the text says why. Try again: starts carry an id or a key, so nothing is done twice.
    #[error("{0}")]
    Unavailable(String),
}

fn told(misfits: &[Misfit]) -> String {
    let texts: Vec<&str> = misfits.iter().map(|misfit| misfit.message.as_str()).collect();
    texts.join("; ")
}

/// Why none of several was started.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct BatchError {
    /// Which of them cannot be started, counted from 0; `None` where it is none of them in particular.
    pub at: Option<usize>,
    /// What is wrong.
    pub error: EngineError,
}

impl From<EngineError> for BatchError {
    fn from(error: EngineError) -> Self {
        BatchError { at: None, error }
    }
}

/// Why a definition was not deployed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeployError {
    /// It has mistakes: all of them.
    #[error("the flow has {} mistake(s)", .0.len())]
    Invalid(Vec<riverrun_plan::Diagnostic>),
    /// The engine could not keep it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Whether the node serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Serving,
    /// Reads are served, writes are refused until the store takes them again: the reason.
    ReadOnly(String),
    /// It is shutting down.
    Stopping,
    /// The storage failed in a way that only a new start can repair: the process must exit.
    Broken(String),
}
