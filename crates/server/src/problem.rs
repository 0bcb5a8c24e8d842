//! Errors as responses: `application/problem+json`.

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use riverrun_engine::EngineError;
use riverrun_kernel::Refusal;
use riverrun_plan::Misfit;
use riverrun_wire::http::{Code, Problem};
use serde_json::{Value, json};

/// A request that was not done, and why.
#[derive(Debug)]
pub(crate) struct Refused(Box<Problem>);

impl Refused {
    /// A refusal of this kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Refused(Box::new(Problem::new(code, detail)))
    }

    /// The request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Refused::new(Code::InvalidRequest, detail)
    }

    /// The same with a fact for programs.
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        Refused(Box::new(self.0.with(name, value)))
    }

    /// The same about one of several, counted from 0.
    pub fn of_item(mut self, what: &str, at: usize) -> Self {
        self.0.detail = format!("{what}[{at}]: {}", self.0.detail);
        self
    }

    /// Its body.
    pub fn problem(&self) -> &Problem {
        &self.0
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        // A map of strings and numbers always serialises; should it not, the status still says what happened.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = Response::new(axum::body::Body::from(body));
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::Refused(refusal) => from_refusal(&refusal, text),
            EngineError::Invalid(_) => Refused::invalid(text),
            EngineError::UnknownDefinition(_) => Refused::new(Code::UnknownDefinition, text),
            EngineError::DefinitionInUse(_) => Refused::new(Code::DefinitionInUse, text),
            EngineError::UnknownTask(_) => Refused::new(Code::UnknownTask, text),
            EngineError::Misfit { misfits, .. } => from_misfits(&misfits, text),
            EngineError::Busy { limit } => Refused::new(Code::Busy, text).with("limit", limit),
            EngineError::Unavailable(_) => Refused::new(Code::Unavailable, text),
        }
    }
}

/// All that does not fit, for programs; the first in fields of its own.
fn from_misfits(misfits: &[Misfit], text: String) -> Refused {
    let mut refused = Refused::new(Code::InvalidParams, text);
    if let Some(first) = misfits.first() {
        refused = refused.with("parameter", first.parameter.as_str());
        if let Some(expected) = &first.expected {
            refused = refused.with("expected", expected.as_str());
        }
    }
    let all: Vec<Value> = misfits
        .iter()
        .map(|misfit| {
            json!({"parameter": misfit.parameter, "expected": misfit.expected, "message": misfit.message})
        })
        .collect();
    refused.with("errors", all)
}

/// The code of a refusal.
pub(crate) fn refusal_code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::UnknownRun(_) => Code::UnknownRun,
        Refusal::UnknownKey(_) => Code::UnknownKey,
        Refusal::UnknownDefinition(_) => Code::UnknownDefinition,
        Refusal::WrongState { .. } => Code::WrongState,
        Refusal::RunIdTaken(_) => Code::RunIdTaken,
        Refusal::KeyMismatch { .. } => Code::KeyMismatch,
        Refusal::KeyRejected { .. } => Code::KeyRejected,
        Refusal::TooManyGenerations { .. } => Code::TooManyGenerations,
        Refusal::KeyPurged { .. } => Code::KeyPurged,
        Refusal::KeyInFlight { .. } => Code::KeyInFlight,
        Refusal::Conflict(_) => Code::Conflict,
        Refusal::LeaseLost(_) => Code::LeaseLost,
        Refusal::RunClosed(_) => Code::RunClosed,
        Refusal::TooManySignals { .. } => Code::TooManySignals,
        Refusal::InvalidCallback => Code::InvalidCallback,
        Refusal::UnknownSchedule(_) => Code::UnknownSchedule,
        Refusal::ScheduleExists(_) => Code::ScheduleExists,
        Refusal::TooManySchedules { .. } => Code::TooManySchedules,
        Refusal::InvalidSchedule(_) => Code::InvalidSchedule,
        // Partitions settle this among themselves; a client never sees it.
        Refusal::OutOfOrder { .. } => Code::Internal,
    }
}

fn from_refusal(refusal: &Refusal, text: String) -> Refused {
    let refused = Refused::new(refusal_code(refusal), text);
    match refusal {
        Refusal::UnknownRun(run) | Refusal::RunIdTaken(run) | Refusal::RunClosed(run) => {
            refused.with("run_id", run.to_string())
        }
        Refusal::WrongState { run, state, .. } | Refusal::KeyRejected { run, state, .. } => {
            refused.with("run_id", run.to_string()).with("state", state.as_str())
        }
        Refusal::KeyMismatch { run, stored, given, .. } => refused
            .with("run_id", run.to_string())
            .with("stored_fingerprint", stored.to_string())
            .with("given_fingerprint", given.to_string()),
        Refusal::TooManyGenerations { run, failures, .. } => refused
            .with("run_id", run.to_string())
            .with("failures", *failures)
            .with("limit", "max_generations"),
        Refusal::TooManySignals { run, name, .. } => {
            refused.with("run_id", run.to_string()).with("limit", *name)
        }
        Refusal::TooManySchedules { .. } => refused.with("limit", "max_schedules"),
        Refusal::KeyPurged { run, .. } | Refusal::KeyInFlight { run, .. } => {
            refused.with("run_id", run.to_string())
        }
        _ => refused,
    }
}
