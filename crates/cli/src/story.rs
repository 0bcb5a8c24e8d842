//! A journal in a person's words: which step, and what happened to it.

use std::collections::HashMap;
use std::time::Duration;

use riverrun_kernel::DefinitionKind;

use crate::entries::{Entry, Fields};
use crate::printer::{bad, care, clip, dim, good};
use crate::time::{self, short};

/// Longer values are cut in a line; `--json` has them whole.
const VALUE: usize = 100;

/// What a journal has told so far: entries name their steps by number only.
#[derive(Debug, Default)]
pub struct Story {
    steps: HashMap<u64, Step>,
    begun: Option<i64>,
    /// The run is a flow's: its errors have names of the flow language.
    is_flow: bool,
}

#[derive(Debug)]
struct Step {
    path: String,
    started: i64,
    is_child: bool,
}

/// One entry, told.
#[derive(Debug)]
pub struct Line {
    /// Milliseconds since the run was created.
    pub offset_ms: i64,
    /// The entry's name.
    pub kind: String,
    /// The step's path, or nothing.
    pub step: String,
    /// The rest.
    pub detail: String,
    /// Where a function failed, line by line.
    pub traceback: Option<String>,
    /// Whether it is worth a line while a run is followed.
    pub is_news: bool,
}

impl Story {
    /// Tells one entry. Entries come in order, from the first.
    pub fn tell(&mut self, entry: &Entry) -> Line {
        let at = time::parse(&entry.at).unwrap_or_default().0;
        let offset_ms = at - *self.begun.get_or_insert(at);
        let fields = &entry.fields;
        if let Some(definition) = fields.object("definition").filter(|_| entry.kind == "RunCreated") {
            self.is_flow = definition.text("kind") == DefinitionKind::Flow.to_string();
        }
        if entry.kind == "StepBegun" {
            let is_child = fields.object("work").is_some_and(|work| work.json("Child").is_some());
            let step = Step { path: fields.text("path"), started: at, is_child };
            self.steps.insert(fields.number("step"), step);
        }
        let step = self.steps.get(&fields.number("step"));
        let took = step.map(|step| Duration::from_millis((at - step.started).unsigned_abs()));
        let failure = failure(fields, |error| match step {
            Some(step) if self.is_flow => riverrun_plan::error_name(error, step.is_child),
            _ => error,
        });
        let (detail, is_news) = detail(&entry.kind, fields, took.unwrap_or_default(), &failure);
        let path = step.map_or_else(|| fields.text("path"), |step| step.path.clone());
        let traceback = traceback(fields);
        Line { offset_ms, kind: entry.kind.clone(), step: path, detail, traceback, is_news }
    }
}

impl Line {
    /// The line while a run is followed: when, which step, what.
    pub fn followed(&self) -> String {
        let step = if self.step.is_empty() { String::new() } else { format!("{:<16} ", self.step) };
        format!("{}  {step}{}", dim(&format!("{:>8}", self.offset())), self.detail)
    }

    /// When it was, after the run was created.
    pub fn offset(&self) -> String {
        format!("+{}.{:03}s", self.offset_ms / 1000, self.offset_ms % 1000)
    }
}

fn value(fields: &Fields, name: &str) -> String {
    fields.json(name).map(|value| clip(value, VALUE)).unwrap_or_default()
}

fn cause(fields: &Fields) -> Option<Fields> {
    let outcome = || fields.object("outcome")?.object("Err");
    fields.object("failure").or_else(|| fields.object("error")).or_else(outcome)
}

/// `Error: message`, of a failure in an entry, with the error's name as a catch sees it.
fn failure(fields: &Fields, name: impl Fn(&str) -> &str) -> String {
    let Some(failure) = cause(fields) else {
        return String::new();
    };
    let part = |name: &str, other: &str| {
        if failure.json(name).is_some() { failure.text(name) } else { failure.text(other) }
    };
    let (error, message) = (part("error", "type"), failure.text("message"));
    let error = name(&error);
    if message.is_empty() { error.to_owned() } else { format!("{error}: {}", clip(&message, VALUE)) }
}

/// What a function's failure brought along.
fn traceback(fields: &Fields) -> Option<String> {
    let details = cause(fields)?.object("details")?;
    Some(details.text("traceback")).filter(|text| !text.is_empty())
}

/// What to say of an entry, and whether it is news to somebody who follows the run.
fn detail(kind: &str, fields: &Fields, took: Duration, failure: &str) -> (String, bool) {
    let tried = || match fields.number("attempt") {
        0 | 1 => String::new(),
        attempt => format!(" at attempt {attempt}"),
    };
    match kind {
        "RunCreated" => (format!("input {}", value(fields, "input")), false),
        "StepBegun" => {
            let (what, waits) = work(fields);
            (what, waits)
        }
        "AttemptStarted" => {
            (format!("attempt {} {}", fields.number("attempt"), dim(&fields.text("worker"))), false)
        }
        "AttemptFailed" => (format!("{} {}; tried again", care("failed"), failure), true),
        "AttemptLost" => {
            let reason = fields.text("reason");
            (format!("{} its worker ({reason}); done again", care("lost")), true)
        }
        "StepSucceeded" => {
            let output = output(value(fields, "output"));
            (format!("{} {}{}{output}", good("done"), dim(&short(took)), tried()), true)
        }
        "StepRan" if failure.is_empty() => {
            let outcome = fields.object("outcome").unwrap_or_default();
            (format!("{}{}", good("done"), output(value(&outcome, "Ok"))), true)
        }
        "StepRan" => (format!("{} {failure}", bad("failed")), true),
        "StepStarting" => ("begins; is not begun twice".to_owned(), false),
        "AttemptParked" => ("its code waits, and is let go".to_owned(), false),
        "StepFailed" => (format!("{} {}{}", bad("failed"), failure, tried()), true),
        "StepCancelled" => ("given up".to_owned(), true),
        "ChildStarted" => (format!("started {}", fields.text("run")), true),
        "ChildEnded" => (format!("{} has ended", fields.text("run")), false),
        "SignalReceived" => (format!("signal `{}` {}", fields.text("name"), value(fields, "payload")), true),
        "CancelRequested" => (format!("{} {}", care("cancelling"), fields.text("reason")), true),
        "RunPaused" => (care("paused"), true),
        "RunResumed" => ("resumed".to_owned(), true),
        "RunReopened" => ("reopened: finished steps are kept".to_owned(), true),
        "RunSuspended" => (format!("{} {}", care("suspended for repair:"), fields.text("reason")), true),
        "RunSucceeded" => (format!("output {}", value(fields, "output")), false),
        "RunFailed" => (failure.to_owned(), false),
        "Noted" => (format!("{} {}", fields.text("event"), value(fields, "detail")), false),
        _ => (rest(fields), false),
    }
}

/// An outcome behind what else is said of a step; nothing where there is none.
fn output(value: String) -> String {
    if value == "null" { String::new() } else { format!(" {value}") }
}

/// What a step does, and whether that is waiting.
fn work(fields: &Fields) -> (String, bool) {
    let all = fields.object("work").unwrap_or_default();
    let Some((kind, json)) = all.iter().next() else {
        return (rest(fields), false);
    };
    let work = all.object(kind).unwrap_or_default();
    match kind {
        "Body" => (format!("executes its code, {}", work.text("function")), false),
        "Call" => (format!("calls {} {}", work.text("function"), value(&work, "input")), false),
        "Sleep" if work.json("For").is_some() => {
            (format!("waits {}", short(Duration::from_millis(work.number("For")))), true)
        }
        "Sleep" => ("waits until its date".to_owned(), true),
        "Signal" => (format!("waits for the signal `{}`", work.text("name")), true),
        "Callback" => ("waits for its callback".to_owned(), true),
        "Child" => {
            let definition = work.object("definition").unwrap_or_default();
            (format!("starts the {} {}", definition.text("kind"), definition.text("name")), true)
        }
        _ => (clip(json, VALUE), false),
    }
}

/// Whatever else an entry says.
fn rest(fields: &Fields) -> String {
    let parts = fields.iter().filter(|(name, _)| !matches!(*name, "step" | "path" | "tag"));
    parts.map(|(name, value)| format!("{name} {}", clip(value, VALUE))).collect::<Vec<_>>().join(", ")
}
