//! Mistakes and warnings in a definition's source, collected so that a person sees all of them at once.

use std::collections::HashSet;

use crate::yaml::Span;

/// A mistake or a warning in a definition's source, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A mistake, or only a warning.
    pub is_error: bool,
    /// What is wrong, naming the object and the value.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Byte range in the source.
    pub span: (usize, usize),
}

/// What has been found in one source so far.
pub(crate) struct Report<'a> {
    source: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    found: Vec<Diagnostic>,
    has_errors: bool,
    /// Where the first one was that is not shown.
    beyond: Option<Span>,
}

/// Mistakes and warnings of one file that are shown. Beyond that it is not a flow with mistakes but something else.
const MAX_DIAGNOSTICS: usize = 500;

impl<'a> Report<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        let first = if source.starts_with('\u{feff}') { 3 } else { 0 };
        let bytes = source.as_bytes();
        let ends = bytes
            .iter()
            .enumerate()
            .filter(|&(at, &byte)| byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')));
        let lines = std::iter::once(first).chain(ends.map(|(at, _)| at + 1)).collect();
        Report { source, lines, found: Vec::new(), has_errors: false, beyond: None }
    }

    pub(crate) fn source(&self) -> &'a str {
        self.source
    }

    pub(crate) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        advice: impl Into<Option<String>>,
    ) {
        self.add(true, span, message.into(), advice.into());
    }

    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, advice: impl Into<Option<String>>) {
        self.add(false, span, message.into(), advice.into());
    }

    fn add(&mut self, is_error: bool, span: Span, message: String, advice: Option<String>) {
        self.has_errors |= is_error;
        if self.is_full() {
            self.beyond.get_or_insert(span);
            return;
        }
        self.push(is_error, span, message, advice);
    }

    /// Whether further mistakes are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIAGNOSTICS
    }

    fn push(&mut self, is_error: bool, span: Span, message: String, advice: Option<String>) {
        let (line, column) = self.place(span.0);
        let diagnostic = Diagnostic { is_error, message, advice, line, column, span };
        // What an alias repeats is wrong once.
        if !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.place(at).0
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= at).max(1);
        let start = self.lines[line - 1];
        let column = self.source.get(start..at).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Everything found, in the order of the text.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        if let Some(span) = self.beyond {
            let message = format!("the file has more mistakes; {MAX_DIAGNOSTICS} are shown");
            self.push(self.has_errors, span, message, Some("correct these first".to_owned()));
        }
        self.found.sort_by_key(|diagnostic| diagnostic.span.0);
        self.found
    }
}

/// The candidate that `word` was probably meant to be: one that a slip or two, other capitals, or other hyphens make of it.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.chars().count().max(3) / 3).min(3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Advice that names the nearest candidate, or all of them where none is near.
pub(crate) fn did_you_mean(word: &str, candidates: &[&str], otherwise: &str) -> Option<String> {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None if candidates.is_empty() => None,
        None => Some(format!("{otherwise} {}", quoted(candidates))),
    }
}

/// Names for a sentence: `a`, `b`, `c`; of a long list the first twenty and how many more.
pub(crate) fn quoted(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    // A flow with a mistake may have a name twice.
    let mut seen = HashSet::new();
    let names: Vec<&str> = names.iter().copied().filter(|name| seen.insert(*name)).collect();
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let rest = names.len().saturating_sub(SHOWN);
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

/// Insertions, deletions, replacements and swaps of neighbours between two words; words of unlikely length are far apart.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
