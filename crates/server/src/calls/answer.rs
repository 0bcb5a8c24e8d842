//! What an answer means: a result, or an error by the name that a flow's `retry` and `catch` know.

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::http::response::Parts;
use riverrun_kernel::{Failure, Json};
use serde::Deserialize;

/// Not invoked, and never will be as it is.
pub(super) const INVALID: &str = "FC.InvalidArgument";
/// The other side failed.
pub(super) const INTERNAL: &str = "FC.InternalServerError";
/// It may have been invoked, and how it ended is not known.
pub(super) const UNKNOWN: &str = "FC.Unknown";
/// Of an answer that is no result, so much is told.
const TOLD: usize = 500;

/// How functions say that they failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    #[serde(rename = "errorMessage")]
    error_message: Option<String>,
    #[serde(rename = "ErrorCode")]
    code: Option<String>,
    #[serde(rename = "ErrorMessage")]
    message: Option<String>,
}

/// Reads an answer that has come in whole.
pub(super) fn read(place: &str, parts: &Parts, body: &[u8]) -> Result<Json, Failure> {
    let status = parts.status;
    // A function that raised answers 200 with this header.
    let raised = parts.headers.contains_key("x-fc-error-type");
    if status.is_success() && !raised {
        return result(place, body);
    }
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    if let Some(error) = told.error_type.filter(|error| !error.is_empty()) {
        return Err(Failure::new(error, told.error_message.unwrap_or_default()));
    }
    let (name, retryable) = by_status(status);
    let name = told.code.filter(|code| !code.is_empty()).map_or(name.to_owned(), |code| format!("FC.{code}"));
    let text = told.message.unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(TOLD).collect());
    let text = if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) };
    let failure = Failure::new(name, format!("{place} answered {status}{text}"));
    let details = Some(Json::trusted(format!(r#"{{"status":{}}}"#, status.as_u16())));
    let failure = Failure { details, retry_after_ms: retry_after(&parts.headers), ..failure };
    Err(if retryable { failure } else { failure.not_retryable() })
}

/// Nothing is an empty object; text that is no JSON stays text.
fn result(place: &str, body: &[u8]) -> Result<Json, Failure> {
    let Ok(text) = std::str::from_utf8(body) else {
        let text = format!("the answer of {place} is not UTF-8: a result is JSON");
        return Err(Failure::new("FnF.InvalidLocal", text).not_retryable());
    };
    if text.trim().is_empty() {
        return Ok(Json::empty_object());
    }
    Ok(Json::parse(text).unwrap_or_else(|_| Json::from(serde_json::Value::from(text))))
}

/// An error's name, and whether the same call may go better another time.
fn by_status(status: StatusCode) -> (&'static str, bool) {
    match status {
        StatusCode::TOO_MANY_REQUESTS => ("FC.ResourceExhausted", true),
        StatusCode::SERVICE_UNAVAILABLE => ("FC.ResourceThrottled", true),
        StatusCode::REQUEST_TIMEOUT => (INTERNAL, true),
        StatusCode::NOT_FOUND => ("FC.FunctionNotFound", false),
        status if status.is_server_error() => (INTERNAL, true),
        status if status.is_client_error() => (INVALID, false),
        _ => (UNKNOWN, true),
    }
}

/// How long to stay away: seconds, up to a day. A date would need a clock that both sides agree on. No time at all says nothing, or a flow
/// would try again without a wait.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds > 0).then(|| seconds.min(86_400) * 1000)
}
