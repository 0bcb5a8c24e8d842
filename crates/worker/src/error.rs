//! Why a supervisor gave up. Everything that may pass by itself is retried instead.

use std::path::PathBuf;

/// Why a supervisor gave up.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The address cannot be used.
    #[error("`{server}` is not the address of a server: {reason}. Expected http://HOST:PORT")]
    Address {
        /// What was given.
        server: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server will not have this worker, now or later.
    #[error("the server at {server} refused the worker: {message} ({code})")]
    Refused {
        /// Which server.
        server: String,
        /// Its stable code, or the HTTP status.
        code: String,
        /// What it said.
        message: String,
    },
    /// There is no such folder.
    #[error(
        "there is no folder of functions at {0}: give the folder that holds SERVICE/FUNCTION.py, files with @riverrun.task, or modules of handlers"
    )]
    NoFunctions(PathBuf),
    /// The interpreter does not start.
    #[error(
        "cannot start the Python interpreter `{python}`: {error}. Name another one with --python or RIVERRUN_PYTHON"
    )]
    Python {
        /// Which.
        python: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The first child did not come up.
    #[error("the Python side of the worker does not start: {0}")]
    Start(String),
    /// Two functions have the same name.
    #[error("two functions are called `{0}`: workflows and tasks share their names, so rename one")]
    Twice(String),
    /// There is nothing to execute.
    #[error("the worker has no functions: add some with workflow() or task()")]
    NoWork,
}
