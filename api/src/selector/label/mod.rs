//! Label selectors: `app=web,tier in (front,edge),!canary`, or `matchLabels` with `matchExpressions`.

mod query;
mod requirement;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::requirement::{Operator, Requirement};
use super::{Labels, ParseError};

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
        Ok(Self::new(query::requirements(text)?))
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

#[cfg(test)]
mod tests;
