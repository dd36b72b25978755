//! From text to expression.

use super::{Expression, Value};

/// How deep expressions may be nested.
const DEPTH_MAX: usize = 64;
/// How long they may be, as upstream's.
const LENGTH_MAX: usize = 10 * 1024;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Literal(Value),
    Mark(&'static str),
}

const MARKS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "+", "-", "*",
    "/", "%", "=", ";",
];

/// How tightly the operators bind, the loosest first.
const LEVELS: [&[&str]; 5] =
    [&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">", "in"], &["+", "-"], &["*", "/", "%"]];

pub(super) fn parse(text: &str) -> Result<Expression, String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("the expression is longer than {LENGTH_MAX} bytes"));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expression = parser.expression()?;
    match parser.tokens.get(parser.at) {
        None => Ok(expression),
        Some((place, token)) => Err(format!("{} is not needed at position {place}", shown(token))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("{name:?}"),
        Token::Literal(Value::Bool(value)) => format!("\"{value}\""),
        Token::Literal(_) => "a value".to_owned(),
        Token::Mark(mark) => format!("{mark:?}"),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = if first.is_ascii_digit() {
            number(rest)?
        } else if first == '"' || first == '\'' {
            quoted(rest, first)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (word(&rest[..length]), length)
        } else {
            let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
            let mark = mark.ok_or_else(|| format!("{first:?} cannot be at position {at}"))?;
            (Token::Mark(mark), mark.len())
        };
        found.push((at, token));
        at += length;
    }
    Ok(found)
}

fn word(text: &str) -> Token {
    match text {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "null" => Token::Literal(Value::Null),
        "in" => Token::Mark("in"),
        name => Token::Name(name.to_owned()),
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut length = digits(rest);
    if let Some(fraction) = rest[length..].strip_prefix('.').map(digits).filter(|digits| *digits > 0) {
        length += 1 + fraction;
        let value = rest[..length].parse().map_err(|_| "malformed number".to_owned())?;
        return Ok((Token::Literal(Value::Double(value)), length));
    }
    let value = rest[..length].parse().map_err(|_| "integer overflow".to_owned())?;
    Ok((Token::Literal(Value::Int(value)), length))
}

fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Literal(Value::Text(text.into())), at + 1)),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(escaped @ ('\\' | '"' | '\'' | '`')) => text.push(escaped),
                _ => return Err("unknown escape in a string".to_owned()),
            },
            c => text.push(c),
        }
    }
    Err("a string doesn't end".to_owned())
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn take(&mut self, marks: &[&'static str]) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some((_, Token::Mark(mark))) if marks.contains(mark) => {
                let mark = *mark;
                self.at += 1;
                Some(mark)
            }
            _ => None,
        }
    }

    fn need(&mut self, mark: &'static str) -> Result<(), String> {
        self.take(&[mark]).map(drop).ok_or_else(|| format!("{mark:?} is missing"))
    }

    fn expression(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("the expression is nested too deeply".to_owned());
        }
        let condition = self.binary(0)?;
        let expression = if self.take(&["?"]).is_some() {
            let yes = self.expression()?;
            self.need(":")?;
            let no = self.expression()?;
            Expression::If(Box::new(condition), Box::new(yes), Box::new(no))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn binary(&mut self, level: usize) -> Result<Expression, String> {
        let Some(marks) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(mark) = self.take(marks) {
            let right = self.binary(level + 1)?;
            left = Expression::Binary(mark, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("the expression is nested too deeply".to_owned());
        }
        let expression = match self.take(&["!", "-"]) {
            Some("!") => Expression::Not(Box::new(self.unary()?)),
            Some(_) => Expression::Negative(Box::new(self.unary()?)),
            None => self.member()?,
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn member(&mut self) -> Result<Expression, String> {
        let mut expression = self.primary()?;
        loop {
            if self.take(&["."]).is_some() {
                let Some((_, Token::Name(name))) = self.tokens.get(self.at).cloned() else {
                    return Err("a name must follow \".\"".to_owned());
                };
                self.at += 1;
                expression = match self.take(&["("]) {
                    Some(_) => Expression::Call(Some(Box::new(expression)), name, self.list(")")?),
                    None => Expression::Member(Box::new(expression), name),
                };
            } else if self.take(&["["]).is_some() {
                let index = self.expression()?;
                self.need("]")?;
                expression = Expression::Index(Box::new(expression), Box::new(index));
            } else {
                return Ok(expression);
            }
        }
    }

    fn primary(&mut self) -> Result<Expression, String> {
        let missing = || "the expression ends where a value is needed".to_owned();
        let (place, token) = self.tokens.get(self.at).cloned().ok_or_else(missing)?;
        self.at += 1;
        match token {
            Token::Literal(value) => Ok(Expression::Literal(value)),
            Token::Name(name) => match self.take(&["("]) {
                Some(_) => Ok(Expression::Call(None, name, self.list(")")?)),
                None => Ok(Expression::Name(name)),
            },
            Token::Mark("(") => {
                let expression = self.expression()?;
                self.need(")")?;
                Ok(expression)
            }
            Token::Mark("[") => Ok(Expression::List(self.list("]")?)),
            other => Err(format!("{} is not a value, at position {place}", shown(&other))),
        }
    }

    fn list(&mut self, end: &'static str) -> Result<Vec<Expression>, String> {
        let mut items = Vec::new();
        while self.take(&[end]).is_none() {
            if !items.is_empty() {
                self.need(",")?;
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }
}
