//! Field selectors: `metadata.name=a,status.phase!=Running`.

use std::fmt;

use super::ParseError;

/// A conjunction of comparisons of fields with values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The comparisons, in the order given.
    pub requirements: Vec<FieldRequirement>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field's path, such as `metadata.name`.
    pub field: String,
    /// The value, without escapes.
    pub value: String,
    /// Whether it must equal the value, or must not.
    pub equal: bool,
}

impl FieldSelector {
    /// Reads a selector; `\\`, `\,` and `\=` in values stand for themselves.
    ///
    /// # Errors
    /// A term without an operator, or a bad escape.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let terms = split_terms(text).into_iter().filter(|term| !term.is_empty());
        Ok(Self { requirements: terms.map(|term| parse_term(term, text)).collect::<Result<_, _>>()? })
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object matches, `field` giving the value at a path; a missing field counts as empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| (field(&r.field).unwrap_or("") == r.value) == r.equal)
    }

    /// The one value that a field must have, if the selector says so.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, r) in self.requirements.iter().enumerate() {
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{}{}{}{value}", if at > 0 { "," } else { "" }, r.field, if r.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn parse_term(term: &str, whole: &str) -> Result<FieldRequirement, ParseError> {
    for (at, _) in term.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Ok(FieldRequirement { field: term[..at].to_owned(), value: unescape(value)?, equal });
            }
        }
    }
    Err(ParseError::new(format!("invalid selector: '{whole}'; can't understand '{term}'")))
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                next => {
                    let sequence: String = std::iter::once('\\').chain(next).collect();
                    return Err(ParseError::new(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            ',' | '=' => {
                return Err(ParseError::new(format!("invalid field selector: unescaped character in value: {value}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_escapes() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b,spec.nodeName!=n\=1,x==y").unwrap();
        let found: Vec<_> =
            selector.requirements.iter().map(|r| (r.field.as_str(), r.value.as_str(), r.equal)).collect();
        assert_eq!(found, [("metadata.name", "a,b", true), ("spec.nodeName", "n=1", false), ("x", "y", true)]);
        assert_eq!(selector.to_string(), r"metadata.name=a\,b,spec.nodeName!=n\=1,x=y");
        assert_eq!(selector.exact("metadata.name"), Some("a,b"));
        assert!(FieldSelector::parse("").unwrap().is_empty());
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for bad in ["a", "a=b=c", r"a=\x", r"a=b\"] {
            assert!(FieldSelector::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_missing_field_is_empty() {
        let selector = FieldSelector::parse("spec.nodeName=,status.phase!=Failed").unwrap();
        assert!(selector.matches(|_| None));
        assert!(!selector.matches(|field| (field == "status.phase").then_some("Failed")));
    }
}
