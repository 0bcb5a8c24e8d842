//! How values become bytes: MessagePack with named fields, so that a reader ignores fields it does not know; compressed,
//! because the names repeat; sealed with a checksum that also covers what the value belongs to.
//!
//! A text over [`LARGE`] bytes that is JSON leaves the value and becomes a blob of its run; a reference stays in its
//! place. The exchange happens on the encoded form, token by token, so that no type needs to know about it.

use riverrun_kernel::{Json, Now, Record, RunId, Ticks, Wall};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::StoreError;

mod tokens;

/// Texts longer than this are kept as blobs.
pub(crate) const LARGE: usize = 64 * 1024;

/// Shorter values are not worth compressing.
const COMPRESS_FROM: usize = 32;

/// What values look like: field names in their usual order, so that even a single row is made of references to them.
/// Belongs to the format: it may be replaced in a new one, never changed.
const DICTIONARY: &[u8] = include_bytes!("codec/dictionary-1.bin");

/// The first byte of every value: the version of the format in the lower half, and what was done to it in the upper one.
const FORMAT: u8 = 1;
const FORMAT_MASK: u8 = 0x0f;
const COMPRESSED: u8 = 0x10;
const HAS_REFERENCES: u8 = 0x20;

/// The MessagePack extension type of a reference: sixteen bytes of run and thirty-two of hash.
const REFERENCE: u8 = 1;
const REFERENCE_LEN: usize = 48;

/// A large value that left its place, by its run and SHA-256.
pub(crate) type Large = (RunId, [u8; 32], Json);

/// Finds a blob again.
pub(crate) type Fetch<'a> = dyn Fn(RunId, [u8; 32]) -> Result<String, StoreError> + 'a;

/// The large values that storing `value` would turn into blobs of `run`.
pub(crate) fn large_values(run: RunId, value: &impl Serialize) -> Vec<Large> {
    let mut large = Vec::new();
    shrink(run, named(value), &mut large);
    large
}

/// Encodes a value; what is too large for it is appended to `large`, if it has a run to belong to.
pub(crate) fn encode(run: Option<RunId>, value: &impl Serialize, large: &mut Vec<Large>) -> Vec<u8> {
    let before = large.len();
    let encoded = named(value);
    let encoded = match run {
        Some(run) => shrink(run, encoded, large),
        None => encoded,
    };
    wrap(&encoded, large.len() > before)
}

/// Encodes a batch's moment and records.
pub(crate) fn encode_batch(now: Now, records: &[Record], large: &mut Vec<Large>) -> Vec<u8> {
    let before = large.len();
    let mut encoded = vec![tokens::FIXARRAY | 3];
    encoded.extend(named(&now.wall.0));
    encoded.extend(named(&now.ticks.0));
    encoded.push(tokens::ARRAY32);
    encoded.extend((records.len() as u32).to_be_bytes());
    for record in records {
        let one = named(record);
        encoded.extend(match record {
            Record::Run(run, _) => shrink(*run, one, large),
            _ => one,
        });
    }
    wrap(&encoded, large.len() > before)
}

/// Decodes what [`encode`] made.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], fetch: &Fetch<'_>) -> Result<T, StoreError> {
    let encoded = unwrap(bytes, fetch)?;
    rmp_serde::from_slice(&encoded)
        .map_err(|error| StoreError::Corrupt(format!("a value does not decode: {error}")))
}

/// Decodes what [`encode_batch`] made.
pub(crate) fn decode_batch(bytes: &[u8], fetch: &Fetch<'_>) -> Result<(Now, Vec<Record>), StoreError> {
    let (wall, ticks, records) = decode::<(i64, u64, Vec<Record>)>(bytes, fetch)?;
    let now = Now { wall: Wall(wall), ticks: Ticks(ticks) };
    Ok((now, records))
}

/// Appends a checksum of the value and of what it belongs to, so that neither damage nor a swap goes unseen.
pub(crate) fn seal(owner: &[&[u8]], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(owner, &value);
    value.extend(sum.to_le_bytes());
    value
}

/// Checks and takes off what [`seal`] appended.
pub(crate) fn unseal<'a>(owner: &[&[u8]], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = sealed.split_last_chunk::<4>()?;
    (checksum(owner, value).to_le_bytes() == *sum).then_some(value)
}

/// CRC-32 over parts; each part's length counts too.
pub(crate) fn checksum(owner: &[&[u8]], value: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for part in owner {
        sum.update(&(part.len() as u32).to_le_bytes());
        sum.update(part);
    }
    sum.update(value);
    sum.finalize()
}

/// The name of a large value.
pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn named(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("the kernel's types encode, and a Vec takes every byte")
}

/// Adds the format byte, and compresses where that helps.
fn wrap(encoded: &[u8], has_references: bool) -> Vec<u8> {
    let format = if has_references { FORMAT | HAS_REFERENCES } else { FORMAT };
    if encoded.len() >= COMPRESS_FROM {
        let mut wrapped = vec![format | COMPRESSED];
        wrapped.extend(lz4_flex::block::compress_prepend_size_with_dict(encoded, DICTIONARY));
        if wrapped.len() <= encoded.len() {
            return wrapped;
        }
    }
    let mut wrapped = Vec::with_capacity(encoded.len() + 1);
    wrapped.push(format);
    wrapped.extend(encoded);
    wrapped
}

fn unwrap(bytes: &[u8], fetch: &Fetch<'_>) -> Result<Vec<u8>, StoreError> {
    let damaged = |what: &str| StoreError::Corrupt(format!("a value does not decode: {what}"));
    let (format, rest) = bytes.split_first().ok_or_else(|| damaged("it is empty"))?;
    if format & FORMAT_MASK != FORMAT {
        return Err(StoreError::NewerVersion(format!(
            "a value has format {}, and this version of Riverrun reads format {FORMAT}; use the version that wrote it",
            format & FORMAT_MASK
        )));
    }
    let encoded = if format & COMPRESSED == 0 {
        rest.to_vec()
    } else {
        lz4_flex::block::decompress_size_prepended_with_dict(rest, DICTIONARY)
            .map_err(|error| damaged(&error.to_string()))?
    };
    if format & HAS_REFERENCES == 0 {
        return Ok(encoded);
    }
    put_back(&encoded, fetch)
}

/// Puts a reference in the place of each large JSON text. Texts that are not JSON, such as a long error message, stay.
fn shrink(run: RunId, encoded: Vec<u8>, large: &mut Vec<Large>) -> Vec<u8> {
    if encoded.len() <= LARGE {
        return encoded;
    }
    let mut small = Vec::with_capacity(LARGE);
    for token in tokens::Tokens::new(&encoded) {
        let json = token
            .text()
            .filter(|text| text.len() > LARGE)
            .and_then(|text| Json::parse(std::str::from_utf8(text).ok()?).ok());
        let Some(json) = json else {
            small.extend(token.bytes);
            continue;
        };
        let hash = hash(json.get());
        small.extend([tokens::EXT8, REFERENCE_LEN as u8, REFERENCE]);
        small.extend(run.to_bytes());
        small.extend(hash);
        large.push((run, hash, json));
    }
    small
}

/// The reverse of [`shrink`].
fn put_back(encoded: &[u8], fetch: &Fetch<'_>) -> Result<Vec<u8>, StoreError> {
    let mut whole = Vec::with_capacity(encoded.len() + LARGE);
    for token in tokens::Tokens::new(encoded) {
        let Some((REFERENCE, reference)) = token.extension() else {
            whole.extend(token.bytes);
            continue;
        };
        let (run, hash) = reference
            .split_first_chunk::<16>()
            .and_then(|(run, hash)| Some((RunId::from_bytes(*run), <[u8; 32]>::try_from(hash).ok()?)))
            .ok_or_else(|| StoreError::Corrupt("a reference to a large value is damaged".into()))?;
        let text = fetch(run, hash)?;
        whole.push(tokens::STR32);
        whole.extend((text.len() as u32).to_be_bytes());
        whole.extend(text.as_bytes());
    }
    Ok(whole)
}
