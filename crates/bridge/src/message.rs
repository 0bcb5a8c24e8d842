//! A message as its hash has it, checked field by field.

use riverrun_kernel::Json;

use crate::pickle;

/// A year, in seconds: how long an outcome is kept where the message does not say so.
const DEFAULT_TTL: i64 = 31_536_000;
/// A hundred years: more than Redis and calendars can add to a date is certainly a mistake.
const MAX_TTL: i64 = 100 * DEFAULT_TTL;

/// The fields that are read, in the order in which they are asked for.
pub(crate) const FIELDS: [&str; 8] =
    ["data", "status", "timeout", "result_ttl", "failure_ttl", "enqueued_at", "meta", "result"];

/// The fields of a hash, as bytes.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub Vec<Option<Vec<u8>>>);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Message {
    /// The handler's parameters: an object.
    pub input: Json,
    /// How long an attempt may take.
    pub timeout_ms: Option<u64>,
    /// What its producer hung on it, as JSON.
    pub meta: Option<String>,
}

impl Fields {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let place = FIELDS.iter().position(|field| *field == name)?;
        self.0.get(place)?.as_deref().filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| shown(value, 64))
    }

    pub fn status(&self) -> Option<String> {
        self.text("status")
    }

    /// Tells one enqueuing of an id from another.
    pub fn enqueued_at(&self) -> Option<String> {
        self.text("enqueued_at")
    }

    /// How long an output is kept: seconds, negative for ever; a year where it is missing or makes no sense.
    pub fn result_ttl(&self) -> i64 {
        self.ttl("result_ttl").unwrap_or(DEFAULT_TTL)
    }

    /// The same for a failure.
    pub fn failure_ttl(&self) -> i64 {
        self.ttl("failure_ttl").unwrap_or(DEFAULT_TTL)
    }

    fn ttl(&self, name: &str) -> Result<i64, String> {
        let Some(text) = self.text(name) else { return Ok(DEFAULT_TTL) };
        let seconds = text.parse().ok().filter(|seconds: &i64| seconds.abs() <= MAX_TTL);
        seconds.ok_or_else(|| format!("{name} is `{text}`: give seconds, at most {MAX_TTL}, or -1 for ever"))
    }

    /// Reads the message, or says what is wrong with it.
    pub fn message(&self) -> Result<Message, String> {
        self.ttl("result_ttl")?;
        self.ttl("failure_ttl")?;
        let meta = self.get("meta").map(|bytes| plain("meta", bytes)).transpose()?;
        // What an earlier run left here is overwritten; a pickle that was planted is not.
        if let Some(result) = self.get("result").filter(|bytes| bytes.starts_with(&[0x80])) {
            plain("result", result)?;
        }
        Ok(Message { input: self.input()?, timeout_ms: self.timeout_ms()?, meta })
    }

    fn input(&self) -> Result<Json, String> {
        let bytes = self.get("data").ok_or(
            "the hash has no `data`: its producer did not write all of it, or it was deleted while a worker still wrote to it",
        )?;
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            format!("data is not UTF-8 at byte {at} (it may be GBK): encode it as UTF-8, or let json.dumps escape it")
        })?;
        let input = Json::parse(text).map_err(|error| format!("data is not JSON: {error}"))?;
        if !input.get().starts_with('{') {
            return Err(format!(
                "data is `{}`: it must be a JSON object, with a field for each parameter",
                shown(input.get().as_bytes(), 64)
            ));
        }
        Ok(input)
    }

    fn timeout_ms(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.text("timeout") else { return Ok(None) };
        match seconds(&text) {
            Some(-1) => Ok(None),
            Some(seconds @ 1..=MAX_TTL) => Ok(Some(seconds as u64 * 1000)),
            _ => Err(format!("timeout is `{text}`: give seconds, or -1 for none")),
        }
    }
}

/// A number of seconds, or of the unit that stands after it.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let unit = match text.chars().last()?.to_ascii_lowercase() {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    text[..text.len() - 1].parse::<i64>().ok()?.checked_mul(unit)
}

fn plain(field: &str, bytes: &[u8]) -> Result<String, String> {
    pickle::read(bytes).map(|value| value.to_string()).map_err(|error| format!("{field}: {error}"))
}

/// Foreign bytes for an error or a log: short, and without what could move a terminal's cursor.
pub(crate) fn shown(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text
        .chars()
        .take(most)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if short.len() < text.len() && text.chars().count() > most { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(given: &[(&str, &[u8])]) -> Fields {
        let value =
            |name: &&str| given.iter().find(|(field, _)| field == name).map(|(_, value)| value.to_vec());
        Fields(FIELDS.iter().map(value).collect())
    }

    fn refused(given: &[(&str, &[u8])]) -> String {
        fields(given).message().unwrap_err()
    }

    #[test]
    fn a_message_as_the_original_writes_it_is_read() {
        let read = fields(&[("data", br#"{"a": 1}"#), ("timeout", b"180"), ("result_ttl", b"900")]);
        let message = read.message().unwrap();
        assert_eq!((message.input.get(), message.timeout_ms), (r#"{"a": 1}"#, Some(180_000)));
        assert_eq!((read.result_ttl(), read.failure_ttl()), (900, 31_536_000));
    }

    #[test]
    fn a_timeout_of_minus_one_is_none() {
        let timeout = |text: &str| {
            fields(&[("data", b"{}"), ("timeout", text.as_bytes())]).message().unwrap().timeout_ms
        };
        assert_eq!(timeout("-1"), None);
        assert_eq!(timeout("2m"), Some(120_000));
        assert_eq!(timeout(""), None);
    }

    #[test]
    fn what_is_wrong_with_a_hash_is_said() {
        let data: (&str, &[u8]) = ("data", b"{}");
        assert!(refused(&[("status", b"started"), ("timeout", b"180")]).contains("has no `data`"));
        assert!(refused(&[("data", b"{\"a\": \"\xb0\xd9\"}")]).contains("not UTF-8 at byte 7"));
        assert!(refused(&[("data", b"{a: 1}")]).contains("not JSON"));
        assert!(refused(&[("data", b"[1]")]).contains("must be a JSON object"));
        assert!(refused(&[data, ("timeout", b"0")]).contains("timeout is `0`"));
        assert!(refused(&[data, ("timeout", b"soon")]).contains("timeout is `soon`"));
        assert!(refused(&[data, ("timeout", "5€".as_bytes())]).contains("timeout is `5€`"));
        assert!(refused(&[data, ("result_ttl", b"1e9")]).contains("result_ttl is `1e9`"));
        assert!(refused(&[data, ("failure_ttl", b"99999999999999")]).contains("failure_ttl"));
        assert!(refused(&[data, ("meta", b"\x80\x02cposix\nsystem\nq\x01.")]).contains("`posix.system`"));
        assert!(
            refused(&[data, ("result", b"\x80\x02cos\nsystem\n.")])
                .contains("result: the pickle wants to execute")
        );
    }

    #[test]
    fn the_originals_own_fallback_for_a_result_is_no_pickle() {
        assert!(fields(&[("data", b"{}"), ("result", b"Unpickleable return value")]).message().is_ok());
    }

    #[test]
    fn foreign_bytes_are_shown_short_and_harmless() {
        assert_eq!(shown(b"a\x1b[2Jb\xb0", 64), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(shown(b"abcdef", 3), "abc…");
    }
}
