//! Scalars: what an unquoted one stands for, and where a character of one stands in the source.

use saphyr_parser::ScalarStyle;

use super::{Node, Plain, Scalar};

impl Node {
    /// Where character `at` of a scalar's text stands in the source, in bytes.
    pub(crate) fn locate(&self, source: &str, at: usize) -> usize {
        let (Some(scalar), Some(written)) = (self.scalar(), source.get(self.span.0..self.span.1)) else {
            return self.span.0;
        };
        let mut rest = written;
        // What stands before the text: a tag, an anchor, the opening quote.
        match scalar.style {
            ScalarStyle::SingleQuoted => rest = rest.split_once('\'').map_or(rest, |(_, rest)| rest),
            ScalarStyle::DoubleQuoted => rest = rest.split_once('"').map_or(rest, |(_, rest)| rest),
            _ if rest.starts_with(['!', '&']) => rest = rest.split_once(' ').map_or(rest, |(_, rest)| rest),
            _ => {}
        }
        for wanted in scalar.text.chars().take(at) {
            rest = &rest[written_length(rest, wanted, scalar.style)..];
        }
        let Some(next) = scalar.text.chars().nth(at) else {
            return self.span.0 + (written.len() - rest.len());
        };
        self.span.0 + (written.len() - skip_to(rest, next, scalar.style).len())
    }
}

/// How many bytes of `rest` spell the character `wanted`, with what is skipped before it.
fn written_length(rest: &str, wanted: char, style: ScalarStyle) -> usize {
    let found = skip_to(rest, wanted, style);
    let before = rest.len() - found.len();
    let Some(first) = found.chars().next() else {
        return rest.len();
    };
    let own = match first {
        '\\' if style == ScalarStyle::DoubleQuoted => {
            let kind = found[1..].chars().next();
            let digits = match kind {
                Some('x') => 2,
                Some('u') => 4,
                Some('U') => 8,
                _ => 0,
            };
            (1 + kind.map_or(0, char::len_utf8) + digits).min(found.len())
        }
        '\'' if style == ScalarStyle::SingleQuoted => 2.min(found.len()),
        _ if first != wanted && first.is_whitespace() => found.len() - found.trim_start().len(),
        _ => first.len_utf8(),
    };
    let mut end = before + own;
    while !rest.is_char_boundary(end) {
        end += 1;
    }
    end
}

/// Skips what is not part of the text (indentation, line breaks that were folded) up to where `wanted` is spelt.
fn skip_to(rest: &str, wanted: char, style: ScalarStyle) -> &str {
    let is_it = |c: char| {
        c == wanted
            || (c == '\\' && style == ScalarStyle::DoubleQuoted)
            || (wanted.is_whitespace() && c.is_whitespace())
    };
    rest.find(is_it).map_or(rest, |at| &rest[at..])
}

impl Scalar {
    pub(crate) fn plain(&self) -> Plain {
        if self.is_text {
            return Plain::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
            "true" | "True" | "TRUE" => return Plain::Bool(true),
            "false" | "False" | "FALSE" => return Plain::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Plain::NoNumber,
            _ => {}
        }
        let (sign, digits) = match self.text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", self.text.strip_prefix('+').unwrap_or(&self.text)),
        };
        if matches!(digits, ".inf" | ".Inf" | ".INF") {
            return Plain::NoNumber;
        }
        let all = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        if all(digits, 10) {
            let digits = digits.trim_start_matches('0');
            let is_zero = digits.is_empty();
            return Plain::Int(if is_zero { "0".to_owned() } else { format!("{sign}{digits}") });
        }
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(digits) = self.text.strip_prefix(prefix).filter(|digits| all(digits, radix)) {
                return u128::from_str_radix(digits, radix)
                    .map_or(Plain::NoNumber, |value| Plain::Int(value.to_string()));
            }
        }
        if is_float(digits) { float(&self.text) } else { Plain::Text }
    }
}

/// The core schema's form of a number that is not an integer.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_fits && exponent_fits
}

fn float(text: &str) -> Plain {
    let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
    number.map_or(Plain::NoNumber, |number| Plain::Float(number.to_string()))
}
