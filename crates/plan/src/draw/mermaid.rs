//! The graph in Mermaid's language.

use std::fmt::Write;

use super::describe;
use super::outline::{self, Edge, Point};
use super::overlay::Overlay;
use super::scene::is_group;
use crate::graph::{Graph, Kind, ListIndex, StepIndex};

/// Writes a flow as a flowchart with a subgraph for each container.
pub(super) fn write(graph: &Graph, title: &str, overlay: Option<&Overlay>) -> String {
    let edges = outline::edges(graph, overlay);
    let mut chart = Chart { graph, overlay, edges: &edges, text: String::new() };
    chart.line(0, "---");
    chart.line(0, &format!("title: {}", serde_json::Value::String(title.to_owned())));
    chart.line(0, "---");
    chart.line(0, "flowchart TD");
    chart.line(1, "start(( ))");
    if edges.iter().any(|edge| edge.to == Point::End) {
        chart.line(1, "finish(((\" \")))");
    }
    chart.list(0, 1);
    let mut taken = Vec::new();
    for (at, edge) in edges.iter().enumerate() {
        chart.edge(edge);
        if edge.is_taken {
            taken.push(at.to_string());
        }
    }
    if !taken.is_empty() {
        chart.line(1, &format!("linkStyle {} stroke-width:3px", taken.join(",")));
    }
    chart.classes();
    chart.text
}

struct Chart<'g> {
    graph: &'g Graph,
    overlay: Option<&'g Overlay>,
    edges: &'g [Edge],
    text: String,
}

impl Chart<'_> {
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
            self.line(depth, &format!("subgraph g{step}[\" \"]"));
            self.node(step, depth + 1);
            if outline::has_join(self.edges, step) {
                self.line(depth + 1, &format!("j{step}(( ))"));
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
            self.line(depth, "end");
        }
    }

    fn node(&mut self, step: StepIndex, depth: usize) {
        let known = &self.graph.steps[step];
        let mark = self.overlay.and_then(|overlay| overlay.steps.get(&known.name));
        let mut said = vec![format!("<b>{}</b>", escape(&known.name))];
        said.extend(
            [describe::detail(known)].iter().filter(|text| !text.is_empty()).map(|text| escape(text)),
        );
        said.extend(mark.map(describe::stats).filter(|text| !text.is_empty()).map(|text| escape(&text)));
        let label = said.join("<br>");
        let (open, close) = match known.kind {
            Kind::Choice(_) => ("{{", "}}"),
            Kind::Wait(_) | Kind::Succeed => ("([", "])"),
            Kind::Fail { .. } => ("[/", "\\]"),
            Kind::Task(_) => ("(", ")"),
            _ => ("[", "]"),
        };
        let class = mark.map_or(String::new(), |mark| format!(":::{}", mark.state.word()));
        self.line(depth, &format!("s{step}{open}\"{label}\"{close}{class}"));
    }

    fn edge(&mut self, edge: &Edge) {
        let point = |point: Point| match point {
            Point::Start => "start".to_owned(),
            Point::End => "finish".to_owned(),
            Point::Step(step) => format!("s{step}"),
            Point::Join(step) => format!("j{step}"),
        };
        let arrow = match (edge.is_error, matches!(edge.to, Point::Join(_))) {
            (true, _) => "-.->",
            (false, true) => "---",
            (false, false) => "-->",
        };
        let label = edge.label.as_ref().map_or(String::new(), |label| format!("|\"{}\"|", escape(label)));
        self.line(1, &format!("{} {arrow}{label} {}", point(edge.from), point(edge.to)));
    }

    fn classes(&mut self) {
        if self.overlay.is_none() {
            return;
        }
        for class in [
            "classDef succeeded fill:#e6f6ec,stroke:#1a7f47,color:#1b2430",
            "classDef caught fill:#fff1de,stroke:#c2680a,color:#1b2430,stroke-dasharray:5 3",
            "classDef cancelled fill:#eceff3,stroke:#667182,color:#1b2430,stroke-dasharray:2 2",
            "classDef waiting fill:#fff8dc,stroke:#8f6a00,color:#1b2430,stroke-dasharray:7 3",
            "classDef running fill:#e5efff,stroke:#1f6feb,color:#1b2430,stroke-width:2px",
            "classDef failed fill:#fde7e8,stroke:#c62736,color:#1b2430,stroke-width:3px",
        ] {
            self.line(1, class);
        }
    }
}

/// A text for a quoted label: what Mermaid or HTML would read as a sign becomes a numbered entity.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '<' | '>' | '&' | '#' | ';' | '`' | '\\' | '|' | '*' | '_' => {
                escaped.extend(["#", &u32::from(c).to_string(), ";"]);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
