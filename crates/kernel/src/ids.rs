//! Identifiers: what names a run, a step, an attempt, a worker connection and a share of the id space.
//!
//! Every id has one text form, parsed once at the edge. Nothing here is random: whoever makes a
//! [`RunId`] brings the entropy along.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: expected {expected}")]
pub struct InvalidId {
    /// What was looked for, e.g. `run id`.
    pub kind: &'static str,
    /// What a valid one looks like.
    pub expected: &'static str,
    /// What was given.
    pub text: String,
}

/// A 16-bit share of the id space. Partitions own ranges of slots, so an id outlives every re-partitioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

/// A partition of a deployment, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The partition that owns `slot` when the id space is split evenly over `count` partitions.
    pub fn of(slot: Slot, count: u16) -> Self {
        PartitionId((u32::from(slot.0) * u32::from(count.max(1)) / 65_536) as u16)
    }
}

/// One run: 48 bits of creation time (wall milliseconds), 16 bits of slot, 64 bits of entropy.
///
/// The text form is `run_` and 26 characters of Crockford's base 32 in lower case, so that ids sort by creation time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(u128);

const HEX: &[u8; 16] = b"0123456789abcdef";
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const EXPECTED_RUN: &str = "`run_` and 26 characters of 0-9 a-z without i, l, o, u";

impl RunId {
    /// Makes an id from its parts. `wall_ms` beyond 48 bits is cut off.
    pub fn new(wall_ms: u64, slot: Slot, entropy: u64) -> Self {
        RunId(
            (u128::from(wall_ms & 0xFFFF_FFFF_FFFF) << 80) | (u128::from(slot.0) << 64) | u128::from(entropy),
        )
    }

    /// The slot this run lives in.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> 64) as u16)
    }

    /// When the id was made, in wall milliseconds.
    pub fn wall_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The id as sixteen bytes, most significant first: what stores use as a key.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The reverse of [`RunId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        RunId(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"run_00000000000000000000000000";
        let mut rest = self.0;
        for place in text[4..].iter_mut().rev() {
            *place = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId { kind: "run id", expected: EXPECTED_RUN, text: text.chars().take(64).collect() };
        let digits = text.strip_prefix("run_").filter(|rest| rest.len() == 26).ok_or_else(invalid)?;
        let mut value: u128 = 0;
        for (place, byte) in digits.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|&a| a == byte).ok_or_else(invalid)? as u128;
            if place == 0 && digit > 7 {
                return Err(invalid());
            }
            value = (value << 5) | digit;
        }
        Ok(RunId(value))
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = RunId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a run id")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RunId, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<RunId, E> {
                let bytes = bytes.try_into().map_err(|_| E::custom("a run id has 16 bytes"))?;
                Ok(RunId::from_bytes(bytes))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}

/// A step of a run, counted from 1 in the order the steps were begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// One try at a step. The text form is `run_….STEP.ATTEMPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The run.
    pub run: RunId,
    /// The step of that run.
    pub step: StepId,
    /// The try at it, from 1.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.run, self.step.0, self.attempt)
    }
}

impl FromStr for AttemptId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            kind: "attempt id",
            expected: "a run id, a step number and an attempt number, joined by dots",
            text: text.chars().take(64).collect(),
        };
        let mut parts = text.split('.');
        let (Some(run), Some(step), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(AttemptId {
            run: run.parse()?,
            step: StepId(step.parse().map_err(|_| invalid())?),
            attempt: attempt.parse().map_err(|_| invalid())?,
        })
    }
}

impl Serialize for AttemptId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttemptId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A 128-bit secret that proves a right: a lease's fencing token, or a callback. Its text form is 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// Derives a token: nobody without the secret can make one, and none needs to be stored.
    pub(crate) fn derive(secret: &[u8; 32], purpose: &[u8], run: RunId, step: StepId, attempt: u32) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(purpose);
        mac.update(&run.to_bytes());
        mac.update(&step.0.to_be_bytes());
        mac.update(&attempt.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        Token(digest[..16].try_into().expect("a digest has 32 bytes"))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for Token {
    /// Only a prefix, so that a token never reaches a log whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl FromStr for Token {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // The given text is a secret, even when it is wrong: it is not repeated in the error.
        let invalid = || InvalidId { kind: "token", expected: "32 hex digits", text: "…".to_owned() };
        if text.len() != 32 || !text.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 16];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Token(bytes))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One connection of a worker to this server process; never persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u64);
