//! Source text to tokens.

use super::SyntaxError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Symbol(&'static str),
    End,
}

impl Token {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => name.clone(),
            Self::Symbol(symbol) => (*symbol).to_owned(),
            Self::End => "<EOF>".into(),
            Self::Int(number) => number.to_string(),
            Self::Uint(number) => format!("{number}u"),
            Self::Double(number) => number.to_string(),
            Self::String(text) => format!("{text:?}"),
            Self::Bytes(_) => "bytes".into(),
        }
    }
}

/// Longer symbols first.
const SYMBOLS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", ".?", "{?", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "+", "-",
    "*", "/", "%", "<", ">",
];

/// The tokens of a text, each with the character it starts at; the last is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let token = lexer.next()?;
        let end = token == Token::End;
        tokens.push((start, token));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, message: format!("Syntax error: {}", message.into()) })
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek(0) {
            if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if c.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, SyntaxError> {
        let Some(c) = self.peek(0) else { return Ok(Token::End) };
        if let Some((raw, bytes, skip)) = self.string_prefix() {
            self.at += skip;
            return self.string(raw, bytes);
        }
        if c == '_' || c.is_ascii_alphabetic() {
            let start = self.at;
            while self.peek(0).is_some_and(|c| c == '_' || c.is_ascii_alphanumeric()) {
                self.at += 1;
            }
            return Ok(Token::Ident(self.chars[start..self.at].iter().collect()));
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            return self.number();
        }
        if c == '!' && self.peek(1) != Some('=') {
            self.at += 1;
            return Ok(Token::Symbol("!"));
        }
        let starts = |symbol: &&&str| symbol.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c));
        match SYMBOLS.iter().find(starts) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
            None => self.error(format!("token recognition error at: '{c}'")),
        }
    }

    /// Whether a string starts here: raw, bytes, and how many characters its prefix has.
    fn string_prefix(&self) -> Option<(bool, bool, usize)> {
        let (mut raw, mut bytes, mut skip) = (false, false, 0);
        loop {
            match self.peek(skip)? {
                '"' | '\'' => return Some((raw, bytes, skip)),
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => return None,
            }
            skip += 1;
        }
    }

    fn string(&mut self, raw: bool, bytes: bool) -> Result<Token, SyntaxError> {
        let quote = self.peek(0).unwrap_or('"');
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut out = Text { bytes, chars: String::new(), raw: Vec::new() };
        loop {
            let Some(c) = self.peek(0) else { return self.error("token recognition error: the string does not end") };
            if (0..width).all(|ahead| self.peek(ahead) == Some(quote)) {
                self.at += width;
                return Ok(if bytes { Token::Bytes(out.raw) } else { Token::String(out.chars) });
            }
            if c == '\n' && !triple {
                return self.error("token recognition error: the string does not end on its line");
            }
            self.at += 1;
            if c == '\\' && !raw {
                self.escape(&mut out)?;
            } else {
                out.push(c);
            }
        }
    }

    fn escape(&mut self, out: &mut Text) -> Result<(), SyntaxError> {
        let Some(c) = self.peek(0) else { return self.error("a string ends in an escape") };
        self.at += 1;
        let simple = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => c,
            'x' | 'X' => return self.code(2, 16, out),
            'u' => return self.code(4, 16, out),
            'U' => return self.code(8, 16, out),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, out);
            }
            _ => return self.error(format!("unable to unescape string: \\{c}")),
        };
        out.push(simple);
        Ok(())
    }

    fn code(&mut self, digits: usize, radix: u32, out: &mut Text) -> Result<(), SyntaxError> {
        let text: String = self.chars.iter().skip(self.at).take(digits).collect();
        let number = u32::from_str_radix(&text, radix).ok().filter(|_| text.len() == digits);
        let Some(number) = number else { return self.error("unable to unescape string: malformed number") };
        self.at += digits;
        if out.bytes && digits <= 3 {
            out.raw.push(u8::try_from(number).unwrap_or(u8::MAX));
            return Ok(());
        }
        match char::from_u32(number) {
            Some(c) => {
                out.push(c);
                Ok(())
            }
            None => self.error("unable to unescape string: invalid unicode code point"),
        }
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            return self.whole(&digits, 16);
        }
        let mut text = self.take(|c| c.is_ascii_digit());
        let mut double = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            double = true;
            self.at += 1;
            text = format!("{text}.{}", self.take(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                double = true;
                self.at += 1 + sign;
                let exponent = self.take(|c| c.is_ascii_digit());
                let sign = if sign == 1 && self.chars[self.at - exponent.len() - 1] == '-' { "-" } else { "" };
                text = format!("{text}e{sign}{exponent}");
            }
        }
        if !double {
            return self.whole(&text, 10);
        }
        match text.parse() {
            Ok(number) => Ok(Token::Double(number)),
            Err(_) => {
                self.at = start;
                self.error("invalid double literal")
            }
        }
    }

    fn take(&mut self, wanted: fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(wanted) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn whole(&mut self, digits: &str, radix: u32) -> Result<Token, SyntaxError> {
        let number = u64::from_str_radix(digits, radix);
        let unsigned = matches!(self.peek(0), Some('u' | 'U'));
        match number {
            Ok(number) if unsigned => {
                self.at += 1;
                Ok(Token::Uint(number))
            }
            // One more than the greatest int: it may follow a minus.
            Ok(number) if number <= 1 << 63 => Ok(Token::Int(number)),
            _ => self.error(if unsigned { "invalid uint literal" } else { "invalid int literal" }),
        }
    }
}

/// A string literal that is being read.
struct Text {
    bytes: bool,
    chars: String,
    raw: Vec<u8>,
}

impl Text {
    fn push(&mut self, c: char) {
        if self.bytes {
            self.raw.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            self.chars.push(c);
        }
    }
}
