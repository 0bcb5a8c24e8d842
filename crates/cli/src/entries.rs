//! Journal entries as the server wrote them: their values stay text, so that no number changes on its way to the screen.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The fields of an entry, or of an object in one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// A field's value as JSON text.
    pub fn json(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// A text; empty where there is none.
    pub fn text(&self, name: &str) -> String {
        self.read(name).unwrap_or_default()
    }

    /// A number; 0 where there is none.
    pub fn number(&self, name: &str) -> u64 {
        self.read(name).unwrap_or_default()
    }

    /// An object in it.
    pub fn object(&self, name: &str) -> Option<Fields> {
        self.read(name)
    }

    /// Names and values as JSON text, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.json(name)?).ok()
    }

    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, serde_json::Error> {
        match self.0.remove(name) {
            Some(value) => serde_json::from_str(value.get()),
            None => Err(serde_json::Error::custom(format!("an entry has no `{name}`"))),
        }
    }
}

/// One recorded fact: `riverrun_wire::http::JournalEntry`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Entry {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// When it was recorded.
    pub at: String,
    /// What happened, in the past tense: `StepSucceeded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its own fields.
    #[serde(flatten)]
    pub fields: Fields,
}

impl TryFrom<Fields> for Entry {
    type Error = serde_json::Error;

    fn try_from(mut fields: Fields) -> Result<Self, Self::Error> {
        Ok(Entry { seq: fields.take("seq")?, at: fields.take("at")?, kind: fields.take("type")?, fields })
    }
}

/// Part of a journal: `riverrun_wire::http::JournalView`.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// The entries, in order.
    pub items: Vec<Entry>,
    /// What to give as `after` for the next part.
    pub next_after: u64,
    /// The run is closed, and these are its last entries.
    pub complete: bool,
}
