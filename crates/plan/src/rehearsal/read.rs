//! Case files: one case, a list of them, or `cases` with what they share. Mistakes are reported as those of flows are.

use std::collections::BTreeMap;

use riverrun_kernel::Json;
use serde_json::Value;

use super::{Answer, Case, ChildStub, Expectation, Outcome, Stub};
use crate::check::fields::Fields;
use crate::check::mapping::constant;
use crate::check::moment;
use crate::diagnostic::{Diagnostic, Report, did_you_mean};

use crate::Flow;
use crate::yaml::{self, Node, Plain, Value as Yaml};

/// When a case begins that does not say so: 2026-01-01T00:00:00Z.
const STANDARD_START: i64 = 1_767_225_600_000;
/// Batches of a case that does not say how many it needs: seconds, and more than a foreach over ten thousand items.
const MAX_BATCHES: usize = 50_000;
const STATES: &[&str] = &["succeeded", "failed", "timed_out", "cancelled"];
const ANSWER: &[&str] =
    &["result", "error", "cause", "crash", "never", "after", "by_input", "sequence", "file"];

impl Case {
    /// Reads the cases of a file for a flow: all of them, or every mistake in the file. A stub for what the flow does not
    /// call is a mistake.
    pub fn parse(source: &str, flow: &Flow) -> Result<(Vec<Case>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut report = Report::new(source);
        let root = yaml::read(&mut report);
        let cases = root.map(|root| Reader { report: &mut report, flow }.file(&root)).unwrap_or_default();
        if report.has_errors() { Err(report.finish()) } else { Ok((cases, report.finish())) }
    }
}

struct Reader<'r, 's> {
    report: &'r mut Report<'s>,
    flow: &'r Flow,
}

/// What all cases of a file have.
#[derive(Clone, Default)]
struct Shared {
    functions: BTreeMap<String, Stub>,
    flows: BTreeMap<String, ChildStub>,
    callbacks: BTreeMap<String, Stub>,
}

impl Reader<'_, '_> {
    fn file(&mut self, root: &Node) -> Vec<Case> {
        let mut shared = Shared::default();
        let nodes = match &root.value {
            Yaml::List(nodes) => nodes.as_slice(),
            Yaml::Map(_) => {
                let Some(fields) = Fields::of(root, "the case file", self.report) else { return Vec::new() };
                if fields.get("cases").is_none() {
                    std::slice::from_ref(root)
                } else {
                    fields.only(&["cases", "functions", "flows", "callbacks"], self.report);
                    shared = self.shared(fields, &shared);
                    fields.list("cases", self.report).unwrap_or_default()
                }
            }
            Yaml::Scalar(_) => {
                self.report.error(
                    root.span,
                    "a case file is a list of cases",
                    "begin with `- name: …`".to_owned(),
                );
                &[]
            }
        };
        if nodes.is_empty() && !self.report.has_errors() {
            self.report.error(root.span, "the file has no cases", "begin one with `- name: …`".to_owned());
        }
        nodes.iter().enumerate().filter_map(|(at, node)| self.case(node, at, &shared)).collect()
    }

    fn case(&mut self, node: &Node, at: usize, shared: &Shared) -> Option<Case> {
        let fields = Fields::of(node, "a case", self.report)?;
        let name = fields.text("name", self.report).map_or_else(|| format!("case {}", at + 1), str::to_owned);
        let what = format!("the case `{name}`");
        let fields = fields.named(&what);
        fields.only(
            &[
                "name",
                "input",
                "starts_at",
                "functions",
                "flows",
                "callbacks",
                "cancel_after",
                "max_batches",
                "expect",
            ],
            self.report,
        );
        let Shared { functions, flows, callbacks } = self.shared(fields, shared);
        let input = fields.get("input").map_or_else(Json::empty_object, |node| constant(node, self.report));
        let starts = fields.text("starts_at", self.report).map_or(STANDARD_START, |text| {
            moment(text).unwrap_or_else(|| {
                let node = fields.get("starts_at").map_or(fields.mark(), Node::mark);
                let advice = "write it as in `2030-01-01T09:00:00Z`".to_owned();
                self.report.error(node, format!("`{text}` is not a date with time and offset"), advice);
                STANDARD_START
            })
        });
        fields.required("expect", "say what must come of it: `expect: {output: {…}}`", self.report);
        let expect = fields.get("expect").map(|node| self.expectation(node, &what)).unwrap_or_default();
        let cancel_after_ms = self.seconds(fields, "cancel_after");
        let max_batches =
            fields.whole("max_batches", 1, self.report).map_or(MAX_BATCHES, |most| most as usize);
        let line = self.report.line(fields.mark().0);
        Some(Case {
            name,
            line,
            input,
            starts,
            functions,
            flows,
            callbacks,
            cancel_after_ms,
            max_batches,
            expect,
        })
    }

    /// The stubs of a case, over those that all cases share.
    fn shared(&mut self, fields: Fields, shared: &Shared) -> Shared {
        let mut all = shared.clone();
        let functions = [self.flow.functions(), self.flow.queues()].concat();
        let flows = self.flow.children();
        let callbacks = self.flow.callbacks();
        // A child flow that is played calls functions that only its own file knows.
        let plays_children = fields.get("flows").is_some_and(plays_files)
            || shared.flows.values().any(|stub| matches!(stub, ChildStub::File(_)));
        for (name, key, node) in self.named(fields, "functions") {
            if !plays_children {
                self.known(&name, key, &functions, "no step calls the function", "the flow calls");
            }
            all.functions.insert(name.clone(), self.stub(node, &format!("the stub of `{name}`")));
        }
        for (name, key, node) in self.named(fields, "flows") {
            if !plays_children && !self.flow.starts_any() {
                self.known(&name, key, &flows, "no step runs the flow", "the flow runs");
            }
            let what = format!("the stub of `{name}`");
            let file = match &node.value {
                Yaml::Map(_) => Fields::of(node, &what, self.report).and_then(|fields| {
                    fields.get("file")?;
                    fields.only(&["file"], self.report);
                    fields.text("file", self.report)
                }),
                _ => None,
            };
            let stub = match file {
                Some(file) => ChildStub::File(file.to_owned()),
                None => ChildStub::Stub(self.stub(node, &what)),
            };
            all.flows.insert(name, stub);
        }
        for (name, key, node) in self.named(fields, "callbacks") {
            if !plays_children {
                self.known(
                    &name,
                    key,
                    &callbacks,
                    "no step waits for a callback under the name",
                    "such steps are",
                );
            }
            all.callbacks.insert(name.clone(), self.stub(node, &format!("the callback of `{name}`")));
        }
        all
    }

    /// The entries of a mapping of stubs.
    fn named<'n>(&mut self, fields: Fields<'n>, key: &'n str) -> Vec<(String, &'n Node, &'n Node)> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        if let Yaml::Map(entries) = &node.value {
            entries
                .iter()
                .filter_map(|(word, stub)| Some((word.scalar()?.text.clone(), word, stub)))
                .collect()
        } else {
            let message = format!("`{key}` must be a mapping from names to stubs, but is {}", node.kind());
            self.report.error(node.mark(), message, format!("write `{key}: {{NAME: {{result: {{…}}}}}}`"));
            Vec::new()
        }
    }

    fn known(&mut self, name: &str, key: &Node, names: &[String], wrong: &str, otherwise: &str) {
        if !names.iter().any(|known| known == name) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let advice = did_you_mean(name, &names, otherwise).or(Some("remove it".to_owned()));
            self.report.error(key.span, format!("{wrong} `{name}`"), advice);
        }
    }

    fn stub(&mut self, node: &Node, what: &str) -> Stub {
        if let Yaml::List(items) = &node.value {
            return self.sequence(items, what, node);
        }
        let nothing = Stub::Sequence(Vec::new());
        let Some(fields) = Fields::of(node, what, self.report) else { return nothing };
        if fields.get("by_input").is_some() {
            fields.only(&["by_input"], self.report);
            let items = fields.list("by_input", self.report).unwrap_or_default();
            return Stub::ByInput(items.iter().filter_map(|item| self.matched(item, what)).collect());
        }
        if fields.get("sequence").is_some() {
            fields.only(&["sequence"], self.report);
            let items = fields.list("sequence", self.report).unwrap_or_default();
            return self.sequence(items, what, node);
        }
        self.answer(fields).map_or(nothing, Stub::Always)
    }

    fn sequence(&mut self, items: &[Node], what: &str, node: &Node) -> Stub {
        if items.is_empty() {
            self.report.error(
                node.mark(),
                format!("{what} has no answers"),
                "write `- result: {…}`".to_owned(),
            );
        }
        let answers = items.iter().filter_map(|item| {
            let fields = Fields::of(item, what, self.report)?;
            self.answer(fields)
        });
        Stub::Sequence(answers.collect())
    }

    fn matched(&mut self, item: &Node, what: &str) -> Option<(Value, Stub)> {
        let fields = Fields::of(item, what, self.report)?;
        let part = fields.required(
            "input",
            "name the part of the input that it is for: `input: {id: 7}`",
            self.report,
        )?;
        let part = value(&constant(part, self.report));
        fields.only(&["input", "result", "error", "cause", "crash", "never", "after"], self.report);
        Some((part, Stub::Always(self.answer_in(fields)?)))
    }

    fn answer(&mut self, fields: Fields) -> Option<Answer> {
        fields.only(ANSWER, self.report);
        self.answer_in(fields)
    }

    fn answer_in(&mut self, fields: Fields) -> Option<Answer> {
        let given: Vec<&str> = ["result", "error", "crash", "never"]
            .into_iter()
            .filter(|key| fields.get(key).is_some())
            .collect();
        let after_ms = self.seconds(fields, "after").unwrap_or(0);
        let outcome = match given.as_slice() {
            ["result"] => Outcome::Result(constant(fields.get("result")?, self.report)),
            ["error"] => Outcome::Error {
                error: fields.text("error", self.report)?.to_owned(),
                cause: fields.text("cause", self.report).unwrap_or_default().to_owned(),
            },
            ["crash"] if fields.flag("crash", self.report) => Outcome::Crash,
            ["never"] if fields.flag("never", self.report) => Outcome::Never,
            [] | [_] => {
                let message = format!("{} does not say what it answers", fields.what());
                let advice = "write `result: {…}`, `error: NAME`, `crash: true` or `never: true`".to_owned();
                self.report.error(fields.mark(), message, advice);
                return None;
            }
            several => {
                let message = format!("{} has `{}` at once", fields.what(), several.join("` and `"));
                self.report.error(fields.mark(), message, "keep one of them".to_owned());
                return None;
            }
        };
        Some(Answer { outcome, after_ms })
    }

    /// Seconds, with a fraction if need be, in milliseconds.
    fn seconds(&mut self, fields: Fields, key: &str) -> Option<u64> {
        let node = fields.get(key)?;
        let number = node.scalar().and_then(|scalar| match scalar.plain() {
            Plain::Int(text) | Plain::Float(text) => text.parse::<f64>().ok(),
            _ => None,
        });
        let ms = number.map(|seconds| (seconds * 1000.0).round()).filter(|ms| (0.0..=1e15).contains(ms));
        if ms.is_none() {
            let message = format!("`{key}` of {} must be a number of seconds", fields.what());
            self.report.error(node.mark(), message, "write seconds: `0.5`, `86400`".to_owned());
        }
        ms.map(|ms| ms as u64)
    }

    fn expectation(&mut self, node: &Node, what: &str) -> Expectation {
        let what = format!("`expect` of {what}");
        let Some(fields) = Fields::of(node, &what, self.report) else { return Expectation::default() };
        fields.only(
            &["state", "output", "output_has", "error", "cause", "calls", "steps", "journal", "took"],
            self.report,
        );
        let given =
            |report: &mut Report, key: &str| fields.get(key).map(|node| value(&constant(node, report)));
        Expectation {
            state: fields.one_of("state", STATES, self.report).map(str::to_owned),
            output: given(self.report, "output"),
            output_has: given(self.report, "output_has"),
            error: fields.text("error", self.report).map(str::to_owned),
            cause: fields.text("cause", self.report).map(str::to_owned),
            calls: self.calls(fields),
            steps: self.texts(fields, "steps"),
            journal: self.texts(fields, "journal"),
            took_ms: self.seconds(fields, "took"),
        }
    }

    fn texts(&mut self, fields: Fields, key: &str) -> Option<Vec<String>> {
        let items = fields.list(key, self.report)?;
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => texts.push(text.to_owned()),
                None => self.report.error(
                    item.mark(),
                    format!("`{key}` lists texts, but this is {}", item.kind()),
                    None,
                ),
            }
        }
        Some(texts)
    }

    fn calls(&mut self, fields: Fields) -> Option<Vec<(String, Option<Value>)>> {
        let items = fields.list("calls", self.report)?;
        let mut calls = Vec::new();
        for item in items {
            if let Some(name) = item.text() {
                calls.push((name.to_owned(), None));
            } else if let Some(fields) = Fields::of(item, "a call", self.report) {
                fields.only(&["function", "input"], self.report);
                fields.required(
                    "function",
                    "name it: `{function: service/function, input: {…}}`",
                    self.report,
                );
                let name = fields.text("function", self.report).unwrap_or_default().to_owned();
                let input = fields.get("input").map(|node| value(&constant(node, self.report)));
                calls.push((name, input));
            }
        }
        Some(calls)
    }
}

fn plays_files(node: &Node) -> bool {
    let Yaml::Map(entries) = &node.value else { return false };
    let has_file = |stub: &Node| match &stub.value {
        Yaml::Map(fields) => fields.iter().any(|(key, _)| key.text() == Some("file")),
        _ => false,
    };
    entries.iter().any(|(_, stub)| has_file(stub))
}

/// A constant of the file, for comparing.
fn value(json: &Json) -> Value {
    json.to_value().unwrap_or(Value::Null)
}
