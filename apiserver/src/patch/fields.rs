//! Sets of fields, as `metadata.managedFields` holds them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::typed::{Keys, Merges, Typed};

/// A step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// A field of an object or a key of a map.
    Field(String),
    /// An element of a list of objects, by the values of its keys, as JSON.
    Key(String),
    /// An element of a set, as JSON.
    Value(String),
}

impl Step {
    /// The step to an element of a list of objects.
    pub(super) fn key(element: &Value, keys: Keys<'_>) -> Self {
        Self::Key(Value::Object(keys.of(element).into_iter().collect()).to_string())
    }

    pub(super) fn value(element: &Value) -> Self {
        Self::Value(element.to_string())
    }

    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(json) => format!("k:{json}"),
            Self::Value(json) => format!("v:{json}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let canonical = || serde_json::from_str::<Value>(rest).ok().map(|value| value.to_string());
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => canonical().map(Self::Key),
            "v" => canonical().map(Self::Value),
            _ => None,
        }
    }

    pub(super) fn write_path(&self, path: &mut String) {
        match self {
            Self::Field(name) => {
                path.push('.');
                path.push_str(name);
            }
            Self::Key(json) => {
                let pairs: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
                let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
                // Writing into a string can't fail.
                let _ = write!(path, "[{}]", pairs.join(","));
            }
            Self::Value(json) => {
                let _ = write!(path, "[={json}]");
            }
        }
    }
}

/// A set of fields: a tree in which any node may be a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    pub(super) here: bool,
    pub(super) below: BTreeMap<Step, Self>,
}

impl FieldSet {
    /// A set of the one field that it stands for.
    pub(super) fn leaf() -> Self {
        Self { here: true, below: BTreeMap::new() }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.here && self.below.is_empty()
    }

    /// Every field that a value sets.
    pub(super) fn of(value: &Value, typed: Typed<'_>) -> Self {
        let mut set = Self::default();
        match (typed.merges(value), value) {
            (Merges::ByField, Value::Object(fields)) if !fields.is_empty() => {
                for (name, value) in fields {
                    let mut field = Self::of(value, typed.field(name));
                    // A value of a map is owned as an element of a list is.
                    field.here |= !typed.names(name);
                    set.below.insert(Step::Field(name.clone()), field);
                }
            }
            (Merges::ByKeys(keys), Value::Array(elements)) if !elements.is_empty() => {
                for element in elements {
                    let mut item = Self::of(element, typed.element());
                    item.here = true;
                    set.below.insert(Step::key(element, keys), item);
                }
            }
            (Merges::ByValue, Value::Array(elements)) if !elements.is_empty() => {
                set.below.extend(elements.iter().map(|element| (Step::value(element), Self::leaf())));
            }
            _ => set.here = true,
        }
        set
    }

    /// Adds every field and element that holds a member.
    fn add_holders(&mut self) {
        self.here = true;
        self.below.values_mut().for_each(Self::add_holders);
    }

    /// Reads `fieldsV1`; what isn't understood is left out.
    #[must_use]
    pub fn decode(fields: &Value) -> Self {
        let Some(entries) = fields.as_object() else { return Self::default() };
        let mut set = Self { here: entries.is_empty(), below: BTreeMap::new() };
        for (text, below) in entries {
            if text == "." {
                set.here = true;
            } else if let Some(step) = Step::decode(text) {
                set.below.insert(step, Self::decode(below));
            }
        }
        set
    }

    /// As `fieldsV1`.
    #[must_use]
    pub fn encode(&self) -> Value {
        let mut entries: Map<String, Value> =
            self.below.iter().map(|(step, set)| (step.encode(), set.encode())).collect();
        if self.here && !entries.is_empty() {
            entries.insert(".".into(), Value::Object(Map::new()));
        }
        Value::Object(entries)
    }

    /// Adds another set.
    pub(super) fn add(&mut self, other: &Self) {
        self.here |= other.here;
        for (step, set) in &other.below {
            self.below.entry(step.clone()).or_default().add(set);
        }
    }

    /// Takes another set's members out.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.here &= !other.here;
        self.below.retain(|step, set| {
            if let Some(other) = other.below.get(step) {
                set.subtract(other);
            }
            !set.is_empty()
        });
    }

    /// What both have.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let both = self.below.iter().filter_map(|(step, set)| {
            let common = set.intersection(other.below.get(step)?);
            (!common.is_empty()).then(|| (step.clone(), common))
        });
        Self { here: self.here && other.here, below: both.collect() }
    }

    /// Keeps or drops what lies below the field of that path.
    pub(super) fn remove(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let step = Step::Field((*first).to_owned());
        if rest.is_empty() {
            self.below.remove(&step);
        } else if let Some(set) = self.below.get_mut(&step) {
            set.remove(rest);
            if set.is_empty() {
                self.below.remove(&step);
            }
        }
    }

    /// The set below that step.
    pub(super) fn at(&self, step: &Step) -> Option<&Self> {
        self.below.get(step)
    }

    /// The members as paths, such as `.spec.containers[name="a"].image`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.here {
            paths.push(path.clone());
        }
        for (step, set) in &self.below {
            let length = path.len();
            step.write_path(path);
            set.collect(path, paths);
            path.truncate(length);
        }
    }
}

/// What differs between two states of an object.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Fields that came or changed.
    pub(super) set: FieldSet,
    /// Fields that went.
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Compares two states.
    pub(super) fn of(old: Option<&Value>, new: Option<&Value>, typed: Typed<'_>) -> Self {
        match (old, new) {
            _ if old == new => Self::default(),
            (Some(Value::Null), Some(new)) => Self::of_both(&nothing_like(new), new, typed),
            (Some(old), Some(Value::Null)) => Self::of_both(old, &nothing_like(old), typed),
            (Some(old), Some(new)) => Self::of_both(old, new, typed),
            (None, Some(new)) if !new.is_null() => Self { set: Self::whole(new, typed), removed: FieldSet::default() },
            (Some(old), None) if !old.is_null() => Self { set: FieldSet::default(), removed: Self::whole(old, typed) },
            _ => Self::default(),
        }
    }

    /// All of a value that came or went: whatever holds something counts too, as upstream counts it.
    fn whole(value: &Value, typed: Typed<'_>) -> FieldSet {
        let mut set = FieldSet::of(value, typed);
        set.add_holders();
        set
    }

    fn of_both(old: &Value, new: &Value, typed: Typed<'_>) -> Self {
        let mut result = Self::default();
        match (typed.merges(new), old, new) {
            (Merges::ByField, Value::Object(old), Value::Object(new)) => {
                for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
                    let missing = typed.is_part(name).then_some(&Value::Null);
                    let below = Self::of(old.get(name).or(missing), new.get(name).or(missing), typed.field(name));
                    result.insert(Step::Field(name.clone()), below);
                }
            }
            (Merges::ByKeys(keys), Value::Array(old), Value::Array(new)) => {
                result.compare_elements(old, new, |element| Step::key(element, keys), typed);
            }
            (Merges::ByValue, Value::Array(old), Value::Array(new)) => {
                result.compare_elements(old, new, Step::value, typed);
            }
            _ => result.set = FieldSet::leaf(),
        }
        result
    }

    fn compare_elements(&mut self, old: &[Value], new: &[Value], step: impl Fn(&Value) -> Step, typed: Typed<'_>) {
        let by_step = |list: &'_ [Value]| -> BTreeMap<Step, usize> {
            list.iter().enumerate().map(|(at, element)| (step(element), at)).collect()
        };
        let (before, after) = (by_step(old), by_step(new));
        for step in before.keys().chain(after.keys().filter(|step| !before.contains_key(*step))) {
            let (was, is) = (before.get(step).map(|at| &old[*at]), after.get(step).map(|at| &new[*at]));
            let mut below = Self::of(was, is, typed.element());
            below.set.here |= was.is_none();
            below.removed.here |= is.is_none();
            self.insert(step.clone(), below);
        }
    }

    fn insert(&mut self, step: Step, below: Self) {
        if !below.set.is_empty() {
            self.set.below.insert(step.clone(), below.set);
        }
        if !below.removed.is_empty() {
            self.removed.below.insert(step, below.removed);
        }
    }
}

/// A value of the same kind with nothing in it.
fn nothing_like(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use kubewright_api::schema;
    use serde_json::json;

    use crate::object::typed::Schema;

    use super::*;

    fn pod() -> Schema {
        schema::of_kind("", "v1", "Pod").into()
    }

    #[test]
    fn fields_are_written_as_upstream_writes_them() {
        let object = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["x"]},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}});
        let set = FieldSet::of(&object, Typed::root(&pod()));
        let expected = json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}},
        });
        assert_eq!(set.encode(), expected);
        assert_eq!(FieldSet::decode(&expected), set);
        assert!(set.paths().contains(&".spec.containers[name=\"c\"].image".to_owned()));
    }

    #[test]
    fn comparisons_find_what_came_changed_and_went() {
        let old = json!({"spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}});
        let new = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [{"name": "c", "image": "j"}]}});
        let comparison = Comparison::of(Some(&old), Some(&new), Typed::root(&pod()));
        assert_eq!(
            comparison.set.paths(),
            [".metadata.labels", ".metadata.labels.x", ".spec.containers[name=\"c\"].image"]
        );
        assert_eq!(
            comparison.removed.paths(),
            [
                ".spec.containers[name=\"d\"]",
                ".spec.containers[name=\"d\"].image",
                ".spec.containers[name=\"d\"].name",
                ".spec.nodeName"
            ]
        );
    }
}
