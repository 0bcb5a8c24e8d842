//! Workers and callbacks.

use riverrun_kernel::{Failure, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The connected workers: `GET /v1/workers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// The workers.
    pub items: Vec<WorkerItem>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerItem {
    /// The connection; another after each reconnect.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The namespace it serves.
    pub namespace: String,
    /// Queues it takes from; empty for all.
    pub queues: Vec<String>,
    /// Functions it has.
    pub functions: Vec<String>,
    /// Attempts it can execute at once.
    pub slots: u32,
    /// What it is executing.
    pub attempts: Vec<String>,
    /// Whether it takes no further attempts.
    pub draining: bool,
    /// Why it cannot use all its slots for now: what executes attempts there is still starting, or does not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The outcome of a step that waits for it: `POST /v1/callbacks/{token}`. Exactly one of the two.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackBody {
    /// It succeeded with this.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub output: Option<Json>,
    /// It failed so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallbackError>,
}

/// How a step failed, as its callback says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackError {
    /// The error's name, which retry and catch rules look at.
    #[serde(rename = "type")]
    pub kind: String,
    /// What a person reads.
    #[serde(default)]
    pub message: String,
    /// More.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub details: Option<Json>,
}

impl From<CallbackError> for Failure {
    fn from(error: CallbackError) -> Self {
        Failure { details: error.details, ..Failure::new(error.kind, error.message) }
    }
}
