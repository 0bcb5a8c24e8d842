//! How BaiChuan's API answers: always 200, the outcome in `stat`, and what a client may want for its log in headers.

use std::time::Instant;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use riverrun_engine::{EngineError, ShortId};
use riverrun_wire::baichuan::{BAD_PARAMS, SERVER_EXCEPTION, dumps};

use crate::problem::Refused;

/// The longest `x-reason`, in bytes.
const MAX_REASON: usize = 1_000;

/// An answer.
pub(super) struct Outcome {
    /// Its body.
    pub body: String,
    /// Why it is not what was hoped for.
    pub reason: Option<String>,
}

/// A request that was not done.
#[derive(Debug)]
pub(super) struct Trouble {
    stat: &'static str,
    /// Why.
    pub reason: String,
}

impl Trouble {
    /// The request is wrong.
    pub(super) fn bad_params(reason: impl Into<String>) -> Self {
        Trouble { stat: BAD_PARAMS, reason: reason.into() }
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        let problem = refused.problem();
        let stat = if problem.status < 500 { BAD_PARAMS } else { SERVER_EXCEPTION };
        Trouble { stat, reason: problem.detail.clone() }
    }
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Refused::from(error).into()
    }
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        Outcome { body: format!("{{\"stat\": \"{}\"}}", trouble.stat), reason: Some(trouble.reason) }
    }
}

/// A text as JSON, as Python writes it.
pub(super) fn text(text: &str) -> String {
    dumps(&serde_json::Value::from(text).to_string())
}

/// The response.
pub(super) fn respond(request: ShortId, begun: Instant, outcome: Outcome) -> Response {
    let mut response = Response::new(Body::from(outcome.body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("x-reqid", &request.to_string());
    add("x-cost", &format!("{:.6}", begun.elapsed().as_secs_f64()));
    if let Some(reason) = outcome.reason {
        // Headers are ASCII, and one line.
        let mut reason = text(&reason);
        reason.truncate(MAX_REASON);
        add("x-reason", reason.trim_matches('"'));
    }
    response
}
