//! What can be run.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
}

impl fmt::Display for DefinitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DefinitionKind::Flow => "flow",
            DefinitionKind::Task => "task",
            DefinitionKind::Workflow => "workflow",
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What names it.
    #[serde(flatten)]
    pub reference: DefinitionRef,
    /// The text as it was deployed.
    pub source: Arc<str>,
    /// When it was deployed. The newest of a name is the one that a start without a version runs.
    pub deployed: Wall,
}
