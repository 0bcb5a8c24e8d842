//! What went wrong, where, and what to do next: every error of every command.

use crate::exit::Exit;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// What is wrong, naming the object and the value.
    pub message: String,
    /// What to do about it: the line after `next:`.
    pub next: String,
    /// How the process ends.
    pub exit: Exit,
    /// The stable code of the API's error, where it came from there.
    pub code: Option<String>,
}

impl CliError {
    /// Something could not be done.
    pub fn failed(message: impl Into<String>, next: impl Into<String>) -> Self {
        CliError { message: message.into(), next: next.into(), exit: Exit::Failed, code: None }
    }

    /// The command line or its input is wrong.
    pub fn usage(message: impl Into<String>, next: impl Into<String>) -> Self {
        CliError { exit: Exit::Usage, ..CliError::failed(message, next) }
    }

    /// The server does not answer.
    pub fn unavailable(message: impl Into<String>, next: impl Into<String>) -> Self {
        CliError { exit: Exit::Unavailable, ..CliError::failed(message, next) }
    }

    /// The storage is broken.
    pub fn broken(message: impl Into<String>) -> Self {
        CliError {
            exit: Exit::Broken,
            ..CliError::failed(
                message,
                "start again: the next start repairs the end of the log before it serves",
            )
        }
    }

    /// A file that was named on the command line and cannot be read.
    pub fn named_file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        CliError { exit: Exit::Usage, ..CliError::io(what, path, error) }
    }

    /// A file or folder that cannot be read or written.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let next = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check who may read and write it",
            std::io::ErrorKind::StorageFull => "free some space, then try again",
            _ => "mend the cause, then try again",
        };
        CliError::failed(format!("cannot {what} {}: {error}", path.display()), next)
    }
}
