//! Keys: what makes starts idempotent.

use riverrun_kernel::{Key, KeyStatus, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::KeyTtl;
use super::run::time;

/// Which keys: `GET /v1/keys`. With `continue_id` one key, else a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyQuery {
    /// The namespace; `default` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The definition's name; needed with `continue_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The definition's version, for a key that is scoped to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the caller chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_id: Option<String>,
    /// For a list: how many at most; 100 unless given, 1,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// For a list: `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which key to forget: `DELETE /v1/keys`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteKeyQuery {
    /// The namespace; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The definition's name.
    pub definition: String,
    /// The definition's version, for a key that is scoped to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the caller chose.
    pub continue_id: String,
    /// Cancel what is in flight under it, instead of refusing.
    #[serde(default)]
    pub cancel: bool,
}

/// A key as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// The namespace.
    pub namespace: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's version, for a key that is scoped to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the caller chose.
    pub continue_id: String,
    /// `in_flight`, `succeeded`, `failed` or `cancelled`.
    #[schemars(with = "KeyStatusSchema")]
    pub state: KeyStatus,
    /// Its newest run.
    #[schemars(with = "String")]
    pub run_id: RunId,
    /// How many runs it has had.
    pub generations: u32,
    /// Generations that failed one after another.
    pub failures_in_row: u32,
    /// Starts that were answered by an existing run.
    pub hits: u64,
    /// SHA-256 of the canonical form of the input it stands for.
    pub fingerprint: String,
    /// How long it is remembered after its run ended.
    pub ttl: KeyTtl,
    /// When its run ended.
    pub completed_at: Option<String>,
    /// When it is forgotten; null while in flight, and for ever.
    pub expires_at: Option<String>,
    /// Its run was deleted.
    pub purged: bool,
}

impl From<&Key> for KeyView {
    fn from(key: &Key) -> Self {
        KeyView {
            namespace: key.id.namespace.to_string(),
            definition: key.id.definition.to_string(),
            version: Some(key.id.version.to_string()).filter(|version| !version.is_empty()),
            continue_id: key.id.continue_id.to_string(),
            state: key.status,
            run_id: key.run,
            generations: key.generation,
            failures_in_row: key.failures_in_row,
            hits: key.hits,
            fingerprint: key.fingerprint.to_string(),
            ttl: key.ttl.into(),
            completed_at: key.completed.map(time),
            expires_at: key.expires().map(time),
            purged: key.purged,
        }
    }
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keys {
    /// The keys.
    pub items: Vec<KeyView>,
    /// Where the next page starts; null at the end.
    pub next_cursor: Option<String>,
}

/// Where the run of a key stands.
#[derive(JsonSchema)]
#[schemars(rename = "KeyStatus", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: the kernel's own type has none")]
enum KeyStatusSchema {
    InFlight,
    Succeeded,
    Failed,
    Cancelled,
}
