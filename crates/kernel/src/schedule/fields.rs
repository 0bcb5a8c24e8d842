//! The fields of a cron line: from text to sets of numbers, with the place of every mistake.

use std::ops::Range;

use super::error::WhenError;

/// What a field is about.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    low: u8,
    high: u8,
    /// Where `*` and ranges without an end stop.
    top: u8,
    names: &'static [&'static str],
}

pub(super) const SECOND: Field = Field { name: "second", low: 0, high: 59, top: 59, names: &[] };
pub(super) const MINUTE: Field = Field { name: "minute", low: 0, high: 59, top: 59, names: &[] };
pub(super) const HOUR: Field = Field { name: "hour", low: 0, high: 23, top: 23, names: &[] };
pub(super) const DAY: Field = Field { name: "day of the month", low: 1, high: 31, top: 31, names: &[] };
pub(super) const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    top: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// 0 and 7 are Sunday.
pub(super) const WEEKDAY: Field = Field {
    name: "day of the week",
    low: 0,
    high: 7,
    top: 6,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

/// A word of the line and where it stands, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Word<'a> {
    fn span(self) -> Range<usize> {
        self.at..self.at + self.text.chars().count().max(1)
    }

    /// The two sides of the first `mark`, or the whole.
    fn split(self, mark: char) -> (Word<'a>, Option<Word<'a>>) {
        match self.text.split_once(mark) {
            None => (self, None),
            Some((left, right)) => {
                let at = self.at + left.chars().count() + 1;
                (Word { text: left, at: self.at }, Some(Word { text: right, at }))
            }
        }
    }

    /// The parts between commas.
    pub(super) fn items(self) -> impl Iterator<Item = Word<'a>> {
        let mut at = self.at;
        self.text.split(',').map(move |text| {
            let word = Word { text, at };
            at += text.chars().count() + 1;
            word
        })
    }

    pub(super) fn wrong(self, line: &str, problem: String, advice: impl Into<String>) -> WhenError {
        WhenError::new(line, self.span(), problem, advice)
    }
}

/// Reads what all fields have in common: `*`, numbers, names, ranges, steps. Bit `n` stands for the number `n`.
pub(super) fn set(line: &str, field: &Field, word: Word<'_>) -> Result<u64, WhenError> {
    word.items().try_fold(0, |all, item| Ok(all | one(line, field, item)?))
}

/// One item between commas.
pub(super) fn one(line: &str, field: &Field, item: Word<'_>) -> Result<u64, WhenError> {
    if item.text.is_empty() {
        let advice = format!("between and around commas there must be a {}", field.name);
        return Err(item.wrong(line, "nothing stands here".to_owned(), advice));
    }
    let (base, step) = item.split('/');
    let (low, high) = base.split('-');
    let range = match (low.text, high) {
        ("*" | "?", None) => (field.low, field.top),
        (_, None) => {
            let low = number(line, field, low)?;
            // `5/15` is from 5 on, every 15: as in Quartz.
            (low, if step.is_some() { field.top.max(low) } else { low })
        }
        (_, Some(high)) => ends(line, field, base, low, high)?,
    };
    let step = step.map_or(Ok(1), |step| step_of(line, field, step))?;
    Ok((range.0..=range.1).step_by(step).fold(0, |all, number| all | 1 << number))
}

fn ends(
    line: &str,
    field: &Field,
    base: Word<'_>,
    low: Word<'_>,
    high: Word<'_>,
) -> Result<(u8, u8), WhenError> {
    let from = number(line, field, low)?;
    let mut to = number(line, field, high)?;
    // The week may end with its Sunday: `FRI-SUN`.
    if field.high > field.top && to == 0 && from > 0 {
        to = field.high;
    }
    if from <= to {
        return Ok((from, to));
    }
    let advice = format!("write `{from}-{},{}-{to}`", field.top, field.low);
    Err(base.wrong(line, format!("the range `{}` runs backwards", base.text), advice))
}

fn step_of(line: &str, field: &Field, step: Word<'_>) -> Result<usize, WhenError> {
    let size = field.high - field.low;
    match step.text.parse::<usize>() {
        Ok(number) if (1..=usize::from(size) + 1).contains(&number) => Ok(number),
        _ => {
            let advice = format!("a step of the {} is a number from 1 to {}", field.name, size + 1);
            Err(step.wrong(line, format!("`{}` is no step", step.text), advice))
        }
    }
}

fn number(line: &str, field: &Field, word: Word<'_>) -> Result<u8, WhenError> {
    let named = field.names.iter().position(|name| name.eq_ignore_ascii_case(word.text));
    if let Some(place) = named {
        return Ok(place as u8 + field.low);
    }
    let digits =
        !word.text.is_empty() && word.text.len() <= 4 && word.text.bytes().all(|byte| byte.is_ascii_digit());
    let number = word.text.parse::<u16>().ok().filter(|_| digits);
    if let Some(number) = number
        && (u16::from(field.low)..=u16::from(field.high)).contains(&number)
    {
        return Ok(number as u8);
    }
    let problem = format!("`{}` is no {}", word.text, field.name);
    Err(word.wrong(line, problem, expected(field, word.text)))
}

fn expected(field: &Field, text: &str) -> String {
    let names = match field.names {
        [] => String::new(),
        [first, .., last] => format!(", or {first} to {last}"),
        [only] => format!(", or {only}"),
    };
    let long = field
        .names
        .iter()
        .find(|name| text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(name)) && text.len() > 3);
    match long {
        Some(name) => format!("names have three letters: `{name}`"),
        None => format!("it is a number from {} to {}{names}", field.low, field.high),
    }
}
