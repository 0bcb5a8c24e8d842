//! What can be run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::RunOptions;
use crate::time::Wall;

/// What drives the runs of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKind {
    /// A YAML flow (FDL).
    Flow,
    /// One function.
    Task,
    /// Code that records steps of its own, and is replayed.
    Workflow,
    /// Part of Riverrun: a group or a chain of other runs.
    Builtin,
}

impl fmt::Display for DefinitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DefinitionKind::Flow => "flow",
            DefinitionKind::Task => "task",
            DefinitionKind::Workflow => "workflow",
            DefinitionKind::Builtin => "builtin",
        })
    }
}

/// One immutable version of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DefinitionRef {
    /// The namespace it belongs to.
    pub namespace: Arc<str>,
    /// Its kind.
    pub kind: DefinitionKind,
    /// Its name.
    pub name: Arc<str>,
    /// Its version: the first 12 hex digits of the SHA-256 of its source; empty for a task or a workflow, whose code is the worker's.
    pub version: Arc<str>,
}

/// A deployed definition with its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What names it.
    #[serde(flatten)]
    pub reference: DefinitionRef,
    /// The text as it was deployed.
    pub source: Arc<str>,
    /// When it was deployed. The newest of a name is the one that a start without a version runs.
    pub deployed: Wall,
    /// When the name was deployed for the first time, or for the first time since it was deleted; not known of what is old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Wall>,
    /// What people keep with it, such as a description. None of it changes what it does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// For a task: what it says of its runs, where their start does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Arc<RunOptions>>,
    /// The name was deleted: nothing of it is started any more, and its runs go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl Definition {
    /// A definition of which nothing else is known.
    pub fn new(reference: DefinitionRef, source: impl Into<Arc<str>>, deployed: Wall) -> Self {
        Definition {
            reference,
            source: source.into(),
            deployed,
            created: None,
            facts: BTreeMap::new(),
            options: None,
            deleted: false,
        }
    }
}
