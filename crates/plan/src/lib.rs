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
pub use parameters::{Misfit, Parameters};
pub use rehearsal::{CallMade, Case, Crash, Played, Program, rehearse};
pub use trace::Trace;

use diagnostic::Report;
use graph::{Graph, Kind, Target};

/// A parsed and checked flow; the driver of its runs.
#[derive(Debug)]
pub struct Flow {
    graph: Graph,
}

impl Flow {
    /// Parses and checks a flow's source: the flow and its warnings, or every mistake (with the warnings among them).
    pub fn parse(source: &str) -> Result<(Flow, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut report = Report::new(source);
        let graph = check::check(&mut report);
        match graph {
            Some(graph) if !report.has_errors() => Ok((Flow { graph }, report.finish())),
            _ => Err(report.finish()),
        }
    }

    /// The functions that its steps call, in the order of the text, each once.
    pub fn functions(&self) -> Vec<String> {
        self.targets(|target| match target {
            Target::Function(function) => Some(&function.name),
            Target::Flow { .. } | Target::Message(_) => None,
        })
    }

    /// The flows that its steps start, in the order of the text, each once.
    pub fn children(&self) -> Vec<String> {
        self.targets(|target| match target {
            Target::Flow { name, .. } => Some(name),
            Target::Function(_) | Target::Message(_) => None,
        })
    }

    /// The queues that its steps send messages to, in the order of the text, each once.
    pub fn queues(&self) -> Vec<String> {
        self.targets(|target| match target {
            Target::Message(message) => Some(&message.queue),
            Target::Function(_) | Target::Flow { .. } => None,
        })
    }

    fn targets<'f>(&'f self, pick: impl Fn(&'f Target) -> Option<&'f String>) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for step in &self.graph.steps {
            if let Kind::Task(task) = &step.kind
                && let Some(name) = pick(&task.target)
                && !found.contains(name)
            {
                found.push(name.clone());
            }
        }
        found
    }

    /// How long a run of it may take, by its own `timeoutSeconds`.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.graph.timeout_ms
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
        interpret::advance(&self.graph, run, wake, fuel)
    }
}
