//! What functions did and what was killed: one file, to which everybody appends lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The file.
pub struct History {
    file: File,
    path: PathBuf,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `begin`, `end`, `kill`, `killed`.
    pub what: String,
    /// The attempt, or who was killed.
    pub whom: String,
    /// Nanoseconds since 1970.
    pub at: u128,
}

impl History {
    pub fn open(path: &Path) -> History {
        let file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
        History { file, path: path.to_owned() }
    }

    pub fn note(&self, what: &str, whom: &str) {
        let line = format!("{what} {whom} {}\n", now());
        (&self.file).write_all(line.as_bytes()).expect("a line");
    }

    /// All whole lines. A function may have been killed while it wrote.
    pub fn read(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.path).expect("text");
        text.lines().filter_map(line).collect()
    }
}

fn line(text: &str) -> Option<Line> {
    let mut parts = text.split(' ');
    let (what, whom, at) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Line { what: what.to_owned(), whom: whom.to_owned(), at: at.parse().ok()? })
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_nanos()
}

/// Tells whoever runs the test with `--nocapture`.
pub fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("a message");
}
