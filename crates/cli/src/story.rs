//! A journal in a person's words: which step, and what happened to it.

use std::collections::HashMap;
use std::time::Duration;

use riverrun_wire::http::JournalEntry;
use serde_json::{Map, Value};

use crate::printer::{bad, care, clip, dim, good};
use crate::time::{self, short};

/// Longer values are cut in a line; `--json` has them whole.
const VALUE: usize = 100;

/// What a journal has told so far: entries name their steps by number only.
#[derive(Debug, Default)]
pub struct Story {
    steps: HashMap<u64, Step>,
    begun: Option<i64>,
}

#[derive(Debug)]
struct Step {
    path: String,
    started: i64,
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
    /// Whether it is worth a line while a run is followed.
    pub is_news: bool,
}

impl Story {
    /// Tells one entry. Entries come in order, from the first.
    pub fn tell(&mut self, entry: &JournalEntry) -> Line {
        let at = time::parse(&entry.at).unwrap_or_default().0;
        let offset_ms = at - *self.begun.get_or_insert(at);
        let fields = &entry.fields;
        if entry.kind == "StepBegun" {
            let path = text(fields, "path").to_owned();
            self.steps.insert(number(fields, "step"), Step { path, started: at });
        }
        let step = self.steps.get(&number(fields, "step"));
        let took = step.map(|step| Duration::from_millis((at - step.started).unsigned_abs()));
        let (detail, is_news) = detail(&entry.kind, fields, took.unwrap_or_default());
        let path = step.map_or_else(|| text(fields, "path").to_owned(), |step| step.path.clone());
        Line { offset_ms, kind: entry.kind.clone(), step: path, detail, is_news }
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

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(fields: &Map<String, Value>, name: &str) -> u64 {
    fields.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn value(fields: &Map<String, Value>, name: &str) -> String {
    fields.get(name).map(|value| clip(&value.to_string(), VALUE)).unwrap_or_default()
}

/// `Error: message`, of a failure in an entry.
fn failure(fields: &Map<String, Value>) -> String {
    let Some(failure) = fields.get("failure").or_else(|| fields.get("error")) else {
        return String::new();
    };
    let part = |names: &[&str]| {
        names.iter().find_map(|name| failure.get(name).and_then(Value::as_str)).unwrap_or_default().to_owned()
    };
    let (error, message) = (part(&["error", "type"]), part(&["message"]));
    if message.is_empty() { error } else { format!("{error}: {}", clip(&message, VALUE)) }
}

/// What to say of an entry, and whether it is news to somebody who follows the run.
fn detail(kind: &str, fields: &Map<String, Value>, took: Duration) -> (String, bool) {
    let tried = || match number(fields, "attempt") {
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
            (format!("attempt {} {}", number(fields, "attempt"), dim(text(fields, "worker"))), false)
        }
        "AttemptFailed" => (format!("{} {}; tried again", care("failed"), failure(fields)), true),
        "AttemptLost" => {
            let reason = fields.get("reason").and_then(Value::as_str).unwrap_or_default();
            (format!("{} its worker ({reason}); done again", care("lost")), true)
        }
        "StepSucceeded" => {
            let output = value(fields, "output");
            let output = if output == "null" { String::new() } else { format!(" {output}") };
            (format!("{} {}{}{output}", good("done"), dim(&short(took)), tried()), true)
        }
        "StepFailed" => (format!("{} {}{}", bad("failed"), failure(fields), tried()), true),
        "StepCancelled" => ("given up".to_owned(), true),
        "ChildStarted" => (format!("started {}", text(fields, "run")), true),
        "SignalReceived" => (format!("signal `{}` {}", text(fields, "name"), value(fields, "payload")), true),
        "CancelRequested" => (format!("{} {}", care("cancelling"), text(fields, "reason")), true),
        "RunPaused" => (care("paused"), true),
        "RunResumed" => ("resumed".to_owned(), true),
        "RunReopened" => ("reopened: finished steps are kept".to_owned(), true),
        "RunSuspended" => (format!("{} {}", care("suspended for repair:"), text(fields, "reason")), true),
        "RunSucceeded" => (format!("output {}", value(fields, "output")), false),
        "RunFailed" => (failure(fields), false),
        "Noted" => (format!("{} {}", text(fields, "event"), value(fields, "detail")), false),
        _ => (rest(fields), false),
    }
}

/// What a step does, and whether that is waiting.
fn work(fields: &Map<String, Value>) -> (String, bool) {
    let Some((kind, work)) =
        fields.get("work").and_then(Value::as_object).and_then(|work| work.iter().next())
    else {
        return (rest(fields), false);
    };
    let part = |name: &str| work.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "Call" => (format!("calls {} {}", part("function"), clip(&work["input"].to_string(), VALUE)), false),
        "Sleep" => match work.get("For").and_then(Value::as_u64) {
            Some(ms) => (format!("waits {}", short(Duration::from_millis(ms))), true),
            None => ("waits until its date".to_owned(), true),
        },
        "Signal" => (format!("waits for the signal `{}`", part("name")), true),
        "Callback" => ("waits for its callback".to_owned(), true),
        "Child" => (format!("starts {}", clip(&work["definition"].to_string(), VALUE)), true),
        _ => (clip(&work.to_string(), VALUE), false),
    }
}

/// Whatever else an entry says.
fn rest(fields: &Map<String, Value>) -> String {
    let parts = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "step" | "path" | "tag"));
    parts
        .map(|(name, value)| format!("{name} {}", clip(&value.to_string(), VALUE)))
        .collect::<Vec<_>>()
        .join(", ")
}
