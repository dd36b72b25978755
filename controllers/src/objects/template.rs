//! Pod templates: kept as compact canonical JSON, compared as text, parsed only when a pod is made from one.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Labels;

/// A pod template. Two templates are equal if they mean the same, however they were written: keys are sorted and
/// `null`s dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Arc<str>);

impl Default for Template {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl Template {
    /// The template that this JSON holds.
    #[must_use]
    pub fn new(mut value: Value) -> Self {
        drop_nulls(&mut value);
        Self(value.to_string().into())
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // The text was written by `new` from a value, so that it always parses.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Its canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> Labels {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Outer {
            metadata: Inner,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Inner {
            labels: Labels,
        }
        serde_json::from_str::<Outer>(&self.0).unwrap_or_default().metadata.labels
    }

    /// The same template with that label set.
    #[must_use]
    pub fn with_label(&self, key: &str, text: &str) -> Self {
        let mut value = self.to_value();
        value["metadata"]["labels"][key] = json!(text);
        Self::new(value)
    }

    /// The same template without that label.
    #[must_use]
    pub fn without_label(&self, key: &str) -> Self {
        if !self.0.contains(key) {
            return self.clone();
        }
        let mut value = self.to_value();
        if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(key);
        }
        Self::new(value)
    }

    /// The pod specification's field of that name.
    #[must_use]
    pub fn spec_field(&self, field: &str) -> Value {
        self.to_value()["spec"][field].take()
    }

    /// The start of a pod made from it: its metadata's labels, annotations and finalizers, and its specification.
    #[must_use]
    pub fn to_pod(&self) -> Value {
        let mut template = self.to_value();
        let mut metadata = Map::new();
        for field in ["labels", "annotations", "finalizers"] {
            match template["metadata"][field].take() {
                Value::Null => {}
                value => _ = metadata.insert(field.to_owned(), value),
            }
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"].take()})
    }
}

/// Drops `null` members and the empty maps of metadata, which mean the same as their absence.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(drop_nulls);
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|_, member| !member.as_object().is_some_and(Map::is_empty));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

/// A short hash of a text that is safe in names and labels: ten letters and digits at most, no vowels.
///
/// It is FNV-1a over the text and, if two texts collided before, over the number of collisions.
#[must_use]
pub fn template_hash(text: &str, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(text.as_bytes());
    if let Some(count) = collisions {
        feed(&count.to_le_bytes());
    }
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_equal_if_they_mean_the_same() {
        let a = Template::new(
            json!({"metadata": {"creationTimestamp": null, "labels": {"a": "b"}}, "spec": {"x": 1, "a": null}}),
        );
        let b = Template::new(json!({"spec": {"x": 1}, "metadata": {"labels": {"a": "b"}, "annotations": {}}}));
        assert_eq!(a, b);
        assert_eq!(a.with_label("k", "v").without_label("k"), a);
        assert_eq!(a.labels().get("a"), Some("b"));
    }

    #[test]
    fn hashes_are_stable_and_depend_on_collisions() {
        assert_eq!(template_hash("{}", None), template_hash("{}", None));
        assert_ne!(template_hash("{}", None), template_hash("{}", Some(1)));
        assert_ne!(template_hash("{}", Some(2)), template_hash("{}", Some(1)));
        assert!(template_hash("{}", None).len() <= 10);
    }
}
