//! Steps of every kind, and what contains further steps.

use super::fields::Fields;
use super::mapping::{self, Place};
use super::{Checker, Goto, Slot, task};
use crate::graph::{Branch, Foreach, Kind, ListIndex, Owner, StepIndex};
use crate::yaml::{Node, Span};

const KINDS: &[&str] = &["task", "pass", "wait", "choice", "parallel", "foreach", "succeed", "fail"];
const LONGEST_NAME: usize = 128;

/// The attributes of a kind of step besides those that all steps have.
fn attributes(kind: &str) -> &'static [&'static str] {
    match kind {
        "task" => &[
            "resourceArn",
            "action",
            "pattern",
            "serviceParams",
            "timeoutSeconds",
            "retry",
            "catch",
            "errorMappings",
        ],
        "wait" => &["duration", "timestamp"],
        "choice" => &["choices", "default"],
        "parallel" => &["branches"],
        "foreach" => &["iterationMapping", "steps"],
        "fail" => &["error", "cause"],
        _ => &[],
    }
}

impl Checker<'_, '_> {
    /// Reads a step and everything in it.
    pub(super) fn step(&mut self, node: &Node, list: ListIndex) {
        let Some(fields) = Fields::of(node, "a step", self.report) else {
            return;
        };
        let name = self.step_name(fields);
        let word = fields.get("type").and_then(Node::text);
        let what = match (&name, word) {
            (Some((name, _)), _) => format!("step `{name}`"),
            (None, Some(word)) => format!("a {word} step"),
            (None, None) => "a step".to_owned(),
        };
        let fields = fields.named(&what);
        let (name, span) = name.unwrap_or_default();
        let step = self.reserve(name.clone(), span, list);
        if !name.is_empty() {
            self.claim(&name, step, span);
        }
        let Some(word) = self.step_type(fields) else {
            return;
        };
        let ends = if matches!(word, "succeed" | "fail") { &[][..] } else { &["end"] };
        let common = ["type", "name", "inputMappings", "outputMappings"];
        fields.only(&[&common, ends, attributes(word)].concat(), self.report);

        let (kind, token) = match word {
            "task" => task::task(self, fields, step),
            "wait" => (task::wait(fields, self.report), false),
            "choice" => (self.choice(fields, step), false),
            "parallel" => (self.parallel(fields, step), false),
            "foreach" => (self.foreach(fields, step), false),
            "succeed" => (Kind::Succeed, false),
            "fail" => (task::fail(fields, self.report), false),
            _ => (Kind::Pass, false),
        };
        let input = mapping::mappings(fields, "inputMappings", Place::Data { token }, self.report);
        let output = mapping::mappings(fields, "outputMappings", Place::Data { token: false }, self.report);
        let end = !ends.is_empty() && fields.flag("end", self.report);
        let known = &mut self.graph.steps[step];
        (known.kind, known.input, known.output, known.end) = (kind, input, output, end);
    }

    fn step_name(&mut self, fields: Fields) -> Option<(String, Span)> {
        let what = fields
            .get("type")
            .and_then(Node::text)
            .map_or("a step".to_owned(), |word| format!("a {word} step"));
        let fields = fields.named(&what);
        fields.required("name", "give it a name of its own: `name: CheckStatus`", self.report);
        let name = fields.text("name", self.report)?;
        let span = fields.get("name").map_or(fields.mark(), Node::mark);
        // The path of a step in a run is made of names and these signs.
        let wrong = name.chars().find(|c| c.is_control() || c.is_whitespace() || "/#[]~".contains(*c));
        if let Some(wrong) = wrong {
            let message = format!("a step's name cannot contain {wrong:?}");
            self.report.error(span, message, "use letters, digits, `_` and `-`".to_owned());
        } else if name.is_empty() || name.chars().count() > LONGEST_NAME {
            let length = name.chars().count();
            self.report.error(
                span,
                format!("a step's name has 1 to {LONGEST_NAME} characters, this one {length}"),
                None,
            );
        }
        Some((name.to_owned(), span))
    }

    fn step_type(&mut self, fields: Fields) -> Option<&'static str> {
        fields.required("type", "say what kind of step it is: `type: task`", self.report)?;
        if fields.get("type").and_then(Node::text) == Some("loop") {
            self.report.error(
                fields.get("type").map_or(fields.mark(), Node::mark),
                format!("{} is a `loop`, which was never part of the published language", fields.what()),
                "use `foreach` to go through a list, or a choice whose `goto` leads back to an earlier step"
                    .to_owned(),
            );
            return None;
        }
        fields.one_of("type", KINDS, self.report)
    }

    fn choice(&mut self, fields: Fields, step: StepIndex) -> Kind {
        fields.required("choices", "add `choices: [{condition: …, goto: …}]`", self.report);
        let mut branches = Vec::new();
        let what = format!("a branch of {}", fields.what());
        for node in fields.list("choices", self.report).unwrap_or_default() {
            let Some(fields) = Fields::of(node, &what, self.report) else {
                continue;
            };
            fields.only(&["condition", "steps", "goto"], self.report);
            let condition = fields
                .required(
                    "condition",
                    "say when the branch is taken: `condition: $.status == \"success\"`",
                    self.report,
                )
                .and_then(|node| mapping::condition(node, &format!("`condition` of {what}"), self.report));
            let written = fields.get("condition").and_then(Node::scalar);
            let written = written.map(|scalar| scalar.text.trim().to_owned()).unwrap_or_default();
            let branch = self.branch(fields, step, branches.len());
            let span = fields.get("condition").map_or(fields.mark(), Node::mark);
            branches.push(Branch { condition, written, span, ..branch });
        }
        if let Some(node) = fields.get("default") {
            let what = format!("`default` of {}", fields.what());
            if let Some(fields) = Fields::of(node, &what, self.report) {
                fields.mostly(&["steps", "goto"], self.report);
                branches.push(self.branch(fields, step, branches.len()));
            }
        }
        Kind::Choice(branches)
    }

    fn branch(&mut self, fields: Fields, step: StepIndex, branch: usize) -> Branch {
        let steps = fields.list("steps", self.report).filter(|steps| !steps.is_empty());
        let steps = steps.map(|steps| self.list(steps, Owner::Choice { step, branch }));
        if let Some(name) = fields.text("goto", self.report) {
            let span = fields.get("goto").map_or(fields.mark(), Node::mark);
            self.gotos.push(Goto { step, slot: Slot::Branch(branch), name: name.to_owned(), span });
        }
        Branch { condition: None, written: String::new(), span: fields.mark(), steps, goto: None }
    }

    fn parallel(&mut self, fields: Fields, step: StepIndex) -> Kind {
        fields.required("branches", "add `branches: [{steps: […]}, {steps: […]}]`", self.report);
        let what = format!("a branch of {}", fields.what());
        let nodes = fields.list("branches", self.report).unwrap_or_default();
        let mut branches = Vec::new();
        for node in nodes {
            let Some(fields) = Fields::of(node, &what, self.report) else {
                continue;
            };
            fields.only(&["steps"], self.report);
            fields.required(
                "steps",
                "add the steps that run side by side with the other branches",
                self.report,
            );
            let steps = fields.list("steps", self.report).unwrap_or_default();
            branches.push(self.list(steps, Owner::Parallel { step, branch: branches.len() }));
        }
        Kind::Parallel(branches)
    }

    fn foreach(&mut self, fields: Fields, step: StepIndex) -> Kind {
        const EXAMPLE: &str = "write `iterationMapping: {collection: $.items, item: item}`";
        let mut collection = Vec::new();
        let mut span = fields.mark();
        let mut item = "";
        let mut index = None;
        let what = format!("`iterationMapping` of {}", fields.what());
        let mapping = fields.required("iterationMapping", EXAMPLE, self.report);
        if let Some(mapping) = mapping.and_then(|node| Fields::of(node, &what, self.report)) {
            mapping.only(&["collection", "item", "index"], self.report);
            let node = mapping.required("collection", EXAMPLE, self.report);
            let path = node
                .and_then(|node| mapping::input_path(node, &format!("`collection` of {what}"), self.report));
            collection = path.unwrap_or_default();
            span = node.map_or(span, Node::mark);
            mapping.required("item", EXAMPLE, self.report);
            item = mapping.text("item", self.report).unwrap_or_default();
            index = mapping.text("index", self.report).map(str::to_owned);
        }
        fields.required("steps", "add the steps that run for each item", self.report);
        let steps = fields.list("steps", self.report).unwrap_or_default();
        let steps = self.list(steps, Owner::Foreach { step });
        Kind::Foreach(Foreach { collection, span, item: item.to_owned(), index, steps })
    }
}
