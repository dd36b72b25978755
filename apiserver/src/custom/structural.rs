//! Structural schemas: the OpenAPI schema of a custom resource in a form to work with.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// The schema of a value.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`; empty if it says nothing.
    pub(crate) kind: String,
    pub(crate) properties: BTreeMap<String, Self>,
    pub(crate) additional: Option<Box<Self>>,
    pub(crate) items: Option<Box<Self>>,
    pub(crate) default: Option<Value>,
    pub(crate) nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub(crate) preserves: bool,
    /// `x-kubernetes-int-or-string`
    pub(crate) int_or_string: bool,
    /// `x-kubernetes-embedded-resource`
    pub(crate) embedded: bool,
    pub(crate) list: ListType,
    /// `x-kubernetes-map-type: atomic`
    pub(crate) atomic_map: bool,
    pub(crate) checks: Box<Checks>,
    /// `x-kubernetes-validations` as they are written.
    pub(crate) validations: Vec<Value>,
}

/// How a list merges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// Rules for a value beyond its structure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) format: String,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) pattern: Option<(String, Option<Regex>)>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) required: Vec<String>,
    pub(crate) choices: Option<Vec<Value>>,
    pub(crate) all_of: Vec<Structural>,
    pub(crate) any_of: Vec<Structural>,
    pub(crate) one_of: Vec<Structural>,
    pub(crate) not: Option<Structural>,
}

impl Structural {
    /// Reads a schema. What is not understood is left out: whether the schema is allowed is found elsewhere.
    #[must_use]
    pub fn read(schema: &Value) -> Self {
        let flag = |name: &str| schema[name] == true;
        let sub = |name: &str| schema.get(name).filter(|value| value.is_object()).map(Self::read);
        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        Self {
            kind: schema["type"].as_str().unwrap_or_default().to_owned(),
            properties: fields(&schema["properties"]).map(|(name, value)| (name.clone(), Self::read(value))).collect(),
            additional: match schema.get("additionalProperties") {
                Some(Value::Bool(true)) => Some(Box::new(Self { preserves: true, ..Self::default() })),
                Some(value @ Value::Object(_)) => Some(Box::new(Self::read(value))),
                _ => None,
            },
            items: sub("items").map(Box::new),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            nullable: flag("nullable"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            list: match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect()),
                _ => ListType::Atomic,
            },
            atomic_map: schema["x-kubernetes-map-type"] == "atomic",
            checks: Box::new(Checks::read(schema)),
            validations: schema["x-kubernetes-validations"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// The schema that allows anything.
    #[must_use]
    pub fn anything() -> Self {
        Self { kind: "object".into(), preserves: true, ..Self::default() }
    }

    /// Whether it allows anything.
    pub(crate) fn is_anything(&self) -> bool {
        self.preserves && self.properties.is_empty() && self.additional.is_none() && self.items.is_none()
    }

    /// The schema of a field of an object, or of a value of a map.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }
}

pub(super) fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

impl Checks {
    fn read(schema: &Value) -> Self {
        let flag = |name: &str| schema[name] == true;
        let count = |name: &str| schema[name].as_u64();
        let list = |name: &str| schema[name].as_array().into_iter().flatten();
        let subs = |name: &str| list(name).map(Structural::read).collect();
        let pattern = schema["pattern"].as_str().filter(|pattern| !pattern.is_empty());
        Self {
            format: schema["format"].as_str().unwrap_or_default().to_owned(),
            maximum: schema["maximum"].as_f64(),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: schema["minimum"].as_f64(),
            exclusive_minimum: flag("exclusiveMinimum"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: pattern.map(|pattern| (pattern.to_owned(), compile(pattern))),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            multiple_of: schema["multipleOf"].as_f64(),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: list("required").filter_map(Value::as_str).map(str::to_owned).collect(),
            choices: schema["enum"].as_array().cloned(),
            all_of: subs("allOf"),
            any_of: subs("anyOf"),
            one_of: subs("oneOf"),
            not: schema.get("not").filter(|value| value.is_object()).map(Structural::read),
        }
    }
}

/// A pattern of a schema; large ones are refused rather than compiled.
pub(super) fn compile(pattern: &str) -> Option<Regex> {
    regex::RegexBuilder::new(pattern).size_limit(4 << 20).build().ok()
}
