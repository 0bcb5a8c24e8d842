//! From the YAML tree to the graph: everything that is wrong is reported, in one pass over the whole file.

pub(crate) mod beyond;
pub(crate) mod fields;
mod flow_of_data;
mod lint;
pub(crate) mod mapping;
mod resource;
mod steps;
mod task;

use std::collections::HashMap;

use fields::Fields;
use mapping::Place;

use crate::diagnostic::{Report, did_you_mean, quoted};
use crate::graph::{Graph, Kind, List, ListIndex, Owner, Step, StepIndex};
use crate::limits::Limits;
use crate::yaml::{self, Node, Span};

pub(crate) use task::moment;

/// Reads a source; the graph is sound if the report has no errors.
pub(crate) fn check(report: &mut Report, limits: &Limits) -> Option<Graph> {
    let root = yaml::read(report)?;
    let mut checker = Checker { report, graph: Graph::default(), names: HashMap::new(), gotos: Vec::new() };
    checker.flow(&root);
    checker.resolve();
    let graph = checker.graph;
    for excess in beyond::beyond(&graph, limits) {
        report.error(excess.span, excess.message, excess.advice.to_owned());
    }
    // What a flow with mistakes would do is not worth a guess.
    if !report.has_errors() {
        lint::lint(&graph, report);
        flow_of_data::lint(&graph, report);
    }
    Some(graph)
}

struct Checker<'r, 's> {
    report: &'r mut Report<'s>,
    graph: Graph,
    names: HashMap<String, (StepIndex, Span)>,
    gotos: Vec<Goto>,
}

/// A goto whose target is not known before every step has been read.
struct Goto {
    step: StepIndex,
    slot: Slot,
    name: String,
    span: Span,
}

/// Which goto of a step.
enum Slot {
    Branch(usize),
    Catch(usize),
}

impl Checker<'_, '_> {
    fn flow(&mut self, root: &Node) {
        let Some(fields) = Fields::of(root, "the flow", self.report) else {
            return;
        };
        if fields.get("type").is_none()
            && (fields.get("Type").is_some() || fields.get("SpecVersion").is_some())
        {
            self.report.error(
                fields.mark(),
                "this is a flow in the newer language (`Type: StateMachine`), which is not served",
                "write it in the language that begins with `version: v1` and `type: flow`".to_owned(),
            );
            return;
        }
        fields.mostly(
            &[
                "version",
                "type",
                "name",
                "description",
                "steps",
                "inputMappings",
                "outputMappings",
                "timeoutSeconds",
            ],
            self.report,
        );
        fields.required("version", "add `version: v1`", self.report);
        fields.one_of("version", &["v1", "v1beta1", "v1.0"], self.report);
        fields.required("type", "add `type: flow`", self.report);
        fields.one_of("type", &["flow"], self.report);
        self.graph.timeout_ms = fields.whole("timeoutSeconds", 1, self.report).map(|seconds| seconds * 1000);
        self.graph.timeout_span = fields.key_span("timeoutSeconds");
        let place = Place::Data { token: false };
        self.graph.input = mapping::mappings(fields, "inputMappings", place, self.report);
        self.graph.output = mapping::mappings(fields, "outputMappings", place, self.report);
        fields.required("steps", "add a list of steps: `steps: [{type: pass, name: First}]`", self.report);
        let steps = fields.list("steps", self.report);
        if let Some([]) = steps {
            let message = "the flow has no steps";
            self.report.error(
                fields.key_span("steps"),
                message,
                "add at least one: `- {type: pass, name: First}`".to_owned(),
            );
        }
        self.list(steps.unwrap_or_default(), Owner::Flow);
    }

    /// Reads a list of steps.
    fn list(&mut self, nodes: &[Node], owner: Owner) -> ListIndex {
        let list = self.graph.lists.len();
        self.graph.lists.push(List { owner, steps: Vec::new() });
        for node in nodes {
            self.step(node, list);
        }
        list
    }

    /// Makes room for a step, so that the steps inside it come after it.
    fn reserve(&mut self, name: String, span: Span, list: ListIndex) -> StepIndex {
        let step = self.graph.steps.len();
        let steps = &mut self.graph.lists[list].steps;
        let place = steps.len();
        steps.push(step);
        self.graph.steps.push(Step {
            name,
            span,
            list,
            place,
            end: false,
            input: None,
            output: None,
            kind: Kind::Pass,
        });
        step
    }

    /// Remembers a step's name, and refuses one that is taken.
    fn claim(&mut self, name: &str, step: StepIndex, span: Span) {
        if let Some((_, first)) = self.names.get(name) {
            let (message, advice) = if *first == span {
                let message = format!("an alias repeats the step `{name}`");
                (message, "each step has a name of its own: write the repeated step out")
            } else {
                let message =
                    format!("there is a step `{name}` already, in line {}", self.report.line(first.0));
                (message, "give each step of the flow a name of its own, also inside branches")
            };
            self.report.error(span, message, advice.to_owned());
            return;
        }
        self.names.insert(name.to_owned(), (step, span));
    }

    /// Finds the targets of all gotos.
    fn resolve(&mut self) {
        for Goto { step, slot, name, span } in std::mem::take(&mut self.gotos) {
            let list = self.graph.steps[step].list;
            let target = self.names.get(&name).map(|(target, _)| *target);
            match target {
                Some(target) if self.graph.steps[target].list == list => {
                    let place = self.graph.steps[target].place;
                    match (&mut self.graph.steps[step].kind, slot) {
                        (Kind::Choice(branches), Slot::Branch(branch)) => branches[branch].goto = Some(place),
                        (Kind::Task(task), Slot::Catch(number)) => task.catch[number].goto = place,
                        _ => {}
                    }
                }
                found => self.lost(step, &name, span, found.is_some()),
            }
        }
    }

    fn lost(&mut self, step: StepIndex, name: &str, span: Span, exists: bool) {
        if self.report.is_full() {
            // Says that there is more, without looking for what was meant.
            self.report.error(span, "", None);
            return;
        }
        let graph = &self.graph;
        let siblings: Vec<&str> = graph.lists[graph.steps[step].list]
            .steps
            .iter()
            .map(|&sibling| graph.steps[sibling].name.as_str())
            .filter(|name| !name.is_empty())
            .collect();
        let owner = &graph.steps[step].name;
        if exists {
            self.report.error(
                span,
                format!(
                    "`{name}` is not in the same list as `{owner}`: a goto cannot enter or leave a branch"
                ),
                format!("the steps it can reach are {}", quoted(&siblings)),
            );
        } else {
            let advice = did_you_mean(name, &siblings, "the steps it can reach are");
            self.report.error(span, format!("there is no step `{name}` to go to"), advice);
        }
    }
}
