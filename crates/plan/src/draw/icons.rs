//! Icons, as path data in a square of 16: what a step is, and how it stands.

use super::overlay::StepState;
use crate::graph::{Kind, Target};

/// The name of a step's colour and its icon's lines.
pub(super) fn of_step(kind: &Kind) -> (&'static str, &'static str) {
    match kind {
        // Braces.
        Kind::Pass => (
            "pass",
            "M6.5 2.5C4.5 2.5 4.8 4.5 4.8 6 4.8 7.3 3.8 8 3 8 3.8 8 4.8 8.7 4.8 10 4.8 11.5 4.5 13.5 6.5 13.5M9.5 2.5C11.5 2.5 11.2 4.5 11.2 6 11.2 7.3 12.2 8 13 8 12.2 8 11.2 8.7 11.2 10 11.2 11.5 11.5 13.5 9.5 13.5",
        ),
        // A bell: somebody will call.
        Kind::Task(task) if task.callback => (
            "task",
            "M3.5 11.5H12.5C11.5 10.5 11.5 9 11.5 7.2A3.5 3.5 0 0 0 4.5 7.2C4.5 9 4.5 10.5 3.5 11.5ZM6.8 13.6H9.2M8 2V3.5",
        ),
        // A flow in a frame.
        Kind::Task(task) if matches!(task.target, Target::Flow(_)) => {
            ("flow", "M3 3H7V6H3ZM9 10H13V13H9ZM5 6V11.5H9")
        }
        // A letter.
        Kind::Task(task) if matches!(task.target, Target::Message(_)) => {
            ("task", "M2.5 4H13.5V12H2.5ZM2.5 4.5L8 9 13.5 4.5")
        }
        // A bolt.
        Kind::Task(_) => ("task", "M9 2L4 9H7.5L7 14L12 7H8.5Z"),
        // A clock.
        Kind::Wait(_) => ("wait", "M8 2.5A5.5 5.5 0 1 1 7.99 2.5ZM8 5V8L10.2 9.6"),
        // A fork in the road.
        Kind::Choice(_) => ("choice", "M8 14V9L4 5V2.5M8 9L12 5V2.5M2.5 4L4 2.5 5.5 4M10.5 4L12 2.5 13.5 4"),
        // Bars.
        Kind::Parallel(_) => ("group", "M4 3V13M8 3V13M12 3V13"),
        // A stack.
        Kind::Foreach(_) => {
            ("group", "M2.5 6L8 3 13.5 6 8 9ZM2.5 8.8L8 11.8 13.5 8.8M2.5 11.4L8 14.4 13.5 11.4")
        }
        Kind::Succeed => ("good", "M3.5 8.5L6.7 11.7 12.7 4.7"),
        Kind::Fail { .. } => ("bad", "M4.5 4.5L11.5 11.5M11.5 4.5L4.5 11.5"),
    }
}

/// A state's outline and the sign in it: each has a shape of its own, for those who do not tell the colours apart.
pub(super) fn of_state(state: StepState) -> (&'static str, &'static str) {
    match state {
        // A disc with a tick.
        StepState::Succeeded => ("M8 1A7 7 0 1 1 7.99 1Z", "M4.8 8.2L7.1 10.5 11.3 5.8"),
        // A diamond with an exclamation mark.
        StepState::Caught => ("M8 0.3L15.7 8 8 15.7 0.3 8Z", "M8 4.4V8.8M8 11.2V11.4"),
        // A square with a bar.
        StepState::Cancelled => ("M2 2H14V14H2Z", "M5 8H11"),
        // An hourglass's frame: two bars of a pause in a rounded square.
        StepState::Waiting => (
            "M4 1.5H12A2.5 2.5 0 0 1 14.5 4V12A2.5 2.5 0 0 1 12 14.5H4A2.5 2.5 0 0 1 1.5 12V4A2.5 2.5 0 0 1 4 1.5Z",
            "M6.2 5.2V10.8M9.8 5.2V10.8",
        ),
        // A triangle that points on, in a disc.
        StepState::Running => ("M8 0.6A7.4 7.4 0 1 1 7.99 0.6Z", "M6.4 4.9L11 8 6.4 11.1Z"),
        // An octagon with a cross.
        StepState::Failed => ("M5 1H11L15 5V11L11 15H5L1 11V5Z", "M5.4 5.4L10.6 10.6M10.6 5.4L5.4 10.6"),
    }
}
