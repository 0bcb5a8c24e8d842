//! Canonical JSON and its fingerprint.
//!
//! The text is read by hand rather than through a number type, because no number type holds every integer that JSON can write.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nesting beyond this is refused: it is nobody's data, and each level costs stack.
const MAX_DEPTH: usize = 512;

/// A text that has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct InvalidJson {
    /// What is wrong.
    pub what: String,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// Brings a JSON text into its canonical form: no white space, keys in UTF-16 order, strings and numbers in one spelling.
///
/// Integers are written exactly, whatever their size; other numbers as the shortest double that reads back the same.
/// Duplicate keys and lone surrogates are refused.
pub fn canonicalize(text: &str) -> Result<String, InvalidJson> {
    let mut reader = Reader { text, at: 0, out: String::with_capacity(text.len()) };
    reader.space();
    reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return reader.fail("unexpected text after the value");
    }
    Ok(reader.out)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl Reader<'_> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, InvalidJson> {
        Err(InvalidJson { what: what.into(), at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), InvalidJson> {
        if depth > MAX_DEPTH {
            return self.fail(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let string = self.string()?;
                write_string(&string, &mut self.out);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<(), InvalidJson> {
        for word in ["true", "false", "null"] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                self.out.push_str(word);
                return Ok(());
            }
        }
        self.fail("expected a JSON value")
    }

    fn array(&mut self, depth: usize) -> Result<(), InvalidJson> {
        self.at += 1;
        self.out.push('[');
        self.space();
        if !self.eat(b']') {
            loop {
                self.space();
                self.value(depth + 1)?;
                self.space();
                if self.eat(b']') {
                    break;
                }
                if !self.eat(b',') {
                    return self.fail("expected `,` or `]`");
                }
                self.out.push(',');
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), InvalidJson> {
        self.at += 1;
        // Keys sort by their UTF-16 code units, as RFC 8785 asks.
        let mut members: BTreeMap<Vec<u16>, String> = BTreeMap::new();
        self.space();
        if !self.eat(b'}') {
            loop {
                self.space();
                self.member(depth, &mut members)?;
                self.space();
                if self.eat(b'}') {
                    break;
                }
                if !self.eat(b',') {
                    return self.fail("expected `,` or `}`");
                }
            }
        }
        self.out.push('{');
        for (at, member) in members.into_values().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.out.push_str(&member);
        }
        self.out.push('}');
        Ok(())
    }

    fn member(&mut self, depth: usize, members: &mut BTreeMap<Vec<u16>, String>) -> Result<(), InvalidJson> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fail("expected a key in double quotes");
        }
        let key = self.string()?;
        let order: Vec<u16> = key.encode_utf16().collect();
        if members.contains_key(&order) {
            return Err(InvalidJson { what: format!("the key {key:?} stands twice"), at: start });
        }
        self.space();
        if !self.eat(b':') {
            return self.fail("expected `:`");
        }
        self.space();
        let outer = std::mem::take(&mut self.out);
        write_string(&key, &mut self.out);
        self.out.push(':');
        self.value(depth + 1)?;
        members.insert(order, std::mem::replace(&mut self.out, outer));
        Ok(())
    }

    fn string(&mut self) -> Result<String, InvalidJson> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            string.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return self.fail("a control character stands unescaped in a string"),
                None => return self.fail("a string is not closed"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, InvalidJson> {
        self.at += 1;
        let found = self.peek();
        self.at += 1;
        Ok(match found {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => {
                self.at -= 1;
                return self.fail("an unknown escape in a string");
            }
        })
    }

    fn unicode_escape(&mut self) -> Result<char, InvalidJson> {
        let start = self.at;
        let lone = InvalidJson { what: "a lone surrogate in a string".to_owned(), at: start };
        let first = self.hex()?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !(self.eat(b'\\') && self.eat(b'u')) {
                    return Err(lone);
                }
                let second = self.hex()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(lone);
                }
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn hex(&mut self) -> Result<u32, InvalidJson> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            return self.fail("expected four hex digits");
        };
        self.at += 4;
        let text = std::str::from_utf8(digits).expect("hex digits are ASCII");
        Ok(u32::from_str_radix(text, 16).expect("four hex digits were checked"))
    }

    fn number(&mut self) -> Result<(), InvalidJson> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') && self.digits() == 0 {
            return self.fail("expected a digit");
        }
        let mut integer = true;
        if self.eat(b'.') {
            integer = false;
            if self.digits() == 0 {
                return self.fail("expected a digit after the point");
            }
        }
        if self.eat(b'e') || self.eat(b'E') {
            integer = false;
            let _ = self.eat(b'+') || self.eat(b'-');
            if self.digits() == 0 {
                return self.fail("expected a digit in the exponent");
            }
        }
        let text = &self.text[start..self.at];
        if integer {
            self.out.push_str(if text == "-0" { "0" } else { text });
            return Ok(());
        }
        let double: f64 = text.parse().expect("the grammar of a JSON number is one of a double");
        if !double.is_finite() {
            return Err(InvalidJson {
                what: format!("the number {text} is too large for a double"),
                at: start,
            });
        }
        write_double(double, &mut self.out);
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }
}

fn write_string(string: &str, out: &mut String) {
    out.push('"');
    for char in string.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                let _ = fmt::Write::write_fmt(out, format_args!("\\u{:04x}", u32::from(char)));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

/// Writes a double as ECMAScript's `Number::toString` does.
fn write_double(double: f64, out: &mut String) {
    if double == 0.0 {
        out.push('0');
        return;
    }
    // Rust's shortest scientific form has the digits and the exponent that ECMAScript lays out.
    let scientific = format!("{:e}", double.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("a scientific form has an exponent");
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let point = exponent.parse::<i32>().expect("an exponent is a number") + 1;
    let count = i32::try_from(digits.len()).expect("a double has at most 17 digits");
    if double < 0.0 {
        out.push('-');
    }
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let text = if (count..=21).contains(&point) {
        format!("{digits}{}", zeros(point - count))
    } else if (1..=21).contains(&point) {
        let (whole, part) = digits.split_at(point as usize);
        format!("{whole}.{part}")
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = digits.split_at(1);
        let part = if rest.is_empty() { String::new() } else { format!(".{rest}") };
        let sign = if point > 0 { "+" } else { "-" };
        format!("{first}{part}e{sign}{}", (point - 1).abs())
    };
    out.push_str(&text);
}

/// SHA-256 of a canonical form. Its text form is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a JSON text, through its canonical form.
    pub fn of(text: &str) -> Result<Self, InvalidJson> {
        use sha2::{Digest, Sha256};
        Ok(Fingerprint(Sha256::digest(canonicalize(text)?.as_bytes()).into()))
    }

    /// Its first 12 digits: enough for a person to tell two apart.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Fingerprint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits or 32 bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Fingerprint, E> {
                let mut bytes = [0; 32];
                if text.len() != 64 || !text.is_ascii() {
                    return Err(E::custom("a fingerprint has 64 hex digits"));
                }
                for (place, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).map_err(E::custom)?;
                }
                Ok(Fingerprint(bytes))
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Fingerprint, E> {
                Ok(Fingerprint(bytes.try_into().map_err(|_| E::custom("a fingerprint has 32 bytes"))?))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}
