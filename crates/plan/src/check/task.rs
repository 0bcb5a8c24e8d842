//! Task and wait steps: time limits, retry and catch.

use super::fields::Fields;
use super::mapping::{self, Place};
use super::{Checker, Goto, Slot};
use crate::diagnostic::{Report, nearest};
use crate::errors;
use crate::graph::{Catch, Function, Kind, Retry, StepIndex, Target, Task, Wait};
use crate::yaml::{Node, Plain};

pub(super) fn task(checker: &mut Checker, fields: Fields, step: StepIndex) -> (Kind, bool) {
    let (target, callback) = super::resource::target(fields, checker.report);
    let timeout_ms = fields.whole("timeoutSeconds", 1, checker.report).map(|seconds| seconds * 1000);
    let retry = retry(fields, checker.report);
    let catch = catch(checker, fields, step);
    let error_mappings = mapping::mappings(fields, "errorMappings", Place::Error, checker.report);
    // What has no target is refused in the end; until then it stands for any function.
    let target = target.unwrap_or_else(|| Target::Function(Function::default()));
    let task = Task { target, callback, timeout_ms, retry, catch, error_mappings };
    (Kind::Task(task), callback)
}

fn retry(fields: Fields, report: &mut Report) -> Vec<Retry> {
    const ATTRIBUTES: &[&str] =
        &["errors", "intervalSeconds", "maxIntervalSeconds", "maxAttempts", "multiplier"];
    let what = format!("a retry of {}", fields.what());
    let mut policies = Vec::new();
    for node in fields.list("retry", report).unwrap_or_default() {
        let Some(fields) = Fields::of(node, &what, report) else {
            continue;
        };
        fields.only(ATTRIBUTES, report);
        policies.push(Retry {
            errors: error_names(fields, report),
            interval_ms: fields.whole("intervalSeconds", 0, report).unwrap_or(1) * 1000,
            max_interval_ms: fields.whole("maxIntervalSeconds", 0, report).unwrap_or(86_400) * 1000,
            max_attempts: fields.whole("maxAttempts", 0, report).unwrap_or(3) as u32,
            multiplier: fields.factor("multiplier", report).unwrap_or(2.0),
        });
    }
    policies
}

fn catch(checker: &mut Checker, fields: Fields, step: StepIndex) -> Vec<Catch> {
    let what = format!("a catch of {}", fields.what());
    let mut catches = Vec::new();
    for node in fields.list("catch", checker.report).unwrap_or_default() {
        let Some(fields) = Fields::of(node, &what, checker.report) else {
            continue;
        };
        fields.only(&["errors", "goto"], checker.report);
        let errors = error_names(fields, checker.report);
        fields.required("goto", "name the sibling step that handles the error: `goto: NAME`", checker.report);
        if let Some(name) = fields.text("goto", checker.report) {
            let span = fields.get("goto").map_or(fields.mark(), Node::mark);
            checker.gotos.push(Goto { step, slot: Slot::Catch(catches.len()), name: name.to_owned(), span });
        }
        catches.push(Catch { errors, goto: 0 });
    }
    catches
}

fn error_names(fields: Fields, report: &mut Report) -> Vec<String> {
    const ADVICE: &str = "list the errors it is for; `[FnF.ALL]` means every error";
    fields.required("errors", ADVICE, report);
    let Some(items) = fields.list("errors", report) else {
        return Vec::new();
    };
    if items.is_empty() {
        report.error(
            fields.key_span("errors"),
            format!("{} is for no error", fields.what()),
            ADVICE.to_owned(),
        );
    }
    let mut names = Vec::new();
    for item in items {
        let Some(name) = item.text() else {
            let message = format!("an error in {} must be a name, but is {}", fields.what(), item.kind());
            report.error(item.mark(), message, None);
            continue;
        };
        let is_ours = name.to_lowercase().starts_with("fnf.");
        if is_ours && !errors::FNF.contains(&name) && !name.starts_with("fnf.") {
            let advice =
                nearest(name, errors::FNF.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            report.warn(item.span, format!("`{name}` is not an error that the engine raises"), advice);
        }
        names.push(name.to_owned());
    }
    names
}

pub(super) fn wait(fields: Fields, report: &mut Report) -> Kind {
    const FORMS: &str = "write `duration: 10` (seconds), or `timestamp: 2030-01-01T09:00:00Z`";
    let wait = match (fields.get("duration"), fields.get("timestamp")) {
        (Some(node), None) => duration(fields, node, report),
        (None, Some(node)) => timestamp(fields, node, report),
        (Some(_), Some(_)) => {
            let message = format!("{} has both `duration` and `timestamp`", fields.what());
            report.error(fields.key_span("timestamp"), message, "keep one of them".to_owned());
            None
        }
        (None, None) => {
            report.error(fields.mark(), format!("{} does not say how long", fields.what()), FORMS.to_owned());
            None
        }
    };
    Kind::Wait(wait.unwrap_or(Wait::Seconds(0)))
}

fn duration(fields: Fields, node: &Node, report: &mut Report) -> Option<Wait> {
    match node.text() {
        Some(text) if text.starts_with('$') => {
            mapping::input_path(node, &format!("`duration` of {}", fields.what()), report)
                .map(Wait::SecondsAt)
        }
        _ => fields.whole("duration", 0, report).map(Wait::Seconds),
    }
}

fn timestamp(fields: Fields, node: &Node, report: &mut Report) -> Option<Wait> {
    let text = fields.text("timestamp", report)?;
    if text.starts_with('$') {
        return mapping::input_path(node, &format!("`timestamp` of {}", fields.what()), report)
            .map(Wait::UntilAt);
    }
    let moment = moment(text);
    if moment.is_none() {
        let message = format!("`{text}` is not a date with time and offset");
        report.error(
            node.span,
            message,
            "write it as in `2030-01-01T09:00:00Z` or `2030-01-01T09:00:00+08:00`".to_owned(),
        );
    }
    moment.map(Wait::Until)
}

/// An RFC 3339 text in wall milliseconds.
pub(crate) fn moment(text: &str) -> Option<i64> {
    // The parser also knows zone names in brackets, which RFC 3339 does not.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TtZz ".contains(&byte));
    is_plain.then(|| text.parse::<jiff::Timestamp>().ok()).flatten().map(jiff::Timestamp::as_millisecond)
}

pub(super) fn fail(fields: Fields, report: &mut Report) -> Kind {
    let mut text = |key: &str| match fields.get(key).and_then(Node::scalar) {
        // A code such as 404 is welcome as it is.
        Some(scalar) if matches!(scalar.plain(), Plain::Int(_)) => scalar.text.clone(),
        _ => fields.text(key, report).unwrap_or_default().to_owned(),
    };
    Kind::Fail { error: text("error"), cause: text("cause") }
}
