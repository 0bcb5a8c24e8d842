//! Pictures of flows: SVG, laid out here, and the same graph as DOT and Mermaid for others to lay out.
//!
//! `layers` and `place` lay out one list of steps, `scene` puts lists into containers, `svg` writes what came of it.
//! An [`Overlay`] makes it the picture of a run.

mod describe;
mod dot;
mod icons;
mod layers;
mod mermaid;
mod outline;
mod overlay;
mod place;
mod scene;
mod stroke;
mod svg;
mod text;

use crate::graph::{Graph, Kind};

pub(crate) use overlay::Taken;
pub use overlay::{Mark, Overlay, StepState};

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Laid out; what browsers show.
    Svg,
    /// For Graphviz.
    Dot,
    /// For Mermaid, which many pages render.
    Mermaid,
}

/// Draws a flow.
pub(crate) fn draw(graph: &Graph, format: Format, title: &str, overlay: Option<&Overlay>) -> String {
    match format {
        Format::Svg => svg::write(graph, title, overlay),
        Format::Dot => dot::write(graph, title, overlay),
        Format::Mermaid => mermaid::write(graph, title, overlay),
    }
}

/// A length of time, for a person.
pub(crate) fn spoken_duration(ms: u64) -> String {
    text::duration(ms)
}

/// Whether a step is drawn as a container of others.
pub(crate) fn is_container(kind: &Kind) -> bool {
    scene::is_group(kind)
}
