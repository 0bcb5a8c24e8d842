//! Frames of the worker protocol, from either side, in whatever pieces they come. What is read can be written and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use riverrun_wire::child::{FromChild, ToChild};
use riverrun_wire::frame::{decode, encode};
use riverrun_wire::worker::{FromWorker, ToWorker};

const LIMIT: usize = 1 << 20;

macro_rules! read_and_write {
    ($kind:ty, $bytes:expr) => {
        if let Ok(Some(messages)) = decode::<$kind>(&mut $bytes.clone(), LIMIT) {
            let mut written = BytesMut::new();
            encode(&messages, &mut written).expect("it was read");
            let again = decode::<$kind>(&mut written, 64 * LIMIT).expect("it was written");
            assert_eq!(format!("{again:?}"), format!("{:?}", Some(messages)));
        }
    };
}

fuzz_target!(|data: &[u8]| {
    // As it comes, and with a length that fits.
    let raw = BytesMut::from(data);
    let mut framed = BytesMut::from(&u32::try_from(data.len()).expect("it is short").to_be_bytes()[..]);
    framed.extend_from_slice(data);
    for bytes in [raw, framed] {
        read_and_write!(FromWorker, bytes);
        read_and_write!(ToWorker, bytes);
        read_and_write!(FromChild, bytes);
        read_and_write!(ToChild, bytes);
    }
});
