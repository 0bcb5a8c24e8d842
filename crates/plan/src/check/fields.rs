//! The attributes of one mapping, read with their types checked.

use crate::diagnostic::{Report, did_you_mean};
use crate::yaml::{Node, Plain, Span, Value};

/// Every attribute that some step has.
const STEP_ATTRIBUTES: &[(&str, &str)] = &[
    ("resourceArn", "task"),
    ("action", "task"),
    ("pattern", "task"),
    ("serviceParams", "task"),
    ("timeoutSeconds", "task"),
    ("retry", "task"),
    ("catch", "task"),
    ("errorMappings", "task"),
    ("duration", "wait"),
    ("timestamp", "wait"),
    ("choices", "choice"),
    ("default", "choice"),
    ("branches", "parallel"),
    ("iterationMapping", "foreach"),
    ("steps", "foreach"),
    ("error", "fail"),
    ("cause", "fail"),
];

/// A mapping whose attributes are known.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    what: &'n str,
    mark: Span,
    entries: &'n [(Node, Node)],
}

impl<'n> Fields<'n> {
    /// Takes a node as a mapping; `what` names it in messages.
    pub(crate) fn of(node: &'n Node, what: &'n str, report: &mut Report) -> Option<Self> {
        if let Value::Map(entries) = &node.value {
            return Some(Fields { what, mark: node.mark(), entries });
        }
        let message = format!("{what} must be a mapping of attributes, but is {}", node.kind());
        report.error(node.mark(), message, None);
        None
    }

    pub(crate) fn named(self, what: &'n str) -> Self {
        Fields { what, ..self }
    }

    pub(crate) fn what(&self) -> &'n str {
        self.what
    }

    pub(crate) fn mark(&self) -> Span {
        self.mark
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(word, _)| is(word, key)).map(|(_, value)| value)
    }

    pub(crate) fn key_span(&self, key: &str) -> Span {
        self.entries.iter().find(|(word, _)| is(word, key)).map_or(self.mark, |(word, _)| word.span)
    }

    pub(crate) fn required(&self, key: &str, advice: &str, report: &mut Report) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            report.error(self.mark, format!("{} has no `{key}`", self.what), advice.to_owned());
        }
        found
    }

    /// Reports attributes that are not in `allowed`.
    pub(crate) fn only(&self, allowed: &[&str], report: &mut Report) {
        for (key, word) in self.unknown(allowed) {
            let elsewhere = STEP_ATTRIBUTES.iter().find(|(name, _)| *name == word);
            let advice = match (word, elsewhere) {
                ("<<", _) => Some("merge keys are not part of the language; write the attributes out".to_owned()),
                ("durationPath" | "timestampPath", _) => {
                    Some(format!("write `{}: $.path`", word.trim_end_matches("Path")))
                }
                ("goto", _) => Some(
                    "only choice branches, a choice's default and catch have `goto`; use a choice step to go elsewhere".to_owned(),
                ),
                ("retry" | "catch", _) => Some(
                    "only task steps have it; put the steps in a child flow and guard the task that starts it".to_owned(),
                ),
                (_, Some((_, kind))) => Some(format!("`{word}` belongs to {kind} steps")),
                _ => did_you_mean(word, allowed, "its attributes are"),
            };
            report.error(key.span, format!("{} has no attribute `{word}`", self.what), advice);
        }
    }

    /// Warns of attributes that are not in `allowed`, where the language ignores them.
    pub(crate) fn mostly(&self, allowed: &[&str], report: &mut Report) {
        for (key, word) in self.unknown(allowed) {
            let advice = did_you_mean(word, allowed, "its attributes are");
            report.warn(key.span, format!("{} has no attribute `{word}`: it is ignored", self.what), advice);
        }
    }

    fn unknown(&self, allowed: &[&str]) -> Vec<(&'n Node, &'n str)> {
        let words = self.entries.iter().filter_map(|(key, _)| Some((key, key.scalar()?.text.as_str())));
        words.filter(|(_, word)| !allowed.contains(word)).collect()
    }

    fn wrong(&self, key: &str, node: &Node, expected: &str, advice: Option<String>, report: &mut Report) {
        let message = format!("`{key}` of {} must be {expected}, but is {}", self.what, node.kind());
        report.error(node.mark(), message, advice);
    }

    pub(crate) fn text(&self, key: &str, report: &mut Report) -> Option<&'n str> {
        let node = self.get(key)?;
        let text = node.text();
        if text.is_none() {
            let advice = node
                .scalar()
                .filter(|scalar| !scalar.text.is_empty())
                .map(|scalar| format!("quote it if it is meant as text: '{}'", scalar.text));
            self.wrong(key, node, "text", advice, report);
        }
        text
    }

    pub(crate) fn list(&self, key: &str, report: &mut Report) -> Option<&'n [Node]> {
        let node = self.get(key)?;
        if let Value::List(items) = &node.value {
            return Some(items);
        }
        let advice = match &node.value {
            Value::Map(_) => Some("begin each entry with `- `".to_owned()),
            Value::Scalar(scalar) if scalar.text.is_empty() => {
                Some(format!("write entries below it, or remove `{key}`"))
            }
            Value::Scalar(scalar) => Some(format!("write it as a list: `[{}]`", scalar.text)),
            Value::List(_) => None,
        };
        self.wrong(key, node, "a list", advice, report);
        None
    }

    pub(crate) fn flag(&self, key: &str, report: &mut Report) -> bool {
        let Some(node) = self.get(key) else { return false };
        match node.scalar().map(|scalar| (scalar.plain(), scalar.text.as_str())) {
            Some((Plain::Bool(value), _)) => value,
            Some((Plain::Text, word)) => {
                let advice = match word.to_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" => "write `true`",
                    _ => "write `true` or `false`",
                };
                self.wrong(key, node, "`true` or `false`", Some(advice.to_owned()), report);
                false
            }
            _ => {
                self.wrong(
                    key,
                    node,
                    "`true` or `false`",
                    Some("write `true` or `false`".to_owned()),
                    report,
                );
                false
            }
        }
    }

    /// A whole number of at least `least`.
    pub(crate) fn whole(&self, key: &str, least: u64, report: &mut Report) -> Option<u64> {
        let node = self.get(key)?;
        let Some(scalar) = node.scalar() else {
            self.wrong(key, node, "a whole number", None, report);
            return None;
        };
        match scalar.plain() {
            Plain::Int(digits) => {
                let value = digits.parse().ok().filter(|value| (least..=MAX_WHOLE).contains(value));
                if value.is_none() {
                    let message = format!(
                        "`{key}` of {} must be from {least} to {MAX_WHOLE}, but is {digits}",
                        self.what
                    );
                    report.error(node.span, message, None);
                }
                value
            }
            Plain::Text if scalar.text.parse::<u64>().is_ok() => {
                let advice = Some(format!("remove the quotes: `{key}: {}`", scalar.text));
                self.wrong(key, node, "a whole number", advice, report);
                None
            }
            Plain::Float(number) => {
                let message = format!("`{key}` of {} must be a whole number, but is {number}", self.what);
                let advice =
                    (key.ends_with("Seconds") || key == "duration").then(|| "write whole seconds".to_owned());
                report.error(node.span, message, advice);
                None
            }
            _ => {
                self.wrong(key, node, "a whole number", None, report);
                None
            }
        }
    }

    /// A number of at least 1.
    pub(crate) fn factor(&self, key: &str, report: &mut Report) -> Option<f64> {
        let node = self.get(key)?;
        let value = node.scalar().and_then(|scalar| match scalar.plain() {
            Plain::Int(text) | Plain::Float(text) => {
                text.parse::<f64>().ok().filter(|value| value.is_finite())
            }
            _ => None,
        });
        match value {
            Some(value) if value >= 1.0 => Some(value),
            Some(value) => {
                let message = format!("`{key}` of {} must be at least 1, but is {value}", self.what);
                report.error(
                    node.span,
                    message,
                    "waits between retries do not shrink; 1 keeps them equal".to_owned(),
                );
                None
            }
            None => {
                self.wrong(key, node, "a number", None, report);
                None
            }
        }
    }

    /// One word of a few.
    pub(crate) fn one_of(
        &self,
        key: &str,
        words: &[&'static str],
        report: &mut Report,
    ) -> Option<&'static str> {
        let text = self.text(key, report)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let advice = did_you_mean(text, words, "it may be");
            let message = format!("`{text}` is no `{key}` of {}", self.what);
            report.error(self.get(key).map_or(self.mark, Node::mark), message, advice);
        }
        found
    }
}

/// The largest number of seconds or tries: what still fits when multiplied (more than 100 years).
const MAX_WHOLE: u64 = 4_000_000_000;

fn is(node: &Node, word: &str) -> bool {
    node.scalar().is_some_and(|scalar| scalar.text == word)
}
