//! Mistakes and warnings with the lines of the file that they are about. Of a long line only the part around the place is shown.

use std::path::Path;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, MietteError, MietteSpanContents,
    Report, Severity, SourceCode, SourceSpan, SpanContents,
};
use riverrun_plan::Diagnostic;

/// Of a line so many characters are shown.
const WIDTH: usize = 200;
/// So many of them before the place.
const BEFORE: usize = 80;

/// Each diagnostic with the lines it is about.
pub fn excerpts(file: &Path, source: &str, diagnostics: &[Diagnostic]) -> Vec<String> {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode())
        .with_links(false)
        .without_cause_chain()
        .with_context_lines(1);
    let name = file.display().to_string();
    let one = |diagnostic: &Diagnostic| {
        let (excerpt, label) = Excerpt::of(&name, source, diagnostic);
        let mut shown = MietteDiagnostic::new(diagnostic.message.clone())
            .with_severity(if diagnostic.is_error { Severity::Error } else { Severity::Warning })
            .with_label(LabeledSpan::underline(label));
        if let Some(advice) = &diagnostic.advice {
            shown = shown.with_help(advice.clone());
        }
        let report = Report::new(shown).with_source_code(excerpt);
        let mut text = String::new();
        match handler.render_report(&mut text, report.as_ref()) {
            Ok(()) => text.trim_end().to_owned(),
            Err(_) => format!("{name}:{}:{}: {}", diagnostic.line, diagnostic.column, diagnostic.message),
        }
    };
    diagnostics.iter().map(one).collect()
}

/// The line that a diagnostic is about, between the ones before and after it.
#[derive(Debug)]
struct Excerpt {
    name: String,
    text: String,
    /// The number of its first line, from 0.
    first: usize,
    /// Where the diagnostic is, from 0.
    place: (usize, usize),
}

impl Excerpt {
    /// With the range in its text that is to be underlined.
    fn of(name: &str, source: &str, diagnostic: &Diagnostic) -> (Self, std::ops::Range<usize>) {
        let start = floor(source, diagnostic.span.0);
        let end = floor(source, diagnostic.span.1).max(start);
        let begin = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let rest = &source[begin..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let mut text = String::new();
        let before =
            source[..begin].strip_suffix('\n').map(|before| before.rsplit('\n').next().unwrap_or(before));
        if let Some(before) = before {
            push(&mut text, before.trim_end_matches('\r'), 0);
            text.push('\n');
        }
        let column = start - begin;
        let shown = text.len() + push(&mut text, line.trim_end_matches('\r'), column);
        // What goes on in further lines is underlined to the end of this one.
        let length = (end - start).min(text.len().saturating_sub(shown));
        if let Some(after) = rest.get(line.len() + 1..).filter(|after| !after.is_empty()) {
            text.push('\n');
            push(&mut text, after.lines().next().unwrap_or_default(), 0);
        }
        let first = diagnostic.line.saturating_sub(1 + usize::from(before.is_some()));
        let place = (diagnostic.line.saturating_sub(1), diagnostic.column.saturating_sub(1));
        (Excerpt { name: name.to_owned(), text, first, place }, shown..shown + length)
    }
}

/// The last boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Appends a line, cut around byte `at` of it. Where that byte is in what was appended.
fn push(text: &mut String, line: &str, at: usize) -> usize {
    let at = at.min(line.len());
    let (before, behind) = line.split_at(at);
    if line.chars().nth(WIDTH).is_none() {
        text.push_str(line);
        return at;
    }
    let skipped = before.chars().count().saturating_sub(BEFORE);
    let kept: String = before.chars().skip(skipped).collect();
    let mark = if skipped > 0 { "…" } else { "" };
    let room = WIDTH - kept.chars().count();
    let shown: String = behind.chars().take(room).collect();
    text.extend([mark, &kept, &shown, if shown.len() < behind.len() { "…" } else { "" }]);
    mark.len() + kept.len()
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, lines_before, lines_after)?;
        let (line, column) = if lines_before + lines_after == 0 {
            self.place
        } else {
            (self.first + read.line(), read.column())
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            read.data(),
            *read.span(),
            line,
            column,
            read.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(source: &str, what: &str) -> Diagnostic {
        let start = source.find(what).expect("it is there");
        let begin = source[..start].rfind('\n').map_or(0, |at| at + 1);
        Diagnostic {
            is_error: true,
            message: "it is wrong".to_owned(),
            advice: None,
            line: source[..start].matches('\n').count() + 1,
            column: source[begin..start].chars().count() + 1,
            span: (start, start + what.len()),
        }
    }

    fn shown(source: &str, what: &str) -> String {
        excerpts(Path::new("f.yaml"), source, &[diagnostic(source, what)]).concat()
    }

    #[test]
    fn the_lines_around_a_place_are_shown() {
        insta::assert_snapshot!(shown("one\ntwo\nthree ünd\r\nfour\nfive", "ünd"));
        insta::assert_snapshot!(shown("first", "first"));
        insta::assert_snapshot!(shown("a\nspan over\nlines\nlast", "over\nlines"));
    }

    #[test]
    fn of_a_long_line_only_the_part_around_the_place_is_shown() {
        let long = format!("{}hereü{}", "é".repeat(5000), "x".repeat(500_000));
        insta::assert_snapshot!(shown(&format!("{long}\n{long}"), "hereü"));
        let at_the_end = format!("{}\n{}end", "y".repeat(300), "x".repeat(300));
        insta::assert_snapshot!(shown(&at_the_end, "end"));
    }
}
