//! Declared definitions: FDL flows. Parse, check with positions, interpret, draw.
//!
//! Pure, as the kernel is: no I/O, no clock, no randomness. [`Flow::parse`] takes a source and gives back a flow or all of
//! its mistakes; a [`Flow`] is the [`Driver`] of its runs.

mod check;
mod condition;
mod diagnostic;
mod draw;
mod errors;
mod graph;
pub mod history;
mod interpret;
mod json;
mod limits;
mod parameters;
mod path;
mod rehearsal;
mod trace;
mod ways;
mod yaml;

use riverrun_kernel::Driver;
use riverrun_kernel::driver::{DriverFault, RunContext, Turn, Wake};

pub use diagnostic::{Diagnostic, nearest};
pub use draw::{Format, Mark, Overlay, StepState};
pub use errors::error_name;
pub use limits::Limits;
pub use parameters::{Misfit, Parameters};
pub use rehearsal::{CallMade, Case, Crash, Played, Program, rehearse};
pub use trace::Trace;

use diagnostic::Report;
use graph::{Graph, Kind, Target, Task};

/// A parsed and checked flow; the driver of its runs.
#[derive(Debug)]
pub struct Flow {
    graph: Graph,
    /// What runs begin under.
    limits: Limits,
}

impl Flow {
    /// Parses and checks a flow's source: the flow and its warnings, or every mistake (with the warnings among them).
    pub fn parse(source: &str) -> Result<(Flow, Vec<Diagnostic>), Vec<Diagnostic>> {
        Flow::parse_within(source, Limits::default())
    }

    /// The same; what the source says beyond these limits is a mistake, and the flow's runs begin under them.
    pub fn parse_within(source: &str, limits: Limits) -> Result<(Flow, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut report = Report::new(source);
        let graph = check::check(&mut report, &limits);
        match graph {
            Some(graph) if !report.has_errors() => Ok((Flow { graph, limits }, report.finish())),
            _ => Err(report.finish()),
        }
    }

    /// A flow that was accepted before, whose new runs begin under these limits. Where it is itself beyond them, they fail at once.
    #[must_use]
    pub fn within(self, limits: Limits) -> Flow {
        Flow { limits, ..self }
    }

    /// The functions that its steps call, in the order of the text, each once.
    pub fn functions(&self) -> Vec<String> {
        self.targets(|target| match target {
            Target::Function(function) => Some(function.name.clone()),
            Target::Flow(_) | Target::Message(_) => None,
        })
    }

    /// The flows that its steps start by name, in the order of the text, each once.
    pub fn children(&self) -> Vec<String> {
        self.targets(|target| match target {
            Target::Flow(flow) => flow.known_name(),
            Target::Function(_) | Target::Message(_) => None,
        })
    }

    /// Whether what flow a step starts is found in its input.
    pub(crate) fn starts_any(&self) -> bool {
        let is_any = |target: &Target| matches!(target, Target::Flow(flow) if flow.known_name().is_none());
        self.tasks().any(|(_, task)| is_any(&task.target))
    }

    /// The steps that wait for a callback, in the order of the text.
    pub(crate) fn callbacks(&self) -> Vec<String> {
        self.tasks().filter(|(_, task)| task.callback).map(|(name, _)| name.to_owned()).collect()
    }

    /// The queues that its steps send messages to, in the order of the text, each once.
    pub fn queues(&self) -> Vec<String> {
        self.targets(|target| match target {
            Target::Message(message) => Some(message.queue.clone()),
            Target::Function(_) | Target::Flow(_) => None,
        })
    }

    fn targets<'f>(&'f self, pick: impl Fn(&'f Target) -> Option<String>) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for name in self.tasks().filter_map(|(_, task)| pick(&task.target)) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    }

    fn tasks(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.graph.steps.iter().filter_map(|step| match &step.kind {
            Kind::Task(task) => Some((step.name.as_str(), task)),
            _ => None,
        })
    }

    /// How long a run of it may take, by its own `timeoutSeconds` and its limits.
    pub fn timeout_ms(&self) -> Option<u64> {
        let limit = self.limits.run_seconds.map(|seconds| seconds.saturating_mul(1000));
        self.graph.timeout_ms.into_iter().chain(limit).min()
    }

    /// Its picture; with an overlay, that of a run.
    pub fn draw(&self, format: Format, title: &str, overlay: Option<&Overlay>) -> String {
        draw::draw(&self.graph, format, title, overlay)
    }

    /// What a journal of one of its runs is fed to, for the overlay of a picture.
    pub fn trace(&self) -> Trace<'_> {
        Trace::new(&self.graph)
    }

    /// Its steps in the order of the text, those inside branches included: name and type.
    pub fn steps(&self) -> Vec<(&str, &'static str)> {
        self.graph.steps.iter().map(|step| (step.name.as_str(), step.kind.word())).collect()
    }
}

impl Driver for Flow {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, fuel: u32) -> Result<Turn, DriverFault> {
        interpret::advance(&self.graph, &self.limits, run, wake, fuel)
    }
}
