//! Label selectors: `app=web,tier in (front,edge),!canary`, or `matchLabels` with `matchExpressions`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Labels, ParseError};
use crate::names;

/// How a requirement compares a label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// The label's value is among the values.
    In,
    /// The label is missing or its value is not among the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The label's value is a whole number greater than the value (node selectors only).
    Gt,
    /// The label's value is a whole number less than the value (node selectors only).
    Lt,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with, sorted and distinct for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl Requirement {
    /// Makes a requirement.
    ///
    /// # Errors
    /// A malformed key or value, or the wrong number of values for the operator.
    pub fn new(key: impl Into<String>, operator: Operator, mut values: Vec<String>) -> Result<Self, ParseError> {
        let key = key.into();
        let quoted = |value: &str, path: &str, fault: &str| {
            ParseError::new(format!("{path}: Invalid value: {value:?}: {fault}"))
        };
        if let Some(fault) = join(names::qualified_name(&key)) {
            return Err(quoted(&key, "key", &fault));
        }
        let list = || format!("values: Invalid value: {}", go_list(&values));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return Err(ParseError::new(format!(
                    "{}: for 'in', 'notin' operators, values set can't be empty",
                    list()
                )));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                let rule = "values set must be empty for exists and does not exist";
                return Err(ParseError::new(format!("{}: {rule}", list())));
            }
            Operator::Gt | Operator::Lt if values.len() != 1 => {
                let rule = "for 'Gt', 'Lt' operators, exactly one value is required";
                return Err(ParseError::new(format!("{}: {rule}", list())));
            }
            _ => {}
        }
        for (at, value) in values.iter().enumerate() {
            let number = matches!(operator, Operator::Gt | Operator::Lt);
            if number && value.parse::<i64>().is_err() {
                let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(quoted(value, &format!("values[{at}]"), rule));
            }
            if let Some(fault) = join(names::label_value(value)) {
                return Err(quoted(value, &format!("values[{at}][{key}]"), &fault));
            }
        }
        values.sort();
        values.dedup();
        Ok(Self { key, operator, values })
    }

    /// Whether labels meet it.
    #[must_use]
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        let value = labels.label(&self.key);
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        let numbers = || Some((value?.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => numbers().is_some_and(|(own, limit)| own > limit),
            Operator::Lt => numbers().is_some_and(|(own, limit)| own < limit),
        }
    }
}

fn join(faults: Vec<String>) -> Option<String> {
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn go_list(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

/// A conjunction of requirements on labels, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Selects nothing: what a missing (null) selector means in most objects.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// A conjunction of these requirements.
    #[must_use]
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort();
        Self { requirements, nothing: false }
    }

    /// Selects labels that hold all these pairs: a Service's or a ReplicationController's `selector`.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let equal =
            |(key, value): (K, V)| Requirement { key: key.into(), operator: Operator::In, values: vec![value.into()] };
        Self::new(pairs.into_iter().map(equal).collect())
    }

    /// Reads a selector as query strings write it.
    ///
    /// # Errors
    /// What stands where something else was expected, or a malformed key or value.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let wrap = |error: ParseError| ParseError::new(format!("unable to parse requirement: {}", error.message));
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                "" => break,
                "!" => requirements.push(parser.requirement().map_err(wrap)?),
                token if is_word(token) => requirements.push(parser.requirement().map_err(wrap)?),
                other => {
                    return Err(ParseError::new(format!(
                        "found '{other}', expected: !, identifier, or 'end of string'"
                    )));
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
        Ok(Self::new(requirements))
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// The requirements, in the order of their keys.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether labels meet every requirement.
    #[must_use]
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl FromStr for LabelSelector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { key, operator, values }) in self.requirements.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            let list = values.join(",");
            match (operator, values.len()) {
                (Operator::In, 1) => write!(f, "{key}={list}")?,
                (Operator::In, _) => write!(f, "{key} in ({list})")?,
                (Operator::NotIn, 1) => write!(f, "{key}!={list}")?,
                (Operator::NotIn, _) => write!(f, "{key} notin ({list})")?,
                (Operator::Exists, _) => write!(f, "{key}")?,
                (Operator::DoesNotExist, _) => write!(f, "!{key}")?,
                (Operator::Gt, _) => write!(f, "{key}>{list}")?,
                (Operator::Lt, _) => write!(f, "{key}<{list}")?,
            }
        }
        Ok(())
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    match_labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    match_expressions: Option<Vec<Requirement>>,
}

impl<'de> Deserialize<'de> for LabelSelector {
    /// Reads `{"matchLabels": {…}, "matchExpressions": […]}`; an empty object selects everything, null nothing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(wire) = Option::<Wire>::deserialize(deserializer)? else { return Ok(Self::nothing()) };
        let labels = wire.match_labels.unwrap_or_default();
        let mut requirements = Self::from_pairs(labels).requirements;
        requirements.extend(wire.match_expressions.unwrap_or_default());
        Ok(Self::new(requirements))
    }
}

impl Serialize for LabelSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.nothing {
            return serializer.serialize_none();
        }
        let mut wire = Wire::default();
        for requirement in &self.requirements {
            match (requirement.operator, &requirement.values[..]) {
                (Operator::In, [value]) => {
                    wire.match_labels.get_or_insert_default().insert(requirement.key.clone(), value.clone());
                }
                _ => wire.match_expressions.get_or_insert_default().push(requirement.clone()),
            }
        }
        wire.serialize(serializer)
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms() {
        for (input, canonical) in [
            ("", ""),
            ("a=b", "a=b"),
            ("b == c , a", "a,b=c"),
            ("a!=b", "a!=b"),
            ("a in (y, x)", "a in (x,y)"),
            ("a in (x)", "a=x"),
            ("a notin (x,y),!b", "a notin (x,y),!b"),
            ("a in (,x)", "a in (,x)"),
            ("a=", "a="),
            ("a>1,b<2", "a>1,b<2"),
            ("example.com/in in (in)", "example.com/in=in"),
        ] {
            assert_eq!(LabelSelector::parse(input).unwrap().to_string(), canonical, "for {input:?}");
        }
    }

    #[test]
    fn refusals_are_upstreams() {
        for (input, message) in [
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b,", "found '', expected: identifier after ','"),
            ("=b", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in x", "unable to parse requirement: found 'x' expected: '('"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ] {
            assert_eq!(LabelSelector::parse(input).unwrap_err().message, message);
        }
        assert!(LabelSelector::parse("a=b/c").unwrap_err().message.contains("a valid label must be an empty string"));
    }

    #[test]
    fn matching() {
        let labels = [("app", "web"), ("n", "5")];
        for (selector, expected) in [
            ("app", true),
            ("!app", false),
            ("app in (web,db)", true),
            ("app notin (web)", false),
            ("missing notin (x)", true),
            ("missing!=x", true),
            ("n>4,n<6", true),
            ("n>5", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), expected, "{selector}");
        }
        assert!(!LabelSelector::nothing().matches(&labels));
        assert!(LabelSelector::everything().matches(&labels));
    }

    #[test]
    fn objects_and_strings_agree() {
        let json = r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"Exists"}]}"#;
        let selector: LabelSelector = serde_json::from_str(json).unwrap();
        assert_eq!(selector.to_string(), "a=b,c");
        assert_eq!(serde_json::to_string(&selector).unwrap(), json);
        assert!(!serde_json::from_str::<LabelSelector>("null").unwrap().matches(&[("a", "b")]));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_stable(text in "[ab/.!=<>(), innot]{0,40}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let again = LabelSelector::parse(&selector.to_string()).unwrap();
                prop_assert_eq!(again.to_string(), selector.to_string());
            }
        }
    }
}
