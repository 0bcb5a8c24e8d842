//! `NextToken`: opaque to clients, and only taken where it was given.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::Fault;
use super::request::Call;

/// Tokens of `ListFlows`.
pub(crate) const FLOWS: &str = "flow:";
/// Tokens of `ListExecutions`.
pub(crate) const EXECUTIONS: &str = "execution:";
/// Tokens of `ListSchedules`.
pub(crate) const SCHEDULES: &str = "schedule:";
/// Tokens of `GetExecutionHistory`.
pub(crate) const EVENTS: &str = "event:";

/// The token of a page that begins behind `last`.
pub(crate) fn token(list: &str, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}{last}"))
}

/// What the page that a call asks for begins behind.
pub(crate) fn read(call: &Call, list: &str) -> Result<Option<String>, Fault> {
    let Some(text) = call.given("NextToken") else { return Ok(None) };
    let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|decoded| decoded.strip_prefix(list)) {
        Some(last) => Ok(Some(last.to_owned())),
        None => Err(unknown(text)),
    }
}

/// A token that was not given by this list.
pub(crate) fn unknown(text: &str) -> Fault {
    Fault::invalid(format!("NextToken is '{text}': it must be the one of the page before, unchanged."))
}
