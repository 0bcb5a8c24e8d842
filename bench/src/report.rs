//! Results: shown when they are known, and appended to a file that is kept with the sources.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};

use crate::machine::{self, Disk};
use crate::numbers::{median, short};
use crate::settings::Settings;
use crate::systems::Used;

/// So many comparisons stand below a table; where there are more, the table is easier to read.
const RATIOS: usize = 8;

/// Which values of a figure are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Lower,
    Higher,
    Neither,
}

/// One measured value.
#[derive(Debug, Clone)]
pub struct Figure {
    name: String,
    value: f64,
    better: Better,
}

/// A figure that should be small.
pub fn lower(name: impl Into<String>, value: f64) -> Figure {
    Figure { name: name.into(), value, better: Better::Lower }
}

/// A figure that should be large.
pub fn higher(name: impl Into<String>, value: f64) -> Figure {
    Figure { name: name.into(), value, better: Better::Higher }
}

/// A figure that is neither.
pub fn plain(name: impl Into<String>, value: f64) -> Figure {
    Figure { name: name.into(), value, better: Better::Neither }
}

/// What a run cost the machine, for so many runs.
pub fn costs(used: Used, client_cpu: f64, runs: usize) -> Vec<Figure> {
    let per_run = |seconds: f64| seconds * 1e3 / runs as f64;
    let written = used.engine.written + used.worker.written;
    vec![
        lower("engine CPU ms/run", per_run(used.engine.cpu)),
        lower("worker CPU ms/run", per_run(used.worker.cpu)),
        plain("client CPU ms/run", per_run(client_cpu)),
        lower("KB written/run", written as f64 / 1e3 / runs as f64),
        lower("engine peak MB", used.engine.peak as f64 / 1e6),
        lower("worker peak MB", used.worker.peak as f64 / 1e6),
    ]
}

/// What one system did, round after round.
#[derive(Debug)]
struct Row {
    subject: String,
    rounds: Vec<Vec<Figure>>,
}

/// The results of one workload.
#[derive(Debug)]
pub struct Report {
    title: String,
    rows: Vec<Row>,
    load_before: f64,
}

impl Report {
    /// Results to come, under a title.
    pub fn new(title: impl Into<String>) -> Report {
        Report { title: title.into(), rows: Vec::new(), load_before: machine::load() }
    }

    /// Takes in a round of one system.
    pub fn add(&mut self, subject: &str, figures: Vec<Figure>) {
        let shown: Vec<_> =
            figures.iter().map(|figure| format!("{} {}", figure.name, short(figure.value))).collect();
        say(&format!("{subject}: {}", shown.join(", ")));
        match self.rows.iter_mut().find(|row| row.subject == subject) {
            Some(row) => row.rounds.push(figures),
            None => self.rows.push(Row { subject: subject.to_owned(), rounds: vec![figures] }),
        }
    }

    /// Shows all results and appends them to the file.
    pub fn finish(self, settings: &Settings) -> io::Result<()> {
        let disk = Disk::measure(&settings.work)?;
        let text = self.render(settings, &disk);
        say(&text);
        let mut file = File::options().create(true).append(true).open(&settings.results)?;
        file.write_all(text.as_bytes())
    }

    fn render(&self, settings: &Settings, disk: &Disk) -> String {
        let date = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M").to_string();
        let mut text = format!("\n## {}\n\n", self.title);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{date} · {} · {}", machine::describe(), disk.describe());
        let _ = writeln!(
            text,
            "\n`{}` · load average {:.1} before, {:.1} after",
            command(),
            self.load_before,
            machine::load()
        );
        if let Some(note) = &settings.note {
            let _ = writeln!(text, "\n{note}");
        }
        text.push('\n');
        text.push_str(&self.table());
        text.push_str(&self.ratios());
        text
    }

    /// Figures down, systems across: there are more figures than systems.
    fn table(&self) -> String {
        let mut text = "| median (best) of rounds |".to_owned();
        for row in &self.rows {
            let _ = write!(text, " {} × {} |", row.subject, row.rounds.len());
        }
        let _ = write!(text, "\n|---|{}\n", "---:|".repeat(self.rows.len()));
        for name in self.names() {
            let _ = write!(text, "| {name} |");
            for row in &self.rows {
                let _ = write!(text, " {} |", row.cell(name));
            }
            text.push('\n');
        }
        text
    }

    /// The names of all figures, in the order in which they first came.
    fn names(&self) -> Vec<&str> {
        let mut seen = BTreeMap::new();
        let all = self.rows.iter().flat_map(|row| row.rounds.iter().flatten());
        for figure in all {
            let place = seen.len();
            seen.entry(figure.name.as_str()).or_insert(place);
        }
        let mut names: Vec<_> = seen.into_iter().collect();
        names.sort_by_key(|(_, place)| *place);
        names.into_iter().map(|(name, _)| name).collect()
    }

    /// How the first figure of each Riverrun compares with that of each peer, unless the table is long.
    fn ratios(&self) -> String {
        let mut text = String::new();
        let own = |row: &&Row| row.subject.starts_with("Riverrun");
        let mine = self.rows.iter().filter(own).count();
        if mine * (self.rows.len() - mine) > RATIOS {
            return text;
        }
        for row in self.rows.iter().filter(own) {
            for peer in self.rows.iter().filter(|row| !own(row)) {
                let Some(first) = row.rounds.first().and_then(|round| round.first()) else { continue };
                let (mine, theirs) = (row.median(&first.name), peer.median(&first.name));
                let (Some(mine), Some(theirs)) = (mine, theirs) else { continue };
                let ratio = if first.better == Better::Lower { theirs / mine } else { mine / theirs };
                let _ = writeln!(
                    text,
                    "\n{}, {}: {} times as good as {}.",
                    row.subject,
                    first.name,
                    short(ratio),
                    peer.subject
                );
            }
        }
        text
    }
}

impl Row {
    fn values(&self, name: &str) -> Vec<f64> {
        let figures = self.rounds.iter().flatten();
        figures.filter(|figure| figure.name == name).map(|figure| figure.value).collect()
    }

    fn median(&self, name: &str) -> Option<f64> {
        let values = self.values(name);
        (!values.is_empty()).then(|| median(&values))
    }

    fn cell(&self, name: &str) -> String {
        let values = self.values(name);
        let Some(middle) = self.median(name) else { return "–".to_owned() };
        let better =
            self.rounds.iter().flatten().find(|figure| figure.name == name).map(|figure| figure.better);
        let best = match better {
            Some(Better::Lower) => values.iter().copied().reduce(f64::min),
            Some(Better::Higher) => values.iter().copied().reduce(f64::max),
            _ => None,
        };
        match best.filter(|_| values.len() > 1) {
            Some(best) => format!("{} ({})", short(middle), short(best)),
            None => short(middle),
        }
    }
}

/// The command line without the paths of this machine.
fn command() -> String {
    let mut words = std::env::args().skip(1);
    let mut shown = vec!["riverrun-bench".to_owned()];
    while let Some(word) = words.next() {
        if ["--riverrun", "--work", "--results", "--note"].contains(&word.as_str()) {
            words.next();
        } else {
            shown.push(word);
        }
    }
    shown.join(" ")
}

/// Says something to the person who measures.
pub fn say(text: &str) {
    // Whoever closed the output does not want to know.
    let _ = writeln!(io::stdout(), "{text}");
}
