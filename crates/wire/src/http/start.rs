//! What a start can say.

use riverrun_kernel::driver::RetryPolicy;
use riverrun_kernel::{DefinitionKind, Json, Labels, OnFailure, OnInput, OnRunning, OnSuccess, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, KeyTtl};

/// A start: `POST /v1/runs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Start")]
pub struct Start {
    /// What to run, by name.
    pub definition: String,
    /// Its kind, where a flow and a task have the same name. `task` also starts a task that no worker has announced yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<super::run::KindSchema>")]
    pub kind: Option<DefinitionKind>,
    /// Its version; the newest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The input; `{}` unless given.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub input: Option<Json>,
    /// The client's own id for the run: the same id again returns that run. Not together with `continue_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_id: Option<RunId>,
    /// The key, 1 to 255 bytes; null or empty is no key. The same as the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_id: Option<String>,
    /// When the key's run succeeded: `reuse` (default) its result, `rerun`, or `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OnSuccessSchema>")]
    pub on_success: Option<OnSuccess>,
    /// When it failed, timed out or was cancelled: `rerun` (default, but `return` for a cancelled one), `resume`, or `return` the stored failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OnFailureSchema>")]
    pub on_failure: Option<OnFailure>,
    /// When it is in flight: `attach` (default), `reject`, or `restart`: cancel it and start a new generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OnRunningSchema>")]
    pub on_running: Option<OnRunning>,
    /// When the input differs: `refuse` (default) or `ignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OnInputSchema>")]
    pub on_input: Option<OnInput>,
    /// With `on_failure: rerun`: take the new input after a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_new_input: bool,
    /// When the stored result was deleted: run again instead of `410`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rerun_purged: bool,
    /// A new generation whatever is found; one in flight is cancelled first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The key is only for the definition's version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scope_version: bool,
    /// How long the key is remembered after its run ended; `24h` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<KeyTtl>,
    /// Failures in a row after which only `force` starts another generation; 10 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_generations: Option<u32>,
    /// JSON pointers (RFC 6901) into the input: only what they point at tells inputs apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_paths: Option<Vec<String>>,
    /// Free text pairs, for lists and filters.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// For a flow: the run becomes `timed_out` after so long. For a task: the time limit of each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Not before so long from now. Not together with `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// Not before this date (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// `expired` unless started within so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ttl: Option<Duration>,
    /// For a task: the queue it stands in; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// For a task: 0 to 9, higher first; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// For a task: how often a failed attempt is tried again; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// For a task: never run again once it may have started; it fails as `UnknownOutcome` then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
    /// For a task: worker deaths after which it is given up; 3 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_crashes: Option<u32>,
    /// Wait for the end, at most so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// How often, and how: a number, or a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "retries is a number, or an object with max, interval, multiplier, max_interval and errors"
)]
pub enum Retries {
    /// So many tries after the first, with the default back-off.
    Max(u32),
    /// In detail.
    Policy(Backoff),
}

/// A retry policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Tries after the first.
    pub max: u32,
    /// Wait before the first retry; `1s` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Factor for each further one; 2 unless given, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<f64>,
    /// The longest wait; `1m` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<Duration>,
    /// Error names it is for; all unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Retries {
    /// How the kernel says it.
    pub fn to_policy(&self) -> RetryPolicy {
        let (max_retries, interval, multiplier, max_interval, errors) = match self {
            Retries::Max(max) => (*max, None, None, None, Vec::new()),
            Retries::Policy(policy) => {
                (policy.max, policy.interval, policy.multiplier, policy.max_interval, policy.errors.clone())
            }
        };
        RetryPolicy {
            errors,
            max_retries,
            interval_ms: interval.map_or(1_000, |wait| wait.ms),
            multiplier: multiplier.filter(|factor| factor.is_finite()).unwrap_or(2.0).max(1.0),
            max_interval_ms: max_interval.map_or(60_000, |wait| wait.ms),
        }
    }
}

/// A task called like a function: `POST /v1/calls`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The task's name.
    pub task: String,
    /// Its parameters; `{}` unless given.
    #[serde(default, deserialize_with = "super::json::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Value")]
    pub params: Option<Json>,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Wait for the answer at most so long; the server's `max_wait` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// The words of `on_success`.
#[derive(JsonSchema)]
#[schemars(rename = "OnSuccess", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum OnSuccessSchema {
    Reuse,
    Rerun,
    Reject,
}

/// The words of `on_failure`.
#[derive(JsonSchema)]
#[schemars(rename = "OnFailure", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum OnFailureSchema {
    Rerun,
    Resume,
    Return,
}

/// The words of `on_running`.
#[derive(JsonSchema)]
#[schemars(rename = "OnRunning", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum OnRunningSchema {
    Attach,
    Reject,
    Restart,
}

/// The words of `on_input`.
#[derive(JsonSchema)]
#[schemars(rename = "OnInput", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum OnInputSchema {
    Refuse,
    Ignore,
}
