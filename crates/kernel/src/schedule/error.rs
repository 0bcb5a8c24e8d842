//! What is wrong with a line, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// A text that says no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhenError {
    /// The text as it was given.
    pub text: String,
    /// The part that is wrong, in characters from 0; empty where it is the whole.
    pub span: Range<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl WhenError {
    pub(super) fn new(text: &str, span: Range<usize>, problem: String, advice: impl Into<String>) -> Self {
        WhenError { text: text.to_owned(), span, problem, advice: advice.into() }
    }

    /// The same about the text as a whole.
    pub(super) fn whole(text: &str, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        WhenError::new(text, 0..0, problem.into(), advice)
    }

    /// The text with a line of marks below the part that is wrong: for a terminal.
    pub fn pointed(&self) -> String {
        if self.span.is_empty() || self.text.contains('\n') {
            return self.text.clone();
        }
        format!("{}\n{}{}", self.text, " ".repeat(self.span.start), "^".repeat(self.span.len()))
    }
}

impl fmt::Display for WhenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.span.is_empty() {
            write!(f, "`{}`: {}; {}", self.text, self.problem, self.advice)
        } else {
            write!(f, "`{}`, column {}: {}; {}", self.text, self.span.start + 1, self.problem, self.advice)
        }
    }
}

impl std::error::Error for WhenError {}
