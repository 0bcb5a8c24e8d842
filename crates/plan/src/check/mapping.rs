//! Mappings, paths, conditions and constants: what stands to the right of a colon.

use riverrun_kernel::Json;

use super::fields::Fields;
use crate::condition::{self, Expr};
use crate::diagnostic::Report;
use crate::graph::{Mapping, Param, Root, Source};
use crate::json;
use crate::path::{self, Segment, SyntaxError};
use crate::yaml::{Node, Plain, Value};

/// Where a list of mappings stands, which decides what it may refer to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A flow's or step's input or output. `token`: whether the step has a callback token.
    Data { token: bool },
    /// A task's `errorMappings`.
    Error,
}

const ERROR_ADVICE: &str = "errorMappings read `$local.error` and `$local.cause`";

pub(super) fn mappings(fields: Fields, key: &str, place: Place, report: &mut Report) -> Option<Vec<Mapping>> {
    let items = fields.list(key, report)?;
    let what = format!("a mapping in `{key}` of {}", fields.what());
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let Some(fields) = Fields::of(item, &what, report) else {
            continue;
        };
        fields.only(&["target", "source"], report);
        fields.required("target", "name the key that the value gets: `target: name`", report);
        let target = fields.text("target", report);
        let span = fields.get("source").map_or(fields.mark(), Node::mark);
        let source = fields
            .get("source")
            .map_or_else(|| Source::Constant(Json::null()), |node| source(node, place, report));
        if let Some(target) = target {
            found.push(Mapping { target: target.to_owned(), source, span });
        }
    }
    Some(found)
}

fn source(node: &Node, place: Place, report: &mut Report) -> Source {
    let Some(text) = node.text().filter(|text| text.starts_with('$')) else {
        warn_of_paths_inside(node, report);
        return Source::Constant(constant(node, report));
    };
    let roots =
        [("$input", Root::Input), ("$local", Root::Local), ("$context", Root::Context), ("$", Root::Input)];
    let rooted = roots.into_iter().find(|(root, _)| {
        text.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    let Some((written, root)) = rooted else {
        if text[1..].starts_with(|c: char| c.is_alphabetic()) {
            let word: String = text.chars().skip(1).take_while(|c| c.is_alphanumeric()).collect();
            let advice =
                crate::diagnostic::did_you_mean(&word, &["input", "local", "context"], "a path begins with");
            report.warn(
                node.span,
                format!("`{text}` is taken as plain text: it begins with no known root"),
                advice,
            );
        }
        return Source::Constant(constant(node, report));
    };
    let segments = match segments_from(text, written.len()) {
        Ok(segments) => segments,
        Err(error) => {
            syntax_error(node, &error, report);
            return Source::Constant(Json::null());
        }
    };
    check_root(node, (written, root, &segments), place, report);
    Source::Path(root, segments)
}

fn check_root(node: &Node, path: (&str, Root, &[Segment]), place: Place, report: &mut Report) {
    let (written, root, segments) = path;
    let text = node.text().unwrap_or_default();
    if place == Place::Error {
        let known =
            matches!(segments, [Segment::Key(key), ..] if ["error", "cause", "code"].contains(&key.as_str()));
        if root != Root::Local || !(known || segments.is_empty()) {
            report.error(
                node.span,
                format!("`{text}` cannot be read when a step has failed"),
                ERROR_ADVICE.to_owned(),
            );
        }
        return;
    }
    if written == "$" {
        let advice = format!("write `$input{}`", &text[1..]);
        report.warn(node.span, format!("`{text}` is read as `$input{}`", &text[1..]), advice);
    }
    if root != Root::Context {
        return;
    }
    let keys: Vec<&str> = segments
        .iter()
        .map_while(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            _ => None,
        })
        .collect();
    match keys.as_slice() {
        [] | ["task" | "execution" | "flow" | "step"] => {}
        ["task", "token"] => {
            if place != (Place::Data { token: true }) {
                report.warn(
                    node.span,
                    "there is no token here: the value will be null",
                    "`$context.task.token` exists in the inputMappings of a task with `pattern: waitForCallback`".to_owned(),
                );
            }
        }
        ["execution" | "flow", "name" | "id"] | ["step", "name" | "eventId"] => {}
        _ => report.warn(
            node.span,
            format!("`{text}` is not known: the value will be null"),
            "`$context` has `execution.name`, `flow.name`, `step.name` and `task.token`".to_owned(),
        ),
    }
}

/// The segments of a path after its root.
fn segments_from(text: &str, root: usize) -> Result<Vec<Segment>, SyntaxError> {
    let characters: Vec<char> = text.chars().collect();
    let mut at = root;
    let segments =
        path::segments(&characters, &mut at, |c| !c.is_whitespace() && !matches!(c, '.' | '[' | ']'))?;
    match characters.get(at) {
        None => Ok(segments),
        Some(_) => Err(SyntaxError::new(
            at,
            1,
            "the path goes on in no known way",
            "paths look like `$input.a.b[0].c[*]`; a key with other characters goes in brackets: `['a key']`",
        )),
    }
}

/// A path into the step's own input: `$.x`, `$input.x` or `$`. Anything else is an error.
pub(super) fn input_path(node: &Node, what: &str, report: &mut Report) -> Option<Vec<Segment>> {
    let text = node.text().unwrap_or_default();
    let root = ["$input", "$"].into_iter().find(|root| {
        text.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    let Some(root) = root else {
        let advice = if text.starts_with("$local") {
            "it reads the step's input: map the value with inputMappings, or leave them out and write `$.name`"
        } else {
            "write `$.name` for a field of the step's input"
        };
        report.error(node.mark(), format!("{what} must be a path into the step's input"), advice.to_owned());
        return None;
    };
    segments_from(text, root.len()).map_err(|error| syntax_error(node, &error, report)).ok()
}

pub(super) fn condition(node: &Node, what: &str, report: &mut Report) -> Option<Expr> {
    let Some(scalar) = node.scalar().filter(|scalar| !scalar.text.trim().is_empty()) else {
        let advice = "write an expression: `$.status == \"success\"`".to_owned();
        report.error(node.mark(), format!("{what} must be text, but is {}", node.kind()), advice);
        return None;
    };
    condition::parse(&scalar.text).map_err(|error| syntax_error(node, &error, report)).ok()
}

fn syntax_error(node: &Node, error: &SyntaxError, report: &mut Report) {
    let start = node.locate(report.source(), error.at);
    let end = node.locate(report.source(), error.at + error.length).max(start);
    report.error((start, end), error.message.clone(), error.advice.clone());
}

/// A service parameter: strings that begin with `$` are paths into the step's input.
pub(super) fn param(node: &Node, what: &str, report: &mut Report) -> Option<Param> {
    match &node.value {
        Value::Scalar(_) if node.text().is_some_and(|text| text.starts_with('$')) => {
            input_path(node, what, report).map(Param::Path)
        }
        Value::Scalar(_) => Some(Param::Constant(constant(node, report))),
        Value::List(items) => {
            Some(Param::List(items.iter().filter_map(|item| param(item, what, report)).collect()))
        }
        Value::Map(entries) => Some(Param::Object(
            entries
                .iter()
                .filter_map(|(key, value)| Some((key.scalar()?.text.clone(), param(value, what, report)?)))
                .collect(),
        )),
    }
}

/// A node as JSON.
pub(crate) fn constant(node: &Node, report: &mut Report) -> Json {
    let mut text = String::new();
    write_json(node, &mut text, report);
    Json::trusted(text)
}

fn write_json(node: &Node, text: &mut String, report: &mut Report) {
    if let Some(tag) = &node.tag {
        let advice = "only a task's `resourceArn` may have a tag, `!Ref service/function`".to_owned();
        report.error(node.mark(), format!("the tag `!{tag}` cannot stand here"), advice);
    }
    match &node.value {
        Value::Scalar(scalar) => match scalar.plain() {
            Plain::Null => text.push_str("null"),
            Plain::Bool(value) => text.push_str(if value { "true" } else { "false" }),
            Plain::Int(number) | Plain::Float(number) => {
                let digits = scalar.text.trim_start_matches(['-', '+']);
                if digits.len() > 1
                    && digits.starts_with('0')
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
                {
                    let advice = format!("write '{}' for text, {number} for the number", scalar.text);
                    report.warn(
                        node.span,
                        format!("`{}` is read as the number {number}", scalar.text),
                        advice,
                    );
                }
                text.push_str(&number);
            }
            Plain::NoNumber => {
                report.error(
                    node.span,
                    format!("`{}` is a number that JSON cannot hold", scalar.text),
                    format!("quote it if it is meant as text: '{}'", scalar.text),
                );
                text.push_str("null");
            }
            Plain::Text => text.push_str(&json::quote(&scalar.text)),
        },
        Value::List(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_json(item, text, report);
            }
            text.push(']');
        }
        Value::Map(entries) => {
            text.push('{');
            for (place, (key, value)) in entries.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&json::quote(key.scalar().map_or("", |scalar| &scalar.text)));
                text.push(':');
                write_json(value, text, report);
            }
            text.push('}');
        }
    }
}

fn warn_of_paths_inside(node: &Node, report: &mut Report) {
    let looks = |node: &Node| {
        node.text()
            .is_some_and(|text| ["$input.", "$local.", "$context."].iter().any(|root| text.starts_with(root)))
    };
    let inner: Vec<&Node> = match &node.value {
        Value::Scalar(_) => return,
        Value::List(items) => items.iter().collect(),
        Value::Map(entries) => entries.iter().map(|(_, value)| value).collect(),
    };
    for node in inner {
        if looks(node) {
            let text = node.text().unwrap_or_default();
            let advice =
                "only a `source` that is itself a path is looked up; map each value with a target of its own";
            report.warn(node.span, format!("`{text}` inside a constant stays as it is"), advice.to_owned());
        }
        warn_of_paths_inside(node, report);
    }
}
