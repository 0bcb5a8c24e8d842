//! Queues, their limits, and dead letters.

use riverrun_kernel::RunId;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::Duration;

/// Queues: `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queues {
    /// Every queue that has something in it, has done something since the server was started, or has something set.
    pub items: Vec<QueueItem>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueItem {
    /// The namespace.
    pub namespace: String,
    /// The queue.
    pub queue: String,
    /// Nothing of it begins until it is resumed.
    pub paused: bool,
    /// How many calls wait for a worker or for a limit.
    pub waiting: usize,
    /// When the run that waits longest was created.
    pub oldest_at: Option<String>,
    /// How many attempts execute.
    pub running: u32,
    /// Attempts begun since the server was started.
    pub started: u64,
    /// Steps ended since then.
    pub ended: u64,
    /// Those of them that failed for good.
    pub failed: u64,
    /// Steps ended within the last minute.
    pub last_minute: u64,
    /// At most so many execute at once.
    pub max_running: Option<u32>,
    /// At most so many start in so long.
    pub rate: Option<String>,
    /// How many connected workers take from it.
    pub workers: usize,
    /// Something waits that no connected worker takes.
    pub unserved: bool,
    /// What waits, by function.
    pub functions: Vec<QueuedFunction>,
}

/// Calls of one function that wait in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedFunction {
    /// The function.
    pub function: String,
    /// How many calls wait.
    pub waiting: usize,
    /// How many connected workers take them.
    pub workers: usize,
    /// Nobody takes them: they wait until a worker with this function and queue connects.
    pub unserved: bool,
}

/// Which queues: `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueQuery {
    /// The namespace; all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only this queue, also one that has nothing to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// A queue to pause, resume, drain or empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueBody {
    /// The queue.
    pub queue: String,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// For a drain: answer when nothing of it executes any more, at the latest after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
}

/// How many runs a request changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// So many.
    pub changed: usize,
    /// There are more: send it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A limit: `POST /v1/queues/limit`. What is not there stays as it is; null lifts it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitBody {
    /// The queue; or `concurrency_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The concurrency key; or `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// At most so many execute at once.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>")]
    pub max_running: Option<Option<u32>>,
    /// At most so many start in so long: `30/s`, `100/m`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub rate: Option<Option<String>>,
}

/// Tells a null from nothing.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Which dead letters: tasks that failed for good.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadQuery {
    /// This one alone; the others do not matter then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run: Option<RunId>,
    /// The namespace; `default` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Those of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Those of this task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Those that ended with an error of this name: `WorkerCrashed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many at most; 100 unless given, 1,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where to go on: `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
