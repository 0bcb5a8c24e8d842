//! How user code fails.

use std::fmt;

use riverrun_kernel::{Failure, Json};
use serde::Serialize;

/// What workflows, steps and tasks return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a step, a wait, a task or a workflow failed: a name, a message, and whether another try may help.
///
/// `?` makes one of any [`std::error::Error`]: its name is the error's type, its message the chain of its causes. Therefore it
/// is not a `std::error::Error` itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Failure>);

impl Error {
    /// An error that retries may overcome.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Error(Box::new(Failure::new(name, message)))
    }

    /// An error that no retry will overcome: the order is not valid, the card was declined.
    pub fn terminal(name: impl Into<String>, message: impl Into<String>) -> Self {
        Error(Box::new(Failure::new(name, message).not_retryable()))
    }

    /// The same with more to tell; what cannot be written as JSON is left out.
    #[must_use]
    pub fn with_details(mut self, details: &impl Serialize) -> Self {
        self.0.details = serde_json::to_string(details).ok().map(Json::trusted);
        self
    }

    /// Its name: what retry policies, and `match` arms, go by.
    pub fn name(&self) -> &str {
        &self.0.error
    }

    /// What a person reads.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// More, as JSON.
    pub fn details(&self) -> Option<&str> {
        self.0.details.as_ref().map(Json::get)
    }

    /// Whether retry policies may apply.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the run is being cancelled, or what was waited for was.
    pub fn is_cancelled(&self) -> bool {
        self.0.error == Failure::CANCELLED
    }

    /// Whether a time limit struck.
    pub fn is_timeout(&self) -> bool {
        self.0.error == Failure::TIMEOUT
    }

    /// Whether a step that must not be executed twice may have been executed.
    pub fn is_unknown_outcome(&self) -> bool {
        self.0.error == Failure::UNKNOWN_OUTCOME
    }

    pub(crate) fn of(failure: Failure) -> Self {
        Error(Box::new(failure))
    }

    pub(crate) fn into_failure(self) -> Failure {
        *self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Many errors repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Error::new(short_name(std::any::type_name::<E>()), message)
    }
}

/// `Error` says nothing by itself: `std::io::error::Error` is `io::Error`.
fn short_name(path: &str) -> String {
    let path = path.split('<').next().unwrap_or(path);
    let parts: Vec<&str> = path.split("::").collect();
    match parts.as_slice() {
        [krate, .., "Error"] if *krate != "std" => format!("{krate}::Error"),
        [_, module, .., "Error"] => format!("{module}::Error"),
        [.., last] => (*last).to_owned(),
        [] => path.to_owned(),
    }
}

/// What a panic says.
pub(crate) fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    Failure::new("Panic", format!("{what} panicked: {text}")).not_retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_one_with_its_type_as_name_and_its_causes_as_message() {
        let error: Error = std::io::Error::other("no disk").into();
        assert_eq!((error.name(), error.message()), ("io::Error", "no disk"));
        let error: Error = "x".parse::<u8>().expect_err("no number").into();
        assert_eq!(error.name(), "ParseIntError");
        let error: Error = serde_json::from_str::<u8>("x").expect_err("no number").into();
        assert_eq!(error.name(), "serde_json::Error");
        assert!(error.is_retryable() && !Error::terminal("A", "b").is_retryable());
    }
}
