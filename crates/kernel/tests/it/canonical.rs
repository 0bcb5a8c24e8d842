//! Canonical JSON, by the vectors that the Python package is tested with, too.

use proptest::prelude::*;
use riverrun_kernel::json::{Fingerprint, canonicalize};
use serde_json::Value;

#[test]
fn the_shared_vectors_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/canonical.json");
    let vectors: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("a list of cases");
    assert!(cases.len() >= 20);
    for case in cases {
        let input = case["input"].as_str().expect("an input text");
        match case["canonical"].as_str() {
            Some(expected) => assert_eq!(canonicalize(input).as_deref(), Ok(expected), "of {input:?}"),
            None => assert!(canonicalize(input).is_err(), "{input:?} should be refused: {}", case["error"]),
        }
        if let Some(expected) = case["fingerprint"].as_str() {
            assert_eq!(Fingerprint::of(input).expect("a fingerprint").to_string(), expected, "of {input:?}");
        }
    }
}

#[test]
fn neighbouring_integers_beyond_doubles_differ() {
    let of = |text: &str| Fingerprint::of(text).expect("valid");
    assert_ne!(of("9007199254740992"), of("9007199254740993"));
    assert_eq!(of(r#"{"b":1,"a":[1.0, 2e3]}"#), of(r#" { "a" : [1.00,2000.0] , "b" : 1 } "#));
}

#[test]
fn an_error_says_where() {
    let error = canonicalize(r#"{"a":1,"a":2}"#).expect_err("a duplicate");
    assert_eq!(error.to_string(), r#"the key "a" stands twice at byte 7"#);
    let deep = "[".repeat(100_000);
    assert!(canonicalize(&deep).expect_err("too deep").what.contains("512 levels"));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = canonicalize(&text);
    }

    #[test]
    fn the_canonical_form_is_its_own(text in r#"[\[\]{}",:0-9eE.\-+a\\u ]{0,40}"#) {
        if let Ok(once) = canonicalize(&text) {
            prop_assert_eq!(canonicalize(&once), Ok(once.clone()));
            let value: Value = serde_json::from_str(&once).expect("still JSON");
            prop_assert!(!value.to_string().is_empty());
        }
    }

    #[test]
    fn doubles_read_back_the_same(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite());
        let text = format!("{double:e}");
        let back: f64 = canonicalize(&text).expect("a number").parse().expect("a double");
        prop_assert_eq!(back.abs().to_bits(), double.abs().to_bits());
    }
}
