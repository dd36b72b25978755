//! Selectors as query strings write them.

use super::{Operator, Requirement};
use crate::selector::ParseError;

/// The requirements of a selector, in the order in which they are written.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, ParseError> {
    let wrap = |error: ParseError| ParseError::new(format!("unable to parse requirement: {}", error.message));
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            "" => break,
            "!" => requirements.push(parser.requirement().map_err(wrap)?),
            token if is_word(token) => requirements.push(parser.requirement().map_err(wrap)?),
            other => {
                return Err(ParseError::new(format!("found '{other}', expected: !, identifier, or 'end of string'")));
            }
        }
        match parser.next() {
            "" => break,
            "," => match parser.peek() {
                "!" => {}
                token if is_word(token) => {}
                other => return Err(ParseError::new(format!("found '{other}', expected: identifier after ','"))),
            },
            other => return Err(ParseError::new(format!("found '{other}', expected: ',' or 'end of string'"))),
        }
    }
    Ok(requirements)
}

const SYMBOLS: [&str; 9] = ["!=", "==", "=", "!", "(", ")", ",", "<", ">"];

fn is_word(token: &str) -> bool {
    !token.is_empty() && !SYMBOLS.contains(&token)
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).map(|symbol| symbol.len());
        let end = rest.find(|c: char| c.is_whitespace() || "!=(),<>".contains(c)).unwrap_or(rest.len());
        let (token, tail) = rest.split_at(symbol.unwrap_or(end));
        tokens.push(token);
        rest = tail.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token; empty at the end.
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or("")
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let absent = self.peek() == "!";
        if absent {
            self.next();
        }
        let key = self.next();
        if !is_word(key) {
            return Err(ParseError::new(format!("found '{key}', expected: identifier")));
        }
        if absent {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), "" | ",") {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            "=" | "==" | "in" => Operator::In,
            "!=" | "notin" => Operator::NotIn,
            ">" | "gt" => Operator::Gt,
            "<" | "lt" => Operator::Lt,
            other => {
                return Err(ParseError::new(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")));
            }
        };
        let set = matches!(self.tokens[self.at - 1], "in" | "notin");
        let values = if set { self.values()? } else { vec![self.exact_value()?] };
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            "" | "," => Ok(String::new()),
            word if is_word(word) => Ok(self.next().to_owned()),
            other => Err(ParseError::new(format!("found '{other}', expected: identifier"))),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        let open = self.next();
        if open != "(" {
            return Err(ParseError::new(format!("found '{open}' expected: '('")));
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                "," | ")" => values.push(String::new()),
                word if is_word(word) => values.push(self.next().to_owned()),
                other => return Err(ParseError::new(format!("found '{other}', expected: ',', ')' or identifier"))),
            }
            match self.next() {
                ")" => return Ok(values),
                "," => {}
                other => return Err(ParseError::new(format!("found '{other}', expected: ',' or ')'"))),
            }
        }
    }
}
