//! The one place that prints. Data goes to stdout, everything else to stderr.

use std::io::{IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use riverrun_kernel::State;
use serde::Serialize;

use crate::args::{Colors, Global};
use crate::error::CliError;

/// Less important text.
pub const DIM: Style = Style::new().dimmed();
/// What stands out without meaning good or bad.
pub const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BUSY: Style = AnsiColor::Cyan.on_default();
const CARE: Style = AnsiColor::Yellow.on_default();

/// Where output goes, and how it may look.
#[derive(Debug, Clone)]
pub struct Printer {
    json: bool,
    quiet: bool,
    colors: Colors,
}

impl Printer {
    /// As the user asked for it.
    pub fn new(global: &Global) -> Self {
        Printer { json: global.json, quiet: global.quiet, colors: global.color }
    }

    /// Whether stdout is to carry JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only what went wrong is to be said.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person looks at stderr: progress may be drawn and redrawn there.
    pub fn is_live(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Data for people, one or more lines.
    pub fn text(&self, text: &str) {
        let mut out = AutoStream::new(std::io::stdout(), self.choice(std::io::stdout().is_terminal()));
        // A reader that went away (`| head`) is no error of ours.
        let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
        let _ = out.flush();
    }

    /// Data for programs: one JSON document, on one line.
    pub fn json(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.text(&text),
            Err(error) => self.note(&format!("the answer cannot be written as JSON: {error}")),
        }
    }

    /// Something a person may want to know while a command works.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.err(text);
        }
    }

    /// Several notes.
    pub fn note_all(&self, texts: &[String]) {
        for text in texts {
            self.note(text);
        }
    }

    /// What is wrong with a file: said also when asked to say less.
    pub fn complain(&self, texts: &[String]) {
        for text in texts {
            self.err(text);
        }
    }

    /// A line that the next one replaces. Only for [`Printer::is_live`] terminals.
    pub fn live(&self, text: &str) {
        let width = terminal_width();
        let text = anstream::adapter::strip_str(text).to_string();
        let text: String = text.chars().take(width.saturating_sub(1)).collect();
        let mut out = AutoStream::new(std::io::stderr(), self.choice(true));
        let _ = write!(out, "\r\x1b[2K{DIM}{text}{DIM:#}");
        let _ = out.flush();
    }

    /// Whether a person looks at stdout: it may be drawn anew.
    pub fn is_screen(&self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// A screen that the next one replaces. Only where [`Printer::is_screen`].
    pub fn screen(&self, text: &str) {
        let plain = matches!(self.choice(true), ColorChoice::Never);
        let text = if plain { anstream::adapter::strip_str(text).to_string() } else { text.to_owned() };
        // From the top, each line to its end, and nothing below: what stands there is overwritten and does not flicker.
        let text = text.trim_end_matches('\n').replace('\n', "\x1b[K\n");
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\x1b[H{text}\x1b[K\n\x1b[J");
        let _ = out.flush();
    }

    /// Takes the live line away, if there can be one.
    pub fn end_live(&self) {
        if !self.is_live() {
            return;
        }
        let mut out = std::io::stderr();
        let _ = write!(out, "\r\x1b[2K");
        let _ = out.flush();
    }

    /// The error that ends the command, with its next step.
    pub fn error(&self, error: &CliError) {
        let CliError { message, next, .. } = error;
        self.err(&format!("{BAD}error{BAD:#}: {message}"));
        if !next.is_empty() {
            self.err(&format!("{BOLD}next{BOLD:#}: {next}"));
        }
        if self.json {
            self.json(&serde_json::json!({
                "error": { "code": error.code, "message": message, "next": next, "exit": error.exit.number() }
            }));
        }
    }

    fn err(&self, text: &str) {
        let mut out = AutoStream::new(std::io::stderr(), self.choice(std::io::stderr().is_terminal()));
        let _ = writeln!(out, "{text}");
    }

    fn choice(&self, terminal: bool) -> ColorChoice {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self.colors {
            Colors::Always => ColorChoice::Always,
            Colors::Never => ColorChoice::Never,
            Colors::Auto if terminal && !plain => ColorChoice::Auto,
            Colors::Auto => ColorChoice::Never,
        }
    }
}

/// The width of stderr's terminal as its shell announced it, 80 where it did not.
fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(80)
}

/// A state in its colour.
pub fn state(state: State) -> String {
    let style = match state {
        State::Succeeded => GOOD,
        State::Failed | State::TimedOut => BAD,
        State::Running | State::Queued => BUSY,
        State::Suspended | State::Cancelling | State::Cancelled | State::Expired => CARE,
    };
    format!("{style}{state}{style:#}")
}

/// Text that says something went well.
pub fn good(text: &str) -> String {
    format!("{GOOD}{text}{GOOD:#}")
}

/// Text that says something went wrong.
pub fn bad(text: &str) -> String {
    format!("{BAD}{text}{BAD:#}")
}

/// Text that asks for attention.
pub fn care(text: &str) -> String {
    format!("{CARE}{text}{CARE:#}")
}

/// Less important text.
pub fn dim(text: &str) -> String {
    format!("{DIM}{text}{DIM:#}")
}

/// Text that stands out.
pub fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

/// Lines of aligned columns under a dim heading. The last column is never padded.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|&title| dim(title)).collect();
    let lines = || std::iter::once(&heading).chain(rows);
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            lines().filter_map(|row| row.get(column)).map(|cell| shown_width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in lines() {
        let last = row.len().saturating_sub(1);
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column < last {
                let pad = widths[column].saturating_sub(shown_width(cell)) + 2;
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// How many columns a text takes, colours not counted.
fn shown_width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// One line of at most `limit` characters.
pub fn clip(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let more = line.chars().count() > limit || text.lines().nth(1).is_some();
    if more {
        format!("{}…", line.chars().take(limit.saturating_sub(1)).collect::<String>())
    } else {
        line.to_owned()
    }
}
