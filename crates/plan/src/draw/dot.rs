//! The graph in Graphviz's language.

use std::fmt::Write;

use super::describe;
use super::outline::{self, Edge, Point};
use super::overlay::{Overlay, StepState};
use super::scene::is_group;
use crate::graph::{Graph, Kind, ListIndex, StepIndex};

/// Writes a flow as a digraph with a cluster for each container.
pub(super) fn write(graph: &Graph, title: &str, overlay: Option<&Overlay>) -> String {
    let edges = outline::edges(graph, overlay);
    let mut dot = Dot { graph, overlay, edges: &edges, text: String::new() };
    dot.line(0, "digraph flow {");
    dot.line(1, &format!("label={}; labelloc=t; rankdir=TB;", quote(title)));
    dot.line(
        1,
        "node [fontname=\"sans-serif\", fontsize=11, shape=box, style=\"rounded,filled\", fillcolor=white];",
    );
    dot.line(1, "edge [fontname=\"sans-serif\", fontsize=10];");
    dot.line(1, "start [shape=circle, label=\"\", width=0.2, fillcolor=black, tooltip=start];");
    if edges.iter().any(|edge| edge.to == Point::End) {
        dot.line(1, "end [shape=doublecircle, label=\"\", width=0.15, fillcolor=black, tooltip=end];");
    }
    dot.list(0, 1);
    for edge in &edges {
        dot.edge(edge);
    }
    dot.line(0, "}");
    dot.text
}

struct Dot<'g> {
    graph: &'g Graph,
    overlay: Option<&'g Overlay>,
    edges: &'g [Edge],
    text: String,
}

impl Dot<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.text, "{}{text}", "  ".repeat(depth)).expect("a String takes everything");
    }

    fn list(&mut self, list: ListIndex, depth: usize) {
        for &step in &self.graph.lists[list].steps {
            let kind = &self.graph.steps[step].kind;
            if !is_group(kind) {
                self.node(step, depth);
                continue;
            }
            self.line(depth, &format!("subgraph cluster_s{step} {{"));
            let dashed = if matches!(kind, Kind::Choice(_)) { "rounded,dashed" } else { "rounded" };
            self.line(depth + 1, &format!("style={}; color=gray60;", quote(dashed)));
            self.node(step, depth + 1);
            if outline::has_join(self.edges, step) {
                self.line(depth + 1, &format!("j{step} [shape=point, width=0.06];"));
            }
            let inner: Vec<ListIndex> = match kind {
                Kind::Parallel(lists) => lists.clone(),
                Kind::Foreach(foreach) => vec![foreach.steps],
                Kind::Choice(branches) => branches.iter().filter_map(|branch| branch.steps).collect(),
                _ => Vec::new(),
            };
            for list in inner {
                self.list(list, depth + 1);
            }
            self.line(depth, "}");
        }
    }

    fn node(&mut self, step: StepIndex, depth: usize) {
        let known = &self.graph.steps[step];
        let mark = self.overlay.and_then(|overlay| overlay.steps.get(&known.name));
        let mut said = vec![known.name.clone(), describe::detail(known)];
        said.extend(mark.map(describe::stats));
        said.retain(|line| !line.is_empty());
        let shape = match known.kind {
            Kind::Choice(_) => "hexagon",
            Kind::Fail { .. } => "octagon",
            Kind::Wait(_) | Kind::Succeed => "oval",
            _ => "box",
        };
        let colors = match mark.map(|mark| mark.state) {
            None => "",
            Some(StepState::Succeeded) => ", fillcolor=\"#e6f6ec\", color=\"#1a7f47\"",
            Some(StepState::Caught) => {
                ", fillcolor=\"#fff1de\", color=\"#c2680a\", style=\"rounded,filled,dashed\""
            }
            Some(StepState::Cancelled) => {
                ", fillcolor=\"#eceff3\", color=\"#667182\", style=\"rounded,filled,dotted\""
            }
            Some(StepState::Waiting) => {
                ", fillcolor=\"#fff8dc\", color=\"#8f6a00\", style=\"rounded,filled,dashed\""
            }
            Some(StepState::Running) => ", fillcolor=\"#e5efff\", color=\"#1f6feb\", penwidth=2",
            Some(StepState::Failed) => ", fillcolor=\"#fde7e8\", color=\"#c62736\", penwidth=3",
        };
        let whole = describe::whole(self.graph, step, mark);
        let line = format!(
            "s{step} [label={}, tooltip={}, shape={shape}{colors}];",
            quote(&said.join("\n")),
            quote(&whole)
        );
        self.line(depth, &line);
    }

    fn edge(&mut self, edge: &Edge) {
        let point = |point: Point| match point {
            Point::Start => "start".to_owned(),
            Point::End => "end".to_owned(),
            Point::Step(step) => format!("s{step}"),
            Point::Join(step) => format!("j{step}"),
        };
        let mut attributes: Vec<String> = Vec::new();
        attributes.extend(edge.label.as_ref().map(|label| format!("label={}", quote(label))));
        if edge.is_error {
            attributes.push("color=\"#c62736\", style=dashed".to_owned());
        }
        if edge.is_taken {
            attributes.push("penwidth=2.5".to_owned());
        }
        if matches!(edge.to, Point::Join(_)) {
            attributes.push("arrowhead=none".to_owned());
        }
        let attributes =
            if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        self.line(1, &format!("{} -> {}{attributes};", point(edge.from), point(edge.to)));
    }
}

/// A quoted string of the language.
fn quote(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push('\u{fffd}'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
