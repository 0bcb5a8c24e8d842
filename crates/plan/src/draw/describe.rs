//! Words about steps: what stands under a name, on an edge, and in the text for those who do not see the picture.

use super::overlay::Mark;
use super::text::duration;
use crate::graph::{
    Branch, Function, Graph, Kind, Message, Param, Retry, Step, StepIndex, Target, Task, Wait,
};
use crate::path;
use crate::ways::Way;

/// The line under a step's name.
pub(super) fn detail(step: &Step) -> String {
    match &step.kind {
        Kind::Pass => assigned(step),
        Kind::Task(task) => called(task),
        Kind::Wait(wait) => waited(wait),
        Kind::Choice(_) => String::new(),
        Kind::Parallel(lists) => format!("{} branches at once", lists.len()),
        Kind::Foreach(foreach) => {
            format!("for each {} of {}", foreach.item, path::shown(&foreach.collection))
        }
        Kind::Succeed => "ends well".to_owned(),
        Kind::Fail { error, .. } if error.is_empty() => "fails".to_owned(),
        Kind::Fail { error, .. } => error.clone(),
    }
}

/// What a pass step sets.
fn assigned(step: &Step) -> String {
    match &step.output {
        Some(mappings) if !mappings.is_empty() => {
            let names: Vec<&str> = mappings.iter().map(|mapping| mapping.target.as_str()).collect();
            format!("sets {}", names.join(", "))
        }
        _ => "passes on".to_owned(),
    }
}

fn called(task: &Task) -> String {
    match &task.target {
        Target::Function(Function { name, .. }) if task.callback => {
            format!("{name}, then waits for a callback")
        }
        Target::Function(Function { name, is_left_alone: true, .. }) => format!("{name}, not waited for"),
        Target::Function(Function { name, .. }) => name.clone(),
        Target::Message(Message { queue, .. }) if task.callback => {
            format!("sends to {queue}, then waits for a callback")
        }
        Target::Message(Message { queue, .. }) => format!("sends to {queue}"),
        Target::Flow(flow) => {
            let name = match (&flow.name, flow.known_name()) {
                (Param::Path(path), _) => path::shown(path),
                (_, name) => name.unwrap_or_default(),
            };
            match (flow.waits, task.callback) {
                (true, _) => format!("runs flow {name}"),
                (false, true) => format!("starts flow {name}, then waits for a callback"),
                (false, false) => format!("starts flow {name}"),
            }
        }
    }
}

fn waited(wait: &Wait) -> String {
    match wait {
        Wait::Seconds(seconds) => duration(seconds.saturating_mul(1000)),
        Wait::SecondsAt(path) => format!("{} seconds", path::shown(path)),
        Wait::Until(moment) => jiff::Timestamp::from_millisecond(*moment)
            .map_or_else(|_| "until a date".to_owned(), |moment| format!("until {moment}")),
        Wait::UntilAt(path) => format!("until {}", path::shown(path)),
    }
}

/// How often a step is tried again at most: ` · retry ×3`.
pub(super) fn retries(step: &Step) -> Option<String> {
    let Kind::Task(task) = &step.kind else { return None };
    let most = task.retry.iter().map(|policy| policy.max_attempts).max().filter(|&most| most > 0)?;
    Some(format!(" · retry ×{most}"))
}

/// The words on an edge, if it has any.
pub(super) fn label(step: &Step, way: Way) -> Option<String> {
    match (&step.kind, way) {
        (Kind::Choice(branches), Way::Branch(at)) => Some(condition(&branches[at])),
        (_, Way::Otherwise) => Some("none of these".to_owned()),
        (Kind::Task(task), Way::Catch(at)) => {
            let errors = &task.catch[at].errors;
            let any = errors.iter().any(|error| error == crate::errors::ALL);
            Some(if any { "any error".to_owned() } else { errors.join(", ") })
        }
        _ => None,
    }
}

pub(super) fn condition(branch: &Branch) -> String {
    if branch.condition.is_none() && branch.written.is_empty() {
        return "otherwise".to_owned();
    }
    branch.written.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Everything about a step in sentences.
pub(super) fn whole(graph: &Graph, step: StepIndex, mark: Option<&Mark>) -> String {
    let known = &graph.steps[step];
    let mut said = vec![format!("{} step", known.kind.word())];
    let detail = detail(known);
    if !detail.is_empty() {
        said.push(detail);
    }
    if let Kind::Task(task) = &known.kind {
        said.extend(task.timeout_ms.map(|limit| format!("at most {}", duration(limit))));
        said.extend(task.retry.iter().map(policy));
    }
    if let Kind::Fail { cause, .. } = &known.kind
        && !cause.is_empty()
    {
        said.push(cause.clone());
    }
    if known.end {
        said.push("nothing follows in its list".to_owned());
    }
    if let Some(mark) = mark {
        said.push(mark.state.word().to_owned());
        said.push(format!("entered {}", times(mark.visits)));
        said.extend(mark.duration_ms.map(|ms| format!("took {}", duration(ms))));
        if mark.retries > 0 {
            said.push(format!("retried {}", times(mark.retries)));
        }
        said.extend(mark.error.as_ref().map(|error| format!("error {error}")));
    }
    said.join("; ")
}

fn policy(policy: &Retry) -> String {
    format!(
        "on {} retries up to {} after {}, ×{}",
        policy.errors.join(", "),
        times(u64::from(policy.max_attempts)),
        duration(policy.interval_ms),
        policy.multiplier
    )
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

/// What a run made of a step, in a few signs: `×3 · 2.4 s · 2 retries`.
pub(super) fn stats(mark: &Mark) -> String {
    let mut said = Vec::new();
    if mark.visits > 1 {
        said.push(format!("×{}", mark.visits));
    }
    said.extend(mark.duration_ms.map(duration));
    match mark.retries {
        0 => {}
        1 => said.push("1 retry".to_owned()),
        more => said.push(format!("{more} retries")),
    }
    said.join(" · ")
}
