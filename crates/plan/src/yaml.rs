//! YAML, read into a small tree in which every node knows its place.
//!
//! Core schema of YAML 1.2: an unquoted date stays text and `yes` is a word. Size, depth and what aliases expand to
//! are bounded, so that no document can exhaust memory. One document per file.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::diagnostic::Report;

/// A byte range of the source.
pub(crate) type Span = (usize, usize);

/// Bytes in a definition.
const MAX_BYTES: usize = 1024 * 1024;
/// Nested lists and mappings.
const MAX_DEPTH: usize = 100;
/// Nodes, aliases expanded.
const MAX_NODES: usize = 100_000;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// The name of a tag that is not one of YAML's own: `Ref` for `!Ref`.
    pub(crate) tag: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// Keys are scalars, each once.
    Map(Vec<(Node, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: ScalarStyle,
    /// Text whatever it looks like: it was quoted, or tagged so.
    pub(crate) is_text: bool,
}

/// What an unquoted scalar stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    /// An integer of any size, in JSON's spelling.
    Int(String),
    /// A finite number, in JSON's spelling.
    Float(String),
    /// `.inf`, `.nan` or a number too large: JSON has no such thing.
    NoNumber,
    Text,
}

impl Node {
    /// The part of the node to point at: a list's or mapping's beginning.
    pub(crate) fn mark(&self) -> Span {
        match &self.value {
            Value::Scalar(_) => self.span,
            Value::List(items) => items.first().map_or(self.span, Node::mark),
            Value::Map(entries) => entries.first().map_or(self.span, |(key, _)| key.span),
        }
    }

    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar that is text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.scalar().filter(|scalar| scalar.plain() == Plain::Text).map(|scalar| scalar.text.as_str())
    }

    /// What the node is, for a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.plain() {
                Plain::Null => "nothing",
                Plain::Bool(_) => "a truth value",
                Plain::Int(_) | Plain::Float(_) | Plain::NoNumber => "a number",
                Plain::Text => "text",
            },
        }
    }

    fn count_and_depth(&self) -> (usize, usize) {
        let inner = |nodes: &mut dyn Iterator<Item = &Node>| {
            nodes
                .map(Node::count_and_depth)
                .fold((1, 0), |(count, depth), (more, deep)| (count + more, depth.max(deep)))
        };
        let (count, depth) = match &self.value {
            Value::Scalar(_) => return (1, 0),
            Value::List(items) => inner(&mut items.iter()),
            Value::Map(entries) => inner(&mut entries.iter().flat_map(|(key, value)| [key, value])),
        };
        (count, depth + 1)
    }

    /// Where character `at` of a scalar's text stands in the source, in bytes.
    pub(crate) fn locate(&self, source: &str, at: usize) -> usize {
        let (Some(scalar), Some(written)) = (self.scalar(), source.get(self.span.0..self.span.1)) else {
            return self.span.0;
        };
        let mut rest = written;
        // What stands before the text: a tag, an anchor, the opening quote.
        match scalar.style {
            ScalarStyle::SingleQuoted => rest = rest.split_once('\'').map_or(rest, |(_, rest)| rest),
            ScalarStyle::DoubleQuoted => rest = rest.split_once('"').map_or(rest, |(_, rest)| rest),
            _ if rest.starts_with(['!', '&']) => rest = rest.split_once(' ').map_or(rest, |(_, rest)| rest),
            _ => {}
        }
        for wanted in scalar.text.chars().take(at) {
            rest = &rest[written_length(rest, wanted, scalar.style)..];
        }
        let Some(next) = scalar.text.chars().nth(at) else {
            return self.span.0 + (written.len() - rest.len());
        };
        self.span.0 + (written.len() - skip_to(rest, next, scalar.style).len())
    }
}

/// How many bytes of `rest` spell the character `wanted`, with what is skipped before it.
fn written_length(rest: &str, wanted: char, style: ScalarStyle) -> usize {
    let found = skip_to(rest, wanted, style);
    let before = rest.len() - found.len();
    let Some(first) = found.chars().next() else {
        return rest.len();
    };
    let own = match first {
        '\\' if style == ScalarStyle::DoubleQuoted => {
            let kind = found[1..].chars().next();
            let digits = match kind {
                Some('x') => 2,
                Some('u') => 4,
                Some('U') => 8,
                _ => 0,
            };
            (1 + kind.map_or(0, char::len_utf8) + digits).min(found.len())
        }
        '\'' if style == ScalarStyle::SingleQuoted => 2.min(found.len()),
        _ if first != wanted && first.is_whitespace() => found.len() - found.trim_start().len(),
        _ => first.len_utf8(),
    };
    let mut end = before + own;
    while !rest.is_char_boundary(end) {
        end += 1;
    }
    end
}

/// Skips what is not part of the text (indentation, line breaks that were folded) up to where `wanted` is spelt.
fn skip_to(rest: &str, wanted: char, style: ScalarStyle) -> &str {
    let is_it = |c: char| {
        c == wanted
            || (c == '\\' && style == ScalarStyle::DoubleQuoted)
            || (wanted.is_whitespace() && c.is_whitespace())
    };
    rest.find(is_it).map_or(rest, |at| &rest[at..])
}

impl Scalar {
    pub(crate) fn plain(&self) -> Plain {
        if self.is_text {
            return Plain::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
            "true" | "True" | "TRUE" => return Plain::Bool(true),
            "false" | "False" | "FALSE" => return Plain::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Plain::NoNumber,
            _ => {}
        }
        let (sign, digits) = match self.text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", self.text.strip_prefix('+').unwrap_or(&self.text)),
        };
        if matches!(digits, ".inf" | ".Inf" | ".INF") {
            return Plain::NoNumber;
        }
        let all = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        if all(digits, 10) {
            let digits = digits.trim_start_matches('0');
            let is_zero = digits.is_empty();
            return Plain::Int(if is_zero { "0".to_owned() } else { format!("{sign}{digits}") });
        }
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(digits) = self.text.strip_prefix(prefix).filter(|digits| all(digits, radix)) {
                return u128::from_str_radix(digits, radix)
                    .map_or(Plain::NoNumber, |value| Plain::Int(value.to_string()));
            }
        }
        if is_float(digits) { float(&self.text) } else { Plain::Text }
    }
}

/// The core schema's form of a number that is not an integer.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_fits && exponent_fits
}

fn float(text: &str) -> Plain {
    let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
    number.map_or(Plain::NoNumber, |number| Plain::Float(number.to_string()))
}

/// Reads a source's one document. `None` where it cannot be read: then the report says why.
pub(crate) fn read(report: &mut Report) -> Option<Node> {
    let source = report.source();
    if source.len() > MAX_BYTES {
        report.error(
            (0, 0),
            format!("the file has {} bytes; a flow may have {MAX_BYTES}", source.len()),
            "move data out of the flow, or parts of it into child flows".to_owned(),
        );
        return None;
    }
    let offsets = source.char_indices().map(|(at, _)| at).chain([source.len()]).collect();
    let mut builder =
        Builder { report, offsets, open: Vec::new(), root: None, anchors: HashMap::new(), nodes: 0 };
    let mut parser = Parser::new_from_str(source);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                let span = (builder.byte(span.start.index()), builder.byte(span.end.index()));
                builder.take(event, span)?;
            }
            Err(error) => {
                builder.syntax_error(&error);
                return None;
            }
        }
    }
    let root = builder.root;
    if root.is_none() {
        report.error(
            (0, 0),
            "the file is empty",
            "a flow begins with `version: v1` and `type: flow`".to_owned(),
        );
    }
    root
}

struct Builder<'r, 's> {
    report: &'r mut Report<'s>,
    /// The byte at which each character begins.
    offsets: Vec<usize>,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or mapping that has not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<Node>,
}

impl Builder<'_, '_> {
    fn byte(&self, character: usize) -> usize {
        self.offsets.get(character).copied().unwrap_or_else(|| self.report.source().len())
    }

    /// Takes in one event; `None` when it is no use to read on.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.report.error(
                    span,
                    "a second document begins here; a file holds one flow",
                    "remove the `---`, or move the second flow to a file of its own".to_owned(),
                );
                None
            }
            Event::Scalar(text, style, anchor, tag) => {
                let (tag, forced) = self.tag(tag.as_deref(), span);
                let is_text = forced || style != ScalarStyle::Plain;
                let scalar = Scalar { text: text.into_owned(), style, is_text };
                self.place(Node { value: Value::Scalar(scalar), span, tag }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Value::List(Vec::new()), anchor, tag.as_deref(), span)
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(Value::Map(Vec::new()), anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let mut open = self.open.pop()?;
                open.node.span.1 = span.1.max(open.node.span.0);
                self.place(open.node, open.anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Some(()),
        }
    }

    fn tag(&mut self, tag: Option<&Tag>, span: Span) -> (Option<String>, bool) {
        let Some(tag) = tag else { return (None, false) };
        if tag.is_yaml_core_schema() {
            let known = ["str", "int", "float", "bool", "null", "map", "seq"].contains(&tag.suffix.as_str());
            if !known {
                self.report.error(
                    span,
                    format!("the tag `!!{}` has no meaning in a flow", tag.suffix),
                    "remove it: JSON has text, numbers, true, false, null, lists and mappings".to_owned(),
                );
            }
            return (None, tag.suffix == "str");
        }
        if tag.handle.is_empty() && tag.suffix == "!" || tag.suffix.is_empty() {
            return (None, true);
        }
        (Some(tag.suffix.clone()), true)
    }

    fn begin(&mut self, value: Value, anchor: usize, tag: Option<&Tag>, span: Span) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            self.report.error(
                span,
                format!("lists and mappings are nested more than {MAX_DEPTH} deep"),
                None,
            );
            return None;
        }
        let (tag, _) = self.tag(tag, span);
        self.open.push(Open { node: Node { value, span, tag }, anchor, key: None });
        Some(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.report.error(
                span,
                "this alias stands inside what it refers to",
                "write the value out".to_owned(),
            );
            return None;
        };
        let (count, depth) = node.count_and_depth();
        if self.nodes + count > MAX_NODES || self.open.len() + depth > MAX_DEPTH {
            self.report.error(
                span,
                format!("with its aliases written out the file has more than {MAX_NODES} values or {MAX_DEPTH} levels"),
                "use fewer aliases".to_owned(),
            );
            return None;
        }
        self.nodes += count;
        let node = node.clone();
        self.place(node, 0)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.report.error(node.span, format!("the file has more than {MAX_NODES} values"), None);
            return None;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), None) => open.key = Some(node),
            (Value::Map(entries), Some(key)) => match key.scalar() {
                None => self.report.error(
                    key.span,
                    format!("a key must be a word, but this is {}", key.kind()),
                    "quote it if it is meant as text".to_owned(),
                ),
                Some(word) => {
                    let same =
                        |(other, _): &&(Node, Node)| other.scalar().is_some_and(|it| it.text == word.text);
                    if entries.iter().any(|entry| same(&entry)) {
                        self.report.error(
                            key.span,
                            format!("the key `{}` stands here twice", word.text),
                            "remove one of them".to_owned(),
                        );
                    } else {
                        entries.push((key, node));
                    }
                }
            },
            (Value::Scalar(_), _) => {}
        }
        Some(())
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let source = self.report.source();
        let at = self.byte(error.marker().index());
        let start = source[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1);
        let line = source[start..].split(['\n', '\r']).next().unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(tab) = indent.find('\t') {
            let span = (start + tab, start + tab + 1);
            self.report.error(
                span,
                "a tab in the indentation",
                "indent with spaces: YAML allows no tabs there".to_owned(),
            );
            return;
        }
        let unquoted =
            line.trim_start().trim_start_matches("- ").split_once(": ").map(|(_, value)| value.trim_start());
        let advice = match unquoted {
            Some(value) if value.starts_with('"') && !value.ends_with('"') => Some(
                "a value that begins with a quotation mark must be quoted as a whole: '\"a\" == $.b'"
                    .to_owned(),
            ),
            Some(value) if value.contains(": ") => {
                Some("quote a value that contains a colon and a space".to_owned())
            }
            Some(value) if value.starts_with(['!', '&', '*', '%', '@', '`', '[', '{', '|', '>']) => {
                Some("quote a value that begins with a sign that YAML uses".to_owned())
            }
            _ => None,
        };
        self.report.error((at, at), format!("this is not YAML: {}", error.info()), advice);
    }
}
