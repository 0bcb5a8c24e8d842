//! The shape of the workspace: which crate may know which, and which must stay pure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// (crate, the crates it may depend on in shipped code).
const ARROWS: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("plan", &["kernel"]),
    ("store", &["kernel"]),
    ("wire", &["kernel"]),
    ("engine", &["kernel", "plan", "store"]),
    ("server", &["engine", "kernel", "plan", "store", "wire"]),
    ("worker", &["kernel", "wire"]),
    ("bridge", &["engine", "kernel", "wire"]),
    ("cli", &["bridge", "engine", "kernel", "plan", "server", "store", "wire", "worker"]),
];

/// What a crate that only decides has no business with.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant::",
    "Instant;",
    "::now(",
    "rand::",
    "getrandom",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The workspace's crates that a manifest names under `[dependencies]`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some(rest) = line.strip_prefix("riverrun-")
        {
            found.insert(rest.split(['.', ' ', '=']).next().expect("split gives one").to_owned());
        }
    }
    found
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(crates()).expect("the crates folder") {
        let folder = entry.expect("an entry").path();
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            wrong.push(format!("crate `{name}` has no arrows here: add it to ARROWS"));
            continue;
        };
        for dependency in dependencies(&manifest) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("crate `{name}` may not depend on `{dependency}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn kernel_and_plan_are_pure() {
    let mut wrong = Vec::new();
    for name in ["kernel", "plan"] {
        for file in sources(&crates().join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a source file");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                    wrong.push(format!("{}: code line {}: `{word}`", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a pure crate does I/O, reads a clock or rolls dice:\n{}", wrong.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}
