//! The shell examples of the README and the guides run: each block of `sh` after the marker `<!-- runs -->`.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::{House, repository};

const MARKER: &str = "<!-- runs -->\n```sh\n";

fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split(MARKER).skip(1).map(|rest| rest.split("\n```").next().expect("split gives one"))
}

/// Runs a page's blocks one after another in one folder that looks like a clone with `riverrun` on the path.
fn run_page(page: &str, at_least: usize) {
    let text = std::fs::read_to_string(repository(page)).expect("the page");
    let house = House::new();
    symlink(repository("examples"), house.path("examples")).expect("a link");
    let binary = Path::new(env!("CARGO_BIN_EXE_riverrun")).parent().expect("a folder");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let mut count = 0;
    for block in blocks(&text) {
        count += 1;
        let done = Command::new("sh")
            .args(["-e", "-c", block])
            .current_dir(house.path(""))
            .env("PATH", &path)
            .env("XDG_CACHE_HOME", house.path("cache"))
            .env_remove("RIVERRUN_SERVER")
            .env_remove("RIVERRUN_DATA")
            .env_remove("VIRTUAL_ENV")
            .output()
            .expect("sh starts");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{page}: this block failed:\n{block}\n\n{said}");
    }
    assert!(count >= at_least, "{page} has {count} blocks that run");
}

#[test]
fn the_examples_of_the_readme_run() {
    run_page("README.md", 5);
}

#[test]
fn the_examples_of_the_guides_run() {
    for (page, blocks) in [
        ("docs/guides/idempotent-runs.md", 2),
        ("docs/guides/flows.md", 2),
        ("docs/guides/functions-and-workers.md", 1),
        ("docs/guides/operations.md", 1),
    ] {
        run_page(page, blocks);
    }
}
