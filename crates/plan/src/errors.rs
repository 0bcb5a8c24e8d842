//! Names of errors: the language's, and the kernel's that stand for the same.

use riverrun_kernel::Failure;

/// Matches every error, in retry and catch.
pub(crate) const ALL: &str = "FnF.ALL";
/// Not done within `timeoutSeconds`.
pub(crate) const TASK_TIMEOUT: &str = "FnF.TaskTimeout";
/// A function's result is not a JSON object.
pub(crate) const INVALID_LOCAL: &str = "FnF.InvalidLocal";
/// A step's input is not what the step needs.
pub(crate) const INVALID_INPUT: &str = "FnF.InvalidInput";
/// A child flow could not be run to its end.
pub(crate) const RUNTIME_ERROR: &str = "FnF.RuntimeError";
/// A step's data is more than its limit allows.
pub(crate) const PAYLOAD_TOO_LARGE: &str = "FnF.PayloadTooLarge";
/// A flow did not end within its own time limit.
pub(crate) const FLOW_TIMEOUT: &str = "FnF.FlowTimeout";
/// A flow was to be started under the name of an execution that has ended.
const EXECUTION_EXISTS: &str = "fnf.ExecutionAlreadyExists";
/// The function failed in a way that has no name: its process died.
pub(crate) const UNKNOWN: &str = "FC.Unknown";

/// Every name of the language's own.
pub(crate) const FNF: &[&str] = &[
    ALL,
    TASK_TIMEOUT,
    INVALID_LOCAL,
    INVALID_INPUT,
    RUNTIME_ERROR,
    FLOW_TIMEOUT,
    PAYLOAD_TOO_LARGE,
    Failure::HISTORY_LIMIT,
    "FnF.TaskFailed",
    "FnF.Timeout",
];

/// The names by which a failure of the kernel is known in the language; the first is the one that is shown.
fn names(error: &str, of_child: bool) -> &'static [&'static str] {
    match (error, of_child) {
        (Failure::TIMEOUT, false) => &[TASK_TIMEOUT],
        (Failure::TIMEOUT, true) => &[FLOW_TIMEOUT, RUNTIME_ERROR],
        (Failure::WORKER_CRASHED | Failure::UNKNOWN_OUTCOME, _) => &[UNKNOWN],
        (Failure::NAME_TAKEN, _) => &[EXECUTION_EXISTS, RUNTIME_ERROR],
        (Failure::CANCELLED | Failure::EXPIRED | Failure::TRANSITION_LIMIT | Failure::START_REFUSED, _) => {
            &[RUNTIME_ERROR]
        }
        _ => &[],
    }
}

/// The name by which the language knows an error, be it of a call or of a child: the one that a catch sees.
pub fn error_name(error: &str, of_child: bool) -> &str {
    names(error, of_child).first().copied().unwrap_or(error)
}

/// A failure with the language's name for it. What stood there before stays as an alias that policies may name.
pub(crate) fn translate(failure: &Failure, of_child: bool) -> (Failure, Vec<String>) {
    let mut shown = failure.clone();
    let mut aliases = vec![failure.error.clone()];
    let known = names(&failure.error, of_child);
    if let Some(first) = known.first() {
        (*first).clone_into(&mut shown.error);
        aliases.extend(known.iter().map(|name| (*name).to_owned()));
    }
    (shown, aliases)
}

/// Whether a policy's list of errors matches one of a failure's names.
pub(crate) fn matches(errors: &[String], names: &[String]) -> bool {
    errors.iter().any(|error| error == ALL || names.contains(error))
}

/// A policy's errors in the kernel's names; empty means every error.
pub(crate) fn for_kernel(errors: &[String]) -> Vec<String> {
    if errors.iter().any(|error| error == ALL) {
        return Vec::new();
    }
    let mut names = errors.to_vec();
    for error in errors {
        match error.as_str() {
            TASK_TIMEOUT => names.push(Failure::TIMEOUT.to_owned()),
            UNKNOWN => names.extend([Failure::WORKER_CRASHED, Failure::UNKNOWN_OUTCOME].map(str::to_owned)),
            _ => {}
        }
    }
    names
}
