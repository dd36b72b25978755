//! Parsing JSON and YAML, noticing what is said twice.

use std::fmt;

use kubewright_api::field::Path;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::duplicates::repeated_keys;
use super::syntax;

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
    let seed = Node { path: &Path::root(), duplicates: &mut duplicates };
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
    let seed = Node { path: &Path::root(), duplicates: &mut duplicates };
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
    path: &'a Path,
    duplicates: &'a mut Vec<String>,
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
            let path = self.path.index(list.len());
            match seq.next_element_seed(Node { path: &path, duplicates: self.duplicates })? {
                Some(value) => list.push(value),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = self.path.child(&key);
            let value = access.next_value_seed(Node { path: &path, duplicates: self.duplicates })?;
            if map.insert(key, value).is_some() {
                self.duplicates.push(path.to_string());
            }
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
}
