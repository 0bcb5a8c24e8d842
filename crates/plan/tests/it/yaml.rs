//! YAML itself: what is read, what is refused, and that nothing breaks the reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use riverrun_plan::{Case, Crash, Flow, Program, rehearse};
use serde_json::json;

use crate::harness::{flow, mistakes, output, parse, warnings};
use crate::seed::POLLING;

#[test]
fn json_is_yaml() {
    let source = r#"{"version": "v1", "type": "flow", "steps": [{"type": "pass", "name": "A"}]}"#;
    assert_eq!(output(source, &json!({})), json!({}));
}

#[test]
fn byte_order_marks_and_windows_line_ends_are_read() {
    let source = format!("\u{feff}{}", POLLING.replace('\n', "\r\n"));
    assert_eq!(parse(&source).functions().len(), 2);
    let wrong = source.replace("type: succeed", "type: suceed");
    assert_eq!(
        mistakes(&wrong),
        "39:11 error: `suceed` is no `type` of step `JobSucceeded`\n      did you mean `succeed`?"
    );
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let found = mistakes("version: v1\ntype: flow\nsteps:\n  - type: pass\n    name: A\n    name: B\n");
    assert_eq!(found, "6:5 error: the key `name` stands here twice\n      remove one of them");
}

#[test]
fn tabs_are_pointed_at() {
    let found = mistakes("version: v1\ntype: flow\nsteps:\n\t- type: pass\n");
    assert_eq!(
        found,
        "4:1 error: a tab in the indentation\n      indent with spaces: YAML allows no tabs there"
    );
}

#[test]
fn a_second_document_an_empty_file_and_a_list_are_refused() {
    assert!(mistakes("version: v1\n---\ntype: flow\n").starts_with("2:1 error: a second document"));
    assert!(mistakes("").contains("the file is empty"));
    assert!(mistakes("# only a comment\n").contains("the file is empty"));
    assert!(mistakes("- a\n").contains("the flow must be a mapping of attributes, but is a list"));
    assert!(mistakes("hello\n").contains("but is text"));
}

#[test]
fn aliases_work_within_bounds() {
    let source = flow(
        "  - {type: pass, name: A, outputMappings: &m [{target: x, source: 1}]}\n  - {type: pass, name: B, outputMappings: *m}\n",
    );
    assert_eq!(output(&source, &json!({})), json!({"x": 1}));
    let bomb: String = (1..12)
        .map(|n| format!("    l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 10].join(", ")))
        .collect();
    let source = format!("version: v1\ntype: flow\nextra:\n    l0: &l0 [x, x]\n{bomb}steps: []\n");
    assert!(mistakes(&source).contains("aliases written out"), "{}", mistakes(&source));
    assert!(mistakes("a: &a [*a]\n").contains("inside what it refers to"));
}

#[test]
fn a_repeated_step_by_alias_is_a_repeated_name() {
    let source = "version: v1\ntype: flow\nsteps: [&a {type: pass, name: A}, *a]\n";
    assert!(mistakes(source).contains("an alias repeats the step `A`"));
}

#[test]
fn depth_and_size_have_limits_with_names() {
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(mistakes(&deep).contains("nested more than 100 deep"), "{}", mistakes(&deep));
    let large = format!("version: v1\n# {}\n", "x".repeat(1024 * 1024));
    assert!(mistakes(&large).contains("a flow may have 1048576"));
}

#[test]
fn large_files_of_nonsense_are_refused_without_delay() {
    let steps = |n: usize, step: &str| format!("version: v1\ntype: flow\nsteps:\n{}", step.repeat(n));
    let keys: String = (0..40_000).map(|n| format!("k{n}: 1\n")).collect();
    let anchors: String = (0..90).map(|n| format!("&a{n} [")).collect();
    for source in [
        keys,
        steps(8000, "  - {type: choice, name: A, choices: [{condition: x, goto: B}]}\n"),
        steps(20_000, "  - text\n"),
        format!("a: {anchors}{}{}", "x, ".repeat(90_000), "]".repeat(90)),
        format!("a: {}", "? ".repeat(200_000)),
        format!("a: {}", "- ".repeat(200_000)),
        format!("a: \"{}", "x\n".repeat(200_000)),
        "!".repeat(500_000),
        "&a ".repeat(200_000),
        "{".repeat(500_000),
        "a: ".repeat(200_000),
    ] {
        let found = mistakes(&source);
        assert!(found.matches("error:").count() <= 501, "{}", found.len());
    }
}

#[test]
fn nul_bytes_and_other_signs_that_no_text_has_are_refused_or_kept() {
    let found = mistakes("version: v1\0\ntype: flow\n");
    assert!(found.contains("error:"), "{found}");
    let found = mistakes(&flow("  - {type: pass, name: \"A\\0B\"}\n"));
    assert!(found.contains("a step's name cannot contain '\\0'"), "{found}");
    let kept = flow("  - {type: pass, name: A, outputMappings: [{target: a, source: \"x\\0y\"}]}\n");
    assert_eq!(output(&kept, &json!({})), json!({"a": "x\0y"}));
}

#[test]
fn ten_megabytes_and_ten_thousand_levels_are_refused() {
    let large = format!("version: v1\ntype: flow\nsteps:\n{}", "  - {type: pass, name: A}\n".repeat(400_000));
    assert!(large.len() > 10_000_000);
    assert!(mistakes(&large).contains("a flow may have 1048576"));
    let flow_style = "{a: ".repeat(10_000) + "1" + &"}".repeat(10_000);
    let sequences = "- ".repeat(10_000) + "x\n";
    let indented: String = (0..1_400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let nested_steps = (0..10_000).fold(String::new(), |text, depth| {
        text + &format!("{{type: parallel, name: P{depth}, branches: [{{steps: [")
    });
    for source in
        [flow_style, sequences, indented, format!("version: v1\ntype: flow\nsteps: [{nested_steps}")]
    {
        let found = mistakes(&source);
        assert!(found.contains("nested more than 100 deep"), "{}", &found[..found.len().min(300)]);
    }
}

#[test]
fn dates_and_times_without_quotes_stay_text() {
    let sources =
        ["2030-01-01", "2030-01-01T09:00:00Z", "2030-01-01 09:00:00", "12:30:45", "yes", "0o14", "1_000"];
    for text in sources {
        let source =
            flow(&format!("  - {{type: pass, name: A, outputMappings: [{{target: a, source: {text}}}]}}\n"));
        let expected = if text == "0o14" { json!({"a": 12}) } else { json!({"a": text}) };
        assert_eq!(output(&source, &json!({})), expected, "{text}");
    }
}

#[test]
fn merge_keys_and_numbers_with_zeros_are_explained() {
    let merged = mistakes(&flow("  - {type: pass, name: A, <<: {end: true}}\n"));
    assert!(merged.contains("merge keys are not part of the language"), "{merged}");
    let zeros = warnings(&flow("  - {type: pass, name: A, outputMappings: [{target: a, source: 007}]}\n"));
    assert!(zeros.contains("write '007' for text, 7 for the number"), "{zeros}");
    let infinite =
        mistakes(&flow("  - {type: pass, name: A, outputMappings: [{target: a, source: .inf}]}\n"));
    assert!(infinite.contains("a number that JSON cannot hold"), "{infinite}");
}

#[test]
fn wide_characters_count_once() {
    let found = mistakes(&flow("  - {type: pass, name: 步骤一, unknown: 1}\n"));
    assert!(found.starts_with("4:29 error: step `步骤一` has no attribute `unknown`"), "{found}");
}

/// A case that uses most of what cases have.
const CASE: &str = "functions:\n  fnf-demo/StartJob: {result: {job_id: J}, after: 0.5}\ncases:\n- name: one\n  input: {delay: 20}\n  \
                    starts_at: 2026-01-01T00:00:00Z\n  cancel_after: 60\n  functions:\n    fnf-demo/GetJobStatus:\n    - {error: E, cause: c}\n    \
                    - {crash: true}\n  expect: {state: cancelled, calls: [{function: a, input: {}}], steps: [A], journal: [B], took: 60}\n";

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Flow::parse(&text);
        let _ = Case::parse(&text, &parse(POLLING));
    }

    #[test]
    fn no_damaged_case_panics(at in 0..CASE.len(), length in 0..40_usize, with in ".{0,6}") {
        let mut text = CASE.to_owned();
        text.replace_range(at..(at + length).min(CASE.len()), &with);
        let flow = parse(POLLING);
        match Case::parse(&text, &flow) {
            Ok((cases, _)) => {
                let program = Program { name: "test".to_owned(), flow: Arc::new(flow), children: BTreeMap::new() };
                for case in &cases {
                    let _ = rehearse(&program, case, Crash::Never).differences(case);
                }
            }
            Err(found) => {
                for diagnostic in found {
                    prop_assert!(text.get(diagnostic.span.0..diagnostic.span.1).is_some(), "{diagnostic:?}");
                }
            }
        }
    }

    #[test]
    fn no_damaged_flow_panics(at in 0..POLLING.len(), length in 0..40_usize, with in ".{0,6}") {
        let mut text = POLLING.to_owned();
        text.replace_range(at..(at + length).min(POLLING.len()), &with);
        if let Err(found) = Flow::parse(&text) {
            for diagnostic in found {
                prop_assert!(text.get(diagnostic.span.0..diagnostic.span.1).is_some(), "{diagnostic:?}");
            }
        }
    }
}
