//! Framing: a u32 length, big-endian, and a JSON array of messages. Everything at hand goes into one frame.

use bytes::{Buf, BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame that is read, unless the caller allows more: 64 MiB.
pub const MAX_FRAME: usize = 64 << 20;

/// A frame that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {length} bytes is over the limit max_frame of {limit} bytes")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a JSON array of messages of this kind.
    #[error("a frame is not a JSON array of messages: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Appends one frame with all of `messages` to `out`.
pub fn encode<M: Serialize>(messages: &[M], out: &mut BytesMut) -> Result<(), serde_json::Error> {
    let start = out.len();
    out.put_u32(0);
    serde_json::to_writer((&mut *out).writer(), messages)?;
    let length = u32::try_from(out.len() - start - 4).map_err(serde::ser::Error::custom)?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Appends all of `messages` to `out` in as few frames as `limit` allows. A message that is over it alone gets a frame of its own,
/// and the peer's refusal.
pub fn encode_within<M: Serialize>(
    messages: &[M],
    limit: usize,
    out: &mut BytesMut,
) -> Result<(), serde_json::Error> {
    let mut rest = messages;
    while !rest.is_empty() {
        let start = out.len();
        out.put_slice(&[0, 0, 0, 0, b'[']);
        let mut taken = 0;
        for message in rest {
            let end = out.len();
            if taken > 0 {
                out.put_u8(b',');
            }
            serde_json::to_writer((&mut *out).writer(), message)?;
            if taken > 0 && out.len() - start - 4 >= limit {
                out.truncate(end);
                break;
            }
            taken += 1;
        }
        out.put_u8(b']');
        let length = u32::try_from(out.len() - start - 4).map_err(serde::ser::Error::custom)?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        rest = &rest[taken..];
    }
    Ok(())
}

/// Takes one whole frame from the front of `input`, or returns `None` until more has arrived.
pub fn decode<M: DeserializeOwned>(input: &mut BytesMut, limit: usize) -> Result<Option<Vec<M>>, FrameError> {
    let Some(header) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*header) as usize;
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    if input.len() < 4 + length {
        input.reserve(4 + length - input.len());
        return Ok(None);
    }
    input.advance(4);
    let body = input.split_to(length);
    Ok(Some(serde_json::from_slice(&body)?))
}
