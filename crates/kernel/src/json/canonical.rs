//! Canonical JSON and its fingerprint.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct InvalidJson {
    /// What is wrong.
    pub what: String,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// Brings a JSON text into its canonical form: no white space, keys in UTF-16 order, strings and numbers in one spelling.
///
/// Integers are written exactly, whatever their size; other numbers as the shortest double that reads back the same.
/// Duplicate keys and lone surrogates are refused.
pub fn canonicalize(text: &str) -> Result<String, InvalidJson> {
    let _ = text;
    todo!()
}

/// SHA-256 of a canonical form. Its text form is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a JSON text, through its canonical form.
    pub fn of(text: &str) -> Result<Self, InvalidJson> {
        use sha2::{Digest, Sha256};
        Ok(Fingerprint(Sha256::digest(canonicalize(text)?.as_bytes()).into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Fingerprint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits or 32 bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Fingerprint, E> {
                let mut bytes = [0; 32];
                if text.len() != 64 || !text.is_ascii() {
                    return Err(E::custom("a fingerprint has 64 hex digits"));
                }
                for (place, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).map_err(E::custom)?;
                }
                Ok(Fingerprint(bytes))
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Fingerprint, E> {
                Ok(Fingerprint(
                    bytes
                        .try_into()
                        .map_err(|_| E::custom("a fingerprint has 32 bytes"))?,
                ))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}
