//! Values on the command line that are more than a word: lengths of time, labels.

use std::time::Duration;

use riverrun_kernel::DefinitionKind;
use riverrun_wire::http::{Duration as WireDuration, InvalidDuration};

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// So long.
    For(Duration),
    /// For ever.
    Forever,
}

/// Reads `90`, `1.5s`, `200ms`, `1h30m`, `30d`: what the API reads.
pub fn duration(text: &str) -> Result<Duration, String> {
    text.parse().map(WireDuration::to_std).map_err(|error: InvalidDuration| error.to_string())
}

/// Reads a length of time, or `forever`.
pub fn retention(text: &str) -> Result<Retention, String> {
    match text {
        "forever" => Ok(Retention::Forever),
        _ => duration(text).map(Retention::For),
    }
}

/// Reads `NAME=VALUE`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not a label: write NAME=VALUE")),
    }
}

/// Reads the kind of a definition.
pub fn kind(text: &str) -> Result<DefinitionKind, String> {
    match text {
        "flow" => Ok(DefinitionKind::Flow),
        "task" => Ok(DefinitionKind::Task),
        "workflow" => Ok(DefinitionKind::Workflow),
        _ => Err(format!("`{text}` is no kind: write flow, task or workflow")),
    }
}
