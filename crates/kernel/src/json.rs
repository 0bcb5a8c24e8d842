//! JSON payloads, and the canonical form that their fingerprints are made of.
//!
//! Payloads stay text: the kernel passes them on and never looks inside. The canonical form is RFC 8785 for strings, key
//! order and white space; integers are written exactly, whatever their size, other numbers as the shortest double.

mod canonical;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub use canonical::{Fingerprint, InvalidJson, canonicalize};

/// A JSON text, known to be well-formed.
///
/// Serialised as the value itself in JSON, as a string elsewhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// `null`.
    pub fn null() -> Self {
        Json("null".into())
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Json("{}".into())
    }

    /// Checks that `text` is one JSON value.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Ok(Json(raw.get().into()))
    }

    /// Takes over a text that this process wrote itself.
    pub fn trusted(text: impl Into<Arc<str>>) -> Self {
        Json(text.into())
    }

    /// An object with this value in a field, in place of what it had there. Its other fields stay as they are, text and all.
    #[must_use]
    pub fn put_into(&self, object: Option<&Json>, field: &str) -> Json {
        let fields: BTreeMap<String, &RawValue> =
            object.and_then(|object| serde_json::from_str(object.get()).ok()).unwrap_or_default();
        let one = |name: &str, text: &str| format!("{}:{text}", serde_json::Value::from(name));
        let others = fields.iter().filter(|(name, _)| *name != field);
        let mut parts: Vec<String> = others.map(|(name, value)| one(name, value.get())).collect();
        parts.push(one(field, self.get()));
        Json(format!("{{{}}}", parts.join(",")).into())
    }

    /// The value's text.
    pub fn get(&self) -> &str {
        &self.0
    }

    /// The value, decoded. Fails for what JSON can write and `Value` cannot hold: numbers beyond doubles, very deep nesting.
    pub fn to_value(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Self {
        Json(value.to_string().into())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Json::from(&value)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
            raw.serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<RawValue>::deserialize(deserializer)?;
            Ok(Json(raw.get().into()))
        } else {
            Ok(Json(Arc::<str>::deserialize(deserializer)?))
        }
    }
}
