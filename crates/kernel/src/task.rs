//! The driver of a task: a run of one step.

use crate::driver::{
    Action, Call, Driver, DriverFault, RunContext, Then, Turn, Wake, Work, default_max_crashes, default_queue,
};

/// Drives every task run: calls the function that the definition names, and ends with its outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskDriver;

impl Driver for TaskDriver {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, _fuel: u32) -> Result<Turn, DriverFault> {
        match wake {
            Wake::Started | Wake::Continued | Wake::Reopened => Ok(begin(run)),
            Wake::StepEnded { outcome, .. } => {
                Ok(Turn { then: Then::End(outcome.clone()), transitions: 1, ..Turn::default() })
            }
        }
    }
}

fn begin(run: RunContext<'_>) -> Turn {
    let options = run.options.task.clone().unwrap_or_default();
    let call = Call {
        function: run.definition.name.to_string(),
        input: run.input.clone(),
        queue: if options.queue.is_empty() { default_queue() } else { options.queue },
        priority: options.priority.unwrap_or_default(),
        timeout_ms: options.timeout_ms,
        retry: options.retry,
        at_most_once: options.at_most_once.unwrap_or_default(),
        max_crashes: options.max_crashes.unwrap_or_else(default_max_crashes),
        callback: false,
        callback_paths: Vec::new(),
        limit: options.limit,
    };
    let path = run.definition.name.to_string();
    let begin = Action::Begin { tag: 0, path, work: Work::Call(call) };
    Turn { actions: vec![begin], transitions: 1, ..Turn::default() }
}
