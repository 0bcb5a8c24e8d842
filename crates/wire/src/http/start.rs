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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_once: Option<bool>,
    /// For a task: worker deaths after which it is given up; 3 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_crashes: Option<u32>,
    /// The same definition with the same input that is still queued or running is not started twice: the answer is that run, as
    /// `duplicate`. Not together with `continue_id`, of which it is a short form.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
    /// The same by a key of one's own instead of the input, 1 to 240 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// For a task: tasks with the same key share its `max_running` and `rate`, and keys take turns. The task's name unless given where one of
    /// these is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// For a task: at most so many of its concurrency key execute at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// For a task: at most so many of its concurrency key start in so long: `30/s`, `100/m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// How long its output is kept, or `forever`; `0` until it has been read. 7 days for a task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_ttl: Option<KeyTtl>,
    /// The same for every other outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_ttl: Option<KeyTtl>,
    /// An address (`http:` or `https:`) that is told how the run has ended: a signed POST of what `GET /v1/runs/{run}` would answer then. It
    /// is tried again for up to a day. For the run that this start creates, not for one that it finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// What starts when it has succeeded, in the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<Start>>,
    /// In `then` and in a chain: the field of the input that gets the output of the run before. Without this and an `input`, that output is
    /// the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Wait for the end, at most so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// How often, and how: a number, or a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "retries is a number, or an object with max, interval, multiplier, max_interval, errors, never and jitter"
)]
pub enum Retries {
    /// So many tries after the first, with the default back-off.
    Max(u32),
    /// In detail.
    Policy(Backoff),
}

/// A retry policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
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
    /// Error names that are never tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
    /// Full jitter: each wait is drawn between nothing and what it would be. On unless it is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<bool>,
}

impl Retries {
    /// How the kernel says it.
    pub fn to_policy(&self) -> RetryPolicy {
        let simple;
        let policy = match self {
            Retries::Max(max) => {
                simple = Backoff { max: *max, ..Backoff::default() };
                &simple
            }
            Retries::Policy(policy) => policy,
        };
        RetryPolicy {
            errors: policy.errors.clone(),
            never: policy.never.clone(),
            max_retries: policy.max,
            interval_ms: policy.interval.map_or(1_000, |wait| wait.ms),
            multiplier: policy.multiplier.filter(|factor| factor.is_finite()).unwrap_or(2.0).max(1.0),
            max_interval_ms: policy.max_interval.map_or(60_000, |wait| wait.ms),
            jitter: policy.jitter.unwrap_or(true),
        }
    }
}

/// Many starts in one commit: `POST /v1/runs/batch`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The starts. What is malformed in one refuses them all. None of them can `wait`.
    pub runs: Vec<Start>,
    /// The namespace of all; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Runs side by side, or one after another: `POST /v1/groups`, `POST /v1/chains`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// What runs. In a chain each gets the output of the one before, as its `into` and `input` say.
    pub runs: Vec<Start>,
    /// For a group: what starts when all have succeeded; its input is made of the list of their outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<Start>>,
    /// For a group: failures are results, too: `{"output": …}` or `{"error": …}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_failures: bool,
    /// The client's own id for the whole: the same id again returns that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_id: Option<RunId>,
    /// The namespace of all; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels of the whole.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Wait for the end, at most so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// How many starts were answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Batched {
    /// One answer for each start, in their order.
    pub items: Vec<BatchItem>,
}

/// The answer to one of many starts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BatchItem {
    /// Its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_id: Option<RunId>,
    /// The run was there before: it is queued or running, or had ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchError>,
}

/// Why one of many starts was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchError {
    /// A stable code: see `/errors/{code}`.
    pub code: String,
    /// What a person reads.
    pub message: String,
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
