//! Real flows: the project's own examples, and those of a folder that `RIVERRUN_CORPUS` names.

use std::fs;
use std::path::Path;

use riverrun_plan::Flow;

use crate::harness::shown;

/// What real flows are warned of. A loop that asks for the next part until there is none looks like one that asks for the same again: the
/// warning says so, and its author knows.
const WARNINGS: &[(&str, &str)] = &[
    ("unzip-multiple-files.yaml", "this loop does not wait: unzip → hasMoreFilesInZipFile → unzip"),
    ("unzip-single-file.yaml", "this loop does not wait: unzip → hasMoreFiles → unzip"),
];

#[test]
#[ignore = "needs a folder of flows: RIVERRUN_CORPUS=FOLDER cargo test -p riverrun-plan --test it -- --ignored real_flows"]
fn real_flows_parse() {
    let folder = std::env::var_os("RIVERRUN_CORPUS").expect("RIVERRUN_CORPUS names a folder");
    for file in fs::read_dir(folder).expect("the folder that was named") {
        let path = file.expect("a readable folder").path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a readable file");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Flow::parse(&source) {
            Ok((flow, warnings)) => {
                assert!(!flow.functions().is_empty() || !flow.children().is_empty(), "{name}");
                let expected = WARNINGS.iter().filter(|(file, _)| *file == name).map(|(_, what)| *what);
                let expected: Vec<&str> = expected.collect();
                let as_expected = warnings.len() == expected.len()
                    && warnings.iter().zip(&expected).all(|(found, what)| found.message.contains(what));
                assert!(as_expected, "{name}, {expected:?}:\n{}", shown(&warnings));
            }
            Err(mistakes) => panic!("{name}:\n{}", shown(&mistakes)),
        }
    }
}

#[test]
fn the_project_s_own_examples_parse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for example in fs::read_dir(&folder).expect("the examples are there") {
        let path = example.expect("a readable folder").path().join("flow.yaml");
        let Ok(source) = fs::read_to_string(&path) else { continue };
        match Flow::parse(&source) {
            Ok((_, warnings)) => assert!(warnings.is_empty(), "{}:\n{}", path.display(), shown(&warnings)),
            Err(mistakes) => panic!("{}:\n{}", path.display(), shown(&mistakes)),
        }
        seen += 1;
    }
    assert!(seen > 0, "no flow.yaml in {}", folder.display());
}
