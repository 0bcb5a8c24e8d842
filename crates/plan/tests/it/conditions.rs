//! Conditions: what they mean, and that no text upsets them.

use proptest::prelude::*;
use riverrun_plan::Flow;
use serde_json::{Value, json};

use crate::harness::{Run, mistakes};

fn source(condition: &str) -> String {
    let quoted = serde_json::to_string(condition).expect("a string");
    format!(
        "version: v1\ntype: flow\nsteps:\n  - type: choice\n    name: C\n    choices:\n      - condition: {quoted}\n        goto: Yes\n  - {{type: succeed, name: No}}\n  - {{type: pass, name: Yes, outputMappings: [{{target: yes, source: true}}]}}\n"
    )
}

fn holds(condition: &str, input: &Value) -> bool {
    let mut run = Run::new(&source(condition), input);
    run.settle();
    run.outcome.expect("ended").expect("succeeded") == json!({"yes": true})
}

#[track_caller]
fn check(input: &Value, cases: &[(&str, bool)]) {
    for (condition, expected) in cases {
        assert_eq!(holds(condition, input), *expected, "{condition} with {input}");
    }
}

#[test]
fn operands_and_comparisons() {
    let input = json!({"n": 3, "f": 12.5, "s": "b", "t": true, "zero": 0, "neg": -1, "o": {"k": {"d": 1}}, "a": [1, "x", [2]]});
    check(
        &input,
        &[
            ("$.n > 2", true),
            ("$.n >= 3", true),
            ("$.n < 3", false),
            ("$.n <= 3", true),
            ("$.n == 3", true),
            ("$.n == 3.0", true),
            ("$.n != 3", false),
            ("$.f == 12.5", true),
            ("$.s == \"b\"", true),
            ("$.s == `b`", true),
            ("$.s > \"a\"", true),
            ("$.s < `a`", false),
            ("$.neg == -1", true),
            ("-$.neg == 1", true),
            ("$.n < $.f", true),
            ("$.o.k.d == 1", true),
            ("$.a[1] == \"x\"", true),
            ("$['n'] == 3", true),
            ("$.o[\"k\"].d == 1", true),
            ("$.t", true),
            ("!$.t", false),
            ("!!$.t", true),
            ("true", true),
            ("false || true && false", false),
            ("(false || true) && true", true),
            ("$.n==3&&$.s==\"b\"", true),
            ("1e1 == 10", true),
            ("\"tab\\t\\u00e9\" == \"tab\\té\"", true),
        ],
    );
}

#[test]
fn membership() {
    let input = json!({"a": [1, "x", [2], {"k": null}], "o": {"k": null}, "s": "text"});
    check(
        &input,
        &[
            ("1 in $.a", true),
            ("1.0 in $.a", true),
            ("\"x\" in $.a", true),
            ("[2] in $.a", true),
            ("$.o in $.a", true),
            ("\"k\" in $.o", true),
            ("\"z\" in $.o", false),
            ("\"te\" in $.s", false),
            ("\"b\" in [\"a\", \"b\"]", true),
            ("1 in []", false),
            ("2 in $.a[*][*]", true),
            ("!(3 in $.a)", true),
            ("\"a\" in $", true),
        ],
    );
}

#[test]
fn null_and_missing() {
    check(
        &json!({"n": null, "e": 1}),
        &[
            ("$.missing", false),
            ("!$.missing", true),
            ("$.missing == null", true),
            ("$.n == null", true),
            ("$.missing == $.n", true),
            ("$.missing == 0", false),
            ("$.missing != 0", true),
            ("$.missing < 1", false),
            ("$.missing >= 1", false),
            ("$.a.b.c[3].d == \"x\"", false),
            ("$.event_id >= 4000 || $.e == 1", true),
            ("-$.missing == null", true),
        ],
    );
}

#[test]
fn mixed_types_and_values_that_are_no_truth() {
    check(
        &json!({"one": 1, "s": "1", "o": {}, "a": []}),
        &[
            ("$.one == \"1\"", false),
            ("$.one != \"1\"", true),
            ("$.one < \"2\"", false),
            ("$.s > 0", false),
            ("true == 1", false),
            ("$.one", false),
            ("$.s", false),
            ("$.o", false),
            ("5", false),
            ("\"true\"", false),
            ("$.one && true", false),
            ("!$.one", true),
            ("$.o == $.a", false),
        ],
    );
}

#[test]
fn large_integers_are_compared_exactly() {
    check(
        &json!({"id": 9_007_199_254_740_993_u64}),
        &[("$.id == 9007199254740993", true), ("$.id == 9007199254740992", false)],
    );
}

#[test]
fn objects_are_equal_whatever_the_order_of_their_keys() {
    check(&json!({"x": {"a": 1, "b": [1.0]}, "y": {"b": [1], "a": 1}}), &[("$.x == $.y", true)]);
}

#[test]
fn conditions_see_the_choice_s_own_input() {
    let source = r"
version: v1
type: flow
steps:
  - type: pass
    name: A
    outputMappings: [{target: local, source: 1}]
  - type: choice
    name: Unmapped
    choices: [{condition: $.local == 1 && $.given == 2, goto: B}]
    default: {goto: Wrong}
  - type: choice
    name: B
    inputMappings: [{target: only, source: $local.local}]
    choices: [{condition: $.only == 1 && $.given == null, goto: Right}]
    default: {goto: Wrong}
  - {type: fail, name: Wrong}
  - {type: succeed, name: Right}
";
    let mut run = Run::new(source, &json!({"given": 2}));
    run.settle();
    assert_eq!(run.outcome, Some(Ok(json!({"local": 1}))));
}

fn place_and_message(condition: &str) -> (usize, String) {
    let found = Flow::parse(&source(condition)).expect_err("it is wrong");
    assert_eq!((found.len(), found[0].line), (1, 7), "{condition}: {found:?}");
    // 21 characters stand before the condition: indentation, `- condition: ` and the quotation mark.
    (found[0].column - 21, found[0].message.clone())
}

#[test]
fn syntax_errors_point_at_the_character() {
    insta::assert_snapshot!(
        [
            "$.a = 1",
            "$.a == ",
            "$.a and $.b",
            "a == 1",
            "$.a == 'x'",
            "($.a",
            "$.a)",
            "$.a == 1 == 2",
            "$.a + 1 > 2",
            "len($.a) > 1",
            "$..a",
            "$.a[?(@.x)]",
            "$.",
            "$.a[",
            "\"open",
            "$.a in [1, 2",
            "not $.a",
            "$.a & $.b",
            "1.2.3 > 1",
            "\"\\q\" == 1",
            "$.a b",
        ]
        .map(|condition| {
            let (column, message) = place_and_message(condition);
            format!("{condition:<16} {column:>2}  {message}")
        })
        .join("\n")
    );
}

#[test]
fn positions_are_right_in_every_style_of_scalar() {
    let at = |written: &str| {
        let source = format!(
            "version: v1\ntype: flow\nsteps:\n  - type: choice\n    name: C\n    choices:\n      - condition: {written}\n"
        );
        let found = Flow::parse(&source).expect_err("it is wrong");
        let rest: String = source[found[0].span.0..].chars().take(3).collect();
        (found[0].line, rest)
    };
    assert_eq!(at("$.a = 1"), (7, "= 1".to_owned()));
    assert_eq!(at("'$.a = 1'"), (7, "= 1".to_owned()));
    assert_eq!(at("'\"it''s\" = 1'"), (7, "= 1".to_owned()));
    assert_eq!(at(r#""\"\u00e9\\t\" = 1""#), (7, "= 1".to_owned()));
    assert_eq!(at("$.a ==\n          1 =\n          2"), (8, "=\n ".to_owned()));
    assert_eq!(at(">-\n          $.a ==\n          1 = 2"), (9, "= 2".to_owned()));
    assert_eq!(at("|\n          $.a ==\n          1 = 2"), (9, "= 2".to_owned()));
    assert_eq!(at("\"$.a ==\n\n          1 = 2\""), (9, "= 2".to_owned()));
    assert_eq!(at("!!str $.a = 1"), (7, "= 1".to_owned()));
}

#[test]
fn nesting_has_a_limit() {
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(mistakes(&source(&deep)).contains("nested more than 64 deep"));
    let nots = format!("{}true", "!".repeat(5000));
    assert!(mistakes(&source(&nots)).contains("nested more than 64 deep"));
    // Long is not deep.
    assert!(holds(&vec!["$.a == 1"; 2000].join(" || "), &json!({"a": 1})));
}

#[test]
fn deep_values_are_survived() {
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let mut run = Run::new(&source("$.x == $.y"), &json!({}));
    run.set_input(&format!(r#"{{"x": {deep}, "y": {deep}}}"#));
    run.settle();
    assert_eq!(run.outcome, Some(Ok(json!({"yes": true}))));
}

proptest! {
    #[test]
    fn no_condition_panics(text in any::<String>()) {
        let _ = Flow::parse(&source(&text));
    }

    #[test]
    fn no_likely_condition_panics(text in r#"([$.a\[\]0-9"`()!=<>&|,\\ \-*']|in|true|null){0,24}"#) {
        if Flow::parse(&source(&text)).is_ok() {
            holds(&text, &json!({"a": [1, {"a": "x"}], "b": {"a": null}}));
        }
    }
}
