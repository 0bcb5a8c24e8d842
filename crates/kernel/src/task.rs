//! The driver of a task: a run of one step.

use crate::driver::{Driver, DriverFault, RunContext, Turn, Wake};

/// Drives every task run: calls the function that the definition names, and ends with its outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskDriver;

impl Driver for TaskDriver {
    fn advance(&self, run: RunContext<'_>, wake: &Wake, fuel: u32) -> Result<Turn, DriverFault> {
        let _ = (run, wake, fuel);
        todo!()
    }
}
