//! Paths into JSON: `$input.a.b`, `[0]`, `['a key']`, and `[*]`, which collects.

use riverrun_kernel::Json;

use crate::json;

/// One way down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
    /// Every element; several of them flatten.
    All,
}

/// A text that is not a path or condition, from character `at` on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxError {
    pub(crate) at: usize,
    pub(crate) length: usize,
    pub(crate) message: String,
    pub(crate) advice: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(at: usize, length: usize, message: impl Into<String>, advice: &str) -> Self {
        let advice = (!advice.is_empty()).then(|| advice.to_owned());
        SyntaxError { at, length, message: message.into(), advice }
    }
}

/// Reads the segments that begin at `at`, as far as they go. `in_name` says which characters a name may have.
pub(crate) fn segments(
    text: &[char],
    at: &mut usize,
    in_name: fn(char) -> bool,
) -> Result<Vec<Segment>, SyntaxError> {
    let mut found = Vec::new();
    loop {
        match text.get(*at) {
            Some('.') => {
                *at += 1;
                if text.get(*at) == Some(&'.') {
                    let advice = "name each level, or use `[*]` for every element";
                    return Err(SyntaxError::new(
                        *at - 1,
                        2,
                        "`..` is not part of the path language",
                        advice,
                    ));
                }
                if text.get(*at) == Some(&'*') {
                    *at += 1;
                    found.push(Segment::All);
                    continue;
                }
                let start = *at;
                while text.get(*at).is_some_and(|&c| in_name(c)) {
                    *at += 1;
                }
                if *at == start {
                    let advice = "write a key after the dot; a key with other characters goes in brackets: `['a key']`";
                    return Err(SyntaxError::new(start, 1, "a key is missing after the dot", advice));
                }
                found.push(Segment::Key(text[start..*at].iter().collect()));
            }
            Some('[') => found.push(bracket(text, at)?),
            _ => return Ok(found),
        }
    }
}

fn bracket(text: &[char], at: &mut usize) -> Result<Segment, SyntaxError> {
    let start = *at;
    *at += 1;
    let wrong = |at: usize| {
        let advice = "brackets hold a number, `*`, or a quoted key; filters and slices are not part of the path language";
        SyntaxError::new(at, 1, "this cannot stand in brackets", advice)
    };
    let segment = match text.get(*at) {
        Some('*') => {
            *at += 1;
            Segment::All
        }
        Some(&quote @ ('"' | '\'')) => {
            *at += 1;
            let from = *at;
            while text.get(*at).is_some_and(|&c| c != quote) {
                *at += 1;
            }
            let key = text[from..*at].iter().collect();
            *at += 1;
            Segment::Key(key)
        }
        Some(c) if c.is_ascii_digit() => {
            let from = *at;
            while text.get(*at).is_some_and(char::is_ascii_digit) {
                *at += 1;
            }
            let digits: String = text[from..*at].iter().collect();
            Segment::Index(digits.parse().map_err(|_| wrong(from))?)
        }
        _ => return Err(wrong(*at)),
    };
    if text.get(*at) != Some(&']') {
        let at = (*at).min(text.len());
        return Err(SyntaxError::new(at, 1, "the bracket is not closed", "write `]` here"))
            .map_err(|error| if at == start + 1 { wrong(at) } else { error });
    }
    *at += 1;
    Ok(segment)
}

/// What a path finds in a JSON text: `None` where nothing is there. A path with `[*]` finds an array.
pub(crate) fn pick(text: &str, path: &[Segment]) -> Option<Json> {
    let Some(first) = path.iter().position(|segment| *segment == Segment::All) else {
        return follow(text, path).map(Json::trusted);
    };
    let mut found: Vec<&str> = follow(text, &path[..first]).into_iter().collect();
    for segment in &path[first..] {
        found = match segment {
            Segment::All => found.into_iter().flat_map(every).collect(),
            one => found.into_iter().filter_map(|text| follow(text, std::slice::from_ref(one))).collect(),
        };
    }
    Some(json::array(found))
}

fn follow<'a>(text: &'a str, path: &[Segment]) -> Option<&'a str> {
    path.iter().try_fold(text, |text, segment| match segment {
        Segment::Key(key) => json::member(text, key),
        Segment::Index(index) => json::element(text, *index),
        Segment::All => None,
    })
}

fn every(text: &str) -> Vec<&str> {
    json::elements(text)
        .or_else(|| json::members(text).map(|members| members.into_values().collect()))
        .unwrap_or_default()
}

/// A path as a person writes it, `$` before it.
pub(crate) fn shown(path: &[Segment]) -> String {
    let plain =
        |key: &str| !key.is_empty() && !key.chars().any(|c| c.is_whitespace() || ".[]'\"".contains(c));
    let mut text = "$".to_owned();
    for segment in path {
        match segment {
            Segment::Key(key) if plain(key) => text.extend([".", key]),
            Segment::Key(key) => text.extend(["['", key, "']"]),
            Segment::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            Segment::All => text.push_str("[*]"),
        }
    }
    text
}
