//! Canonical JSON: what it takes is JSON, the value stays the same, and its form does not depend on how it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use riverrun_kernel::Json;
use riverrun_kernel::json::{Fingerprint, canonicalize};

fuzz_target!(|text: &str| {
    let Ok(canonical) = canonicalize(text) else { return };
    assert_eq!(canonicalize(&canonical).as_ref(), Ok(&canonical), "canonical already");
    assert_eq!(Fingerprint::of(text), Fingerprint::of(&canonical), "one fingerprint");
    let spaced = format!(" {text}\n");
    assert_eq!(canonicalize(&spaced).as_ref(), Ok(&canonical), "spaces mean nothing");
    Json::parse(&canonical).expect("it is JSON");
});
