//! YAML, read into a small tree in which every node knows its place.
//!
//! Core schema of YAML 1.2: an unquoted date stays text and `yes` is a word. Size, depth and what aliases expand to
//! are bounded, so that no document can exhaust memory. One document per file.

mod scalar;

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::diagnostic::Report;

/// A byte range of the source.
pub(crate) type Span = (usize, usize);

/// Bytes in a definition.
const MAX_BYTES: usize = 1024 * 1024;
/// Nested lists and mappings.
const MAX_DEPTH: usize = 100;
/// Nodes, aliases expanded.
const MAX_NODES: usize = 250_000;

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
    /// The keys so far.
    keys: HashSet<String>,
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
        let node = Node { value, span, tag };
        self.open.push(Open { node, anchor, key: None, keys: HashSet::new() });
        Some(())
    }

    fn too_deep(&mut self, span: Span) {
        self.report.error(span, format!("lists and mappings are nested more than {MAX_DEPTH} deep"), None);
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
        // What an anchor keeps counts again, so that anchors inside each other stay within the bounds as well.
        self.nodes += 1 + if anchor > 0 { node.count_and_depth().0 } else { 0 };
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
                    if open.keys.insert(word.text.clone()) {
                        entries.push((key, node));
                    } else {
                        let message = format!("the key `{}` stands here twice", word.text);
                        self.report.error(key.span, message, "remove one of them".to_owned());
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
        if error.info().contains("recursion limit") {
            self.too_deep((at, at));
            return;
        }
        let found = source[at..].chars().next().filter(|_| error.info().contains("unprintable"));
        if let Some(found) = found {
            let message = format!("the character U+{:04X} cannot stand in YAML", u32::from(found));
            let advice = "remove it, or write it as an escape in double quotes, such as \"\\x07\"".to_owned();
            self.report.error((at, at), message, advice);
            return;
        }
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
