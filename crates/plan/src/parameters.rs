//! What a task takes: the JSON Schema that its worker announces, and the check of a call against it.
//!
//! Workers make a small part of JSON Schema: `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `anyOf`,
//! `default`. Everything else in a schema is passed over, and checks nothing: a newer worker may say more than this server knows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::diagnostic::nearest;

/// Misfits that are told of one call; the first ones are enough to see what is wrong.
const MAX_MISFITS: usize = 20;
/// How much of a wrong value is shown, in characters.
const SHOWN: usize = 40;

/// What a task takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    known: BTreeMap<String, Parameter>,
    /// The names in the order of the function.
    order: Vec<String>,
    /// What a name that is not known may be; `None` refuses it.
    rest: Option<Shape>,
}

#[derive(Debug, Clone, PartialEq)]
struct Parameter {
    shape: Shape,
    required: bool,
    default: Option<Value>,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Anything,
    Null,
    Boolean,
    Integer,
    Number,
    Text,
    Array(Box<Shape>),
    Object(Box<Parameters>),
    OneOf(Vec<Value>),
    Either(Vec<Shape>),
}

/// What does not fit, and what would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The parameter, with the place in it: `items[2].name`.
    pub parameter: String,
    /// What is expected of it: `an integer`; nothing for one that is not known.
    pub expected: Option<String>,
    /// The whole sentence.
    pub message: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Parameters {
    /// Reads a schema. What is not understood checks nothing; `None` is no schema of an object at all.
    pub fn read(schema: &str) -> Option<Parameters> {
        let schema: Value = serde_json::from_str(schema).ok()?;
        (schema.get("type")? == "object").then(|| object(&schema))
    }

    /// Checks the input of a call: `null` is a call without parameters.
    pub fn check(&self, input: &str) -> Result<(), Vec<Misfit>> {
        let mut misfits = Vec::new();
        let input = if input.trim() == "null" { "{}" } else { input };
        if kind_of(input) == Kind::Object {
            self.compare(input, "", &mut misfits);
        } else {
            misfits.push(Misfit {
                parameter: String::new(),
                expected: Some("an object".to_owned()),
                message: format!("the parameters must be an object, and are {}", told(input)),
            });
        }
        if misfits.is_empty() { Ok(()) } else { Err(misfits) }
    }

    fn compare(&self, text: &str, place: &str, misfits: &mut Vec<Misfit>) {
        // The input was checked to be JSON before; should it not be, its worker will say so.
        let given: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).unwrap_or_default();
        for (name, value) in &given {
            let inside = joined(place, name);
            match self.known.get(name.as_ref()).map(|known| &known.shape).or(self.rest.as_ref()) {
                Some(shape) => shape.compare(value.get(), &inside, misfits),
                None => push(misfits, || self.unknown(name, &inside)),
            }
        }
        for name in &self.order {
            let Some(parameter) = self.known.get(name) else { continue };
            if parameter.required && !given.contains_key(name.as_str()) {
                let (inside, expected) = (joined(place, name), parameter.shape.to_string());
                let message = format!("`{inside}` is missing: expected {expected}");
                push(misfits, || Misfit { parameter: inside, expected: Some(expected), message });
            }
        }
    }

    fn unknown(&self, name: &str, place: &str) -> Misfit {
        let hint = match nearest(name, self.order.iter().map(String::as_str)) {
            Some(near) => format!(" (did you mean `{near}`?)"),
            None => String::new(),
        };
        Misfit {
            parameter: place.to_owned(),
            expected: None,
            message: format!("there is no parameter `{place}`{hint}"),
        }
    }
}

/// As a signature: `(name: text, count: integer = 1)`.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        let mut between = "";
        for name in &self.order {
            let Some(parameter) = self.known.get(name) else { continue };
            write!(f, "{between}{name}")?;
            if parameter.shape != Shape::Anything {
                write!(f, ": {}", parameter.shape.word())?;
            }
            if let Some(default) = &parameter.default {
                write!(f, " = {default}")?;
            } else if !parameter.required {
                f.write_str(" = …")?;
            }
            between = ", ";
        }
        if self.rest.is_some() {
            write!(f, "{between}…")?;
        }
        f.write_str(")")
    }
}

fn push(misfits: &mut Vec<Misfit>, misfit: impl FnOnce() -> Misfit) {
    if misfits.len() < MAX_MISFITS {
        misfits.push(misfit());
    }
}

fn joined(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn object(schema: &Value) -> Parameters {
    let required = |name: &str| {
        schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|names| names.iter().any(|one| one == name))
    };
    let rest = match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => None,
        Some(schema @ Value::Object(_)) => Some(shape(schema)),
        _ => Some(Shape::Anything),
    };
    let mut found = Parameters { known: BTreeMap::new(), order: Vec::new(), rest };
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let parameter = Parameter {
            shape: shape(schema),
            required: required(name),
            default: schema.get("default").cloned(),
        };
        found.known.insert(name.clone(), parameter);
    }
    // Objects have lost their order here: what must be given comes first, in the order in which it was said.
    let said =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    found.order = said.filter(|name| found.known.contains_key(*name)).map(str::to_owned).collect();
    let others: Vec<String> =
        found.known.keys().filter(|name| !found.order.contains(name)).cloned().collect();
    found.order.extend(others);
    found
}

fn shape(schema: &Value) -> Shape {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Shape::OneOf(values.clone());
    }
    if let Some(either) = schema.get("anyOf").and_then(Value::as_array) {
        let shapes: Vec<Shape> = either.iter().map(shape).collect();
        return if shapes.contains(&Shape::Anything) { Shape::Anything } else { Shape::Either(shapes) };
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("null") => Shape::Null,
        Some("boolean") => Shape::Boolean,
        Some("integer") => Shape::Integer,
        Some("number") => Shape::Number,
        Some("string") => Shape::Text,
        Some("array") => Shape::Array(Box::new(schema.get("items").map_or(Shape::Anything, shape))),
        Some("object") => Shape::Object(Box::new(object(schema))),
        _ => Shape::Anything,
    }
}

impl Shape {
    fn compare(&self, text: &str, place: &str, misfits: &mut Vec<Misfit>) {
        match (self, kind_of(text)) {
            (Shape::Array(items), Kind::Array) => {
                if **items == Shape::Anything {
                    return;
                }
                let given: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
                for (at, item) in given.iter().enumerate() {
                    items.compare(item.get(), &format!("{place}[{at}]"), misfits);
                }
            }
            (Shape::Object(fields), Kind::Object) => fields.compare(text, place, misfits),
            _ if self.takes(text) => {}
            _ => push(misfits, || self.misfit(text, place)),
        }
    }

    /// Whether a value is of this shape.
    fn takes(&self, text: &str) -> bool {
        let kind = kind_of(text);
        match self {
            Shape::Anything => true,
            Shape::Null => kind == Kind::Null,
            Shape::Boolean => kind == Kind::Boolean,
            Shape::Integer => kind == Kind::Integer,
            Shape::Number => matches!(kind, Kind::Integer | Kind::Fraction),
            Shape::Text => kind == Kind::Text,
            Shape::OneOf(values) => {
                serde_json::from_str::<Value>(text).is_ok_and(|value| values.contains(&value))
            }
            Shape::Either(shapes) => shapes.iter().any(|shape| shape.takes(text)),
            Shape::Array(_) | Shape::Object(_) => {
                let mut misfits = Vec::new();
                if matches!((self, kind), (Shape::Array(_), Kind::Array) | (Shape::Object(_), Kind::Object)) {
                    self.compare(text, "", &mut misfits);
                    misfits.is_empty()
                } else {
                    false
                }
            }
        }
    }

    fn misfit(&self, text: &str, place: &str) -> Misfit {
        let expected = self.to_string();
        let message = format!("`{place}` must be {expected}, and is {}", told(text));
        Misfit { parameter: place.to_owned(), expected: Some(expected), message }
    }

    /// The word for it in a signature.
    fn word(&self) -> String {
        match self {
            Shape::Anything => "any".to_owned(),
            Shape::Null => "null".to_owned(),
            Shape::Boolean => "boolean".to_owned(),
            Shape::Integer => "integer".to_owned(),
            Shape::Number => "number".to_owned(),
            Shape::Text => "string".to_owned(),
            Shape::Array(items) if **items == Shape::Anything => "array".to_owned(),
            Shape::Array(items) => format!("array of {}", items.word()),
            Shape::Object(_) => "object".to_owned(),
            Shape::OneOf(values) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "),
            Shape::Either(shapes) => shapes.iter().map(Shape::word).collect::<Vec<_>>().join(" | "),
        }
    }
}

/// As in a sentence: `an integer`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Null => f.write_str("null"),
            Shape::Anything => f.write_str("a value"),
            Shape::Integer | Shape::Array(_) | Shape::Object(_) => write!(f, "an {}", self.word()),
            Shape::Boolean | Shape::Number | Shape::Text => write!(f, "a {}", self.word()),
            Shape::OneOf(values) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(f, "{}", values.join(" or "))
            }
            Shape::Either(shapes) => {
                let shapes: Vec<String> = shapes.iter().map(Shape::to_string).collect();
                write!(f, "{}", shapes.join(" or "))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Fraction,
    Text,
    Array,
    Object,
}

/// What a JSON text is, by its first sign.
fn kind_of(text: &str) -> Kind {
    let text = text.trim_start();
    match text.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') | None => Kind::Null,
        _ if text.contains(['.', 'e', 'E']) => Kind::Fraction,
        _ => Kind::Integer,
    }
}

/// A wrong value in a sentence. Only numbers and such are shown: a text may be a secret.
fn told(text: &str) -> String {
    match kind_of(text) {
        Kind::Null => "null".to_owned(),
        Kind::Text => "a string".to_owned(),
        Kind::Array => "an array".to_owned(),
        Kind::Object => "an object".to_owned(),
        Kind::Boolean | Kind::Integer | Kind::Fraction => text.trim().chars().take(SHOWN).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "object", "required": ["to", "pieces"], "additionalProperties": false, "properties": {
        "to": {"type": "string"}, "pieces": {"type": "integer"}, "rate": {"type": "number", "default": 0.5},
        "tags": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "size": {"enum": ["s", "l"], "default": "s"},
        "place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "any": {}, "newer": {"type": "date"}}}"#;

    fn wrong(input: &str) -> Vec<String> {
        let found = Parameters::read(SCHEMA).unwrap().check(input);
        found.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_fits_is_taken() {
        for more in [
            "",
            r#", "rate": 1, "tags": ["a", null], "size": "l", "any": [1], "newer": 5"#,
            r#", "place": {"city": "x", "more": 1}, "counts": {"a": 1}, "rate": -1.5e3"#,
        ] {
            assert_eq!(wrong(&format!(r#"{{"to": "me", "pieces": 3{more}}}"#)), [""; 0]);
        }
    }

    #[test]
    fn every_misfit_is_told_with_its_place_and_what_is_expected() {
        assert_eq!(
            wrong(
                r#"{"too": "me", "pieces": 3.0, "rate": true, "tags": ["a", 1], "size": "m", "place": {"city": 1}, "counts": {"a": "b"}}"#
            ),
            [
                "`counts.a` must be an integer, and is a string",
                "`pieces` must be an integer, and is 3.0",
                "`place.city` must be a string, and is 1",
                "`rate` must be a number, and is true",
                "`size` must be \"s\" or \"l\", and is a string",
                "`tags[1]` must be a string or null, and is 1",
                "there is no parameter `too` (did you mean `to`?)",
                "`to` is missing: expected a string",
            ]
        );
        assert_eq!(
            wrong("null"),
            ["`to` is missing: expected a string", "`pieces` is missing: expected an integer"]
        );
        assert_eq!(wrong("[1]"), ["the parameters must be an object, and are an array"]);
    }

    #[test]
    fn a_signature_is_shown() {
        let shown = Parameters::read(SCHEMA).unwrap().to_string();
        assert!(shown.starts_with("(to: string, pieces: integer, any = …, counts: object = …"), "{shown}");
        assert!(shown.contains(r#"size: "s" | "l" = "s""#), "{shown}");
    }

    #[test]
    fn what_is_no_schema_of_an_object_checks_nothing() {
        for text in ["", "1", "[]", "{}", r#"{"type": "array"}"#, "{\"type\": \"object\""] {
            assert_eq!(Parameters::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_as_deep_as_an_input_may_be_is_checked() {
        let schema =
            r#"{"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}}"#;
        let deep = format!(r#"{{"a": {}1{}}}"#, "[".repeat(90), "]".repeat(90));
        assert!(Parameters::read(schema).unwrap().check(&deep).is_err());
    }
}
