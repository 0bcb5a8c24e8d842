//! What makes a start idempotent: keys, their generations, and what a second start under one finds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{RunId, Slot};
use crate::json::Fingerprint;
use crate::time::Wall;

/// Identity of a key. Texts are compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Definition name.
    pub definition: Arc<str>,
    /// The definition's version, for keys that are scoped to one; else empty.
    #[serde(default)]
    pub version: Arc<str>,
    /// What the caller chose: 1 to 255 bytes.
    pub continue_id: Arc<str>,
}

impl KeyId {
    /// The slot where the key and all its runs live.
    pub fn slot(&self) -> Slot {
        let mut hash = Sha256::new();
        for part in [&self.namespace, &self.definition, &self.version, &self.continue_id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        Slot(u16::from_be_bytes([digest[0], digest[1]]))
    }
}

/// The key that a run was started under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The key.
    pub id: KeyId,
    /// Which generation of the key this run is, from 1.
    pub generation: u32,
}

/// How long a key is remembered after its run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ttl {
    /// So many milliseconds; 0 forgets at completion, so that the key only joins callers in flight.
    Ms(u64),
    /// Until it is deleted.
    Forever,
}

impl Ttl {
    /// 24 hours.
    pub const DEFAULT: Ttl = Ttl::Ms(24 * 3600 * 1000);
    /// How long the outcome of a task is kept unless it says so, in milliseconds: 7 days.
    pub const TASK_MS: u64 = 7 * 24 * 3600 * 1000;
}

/// What to do when the key's run succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSuccess {
    /// Answer with the stored result.
    #[default]
    Reuse,
    /// A new generation.
    Rerun,
    /// Refuse.
    Reject,
}

/// What to do when the key's run failed, timed out or (where asked explicitly) was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// A new generation.
    Rerun,
    /// Reopen the same run, finished steps kept.
    Resume,
    /// Answer with the stored failure.
    Return,
}

/// What to do when the key's run is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRunning {
    /// Answer with the same run.
    #[default]
    Attach,
    /// Refuse.
    Reject,
    /// Cancel it, and start a new generation when its attempts have ended.
    Restart,
}

/// What to do when the input differs from the key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInput {
    /// Refuse.
    #[default]
    Refuse,
    /// The key alone decides.
    Ignore,
}

/// How a start uses its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyOptions {
    /// The key.
    pub id: KeyId,
    /// Digest of the input's canonical form, or of chosen paths into it.
    pub fingerprint: Fingerprint,
    /// When it succeeded.
    pub on_success: OnSuccess,
    /// When it failed or timed out; `None` is `rerun` for these and `return` for a cancelled one.
    pub on_failure: Option<OnFailure>,
    /// When it is in flight.
    pub on_running: OnRunning,
    /// When the input differs.
    pub on_input: OnInput,
    /// With `rerun` after a failure: whether another input is welcome.
    pub allow_new_input: bool,
    /// With a purged result: start again instead of refusing.
    pub rerun_purged: bool,
    /// A new generation whatever is found; one in flight is cancelled first.
    pub force: bool,
    /// How long to remember the key.
    pub ttl: Ttl,
    /// Failures in a row after which only `force` starts another generation.
    pub max_generations: u32,
    /// The key is a name that a run of it keeps when it has ended: a start for another parent than that run's is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_name: bool,
}

impl KeyOptions {
    /// `max_generations` unless given.
    pub const MAX_GENERATIONS: u32 = 10;

    /// The defaults for a key.
    pub fn new(id: KeyId, fingerprint: Fingerprint) -> Self {
        KeyOptions {
            id,
            fingerprint,
            on_success: OnSuccess::default(),
            on_failure: None,
            on_running: OnRunning::default(),
            on_input: OnInput::default(),
            allow_new_input: false,
            rerun_purged: false,
            force: false,
            ttl: Ttl::DEFAULT,
            max_generations: Self::MAX_GENERATIONS,
            is_name: false,
        }
    }
}

/// Where the run of a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Open.
    InFlight,
    /// Succeeded.
    Succeeded,
    /// Failed or timed out.
    Failed,
    /// Cancelled or expired.
    Cancelled,
}

/// A key as it stands: what is kept in memory, in rows, and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub id: KeyId,
    /// The input it stands for.
    pub fingerprint: Fingerprint,
    /// Its newest run.
    pub run: RunId,
    /// How many runs it has had.
    pub generation: u32,
    /// Where that run stands.
    pub status: KeyStatus,
    /// When that run ended: the TTL counts from here.
    pub completed: Option<Wall>,
    /// How long it is remembered after that.
    pub ttl: Ttl,
    /// Generations that failed one after another.
    pub failures_in_row: u32,
    /// Starts that were answered by an existing run.
    pub hits: u64,
    /// The run was deleted; the key remembers that there was one.
    pub purged: bool,
}

impl Key {
    /// When the key is forgotten; `None` while in flight, and for ever.
    pub fn expires(&self) -> Option<Wall> {
        match (self.status, self.completed, self.ttl) {
            (KeyStatus::InFlight, ..) | (_, None, _) | (_, _, Ttl::Forever) => None,
            (_, Some(completed), Ttl::Ms(ms)) => Some(completed.plus(ms)),
        }
    }

    /// Whether the key is forgotten at `now`: exact, whenever the sweep comes by.
    pub fn is_expired(&self, now: Wall) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }
}
