//! Limits at work: what is looked at while a run goes on. What a definition says about itself is looked at once, when a run begins.

use std::sync::Arc;

use riverrun_kernel::driver::DriverFault;
use riverrun_kernel::{Failure, Json};

use super::frame::LIMITS;
use super::{Machine, encode};
use crate::check::beyond::beyond;
use crate::errors;
use crate::graph::{Kind, StepIndex, Target};
use crate::json::Object;
use crate::limits::{Limits, is_over};

/// The limits that a run's first turn has recorded among the cells that it changed.
pub(crate) fn recorded_limits(changed: &[(u32, Option<Arc<str>>)]) -> Limits {
    let recorded = changed.iter().find(|(cell, _)| *cell == LIMITS).and_then(|(_, text)| text.as_ref());
    recorded.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

impl Machine<'_> {
    /// Writes down what the run begins under.
    pub(super) fn keep_limits(&mut self) -> Result<(), DriverFault> {
        if self.limits != Limits::default() {
            self.written.insert(LIMITS, Some(encode(&self.limits)?));
        }
        Ok(())
    }

    /// Ends a run whose flow was accepted under other limits, before anything is done.
    pub(super) fn refuse_beyond_limits(&mut self) {
        if let Some(excess) = beyond(self.graph, &self.limits).into_iter().next() {
            let failure =
                Failure::new(errors::RUNTIME_ERROR, format!("{}: {}", excess.message, excess.advice));
            self.ended = Some(Err(failure.not_retryable()));
        }
    }

    /// The failure of a step whose data is more than its limit allows: its input, and what it has made when it ends.
    pub(super) fn too_large(
        &self,
        cell: u32,
        step: StepIndex,
        made: Option<(&Json, &Object)>,
    ) -> Option<Failure> {
        let limit = self.limits.payload_bytes?;
        let input = self.step_input(cell, step).to_text().len();
        let (local, output) =
            made.map_or((0, 0), |(local, output)| (local.get().len(), output.to_text().len()));
        is_over((input + local + output) as u64, Some(limit)).then(|| {
            let name = &self.graph.steps[step].name;
            let message = format!(
                "`{name}` has {input} bytes of input, {local} of local and {output} of output, together over the limit of {limit} \
                 (payload_bytes): keep large data elsewhere and pass on where it is, or leave out what later steps do not need"
            );
            Failure::new(errors::PAYLOAD_TOO_LARGE, message).not_retryable()
        })
    }

    /// Counts what a history tells.
    pub(super) fn count_events(&mut self, events: u64) {
        if self.limits.events.is_some() {
            self.events = self.events.saturating_add(events);
        }
    }

    /// Counts what a history tells of a task from its first attempt on.
    pub(super) fn count_task_end(&mut self, cell: u32, step: StepIndex, attempts: u32) {
        let Kind::Task(task) = &self.graph.steps[step].kind else { return };
        if self.tried(cell).backing_off {
            return;
        }
        let is_child = match &task.target {
            Target::Function(function) => function.is_left_alone,
            Target::Flow(_) => true,
            Target::Message(_) => !task.callback,
        };
        let submitted = u64::from(task.callback || matches!(&task.target, Target::Flow(flow) if flow.waits));
        // Each try but the first is scheduled anew; each is started, and ends.
        let tried = if is_child { 2 } else { 1 + (3 * u64::from(attempts)).saturating_sub(2) };
        self.count_events(tried + submitted);
    }

    /// Whether the history has more events than it may have.
    pub(super) fn is_too_long(&self) -> bool {
        is_over(self.events, self.limits.events)
    }

    /// Fails a run whose history is too long.
    pub(super) fn end_if_too_long(&mut self) {
        let ends_well = matches!(self.ended, Some(Ok(_)));
        // Its end is an event, too.
        self.count_events(u64::from(ends_well));
        if self.is_too_long() && (ends_well || self.ended.is_none()) {
            let limit = self.limits.events.unwrap_or_default();
            let message = format!(
                "the run's history has more than {limit} events (limit events): move rounds of its loops, or parts of its lists, into \
                 child flows"
            );
            self.ended = Some(Err(Failure::new(Failure::HISTORY_LIMIT, message).not_retryable()));
        }
    }
}
