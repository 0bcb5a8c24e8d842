//! The grammar of conditions:
//!
//! ```text
//! expr  := or ; or := and {"||" and} ; and := cmp {"&&" cmp}
//! cmp   := unary [("=="|"!="|"<"|"<="|">"|">="|"in") unary]
//! unary := ("!"|"-") unary | primary
//! primary := number | string | "true" | "false" | "null" | path | "(" expr ")" | "[" [expr {"," expr}] "]"
//! path  := "$" { "." name | "[" (int | "*" | string) "]" }
//! ```

use super::{Expr, Number, Operator};
use crate::path::{self, SyntaxError};

/// Parentheses, `!` and `-` inside each other.
const MAX_DEPTH: usize = 64;

/// Reads a condition.
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
            (_, Some('=')) if self.text.get(at + 1) == Some(&'=') => chained(at),
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
            (_, Some('<' | '>' | '!')) => chained(at),
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

fn chained(at: usize) -> SyntaxError {
    let advice = "combine two comparisons with `&&`: `$.a < $.b && $.b < $.c`";
    SyntaxError::new(at, 1, "comparisons cannot be chained", advice)
}
