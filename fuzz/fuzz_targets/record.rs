//! Batches of the log, as a damaged disk may hold them: they decode to what can be written again, or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use riverrun_store::fuzzing::{decode_batch, encode_batch};

fuzz_target!(|data: &[u8]| {
    let Ok((now, records)) = decode_batch(data) else { return };
    let written = encode_batch(now, &records);
    let again = decode_batch(&written).expect("it was written");
    assert_eq!(format!("{again:?}"), format!("{:?}", (now, records)));
});
