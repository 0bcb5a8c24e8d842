//! Errors as the vendor's clients read them: a JSON object with a `Code` that users match on.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use riverrun_engine::EngineError;
use riverrun_kernel::Refusal;
use riverrun_wire::http::Problem;
use serde_json::json;

use super::request::Trace;
use crate::problem::Refused;

/// Tells the vendor's newer client when to come back, in milliseconds; it makes a throttling error of whatever carries it.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("x-acs-retry-after");

/// A request that was not done, and why.
#[derive(Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Fault { status, code, message: message.into() }
    }

    /// A parameter is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    /// A parameter is missing.
    pub fn missing(name: &str) -> Self {
        let message = format!("The HTTP query '{name}' must be specified.");
        Fault::new(StatusCode::BAD_REQUEST, "MissingRequiredParams", message)
    }

    /// A header is missing.
    pub fn missing_header(name: &str) -> Self {
        let message = format!("The HTTP header '{name}' must be specified, and be among the signed ones.");
        Fault::new(StatusCode::BAD_REQUEST, "MissingRequiredHeader", message)
    }

    /// There is no such operation.
    pub fn unsupported(action: &str) -> Self {
        let message = format!("The requested API operation '{action}' is incorrect. Please check.");
        Fault::new(StatusCode::BAD_REQUEST, "ActionNotSupported", message)
    }

    /// Another API is meant.
    pub fn version(version: &str, supported: &str) -> Self {
        let message = format!("The API version '{version}' is not supported: this is {supported}.");
        Fault::new(StatusCode::BAD_REQUEST, "APIVersionNotSupported", message)
    }

    /// There is no such flow.
    pub fn no_flow(flow: &str) -> Self {
        Fault::new(StatusCode::NOT_FOUND, "FlowNotExists", format!("Flow {flow} does not exist."))
    }

    /// The name of the flow is taken.
    pub fn flow_exists(flow: &str) -> Self {
        Fault::new(StatusCode::CONFLICT, "FlowAlreadyExists", format!("Flow {flow} already exists."))
    }

    /// What was deleted under the name is not gone yet.
    pub fn still_going(flow: &str) -> Self {
        let message = format!(
            "Flow {flow} was deleted, and executions of it are still stopping: create it when they have."
        );
        Fault::new(StatusCode::CONFLICT, "ConcurrentUpdateError", message)
    }

    /// There is no such schedule.
    pub fn no_schedule(flow: &str, schedule: &str) -> Self {
        let message = format!("Schedule {schedule} for flow {flow} does not exist.");
        Fault::new(StatusCode::NOT_FOUND, "ScheduleNotExists", message)
    }

    /// The name of the schedule is taken.
    pub fn schedule_exists(flow: &str, schedule: &str) -> Self {
        let message = format!("Schedule {schedule} for flow {flow} already exists.");
        Fault::new(StatusCode::CONFLICT, "ScheduleAlreadyExists", message)
    }

    /// There is no such execution.
    pub fn no_execution(flow: &str, execution: &str) -> Self {
        let message = format!("Execution {execution} for flow {flow} does not exist.");
        Fault::new(StatusCode::NOT_FOUND, "ExecutionNotExists", message)
    }

    /// The execution of that name has ended.
    pub fn execution_exists(flow: &str, execution: &str) -> Self {
        let message = format!("Execution {execution} for flow {flow} already exists.");
        Fault::new(StatusCode::BAD_REQUEST, "ExecutionAlreadyExists", message)
    }

    /// There is nothing to stop any more.
    pub fn completed(flow: &str, execution: &str) -> Self {
        let message = format!("Execution {execution} for flow {flow} has already completed.");
        Fault::new(StatusCode::BAD_REQUEST, "ExecutionAlreadyCompleted", message)
    }

    /// Who asks may not.
    pub fn denied(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    /// The access key is not one of this server's.
    pub fn unknown_key(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::FORBIDDEN, "InvalidAccessKeyID", message)
    }

    /// The signature is not the right one. The vendor's older client takes the text behind the first colon apart, fails without one, and
    /// tells its user that the secret is wrong if that text is what it signed itself.
    pub fn bad_signature(string_to_sign: &str) -> Self {
        let message = format!(
            "Specified signature is not matched with our calculation. server string to sign is:{string_to_sign}"
        );
        Fault::new(StatusCode::BAD_REQUEST, "SignatureDoesNotMatch", message)
    }

    /// The clocks differ too much.
    pub fn skewed(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "RequestTimeTooSkewed", message)
    }

    /// The request was sent before.
    pub fn nonce_used(nonce: &str) -> Self {
        let message = format!(
            "The SignatureNonce '{nonce}' was used before: every request, also one sent again, needs its own."
        );
        Fault::new(StatusCode::BAD_REQUEST, "SignatureNonceUsed", message)
    }

    /// Too much at once.
    pub fn throttled(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::TOO_MANY_REQUESTS, "Throttling", message)
    }

    /// A mistake of this server's.
    pub fn internal() -> Self {
        let message = "The server failed at this request; its log says more.";
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    }

    /// A problem of the layers around the operations, in this API's words.
    pub fn from_problem(problem: &Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = match (problem.code.as_str(), status) {
            ("body_too_large", _) => return Fault::too_large(&problem.detail),
            ("busy", _) => return Fault::throttled(&problem.detail),
            ("unknown_definition", _) => "FlowNotExists",
            ("unknown_run", _) => "ExecutionNotExists",
            (_, StatusCode::SERVICE_UNAVAILABLE) => "ServiceUnavailable",
            (_, status) if status.is_server_error() => "InternalServerError",
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "AccessDenied",
            (_, StatusCode::REQUEST_TIMEOUT) => "RequestTimeout",
            (_, StatusCode::METHOD_NOT_ALLOWED) => "ActionNotSupported",
            _ => return Fault::invalid(&problem.detail),
        };
        Fault::new(status, code, &problem.detail)
    }

    fn too_large(detail: &str) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "EntityTooLarge", detail)
    }

    /// The answer.
    pub fn answer(&self, trace: &Trace) -> Response {
        let body = json!({
            "RequestId": trace.id, "HostId": trace.host, "Code": self.code, "Message": self.message,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER_MS, HeaderValue::from_static("1000"));
        }
        response
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Fault::from_problem(refused.problem())
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Refused(Refusal::InvalidCallback) => {
                Fault::invalid("TaskToken is not valid, was used before, or its task is over.")
            }
            _ => Refused::from(error).into(),
        }
    }
}
