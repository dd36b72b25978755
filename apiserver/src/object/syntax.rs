//! What is wrong with text that is no JSON, in the words of Go's parser. Pure, and only asked once another parser gave up.

/// What a scanner waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// A value, or the end of the list.
    Element,
    /// A key, or the end of the object.
    KeyOrEnd,
    Key,
    Colon,
    /// What comes after a value.
    After,
}

/// The first thing that is wrong; `None` if nothing is.
#[must_use]
pub(super) fn error(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0 }.run().err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), String> {
        // Which of the open brackets are objects.
        let mut open: Vec<bool> = Vec::new();
        let mut next = Next::Value;
        loop {
            while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
                self.at += 1;
            }
            if next == Next::After && open.is_empty() {
                return if self.peek().is_none() { Ok(()) } else { self.refuse("after top-level value") };
            }
            let Some(byte) = self.peek() else { return Err(end()) };
            next = match (next, byte) {
                (Next::Element, b']') | (Next::KeyOrEnd, b'}') => {
                    self.at += 1;
                    open.pop();
                    Next::After
                }
                (Next::Value | Next::Element, b'{' | b'[') => {
                    self.at += 1;
                    open.push(byte == b'{');
                    if byte == b'{' { Next::KeyOrEnd } else { Next::Element }
                }
                (Next::Value | Next::Element, _) => {
                    self.scalar(byte)?;
                    Next::After
                }
                (Next::KeyOrEnd | Next::Key, b'"') => {
                    self.string()?;
                    Next::Colon
                }
                (Next::KeyOrEnd | Next::Key, _) => return self.refuse("looking for beginning of object key string"),
                (Next::Colon, b':') => {
                    self.at += 1;
                    Next::Value
                }
                (Next::Colon, _) => return self.refuse("after object key"),
                (Next::After, _) => self.after(byte, &mut open)?,
            };
        }
    }

    fn after(&mut self, byte: u8, open: &mut Vec<bool>) -> Result<Next, String> {
        let in_object = open.last() == Some(&true);
        let next = match (in_object, byte) {
            (true, b',') => Next::Key,
            (false, b',') => Next::Value,
            (true, b'}') | (false, b']') => {
                open.pop();
                Next::After
            }
            (true, _) => return self.refuse("after object key:value pair"),
            (false, _) => return self.refuse("after array element"),
        };
        self.at += 1;
        Ok(next)
    }

    fn scalar(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.refuse("looking for beginning of value"),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for wanted in word.chars() {
            match self.peek() {
                Some(byte) if char::from(byte) == wanted => self.at += 1,
                _ => return self.refuse(&format!("in literal {word} (expecting {wanted:?})")),
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, place: &str) -> Result<(), String> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.refuse(place);
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return self.refuse("in \\u hexadecimal character escape");
                                }
                                self.at += 1;
                            }
                        }
                        Some(byte) if b"\"\\/bfnrt".contains(&byte) => self.at += 1,
                        _ => return self.refuse("in string escape code"),
                    }
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return self.refuse("in string literal"),
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn refuse<T>(&self, place: &str) -> Result<T, String> {
        Err(match self.peek() {
            Some(byte) => format!("invalid character {} {place}", quoted(byte)),
            None => end(),
        })
    }
}

fn end() -> String {
    "unexpected end of JSON input".into()
}

/// A byte as Go quotes it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\t' => r"'\t'".into(),
        b'\r' => r"'\r'".into(),
        0x07 => r"'\a'".into(),
        0x08 => r"'\b'".into(),
        0x0b => r"'\v'".into(),
        0x0c => r"'\f'".into(),
        0x20..0x7f => format!("'{}'", char::from(byte)),
        0..0x80 => format!("'\\x{byte:02x}'"),
        // Go takes a byte for a character.
        _ if char::from(byte).is_control() => format!("'\\u{:04x}'", u32::from(byte)),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_are_gos() {
        for (text, expected) in [
            ("nonsense", "invalid character 'o' in literal null (expecting 'u')"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("tru", "unexpected end of JSON input"),
            ("-", "unexpected end of JSON input"),
            ("{\"a\":1x}", "invalid character 'x' after object key:value pair"),
            ("\0", "invalid character '\\x00' looking for beginning of value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("{\"a\":\"\\x\"}", "invalid character 'x' in string escape code"),
            ("{}x", "invalid character 'x' after top-level value"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{,}", "invalid character ',' looking for beginning of object key string"),
            ("[1.x]", "invalid character 'x' after decimal point in numeric literal"),
            ("", "unexpected end of JSON input"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(error(b" {\"a\": [1, -2.5e+3, \"\\u00e4\", null, {}]} "), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_parser(text in r#"[\[\]{},:"\\a-cntrue0-9. -]{0,16}"#) {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            // What is too large for a number is still written like one.
            let large = parsed.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(large || parsed.is_ok() == error(text.as_bytes()).is_none(), "{}", text);
        }
    }
}
