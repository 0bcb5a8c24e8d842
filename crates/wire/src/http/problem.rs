//! Errors: one table of stable codes, and the `application/problem+json` body (RFC 9457) that carries them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! codes {
    ($($variant:ident $text:literal $status:literal $title:literal;)*) => {
        /// A stable name for what went wrong. `docs/errors/` has a page on each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $(#[doc = concat!($title, ".")] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// Its text.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// What it means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request" 400 "The request is not valid";
    OverLimit "over_limit" 400 "The request asks for more than a limit allows";
    Unauthorized "unauthorized" 401 "An access token is needed";
    HostNotAllowed "host_not_allowed" 403 "The Host header names another server";
    OriginNotAllowed "origin_not_allowed" 403 "A page of another site may not use this server";
    NotFound "not_found" 404 "There is nothing at this path";
    UnknownRun "unknown_run" 404 "There is no such run";
    UnknownDefinition "unknown_definition" 404 "There is no such definition";
    UnknownTask "unknown_task" 404 "No worker has this task";
    UnknownKey "unknown_key" 404 "There is no such key";
    UnknownSchedule "unknown_schedule" 404 "There is no such schedule";
    InvalidCallback "invalid_callback" 404 "The callback token is not valid, or was used";
    MethodNotAllowed "method_not_allowed" 405 "The path does not take this method";
    RequestTimeout "request_timeout" 408 "The request came in too slowly";
    WrongState "wrong_state" 409 "The run's state does not allow it";
    RunClosed "run_closed" 409 "The run has ended";
    RunIdTaken "run_id_taken" 409 "The run id was used for another start";
    KeyRejected "key_rejected" 409 "The key has a run, and the start asked to be rejected then";
    KeyInFlight "key_in_flight" 409 "The key's run has not ended";
    TooManyGenerations "too_many_generations" 409 "The key's runs failed too often in a row";
    TooManySignals "too_many_signals" 409 "The run has as many signals waiting as it takes";
    DefinitionInUse "definition_in_use" 409 "The definition is used";
    ScheduleExists "schedule_exists" 409 "There is a schedule of this name already";
    TooManySchedules "too_many_schedules" 409 "There are as many schedules as there may be";
    Conflict "conflict" 409 "Another outcome is on record";
    LeaseLost "lease_lost" 409 "The right to report the outcome was lost";
    KeyPurged "key_purged" 410 "The stored result was deleted";
    BodyTooLarge "body_too_large" 413 "The body is larger than max_body";
    UnsupportedMediaType "unsupported_media_type" 415 "The body has the wrong content type";
    KeyMismatch "key_mismatch" 422 "The key was used with another input";
    InvalidParams "invalid_params" 422 "The task does not take these parameters";
    InvalidDefinition "invalid_definition" 422 "The definition has mistakes";
    InvalidSchedule "invalid_schedule" 422 "The schedule would never fire, or has a mistake";
    UpgradeRequired "upgrade_required" 426 "Only a worker can connect here";
    Internal "internal" 500 "The server made a mistake";
    Busy "busy" 503 "The server has more work waiting than it takes in";
    Unavailable "unavailable" 503 "The store cannot be used now";
    Stopping "stopping" 503 "The server is stopping";
    TooManyConnections "too_many_connections" 503 "The server has as many connections as it takes";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error, as every path answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A page on this kind of error, relative to the server.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it means, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened to this request, and what to do.
    pub detail: String,
    /// The stable code. A text, so that a client reads the codes of a newer server.
    pub code: String,
    /// More, depending on the code: `run_id`, `limit`, `diagnostics`, ….
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("/errors/{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str().to_owned(),
            more: Map::new(),
        }
    }

    /// The same with a fact for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl std::error::Error for Problem {}
