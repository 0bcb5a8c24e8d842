//! What a flow asks for beyond its limits, as far as its text says so.

use crate::graph::{Graph, Kind, Step, Task, Wait};
use crate::limits::{Limits, is_over};
use crate::yaml::Span;

/// Something that is too much.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Excess {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) advice: &'static str,
}

/// Everything in a flow that is beyond the limits, in the order of the text.
pub(crate) fn beyond(graph: &Graph, limits: &Limits) -> Vec<Excess> {
    // The steps of a large flow are not gone through for nothing.
    if *limits == (Limits { foreach_concurrency: limits.foreach_concurrency, ..Limits::default() }) {
        return Vec::new();
    }
    let run = graph.timeout_ms.and_then(|ms| {
        let seconds = ms / 1000;
        let message = || {
            let limit = limits.run_seconds.unwrap_or_default();
            format!("the flow's timeoutSeconds is {seconds}, over the limit of {limit} (run_seconds)")
        };
        is_over(seconds, limits.run_seconds).then(|| Excess {
            span: graph.timeout_span,
            message: message(),
            advice: "give it less time, or let it start itself anew and end",
        })
    });
    run.into_iter().chain(graph.steps.iter().flat_map(|step| of_step(step, limits))).collect()
}

fn of_step(step: &Step, limits: &Limits) -> Vec<Excess> {
    match &step.kind {
        Kind::Wait(Wait::Seconds(seconds)) if is_over(*seconds, limits.wait_seconds) => {
            let message = too_long_a_wait(&step.name, *seconds, limits);
            vec![Excess { span: step.span, message, advice: "wait several times, or raise the limit" }]
        }
        Kind::Parallel(branches) if is_over(branches.len() as u64, limits.branches) => {
            let (name, count) = (&step.name, branches.len());
            let limit = limits.branches.unwrap_or_default();
            let message = format!("`{name}` has {count} branches, over the limit of {limit} (branches)");
            vec![Excess {
                span: step.span,
                message,
                advice: "use a foreach, or parallel steps one after another",
            }]
        }
        Kind::Task(task) => of_retries(step, task, limits),
        _ => Vec::new(),
    }
}

fn of_retries(step: &Step, task: &Task, limits: &Limits) -> Vec<Excess> {
    let asked = task.retry.iter().flat_map(|retry| {
        [("intervalSeconds", retry.interval_ms), ("maxIntervalSeconds", retry.max_interval_ms)]
    });
    let over = asked.filter(|(_, ms)| is_over(ms / 1000, limits.retry_interval_seconds));
    over.map(|(key, ms)| {
        let (name, seconds) = (&step.name, ms / 1000);
        let limit = limits.retry_interval_seconds.unwrap_or_default();
        let message = format!(
            "a retry of `{name}` has {key} {seconds}, over the limit of {limit} (retry_interval_seconds)"
        );
        Excess { span: step.span, message, advice: "try again sooner, or raise the limit" }
    })
    .collect()
}

/// Says that a wait is too long, whether the definition asks for it or a run's data.
pub(crate) fn too_long_a_wait(step: &str, seconds: u64, limits: &Limits) -> String {
    let limit = limits.wait_seconds.unwrap_or_default();
    format!("`{step}` is to wait for {seconds} seconds, over the limit of {limit} (wait_seconds)")
}
