//! BaiChuan's words: a run as those see it who know the task queue that Riverrun takes the place of.
//!
//! Its HTTP API and the bridge to its Redis both speak them, and both take them from here: states, moments, costs, and the answer of a
//! handler, in the bytes that Python's `json.dumps` would have written. Main type: [`TaskInfo`].

use std::fmt::Write as _;

use riverrun_kernel::{Failure, Json, RunSummary, RunView, State, WaitKind, Wall};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The stat of a handler that went well.
pub const OK: &str = "OK";
/// The stat of a call whose parameters the handler does not take.
pub const BAD_PARAMS: &str = "ERR_BAD_PARAMS";
/// The stat of a handler that raised.
pub const SERVER_EXCEPTION: &str = "ERR_SERVER_EXCEPTION";

/// A state in BaiChuan's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Waits for a worker, its time or another try.
    Queued,
    /// Something of it is executing, or waits for what is not a worker.
    Started,
    /// Its handler answered, with whatever stat of its own.
    Finished,
    /// Anything else.
    Failed,
}

impl Status {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Started => "started",
            Status::Finished => "finished",
            Status::Failed => "failed",
        }
    }

    /// The state of a run, but for what the answer of its handler says about it: see [`TaskInfo::of`].
    pub fn of(run: &RunSummary) -> Self {
        let waits_to_execute = |kind| {
            matches!(kind, WaitKind::Worker | WaitKind::Limit | WaitKind::Retry | WaitKind::Predecessor)
        };
        match run.state {
            State::Queued => Status::Queued,
            State::Running if run.waiting.as_ref().is_some_and(|waiting| waits_to_execute(waiting.kind)) => {
                Status::Queued
            }
            State::Running | State::Suspended | State::Cancelling => Status::Started,
            State::Succeeded => Status::Finished,
            State::Failed | State::TimedOut | State::Cancelled | State::Expired => Status::Failed,
        }
    }
}

/// What a run has come to, as BaiChuan's fields have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskInfo {
    /// `status`.
    pub status: Status,
    /// `started_at`, once it has been.
    pub started_at: Option<String>,
    /// `ended_at`, once it has.
    pub ended_at: Option<String>,
    /// `cost`: seconds with six decimals, `0` until it ran.
    pub cost: String,
    /// What the handler answered.
    pub answer: Option<Answer>,
    /// `exc_info`: why it failed, for a person.
    pub exc_info: Option<String>,
}

impl TaskInfo {
    /// Reads it off a run.
    pub fn of(view: &RunView) -> Self {
        let run = &view.summary;
        let answer = match &view.outcome {
            Some(Ok(output)) => Some(Answer::of(output)),
            _ => None,
        };
        let refused = answer.as_ref().filter(|answer| answer.is_failure());
        let exc_info = match (&view.outcome, refused) {
            (Some(Err(failure)), _) => Some(reason(failure)),
            (_, Some(answer)) => Some(format!("the handler answered {}", answer.stat)),
            (None, _) if run.state.is_closed() && run.state != State::Succeeded => {
                Some(run.state.to_string())
            }
            _ => None,
        };
        TaskInfo {
            status: if refused.is_some() { Status::Failed } else { Status::of(run) },
            started_at: run.started.map(time),
            ended_at: run.ended.map(time),
            cost: match (run.started, run.ended) {
                (Some(started), Some(ended)) => seconds(ended.0.saturating_sub(started.0).max(0)),
                _ => "0".to_owned(),
            },
            answer,
            exc_info,
        }
    }
}

/// The traceback where there is one; else the error and its message.
fn reason(failure: &Failure) -> String {
    #[derive(Deserialize)]
    struct Details {
        traceback: String,
    }
    let details = failure.details.as_ref().and_then(|json| serde_json::from_str::<Details>(json.get()).ok());
    details.map_or_else(|| failure.to_string(), |details| details.traceback)
}

/// A moment, as in `2025-05-25T05:25:01.375784Z`.
pub fn time(moment: Wall) -> String {
    match jiff::Timestamp::from_millisecond(moment.0) {
        Ok(stamp) => format!("{stamp:.6}"),
        // Only a hand-made date beyond the year 9999 comes here.
        Err(_) => format!("{}ms", moment.0),
    }
}

/// A length of time, as in `116.321000`.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}000", ms / 1000, ms % 1000)
}

/// Who executes a task, as `host:port:pid`: the worker by its name, which is `host:pid` unless somebody chose another, and the port of
/// the server that it works for.
pub fn handle_worker(worker: &str, port: u16) -> String {
    match worker.rsplit_once(':') {
        Some((host, pid)) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{host}:{port}:{pid}")
        }
        _ => format!("{worker}:{port}:0"),
    }
}

/// What a handler answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its stat.
    pub stat: String,
    /// The body of the HTTP answer, and what is kept as a task's result: an object with `stat` in it, as `json.dumps` writes it.
    pub body: String,
}

impl Answer {
    /// The answer that a task's output stands for. A handler returns `stat`, `stat, data` or `stat, data, headers`, where `data` is merged
    /// into the body; the output of any other function becomes the body's `data`.
    pub fn of(output: &Json) -> Self {
        let text = output.get();
        if let Ok(stat) = serde_json::from_str::<String>(text)
            && is_stat(&stat)
        {
            return Answer::new(&stat, Vec::new());
        }
        if let Ok(Fields(fields)) = serde_json::from_str(text)
            && let Some(stat) = stat_in(&fields)
        {
            return Answer { body: dumps(text), stat };
        }
        if let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(text)
            && let Some(answer) = returned(&parts)
        {
            return answer;
        }
        Answer::new(OK, vec![("data".to_owned(), text)])
    }

    /// Whether the task has failed with it: any other stat is an outcome like `OK`, and passed on.
    pub fn is_failure(&self) -> bool {
        self.stat == BAD_PARAMS || self.stat == SERVER_EXCEPTION
    }

    /// A stat and what stands beside it.
    fn new(stat: &str, fields: Vec<(String, &str)>) -> Self {
        let mut body = format!("{{\"stat\": {}", dumps(&quoted(stat)));
        for (name, value) in fields.iter().filter(|(name, _)| name != "stat") {
            // Writing to a String cannot fail.
            let _ = write!(body, ", {}: {}", dumps(&quoted(name)), dumps(value));
        }
        body.push('}');
        Answer { stat: stat.to_owned(), body }
    }
}

/// `stat, data` or `stat, data, headers`, if that is what it is.
fn returned(parts: &[&RawValue]) -> Option<Answer> {
    let (stat, data) = match parts {
        [stat, data] => (stat, data),
        [stat, data, headers] if headers.get().starts_with('[') => (stat, data),
        _ => return None,
    };
    let stat: String = serde_json::from_str(stat.get()).ok()?;
    match serde_json::from_str(data.get()) {
        Ok(Fields(fields)) if is_word(&stat) => {
            Some(Answer::new(&stat, fields.into_iter().map(|(name, value)| (name, value.get())).collect()))
        }
        _ if is_stat(&stat) && data.get() == "null" => Some(Answer::new(&stat, Vec::new())),
        _ if is_stat(&stat) => Some(Answer::new(&stat, vec![("data".to_owned(), data.get())])),
        _ => None,
    }
}

/// What is surely a stat, wherever it stands.
fn is_stat(text: &str) -> bool {
    text == OK || (text.starts_with("ERR") && is_word(text))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn stat_in(fields: &[(String, &RawValue)]) -> Option<String> {
    let (_, stat) = fields.iter().rfind(|(name, _)| name == "stat")?;
    serde_json::from_str(stat.get()).ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object's fields in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A JSON text as Python's `json.dumps` writes it with its defaults: ASCII only, a space after `,` and `:`, no other space. Numbers stay
/// as they are written, so that none loses a digit.
pub fn dumps(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + json.len() / 8);
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => string(&mut chars, &mut text),
            ',' | ':' => text.extend([c, ' ']),
            c if c.is_ascii_whitespace() => {}
            c => text.push(c),
        }
    }
    text
}

/// The rest of a string, after its opening quote.
fn string(chars: &mut std::str::Chars<'_>, text: &mut String) {
    text.push('"');
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    unit(u16::from_str_radix(&digits, 16).unwrap_or(0xFFFD), text);
                }
                Some('/') => text.push('/'),
                Some(other) => text.extend(['\\', other]),
                None => {}
            },
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|half| unit(*half, text)),
        }
    }
    text.push('"');
}

/// One UTF-16 unit within a string. Half of a pair may stand alone: JSON can write that, and so can Python.
fn unit(unit: u16, text: &mut String) {
    match unit {
        0x22 => text.push_str("\\\""),
        0x5C => text.push_str("\\\\"),
        0x08 => text.push_str("\\b"),
        0x09 => text.push_str("\\t"),
        0x0A => text.push_str("\\n"),
        0x0C => text.push_str("\\f"),
        0x0D => text.push_str("\\r"),
        0x20..=0x7E => text.push(char::from(unit as u8)),
        // Writing to a String cannot fail.
        _ => drop(write!(text, "\\u{unit:04x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(output: &str) -> (String, String) {
        let answer = Answer::of(&Json::parse(output).unwrap());
        (answer.stat, answer.body)
    }

    fn body(output: &str) -> String {
        answer(output).1
    }

    #[test]
    fn what_a_handler_returns_becomes_the_body_of_its_answer() {
        assert_eq!(body(r#"["OK",{"data":{}}]"#), r#"{"stat": "OK", "data": {}}"#);
        assert_eq!(body(r#"["OK",{"b":1,"a":2},[["demo","1.0.1"]]]"#), r#"{"stat": "OK", "b": 1, "a": 2}"#);
        assert_eq!(body(r#"["OK",{}]"#), r#"{"stat": "OK"}"#);
        assert_eq!(body(r#"["OK",null]"#), r#"{"stat": "OK"}"#);
        assert_eq!(body(r#"["OK",[1,2]]"#), r#"{"stat": "OK", "data": [1, 2]}"#);
        assert_eq!(body(r#""ERR_NO_ROOM""#), r#"{"stat": "ERR_NO_ROOM"}"#);
        assert_eq!(
            answer(r#"["NOT_YET",{"stat":"x"}]"#),
            ("NOT_YET".into(), r#"{"stat": "NOT_YET"}"#.into())
        );
    }

    #[test]
    fn an_object_with_a_stat_is_the_body_itself() {
        assert_eq!(
            answer(r#"{"data":[1,2],"stat":"ERR_X"}"#),
            ("ERR_X".into(), r#"{"data": [1, 2], "stat": "ERR_X"}"#.into())
        );
    }

    #[test]
    fn the_output_of_any_other_function_is_the_data_of_the_body() {
        assert_eq!(body("null"), r#"{"stat": "OK", "data": null}"#);
        assert_eq!(body(r#""done""#), r#"{"stat": "OK", "data": "done"}"#);
        assert_eq!(body(r#"["a","b"]"#), r#"{"stat": "OK", "data": ["a", "b"]}"#);
        assert_eq!(body("[1,{}]"), r#"{"stat": "OK", "data": [1, {}]}"#);
        assert_eq!(body(r#"{"stat":5}"#), r#"{"stat": "OK", "data": {"stat": 5}}"#);
        assert_eq!(body("9007199254740993"), r#"{"stat": "OK", "data": 9007199254740993}"#);
    }

    #[test]
    fn only_two_stats_are_failures() {
        let failed = |output: &str| Answer::of(&Json::parse(output).unwrap()).is_failure();
        assert!(failed(r#"["ERR_BAD_PARAMS",{}]"#));
        assert!(failed(r#"["ERR_SERVER_EXCEPTION",{}]"#));
        assert!(!failed(r#"["ERR_NO_ROOM",{}]"#));
    }

    #[test]
    fn text_is_written_as_python_writes_it() {
        // Python: json.dumps({"百": "é😀\x7f\n\"\\/", "n": [1, 2.50, True]}), but for the number, whose digits are kept.
        assert_eq!(
            dumps("{ \"百\" : \"é😀\u{7f}\\n\\\"\\\\\\/\", \"n\":[1,2.50 , true] }"),
            r#"{"\u767e": "\u00e9\ud83d\ude00\u007f\n\"\\/", "n": [1, 2.50, true]}"#
        );
        assert_eq!(dumps(r#""a\u00E9\u0041\ud800,: ""#), r#""a\u00e9A\ud800,: ""#);
    }

    #[test]
    fn moments_and_workers_have_their_form() {
        assert_eq!(time(Wall(1_748_150_701_375)), "2025-05-25T05:25:01.375000Z");
        assert_eq!(time(Wall(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(seconds(116_321), "116.321000");
        assert_eq!(seconds(7), "0.007000");
        assert_eq!(handle_worker("host:17", 7733), "host:7733:17");
        assert_eq!(handle_worker("mine", 7733), "mine:7733:0");
        assert_eq!(handle_worker("a:b", 1), "a:b:1:0");
    }
}
