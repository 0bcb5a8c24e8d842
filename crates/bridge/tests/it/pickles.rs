//! Pickles as Python writes them, and as only an attacker would.

use proptest::prelude::*;
use riverrun_bridge::pickle::{PickleError, read, write};
use serde_json::{Value, json};

fn value(bytes: &[u8]) -> Value {
    read(bytes).expect("a plain pickle")
}

#[test]
fn text_is_read_in_each_of_its_forms_and_with_or_without_memo() {
    for bytes in [
        &b"\x80\x02U\x02{}q\x01."[..],
        b"\x80\x02U\x02{}.",
        b"\x80\x02T\x02\x00\x00\x00{}q\x00.",
        b"\x80\x02X\x02\x00\x00\x00{}r\x01\x00\x00\x00.",
    ] {
        assert_eq!(value(bytes), json!("{}"));
    }
    assert_eq!(value(b"\x80\x02X\x03\x00\x00\x00\xe7\x99\xbe."), json!("百"));
}

#[test]
fn what_is_written_is_what_the_original_writes() {
    assert_eq!(
        write(r#"{"stat": "OK", "data": {}}"#),
        b"\x80\x02U\x1a{\"stat\": \"OK\", \"data\": {}}q\x01."
    );
    let long = "x".repeat(256);
    assert_eq!(write(&long)[..7], *b"\x80\x02T\x00\x01\x00\x00");
    assert_eq!(value(&write(&long)), json!(long));
}

#[test]
fn plain_values_are_read_with_their_exact_value() {
    assert_eq!(value(b"\x80\x02N."), json!(null));
    assert_eq!(value(b"\x80\x02\x88."), json!(true));
    assert_eq!(value(b"\x80\x02\x89."), json!(false));
    assert_eq!(value(b"\x80\x02K\xff."), json!(255));
    assert_eq!(value(b"\x80\x02M\x00\x01."), json!(256));
    assert_eq!(value(b"\x80\x02J\xff\xff\xff\xff."), json!(-1));
    assert_eq!(value(b"\x80\x02\x8a\x00."), json!(0));
    assert_eq!(value(b"\x80\x02\x8a\x07\x01\x00\x00\x00\x00\x00\x20."), json!(9_007_199_254_740_993_i64));
    assert_eq!(value(b"\x80\x02\x8a\x01\xfe."), json!(-2));
    assert_eq!(value(b"\x80\x02G\x3f\xf8\x00\x00\x00\x00\x00\x00."), json!(1.5));
}

#[test]
fn containers_are_read_also_where_they_are_filled_after_they_were_kept() {
    // Python: pickle.dumps({"a": [1, 2], "b": (1, "x"), "c": {}}, 2)
    let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02eX\x01\x00\x00\x00bq\x03K\x01X\x01\x00\x00\x00xq\x04\x86q\x05X\x01\x00\x00\x00cq\x06}q\x07u.";
    assert_eq!(value(bytes), json!({"a": [1, 2], "b": [1, "x"], "c": {}}));
    // x = [1]; pickle.dumps([x, x], 2): the second is fetched from the memo.
    assert_eq!(value(b"\x80\x02]q\x00(]q\x01K\x01ah\x01e."), json!([[1], [1]]));
    assert_eq!(value(b"\x80\x02)."), json!([]));
    assert_eq!(value(b"\x80\x02(K\x01K\x02K\x03K\x04t."), json!([1, 2, 3, 4]));
}

#[test]
fn what_would_execute_something_is_refused_by_name() {
    let refused = |bytes: &[u8]| read(bytes).expect_err("it is refused").to_string();
    // Python: pickle.dumps of an object whose __reduce__ is (os.system, ("id",))
    let evil = b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.";
    assert_eq!(
        refused(evil),
        "the pickle wants to execute something (GLOBAL at byte 2: `posix.system`): only text, numbers, lists and dictionaries are read, and nothing is ever executed"
    );
    // Python 3's bytes at protocol 2 are such a call too.
    assert!(refused(b"\x80\x02c_codecs\nencode\nq\x00.").contains("`_codecs.encode`"));
    for (opcode, name) in [
        (b'R', "REDUCE"),
        (b'i', "INST"),
        (b'o', "OBJ"),
        (b'b', "BUILD"),
        (0x81, "NEWOBJ"),
        (0x82, "EXT"),
        (b'P', "PERSID"),
        (b'Q', "BINPERSID"),
        (0x93, "STACK_GLOBAL"),
    ] {
        assert!(refused(&[0x80, 2, opcode, b'.']).contains(name), "{name}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    assert_eq!(read(b""), Err(PickleError::Protocol));
    assert_eq!(read(b"\x80\x04."), Err(PickleError::Protocol));
    assert_eq!(read(b"Unpickleable return value"), Err(PickleError::Protocol));
    for bytes in [
        &b"\x80\x02"[..],
        b"\x80\x02.",
        b"\x80\x02K\x01K\x02.",
        b"\x80\x02(K\x01.",
        b"\x80\x02K\x01.x",
        b"\x80\x02U\x05ab.",
        b"\x80\x02T\xff\xff\xff\xffab.",
        b"\x80\x02h\x05.",
        b"\x80\x02e.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02U\x02\xb0\xd9.",
    ] {
        assert!(matches!(read(bytes), Err(PickleError::Damaged { .. })), "{bytes:?}: {:?}", read(bytes));
    }
    assert!(matches!(read(b"\x80\x02\xf7."), Err(PickleError::Unknown { opcode: 0xF7, at: 2 })));
    assert!(matches!(read(b"\x80\x02\x8a\x09123456789."), Err(PickleError::NotJson(_))));
    assert!(matches!(read(b"\x80\x02}K\x01K\x02s."), Err(PickleError::NotJson(_))));
    assert!(matches!(read(b"\x80\x02G\x7f\xf0\x00\x00\x00\x00\x00\x00."), Err(PickleError::NotJson(_))));
}

#[test]
fn one_that_repeats_or_contains_itself_is_refused_before_it_fills_the_memory() {
    // Each pair holds the one before it twice.
    let mut bytes = b"\x80\x02K\x01q\x00".to_vec();
    for level in 0..60 {
        bytes.extend([b'h', level, 0x86, b'q', level + 1]);
    }
    bytes.push(b'.');
    assert!(matches!(read(&bytes), Err(PickleError::TooLarge(_))));
    assert!(matches!(read(b"\x80\x02]q\x00h\x00a."), Err(PickleError::TooLarge(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&[&[0x80, 2], &body[..]].concat());
    }

    #[test]
    fn ascii_text_comes_back(text in "[ -~]{0,600}") {
        prop_assert_eq!(value(&write(&text)), json!(text));
    }
}
