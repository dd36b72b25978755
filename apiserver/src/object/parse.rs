//! Parsing JSON and YAML, noticing what is said twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::duplicates::repeated_keys;
use super::{syntax, tell};

/// A document and the fields that occur more than once in it; the last one counts.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The document.
    pub value: Value,
    /// What is to be said of the fields.
    pub duplicates: Vec<String>,
}

/// Parses JSON.
///
/// # Errors
/// What is wrong, in the words of Go's parser where they are known.
pub fn json(bytes: &[u8]) -> Result<Parsed, String> {
    let mut duplicates = Vec::new();
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let seed = Node { place: None, duplicates: &mut duplicates };
    let parsed = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    let value = parsed.map_err(|error| go_words(&error, bytes))?;
    Ok(Parsed { value, duplicates: duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect() })
}

/// Parses YAML, of which JSON is a part.
///
/// # Errors
/// What is wrong.
pub fn yaml(bytes: &[u8]) -> Result<Parsed, String> {
    let mut duplicates = Vec::new();
    let seed = Node { place: None, duplicates: &mut duplicates };
    let parser = serde_yaml_ng::Deserializer::from_slice(bytes);
    let value = seed.deserialize(parser).map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))?;
    let mut told = Vec::new();
    if !duplicates.is_empty() {
        told = std::str::from_utf8(bytes).map(repeated_keys).unwrap_or_default();
    }
    if told.is_empty() {
        told = duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    }
    Ok(Parsed { value, duplicates: told })
}

/// What Go's decoder calls such a value.
pub(crate) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_words(error: &serde_json::Error, bytes: &[u8]) -> String {
    syntax::error(bytes).unwrap_or_else(|| error.to_string())
}

struct Node<'a> {
    place: Option<&'a Place<'a>>,
    duplicates: &'a mut Vec<String>,
}

/// Where in a document a value is. It is written out only when it is told: there may be very many values below a very
/// long name.
struct Place<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

enum Step<'a> {
    Field(&'a str),
    Element(usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Element(at) => write!(f, "[{at}]"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let place = Place { parent: self.place, step: Step::Element(list.len()) };
            match seq.next_element_seed(Node { place: Some(&place), duplicates: self.duplicates })? {
                Some(value) => list.push(value),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let place = Place { parent: self.place, step: Step::Field(&key) };
            let value = access.next_value_seed(Node { place: Some(&place), duplicates: self.duplicates })?;
            if map.contains_key(&key) {
                tell(self.duplicates, || place.to_string());
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_noticed_and_the_last_counts() {
        let parsed = json(br#"{"a":{"b":1,"b":2},"l":[{"x":1,"x":1}]}"#).unwrap();
        assert_eq!(parsed.value["a"]["b"], 2);
        assert_eq!(parsed.duplicates, ["duplicate field \"a.b\"", "duplicate field \"l[0].x\""]);
        assert_eq!(yaml(b"a:\n  b: 1\n  b: 2\n").unwrap().duplicates, ["line 3: key \"b\" already set in map"]);
        assert_eq!(yaml(b"a: {b: 1, b: 2}").unwrap().duplicates, ["duplicate field \"a.b\""]);
        assert_eq!(yaml(b"a:\n  b: 1\n  c: [x, true, 1.5, null]\n").unwrap().value["a"]["c"][1], true);
    }

    #[test]
    fn faults_are_told_as_go_tells_them() {
        assert_eq!(json(b"{\"a\":").unwrap_err(), "unexpected end of JSON input");
        assert_eq!(json(b"{\"a\":x}").unwrap_err(), "invalid character 'x' looking for beginning of value");
    }
    /// Written out, the paths of all these keys and elements would be some hundred GB.
    #[test]
    fn names_cost_once_however_much_is_below_them() {
        let (name, many) = ("x".repeat(1 << 20), 200_000);
        let text = format!(r#"{{"{name}": {{"l": [{}1], {}"a": 1}}}}"#, "1,".repeat(many), r#""a": 1, "#.repeat(many));
        let parsed = json(text.as_bytes()).unwrap();
        assert_eq!(parsed.duplicates, [format!("duplicate field \"{name}.a\"")]);
        assert_eq!(parsed.value[&name]["l"].as_array().map(Vec::len), Some(many + 1));
        let text = format!(
            r#"{{"a": {{{}"z": 1}}}}"#,
            (0..many).map(|n| format!(r#""{n}": 1, "{n}": 1, "#)).collect::<String>()
        );
        assert_eq!(json(text.as_bytes()).unwrap().duplicates.len(), 100);
    }
}
