//! Every command line that a page shows is one that this binary takes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;

/// A command line, and where it stands.
struct Shown {
    place: String,
    line: String,
    /// It stands in a block, to be typed as it is; in a sentence a part is often enough.
    whole: bool,
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "python/README.md", "bench/README.md"]
            .iter()
            .map(|name| root.join(name))
            .collect();
    let mut folders = vec![root.join("docs"), root.join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of pages") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found
}

fn shown(page: &Path) -> Vec<Shown> {
    let text = fs::read_to_string(page).expect("a page").replace("\\\n", " ");
    let mut found = Vec::new();
    let mut in_block = false;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", page.display(), number + 1);
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let line = line.trim().trim_start_matches("$ ");
            if line.starts_with("riverrun ") {
                found.push(Shown { place, line: line.to_owned(), whole: true });
            }
        } else {
            let parts = line.split('`').skip(1).step_by(2);
            let parts = parts.filter(|part| part.starts_with("riverrun ") && !part.contains(" COMMAND "));
            found.extend(parts.map(|part| Shown {
                place: place.clone(),
                line: part.to_owned(),
                whole: false,
            }));
        }
    }
    found
}

/// What is wrong with a line, if something is. What a word stands for is left alone: `RUN` is no id.
fn mistake(shown: &Shown) -> Option<String> {
    let words = shlex::split(&shown.line)?;
    let ends = |word: &&String| {
        ["|", ">", "2>", "&", "&&", ";", "…"].contains(&word.as_str()) || word.starts_with('#')
    };
    let words: Vec<&String> = words.iter().take_while(|word| !ends(word)).collect();
    let is_cut = words.iter().any(|word| word.contains('…')) || shown.line.contains(" …");
    let error = Cli::try_parse_from(words).err()?;
    let is_wrong = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => true,
        ErrorKind::MissingRequiredArgument => shown.whole && !is_cut,
        _ => false,
    };
    is_wrong.then(|| {
        format!("{}: `{}`: {}", shown.place, shown.line, error.to_string().lines().next().unwrap_or_default())
    })
}

#[test]
fn pages_show_command_lines_that_are_taken() {
    let shown: Vec<Shown> = pages().iter().flat_map(|page| shown(page)).collect();
    assert!(shown.len() > 100, "only {} command lines were found", shown.len());
    let mistakes: Vec<String> = shown.iter().filter_map(mistake).collect();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
