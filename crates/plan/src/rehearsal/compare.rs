//! What came of a case, compared with what was expected, in words that name the place.

use riverrun_kernel::{Entry, JournalRow, State};
use serde_json::Value;

use super::{CallMade, Case, Played};

/// Differences of one value that are told.
const MAX_TOLD: usize = 12;
const MAX_SHOWN: usize = 120;

impl Played {
    /// Everything that is not as the case expects, a text each, and what the case got wrong. Empty: it passed.
    pub fn differences(&self, case: &Case) -> Vec<String> {
        let mut told = self.problems.clone();
        let expect = &case.expect;
        let wants_failure = expect.error.is_some() || expect.cause.is_some();
        let state = expect.state.as_deref().unwrap_or(if wants_failure { "failed" } else { "succeeded" });
        if self.state.as_str() != state {
            let why =
                self.failure().map_or(String::new(), |(error, cause)| format!(" with {error}: {cause}"));
            told.push(format!("state: expected {state}, but it {}{why}", verb(self.state)));
        }
        if let Some(wanted) = &expect.output {
            difference("output", wanted, &self.output(), true, &mut told);
        }
        if let Some(wanted) = &expect.output_has {
            difference("output", wanted, &self.output(), false, &mut told);
        }
        if let Some(wanted) = &expect.error {
            let found = self.failure().map_or("none", |(error, _)| error);
            if found != wanted {
                told.push(format!("error: expected {wanted}, but it is {found}"));
            }
        }
        if let Some(wanted) = &expect.cause {
            let found = self.failure().map_or("", |(_, cause)| cause);
            if !found.contains(wanted) {
                told.push(format!("cause: expected to find `{wanted}` in `{found}`"));
            }
        }
        if let Some(wanted) = &expect.calls {
            calls(wanted, &self.calls, &mut told);
        }
        if let Some(wanted) = &expect.steps {
            lines("steps", wanted, &self.steps(), &mut told);
        }
        if let Some(wanted) = &expect.journal {
            in_order(wanted, &self.lines(), &mut told);
        }
        if let Some(wanted) = expect.took_ms
            && wanted != self.took_ms
        {
            told.push(format!(
                "took: expected {} s, but it took {} s",
                seconds(wanted),
                seconds(self.took_ms)
            ));
        }
        told
    }

    /// The run's output, `null` where it has none.
    pub fn output(&self) -> Value {
        let output = self.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        output.and_then(|output| output.to_value().ok()).unwrap_or(Value::Null)
    }

    fn failure(&self) -> Option<(&str, &str)> {
        let failure = self.outcome.as_ref()?.as_ref().err()?;
        Some((&failure.error, &failure.message))
    }

    /// The names of the steps that were entered, in order.
    pub fn steps(&self) -> Vec<String> {
        let entered = |row: &JournalRow| match &row.entry {
            Entry::Noted(note) if note.event == "StepEntered" => Some(note.step.clone()),
            _ => None,
        };
        self.journal.iter().filter_map(entered).collect()
    }

    /// The journal, a line for each entry that a case may name: `StepEntered Init`, `StepBegun Wait10s#2`.
    pub fn lines(&self) -> Vec<String> {
        let mut paths = std::collections::BTreeMap::new();
        let mut lines = Vec::new();
        for row in &self.journal {
            let line = match &row.entry {
                Entry::Advanced { .. } => continue,
                Entry::Noted(note) => format!("{} {}", note.event, note.step),
                Entry::StepBegun { step, path, .. } => {
                    paths.insert(*step, path.clone());
                    format!("StepBegun {path}")
                }
                Entry::AttemptStarted { step, .. }
                | Entry::AttemptFailed { step, .. }
                | Entry::AttemptLost { step, .. }
                | Entry::AttemptStopped { step, .. }
                | Entry::CallReturned { step, .. }
                | Entry::StepSucceeded { step, .. }
                | Entry::StepFailed { step, .. }
                | Entry::StepCancelled { step }
                | Entry::ChildStarted { step, .. } => {
                    format!("{} {}", row.entry.name(), paths.get(step).map_or("", String::as_str))
                }
                entry => entry.name().to_owned(),
            };
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    /// Steps whose success the journal tells more than once. There must be none, whatever crashed.
    pub fn recorded_twice(&self) -> Vec<String> {
        super::stage::recorded_twice(&self.journal)
    }
}

fn verb(state: State) -> String {
    match state {
        State::Succeeded | State::Failed => state.to_string(),
        State::TimedOut => "timed out".to_owned(),
        State::Cancelled => "was cancelled".to_owned(),
        other => format!("is {other}"),
    }
}

/// Whether `value` has everything that `part` has.
pub(super) fn has(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(key, wanted)| value.get(key).is_some_and(|found| has(found, wanted)))
        }
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len() && value.iter().zip(part).all(|(found, wanted)| has(found, wanted))
        }
        _ => same(value, part),
    }
}

/// Whether two values are the same; `1` and `1.0` are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// Tells where two values differ; members beyond the wanted ones only where the value must be `whole`.
fn difference(place: &str, wanted: &Value, found: &Value, whole: bool, told: &mut Vec<String>) {
    let before = told.len();
    walk(place, wanted, found, whole, told);
    if told.len() > before + MAX_TOLD {
        let more = told.len() - before - MAX_TOLD;
        told.truncate(before + MAX_TOLD);
        told.push(format!("{place}: and {more} more differences"));
    }
}

fn walk(place: &str, wanted: &Value, found: &Value, whole: bool, told: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, wanted) in wanted {
                let place = format!("{place}.{key}");
                match found.get(key) {
                    Some(found) => walk(&place, wanted, found, whole, told),
                    None => told.push(format!("{place}: expected {}, but it is not there", shown(wanted))),
                }
            }
            for (key, found) in found.iter().filter(|(key, _)| whole && !wanted.contains_key(*key)) {
                told.push(format!("{place}.{key}: not expected, but it is {}", shown(found)));
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (at, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                walk(&format!("{place}[{at}]"), wanted, found, whole, told);
            }
        }
        (Value::Array(wanted), Value::Array(found)) => told.push(format!(
            "{place}: expected {} items, but there are {}: {}",
            wanted.len(),
            found.len(),
            shown(&Value::Array(found.clone()))
        )),
        _ if same(wanted, found) => {}
        _ => told.push(format!("{place}: expected {}, but it is {}", shown(wanted), shown(found))),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    format!("{}…", text.chars().take(MAX_SHOWN).collect::<String>())
}

fn calls(wanted: &[(String, Option<Value>)], found: &[CallMade], told: &mut Vec<String>) {
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    let made: Vec<String> = found.iter().map(|call| call.name.clone()).collect();
    if names != made {
        lines("calls", &names, &made, told);
        return;
    }
    for (at, ((name, input), call)) in wanted.iter().zip(found).enumerate() {
        if let Some(wanted) = input {
            let found = call.input.to_value().unwrap_or(Value::Null);
            difference(&format!("calls[{at}] {name} input"), wanted, &found, true, told);
        }
    }
}

/// Two lists that should be the same: the first place where they are not, with what stands around it.
fn lines(what: &str, wanted: &[String], found: &[String], told: &mut Vec<String>) {
    let Some(at) = (0..wanted.len().max(found.len())).find(|&at| wanted.get(at) != found.get(at)) else {
        return;
    };
    let show =
        |list: &[String], at: usize| list.get(at).map_or("the end".to_owned(), |name| format!("`{name}`"));
    let before = match at.checked_sub(1) {
        Some(before) => format!("after `{}` ", found[before]),
        None => String::new(),
    };
    told.push(format!(
        "{what}: {before}expected {}, but there came {}\n  expected: {}\n  found:    {}",
        show(wanted, at),
        show(found, at),
        marked(wanted, at),
        marked(found, at)
    ));
}

/// Some of a list, the item at a place in brackets.
fn marked(list: &[String], at: usize) -> String {
    const AROUND: usize = 4;
    let from = at.saturating_sub(AROUND);
    let to = (at + AROUND).min(list.len());
    let mut words: Vec<String> = Vec::new();
    if from > 0 {
        words.push("…".to_owned());
    }
    words.extend(
        (from..to).map(|place| if place == at { format!("[{}]", list[place]) } else { list[place].clone() }),
    );
    if to < list.len() {
        words.push("…".to_owned());
    }
    if words.is_empty() { "(nothing)".to_owned() } else { words.join(", ") }
}

fn in_order(wanted: &[String], found: &[String], told: &mut Vec<String>) {
    let mut from = 0;
    for line in wanted {
        if let Some(at) = found[from..].iter().position(|known| known == line) {
            from += at + 1;
        } else {
            let earlier =
                if found.contains(line) { ", only before what comes ahead of it in the case" } else { "" };
            told.push(format!(
                "journal: `{line}` is not there{earlier}\n  found: {}",
                found.join("\n         ")
            ));
            return;
        }
    }
}

fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
