//! Frames: whatever arrives, in whatever pieces, is decoded alike and never panics.

use bytes::BytesMut;
use proptest::prelude::*;
use riverrun_wire::child::{FromChild, ToChild};
use riverrun_wire::frame::{FrameError, MAX_FRAME, decode, encode, encode_within};
use riverrun_wire::worker::{FromWorker, ToWorker};
use serde_json::Value;

fn log(text: &str) -> FromWorker {
    FromWorker::Log {
        attempt: "run_00000000010000000000000001.1.1".parse().expect("an attempt id"),
        stream: "stdout".to_owned(),
        text: text.to_owned(),
    }
}

fn all(mut input: BytesMut) -> Vec<FromWorker> {
    let mut messages = Vec::new();
    while let Some(frame) = decode(&mut input, MAX_FRAME).expect("frames") {
        messages.extend(frame);
    }
    assert!(input.is_empty(), "{} bytes are left", input.len());
    messages
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<FromWorker>(&mut BytesMut::from(&bytes[..]), MAX_FRAME);
        let _ = decode::<ToWorker>(&mut BytesMut::from(&bytes[..]), MAX_FRAME);
        // The same with a length that fits, so that the body is looked at.
        let mut framed = BytesMut::from(&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..]);
        framed.extend_from_slice(&bytes);
        let _ = decode::<FromChild>(&mut framed.clone(), MAX_FRAME);
        let _ = decode::<ToChild>(&mut framed.clone(), MAX_FRAME);
        let _ = decode::<ToWorker>(&mut framed, MAX_FRAME);
    }

    #[test]
    fn any_json_is_decoded_or_refused(text in r#"\[(\{"(log|done|offer|ack|hello)":(\{"seq":-?[0-9]{1,25}\}|null|\[\]|"x")\},?){0,3}\]?"#) {
        let mut framed = BytesMut::from(&u32::try_from(text.len()).expect("short").to_be_bytes()[..]);
        framed.extend_from_slice(text.as_bytes());
        let _ = decode::<FromWorker>(&mut framed.clone(), MAX_FRAME);
        let _ = decode::<ToWorker>(&mut framed, MAX_FRAME);
    }

    #[test]
    fn input_cut_anywhere_decodes_the_same(
        texts in prop::collection::vec(prop::collection::vec(".{0,12}", 0..4), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let frames: Vec<Vec<FromWorker>> =
            texts.iter().map(|frame| frame.iter().map(|text| log(text)).collect()).collect();
        let mut bytes = BytesMut::new();
        for frame in &frames {
            encode(frame, &mut bytes).expect("JSON");
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut input = BytesMut::new();
        let mut decoded: Vec<Vec<FromWorker>> = Vec::new();
        for piece in cuts.windows(2) {
            input.extend_from_slice(&bytes[piece[0]..piece[1]]);
            while let Some(frame) = decode(&mut input, MAX_FRAME).expect("frames") {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn messages_over_the_limit_are_spread_over_frames(
        texts in prop::collection::vec(".{0,40}", 0..10),
        limit in 10_usize..400,
    ) {
        let messages: Vec<FromWorker> = texts.iter().map(|text| log(text)).collect();
        let mut bytes = BytesMut::new();
        encode_within(&messages, limit, &mut bytes).expect("JSON");
        let mut rest = bytes.clone();
        while let Some(frame) = decode::<FromWorker>(&mut rest, MAX_FRAME).expect("frames") {
            let mut again = BytesMut::new();
            encode(&frame, &mut again).expect("JSON");
            prop_assert!(frame.len() == 1 || again.len() - 4 <= limit);
        }
        prop_assert_eq!(all(bytes), messages);
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_has_arrived() {
    let mut input = BytesMut::from(&[0, 0, 1, 0][..]);
    match decode::<FromWorker>(&mut input, 255) {
        Err(FrameError::TooLong { length: 256, limit: 255 }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_kinds_refused() {
    let parse = |text: &str| serde_json::from_str::<Vec<ToWorker>>(text);
    assert_eq!(parse(r#"[{"ack": {"seq": 7, "new": true}}]"#).expect("known"), [ToWorker::Ack { seq: 7 }]);
    let error = parse(r#"[{"dance": {}}]"#).expect_err("unknown").to_string();
    assert!(error.contains("unknown variant `dance`"), "{error}");
}

/// Each line of a transcript is one frame, and says the same after a round through this side's types.
fn replay<A, B>(text: &str, first: &str)
where
    A: serde::Serialize + serde::de::DeserializeOwned,
    B: serde::Serialize + serde::de::DeserializeOwned,
{
    for (number, line) in (1..).zip(text.lines()) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("line {number}: {error}"));
        let messages = line["messages"].to_string();
        let again = if line["from"] == first {
            serde_json::from_str(&messages).and_then(|known: Vec<A>| serde_json::to_value(known))
        } else {
            serde_json::from_str(&messages).and_then(|known: Vec<B>| serde_json::to_value(known))
        };
        assert_eq!(
            again.unwrap_or_else(|error| panic!("line {number}: {error}")),
            line["messages"],
            "line {number}"
        );
    }
}

#[test]
fn the_transcripts_are_understood_and_spoken() {
    replay::<FromWorker, ToWorker>(include_str!("../../../../docs/worker-protocol/session.jsonl"), "worker");
    replay::<FromWorker, ToWorker>(
        include_str!("../../../../docs/worker-protocol/reconnect.jsonl"),
        "worker",
    );
    replay::<FromChild, ToChild>(include_str!("../../../../docs/worker-protocol/child.jsonl"), "child");
}
