//! JSON texts, looked into without decoding them.
//!
//! Values that a flow only passes on keep their text, so that a number of fifty digits leaves as it came, and a turn
//! pays for what it looks at only.

use std::fmt;

use indexmap::IndexMap;
use riverrun_kernel::Json;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object whose values are texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Object(pub(crate) IndexMap<String, Json>);

impl Object {
    /// `None` if the text is not an object.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let entries: IndexMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        Some(Object(entries.into_iter().map(|(key, raw)| (key, Json::trusted(raw.get()))).collect()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// Takes over the entries of `other`, which win.
    pub(crate) fn merge(&mut self, other: &Object) {
        for (key, value) in &other.0 {
            self.0.insert(key.clone(), value.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text =
            String::with_capacity(2 + self.0.iter().map(|(k, v)| k.len() + v.get().len() + 4).sum::<usize>());
        text.push('{');
        for (place, (key, value)) in self.0.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            text.push_str(&quote(key));
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        text
    }

    pub(crate) fn to_json(&self) -> Json {
        Json::trusted(self.to_text())
    }
}

/// A text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// The texts of values, as an array.
pub(crate) fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> Json {
    let mut text = "[".to_owned();
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(item);
    }
    text.push(']');
    Json::trusted(text)
}

/// The member `key` of an object.
pub(crate) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    struct Find<'k>(&'k str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<String>()? {
                if key == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    if !text.starts_with('{') {
        return None;
    }
    let found = serde_json::Deserializer::from_str(text).deserialize_map(Find(key)).ok()?;
    found.map(RawValue::get)
}

/// The element `index` of an array.
pub(crate) fn element(text: &str, index: usize) -> Option<&str> {
    struct Find(usize);
    impl<'de> Visitor<'de> for Find {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut place = 0;
            let mut found = None;
            loop {
                if place == self.0 {
                    found = seq.next_element()?;
                    place += 1;
                } else if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(found);
                } else {
                    place += 1;
                }
            }
        }
    }
    if !text.starts_with('[') {
        return None;
    }
    let found = serde_json::Deserializer::from_str(text).deserialize_seq(Find(index)).ok()?;
    found.map(RawValue::get)
}

/// The elements of an array; `None` for anything else.
pub(crate) fn elements(text: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// The members of an object in their order; `None` for anything else.
pub(crate) fn members(text: &str) -> Option<IndexMap<String, &str>> {
    let entries: IndexMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    Some(entries.into_iter().map(|(key, raw)| (key, raw.get())).collect())
}
