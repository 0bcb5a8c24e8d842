//! Conditions of choice steps: parsed once, evaluated against the step's input, which is `$`.
//!
//! Evaluation never fails: what is missing or of the wrong type makes a condition false.

use std::cmp::Ordering;

use riverrun_kernel::Json;

use crate::json;
use crate::path::{self, Segment, SyntaxError};

/// Parentheses, `!` and `-` inside each other.
const MAX_DEPTH: usize = 64;

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

pub(crate) fn parse(text: &str) -> Result<Expr, SyntaxError> {
    let mut parser = Parser { text: text.chars().collect(), at: 0, depth: 0 };
    let expr = parser.any()?;
    parser.skip_space();
    if parser.at < parser.text.len() {
        return Err(parser.unexpected());
    }
    Ok(expr)
}

struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '@')
}

impl Parser {
    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, sign: &str) -> bool {
        self.skip_space();
        let found = sign.chars().enumerate().all(|(place, c)| self.text.get(self.at + place) == Some(&c));
        if found {
            self.at += sign.chars().count();
        }
        found
    }

    fn word(&self) -> String {
        self.text[self.at.min(self.text.len())..]
            .iter()
            .take_while(|c| c.is_alphanumeric() || **c == '_')
            .collect()
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.word() == word;
        if found {
            self.at += word.chars().count();
        }
        found
    }

    /// The error for what stands where an operator or the end should be.
    fn unexpected(&mut self) -> SyntaxError {
        let word = self.word();
        let at = self.at;
        match (word.as_str(), self.text.get(at)) {
            ("and" | "AND", _) => {
                SyntaxError::new(at, 3, format!("`{word}` is not an operator"), "write `&&`")
            }
            ("or" | "OR", _) => SyntaxError::new(at, 2, format!("`{word}` is not an operator"), "write `||`"),
            (_, Some('=')) => SyntaxError::new(at, 1, "`=` is not an operator", "write `==` to compare"),
            (_, Some('&')) => SyntaxError::new(at, 1, "`&` is not an operator", "write `&&`"),
            (_, Some('|')) => SyntaxError::new(at, 1, "`|` is not an operator", "write `||`"),
            (_, Some(')')) => {
                SyntaxError::new(at, 1, "this `)` closes nothing", "remove it, or open it with `(`")
            }
            (_, Some('+' | '-' | '*' | '/' | '%')) => SyntaxError::new(
                at,
                1,
                format!("`{}` is not an operator: conditions do not calculate", self.text[at]),
                "calculate in a function and compare its result",
            ),
            (_, Some('<' | '>' | '!')) => SyntaxError::new(
                at,
                1,
                "comparisons cannot be chained",
                "combine two comparisons with `&&`: `$.a < $.b && $.b < $.c`",
            ),
            (_, None) => SyntaxError::new(at, 1, "the condition ends too early", "complete the expression"),
            (_, Some(_)) => SyntaxError::new(
                at,
                word.chars().count().max(1),
                format!(
                    "`{}` cannot stand here",
                    if word.is_empty() { self.text[at].to_string() } else { word }
                ),
                "an operator is expected: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `&&`, `||`",
            ),
        }
    }

    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth >= MAX_DEPTH {
            let message = format!("the condition is nested more than {MAX_DEPTH} deep");
            return Err(SyntaxError::new(self.at, 1, message, "split it over several choices"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn any(&mut self) -> Result<Expr, SyntaxError> {
        let mut parts = vec![self.all()?];
        while self.eat("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Any(parts) })
    }

    fn all(&mut self) -> Result<Expr, SyntaxError> {
        let mut parts = vec![self.comparison()?];
        while self.eat("&&") {
            parts.push(self.comparison()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::All(parts) })
    }

    fn comparison(&mut self) -> Result<Expr, SyntaxError> {
        let left = self.unary()?;
        let signs = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let sign = signs.into_iter().find(|(sign, _)| self.eat(sign)).map(|(_, operator)| operator);
        let Some(operator) = sign.or_else(|| self.eat_word("in").then_some(Operator::In)) else {
            return Ok(left);
        };
        let right = self.unary()?;
        Ok(Expr::Compare(operator, Box::new(left), Box::new(right)))
    }

    fn unary(&mut self) -> Result<Expr, SyntaxError> {
        if self.eat("!") {
            return self.nested(|parser| Ok(Expr::Not(Box::new(parser.unary()?))));
        }
        if self.eat("-") {
            return self.nested(|parser| Ok(Expr::Negative(Box::new(parser.unary()?))));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr, SyntaxError> {
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.nested(Self::any)?;
                if self.eat(")") {
                    Ok(inner)
                } else {
                    Err(self.unclosed("the parenthesis is not closed", "`)`"))
                }
            }
            Some('[') => self.nested(Self::list),
            Some('$') => {
                self.at += 1;
                Ok(Expr::Path(path::segments(&self.text, &mut self.at, in_name)?))
            }
            Some('"') => self.quoted(),
            Some('`') => self.backticked(),
            Some(c) if c.is_ascii_digit() => self.number(),
            _ => self.keyword(),
        }
    }

    fn unclosed(&mut self, message: &str, sign: &str) -> SyntaxError {
        self.skip_space();
        if self.at < self.text.len() {
            return self.unexpected();
        }
        SyntaxError::new(self.at, 1, message, &format!("write {sign} here"))
    }

    fn list(&mut self) -> Result<Expr, SyntaxError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.eat("]") {
            return Ok(Expr::List(items));
        }
        loop {
            items.push(self.any()?);
            if self.eat("]") {
                return Ok(Expr::List(items));
            }
            if !self.eat(",") {
                return Err(self.unclosed("the list is not closed", "`]`"));
            }
        }
    }

    fn keyword(&mut self) -> Result<Expr, SyntaxError> {
        let word = self.word();
        let (at, length) = (self.at, word.chars().count().max(1));
        let expr = match word.as_str() {
            "true" => Expr::Bool(true),
            "false" => Expr::Bool(false),
            "null" => Expr::Null,
            _ => {
                let error = match self.text.get(at) {
                    None => SyntaxError::new(
                        at,
                        1,
                        "the condition ends too early",
                        "a value or a path is expected here",
                    ),
                    Some('\'') => SyntaxError::new(
                        at,
                        1,
                        "strings in conditions do not stand in single quotes",
                        "write \"…\" or `…`",
                    ),
                    Some(_) if word.is_empty() => SyntaxError::new(
                        at,
                        1,
                        format!("`{}` cannot stand here", self.text[at]),
                        "a value, a path such as `$.status`, or `(` is expected",
                    ),
                    Some(_) if self.text.get(at + length) == Some(&'(') => SyntaxError::new(
                        at,
                        length,
                        format!("`{word}` is a function, and this language has none"),
                        "calculate in a function step and compare its result",
                    ),
                    Some(_) if word == "not" => {
                        SyntaxError::new(at, length, "`not` is not an operator", "write `!`")
                    }
                    Some(_) => SyntaxError::new(
                        at,
                        length,
                        format!("`{word}` is neither a value nor a path"),
                        &format!("write `$.{word}` for a field of the step's input, \"{word}\" for text"),
                    ),
                };
                return Err(error);
            }
        };
        self.at += length;
        Ok(expr)
    }

    fn number(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.at;
        let digit_or = |c: &char| c.is_ascii_digit() || *c == '.';
        while self.text.get(self.at).is_some_and(digit_or) {
            self.at += 1;
        }
        if matches!(self.text.get(self.at), Some('e' | 'E')) {
            let signed = usize::from(matches!(self.text.get(self.at + 1), Some('+' | '-')));
            if self.text.get(self.at + 1 + signed).is_some_and(char::is_ascii_digit) {
                self.at += 1 + signed;
                while self.text.get(self.at).is_some_and(char::is_ascii_digit) {
                    self.at += 1;
                }
            }
        }
        let text: String = self.text[start..self.at].iter().collect();
        let length = self.at - start;
        let followed = self.text.get(self.at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
        match Number::read(&text).filter(|_| !followed) {
            Some(number) => Ok(Expr::Number(number)),
            None => Err(SyntaxError::new(
                start,
                length,
                format!("`{text}` is not a number"),
                "quote it if it is text",
            )),
        }
    }

    fn quoted(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.at;
        self.at += 1;
        while let Some(&c) = self.text.get(self.at) {
            self.at += if c == '\\' { 2 } else { 1 };
            if c == '"' {
                let literal: String = self.text[start..self.at].iter().collect();
                return serde_json::from_str(&literal).map(Expr::Text).map_err(|_| {
                    let advice = "escape as in JSON: `\\\"`, `\\\\`, `\\n`; or write the text in backticks";
                    SyntaxError::new(
                        start,
                        literal.chars().count(),
                        "this string has an escape that means nothing",
                        advice,
                    )
                });
            }
        }
        Err(SyntaxError::new(start, 1, "the string is not closed", "write `\"` at its end"))
    }

    fn backticked(&mut self) -> Result<Expr, SyntaxError> {
        let start = self.at;
        let end = self.text[start + 1..].iter().position(|&c| c == '`');
        let Some(length) = end else {
            return Err(SyntaxError::new(
                start,
                1,
                "the string is not closed",
                "write a backtick at its end",
            ));
        };
        self.at = start + length + 2;
        Ok(Expr::Text(self.text[start + 1..=start + length].iter().collect()))
    }
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
