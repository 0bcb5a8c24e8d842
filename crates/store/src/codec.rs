//! How values become bytes: MessagePack with named fields, so that a reader ignores fields it does not know.
//!
//! A text over [`LARGE`] bytes that is JSON leaves the value and becomes a blob of its run; a reference stays in its
//! place. The exchange happens on the encoded form, token by token, so that no type needs to know about it.

use riverrun_kernel::{Json, RunId};
use serde::Serialize;
use sha2::{Digest, Sha256};

mod tokens;

/// Texts longer than this are kept as blobs.
pub(crate) const LARGE: usize = 64 * 1024;

/// The MessagePack extension type of a reference: sixteen bytes of run and thirty-two of hash.
const REFERENCE: u8 = 1;
const REFERENCE_LEN: usize = 48;

/// A large value that left its place, by its SHA-256.
pub(crate) type Large = ([u8; 32], Json);

/// The large values that storing `value` would turn into blobs.
pub(crate) fn large_values(value: &impl Serialize) -> Vec<Large> {
    let encoded = named(value);
    if encoded.len() <= LARGE {
        return Vec::new();
    }
    take_out(RunId::from_bytes([0; 16]), &encoded).1
}

/// Encodes a value with named fields.
fn named(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("the kernel's types encode, and a Vec takes every byte")
}

/// Puts a reference in the place of each large JSON text.
fn take_out(run: RunId, encoded: &[u8]) -> (Vec<u8>, Vec<Large>) {
    let mut small = Vec::with_capacity(encoded.len().min(LARGE));
    let mut large = Vec::new();
    for token in tokens::Tokens::new(encoded) {
        let text = token
            .text()
            .filter(|text| text.len() > LARGE)
            .and_then(|text| Json::parse(std::str::from_utf8(text).ok()?).ok());
        if let Some(text) = text {
            let hash: [u8; 32] = Sha256::digest(text.get()).into();
            small.extend([tokens::EXT8, REFERENCE_LEN as u8, REFERENCE]);
            small.extend(run.to_bytes());
            small.extend(hash);
            large.push((hash, text));
        } else {
            small.extend(token.bytes);
        }
    }
    (small, large)
}
