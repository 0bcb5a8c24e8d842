//! Conditions of choice steps: parsed once, evaluated against the step's input, which is `$`.
//!
//! Evaluation never fails: what is missing or of the wrong type makes a condition false.

mod parse;

use std::cmp::Ordering;

use riverrun_kernel::Json;

use crate::json;
use crate::path::{self, Segment};

pub(crate) use parse::parse;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Path(Vec<Segment>),
    List(Vec<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Compare(Operator, Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

/// Integers are exact as far as they can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

/// What `$` stands for.
pub(crate) trait Scope {
    fn member(&self, key: &str) -> Option<Json>;
    fn whole(&self) -> Json;
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Number::Int(number));
        }
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Float)
    }

    fn order(self, other: Self) -> Option<Ordering> {
        let float = |number| match number {
            Number::Int(int) => int as f64,
            Number::Float(float) => float,
        };
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (a, b) => float(a).partial_cmp(&float(b)),
        }
    }
}

/// A value while a condition is evaluated.
#[derive(Debug, Clone)]
enum Val {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Val>),
    Object(String),
}

impl Val {
    /// The value of a text from outside. What is nested too deep to walk through is only ever equal to the same text.
    fn of(text: &str) -> Val {
        const MAX_DEPTH: usize = 100;
        let mut depth = 0_usize;
        let mut deepest = 0;
        let (mut in_string, mut escaped) = (false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => depth += 1,
                b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        if deepest > MAX_DEPTH { Val::Object(text.to_owned()) } else { Val::read(text) }
    }

    fn read(text: &str) -> Val {
        match text.as_bytes().first() {
            Some(b't') => Val::Bool(true),
            Some(b'f') => Val::Bool(false),
            Some(b'"') => serde_json::from_str(text).map_or(Val::Null, Val::Text),
            Some(b'{') => Val::Object(text.to_owned()),
            Some(b'[') => {
                Val::List(json::elements(text).unwrap_or_default().into_iter().map(Val::read).collect())
            }
            Some(b'-' | b'0'..=b'9') => Number::read(text).map_or(Val::Null, Val::Number),
            _ => Val::Null,
        }
    }

    fn same(&self, other: &Val) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::Number(a), Val::Number(b)) => a.order(*b) == Some(Ordering::Equal),
            (Val::Text(a), Val::Text(b)) => a == b,
            (Val::List(a), Val::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Val::Object(a), Val::Object(b)) => {
                a == b
                    || json::members(a).zip(json::members(b)).is_some_and(|(a, b)| {
                        a.len() == b.len()
                            && a.iter().all(|(key, value)| {
                                b.get(key).is_some_and(|other| Val::read(value).same(&Val::read(other)))
                            })
                    })
            }
            _ => false,
        }
    }

    fn order(&self, other: &Val) -> Option<Ordering> {
        match (self, other) {
            (Val::Number(a), Val::Number(b)) => a.order(*b),
            (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    fn is_in(&self, other: &Val) -> bool {
        match (self, other) {
            (_, Val::List(items)) => items.iter().any(|item| item.same(self)),
            (Val::Text(key), Val::Object(text)) => json::member(text, key).is_some(),
            _ => false,
        }
    }
}

impl Expr {
    /// Whether the condition holds. A value that is not `true` does not.
    pub(crate) fn holds(&self, scope: &dyn Scope) -> bool {
        matches!(self.value(scope), Val::Bool(true))
    }

    fn value(&self, scope: &dyn Scope) -> Val {
        match self {
            Expr::Null => Val::Null,
            Expr::Bool(value) => Val::Bool(*value),
            Expr::Number(number) => Val::Number(*number),
            Expr::Text(text) => Val::Text(text.clone()),
            Expr::Path(path) => find(scope, path).map_or(Val::Null, |found| Val::of(found.get())),
            Expr::List(items) => Val::List(items.iter().map(|item| item.value(scope)).collect()),
            Expr::Not(inner) => Val::Bool(!inner.holds(scope)),
            Expr::Negative(inner) => match inner.value(scope) {
                Val::Number(Number::Int(int)) => {
                    int.checked_neg().map_or(Val::Null, |int| Val::Number(Number::Int(int)))
                }
                Val::Number(Number::Float(float)) => Val::Number(Number::Float(-float)),
                _ => Val::Null,
            },
            Expr::All(parts) => Val::Bool(parts.iter().all(|part| part.holds(scope))),
            Expr::Any(parts) => Val::Bool(parts.iter().any(|part| part.holds(scope))),
            Expr::Compare(operator, left, right) => {
                let (left, right) = (left.value(scope), right.value(scope));
                let order = || left.order(&right);
                Val::Bool(match operator {
                    Operator::Equal => left.same(&right),
                    Operator::Unequal => !left.same(&right),
                    Operator::Less => order().is_some_and(Ordering::is_lt),
                    Operator::LessOrEqual => order().is_some_and(Ordering::is_le),
                    Operator::Greater => order().is_some_and(Ordering::is_gt),
                    Operator::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
                    Operator::In => left.is_in(&right),
                })
            }
        }
    }
}

/// What a path finds in a scope.
pub(crate) fn find(scope: &dyn Scope, path: &[Segment]) -> Option<Json> {
    match path {
        [] => Some(scope.whole()),
        [Segment::Key(key)] => scope.member(key),
        [Segment::Key(key), rest @ ..] => {
            // A collecting path finds an empty array where its beginning is missing.
            let first = scope.member(key).unwrap_or_else(Json::null);
            path::pick(first.get(), rest)
        }
        _ => path::pick(scope.whole().get(), path),
    }
}
