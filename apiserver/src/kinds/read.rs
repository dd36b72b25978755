//! Reading an object with the path of every field at hand, so that a kind's rules read like prose.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::quantity::Quantity;
use serde_json::Value;

use super::same::same;

/// One step of a path.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

/// A field of an object, there or not, and where it is. A `null` counts as absent.
///
/// The path is kept as steps and becomes text only for a fault: most objects have none.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    value: Option<&'a Value>,
    steps: Vec<Step<'a>>,
}

impl<'a> Field<'a> {
    /// The object itself.
    pub(crate) fn of(object: &'a Value) -> Self {
        Self { value: Some(object), steps: Vec::new() }
    }

    /// A field below this.
    pub(crate) fn field(&self, name: &'a str) -> Self {
        let value = self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null());
        self.step(Step::Name(name), value)
    }

    /// The field that a dotted path such as `spec.replicas` names.
    pub(crate) fn at(&self, dotted: &'a str) -> Self {
        dotted.split('.').fold(self.clone(), |field, name| field.field(name))
    }

    /// The same value, said to be below: for the few faults that upstream reports elsewhere than where they are.
    pub(crate) fn as_child(&self, name: &'a str) -> Self {
        self.step(Step::Name(name), self.value)
    }

    /// The same value, said to have another name in its parent.
    pub(crate) fn shown_as(mut self, name: &'a str) -> Self {
        self.steps.pop();
        self.steps.push(Step::Name(name));
        self
    }

    /// The value under a key of this map, with the key in brackets.
    pub(crate) fn key(&self, key: &'a str) -> Self {
        let value = self.value.and_then(|value| value.get(key)).filter(|value| !value.is_null());
        self.step(Step::Key(key), value)
    }

    /// An element of this list.
    pub(crate) fn index(&self, at: usize) -> Self {
        self.step(Step::Index(at), self.value.and_then(|value| value.get(at)))
    }

    fn step(&self, step: Step<'a>, value: Option<&'a Value>) -> Self {
        let mut steps = Vec::with_capacity(self.steps.len() + 1);
        steps.extend_from_slice(&self.steps);
        steps.push(step);
        Self { value, steps }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Path {
        self.steps.iter().fold(Path::root(), |path, step| match step {
            Step::Name(name) => path.child(name),
            Step::Index(at) => path.index(*at),
            Step::Key(key) => path.key(key),
        })
    }

    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&'a Value> {
        self.value
    }

    /// A copy of the value; `null` if there is none.
    pub(crate) fn raw(&self) -> Value {
        self.value.cloned().unwrap_or_default()
    }

    /// Whether it is there.
    pub(crate) fn is_set(&self) -> bool {
        self.value.is_some()
    }

    /// Whether it is absent, or an empty text, list or map.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(entries)) => entries.is_empty(),
            Some(_) => false,
        }
    }

    /// How many elements a list or a map has.
    pub(crate) fn len(&self) -> usize {
        match self.value {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(entries)) => entries.len(),
            _ => 0,
        }
    }

    /// The text; empty if there is none.
    pub(crate) fn text(&self) -> &'a str {
        self.opt_text().unwrap_or_default()
    }

    /// The text as a value; empty if there is none.
    pub(crate) fn key_text(&self) -> Value {
        self.text().into()
    }

    /// The text, if it is there.
    pub(crate) fn opt_text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    /// The whole number; 0 if there is none.
    pub(crate) fn int(&self) -> i64 {
        self.opt_int().unwrap_or_default()
    }

    /// The whole number, if it is there.
    pub(crate) fn opt_int(&self) -> Option<i64> {
        self.value.and_then(Value::as_i64)
    }

    /// The boolean; false if there is none.
    pub(crate) fn flag(&self) -> bool {
        self.opt_flag().unwrap_or_default()
    }

    /// The boolean, if it is there.
    pub(crate) fn opt_flag(&self) -> Option<bool> {
        self.value.and_then(Value::as_bool)
    }

    /// The quantity, if it is there and well formed.
    pub(crate) fn quantity(&self) -> Option<Quantity> {
        match self.value? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// The elements of a list, in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let here = self.clone();
        (0..self.value.and_then(Value::as_array).map_or(0, Vec::len)).map(move |at| here.index(at))
    }

    /// The entries of a map, in the order of their keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let here = self.clone();
        let entries = self.value.and_then(Value::as_object).into_iter().flatten();
        entries.map(move |(key, value)| (key.as_str(), here.step(Step::Key(key), Some(value))))
    }

    /// The texts of a list.
    pub(crate) fn texts(&self) -> Vec<&'a str> {
        self.items().map(|item| item.text()).collect()
    }

    /// Whether a list holds that text.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.value.and_then(Value::as_array).into_iter().flatten().any(|item| item.as_str() == Some(text))
    }
}

/// Faults of a field.
impl Field<'_> {
    /// It must be given.
    pub(crate) fn required(&self, errors: &mut FieldErrors, why: &str) {
        errors.push(FieldError::required(&self.path(), why));
    }

    /// Its value is bad.
    pub(crate) fn invalid(&self, errors: &mut FieldErrors, why: impl Into<String>) {
        errors.push(FieldError::invalid(&self.path(), self.raw(), why));
    }

    /// Its value, read as that one, is bad.
    pub(crate) fn invalid_value(&self, errors: &mut FieldErrors, value: impl Into<Value>, why: impl Into<String>) {
        errors.push(FieldError::invalid(&self.path(), value, why));
    }

    /// It may not be set, or not be changed.
    pub(crate) fn forbidden(&self, errors: &mut FieldErrors, why: impl Into<String>) {
        errors.push(FieldError::forbidden(&self.path(), why));
    }

    /// Its value occurs twice.
    pub(crate) fn duplicate(&self, errors: &mut FieldErrors) {
        errors.push(FieldError::duplicate(&self.path(), self.raw()));
    }

    /// It names something that isn't there.
    pub(crate) fn not_found(&self, errors: &mut FieldErrors) {
        errors.push(FieldError::not_found(&self.path(), self.raw()));
    }

    /// It is longer than so many bytes.
    pub(crate) fn too_long(&self, errors: &mut FieldErrors, bytes_max: usize) {
        errors.push(FieldError::too_long(&self.path(), bytes_max));
    }

    /// Its text, empty if there is none, is none of the allowed.
    pub(crate) fn unsupported_text(&self, errors: &mut FieldErrors, allowed: &[&str]) {
        errors.push(FieldError::not_supported_in_order(&self.path(), self.text(), allowed));
    }

    /// Its value is none of the allowed.
    pub(crate) fn unsupported(&self, errors: &mut FieldErrors, allowed: &[&str]) {
        errors.push(FieldError::not_supported_in_order(&self.path(), self.raw(), allowed));
    }
}

/// Rules for a field.
impl Field<'_> {
    /// It must be there and not be empty; says whether it is.
    pub(crate) fn require(&self, errors: &mut FieldErrors) -> bool {
        let empty = self.is_empty();
        if empty {
            self.required(errors, "");
        }
        !empty
    }

    /// Its text must follow the rule, even if it is empty.
    pub(crate) fn check(&self, errors: &mut FieldErrors, rule: impl Fn(&str) -> Vec<String>) {
        for fault in rule(self.text()) {
            self.invalid_value(errors, self.text(), fault);
        }
    }

    /// Its text must follow the rule, unless it is empty.
    pub(crate) fn check_if_set(&self, errors: &mut FieldErrors, rule: impl Fn(&str) -> Vec<String>) {
        if !self.is_empty() {
            self.check(errors, rule);
        }
    }

    /// It must be there, and its text must follow the rule.
    pub(crate) fn require_and_check(&self, errors: &mut FieldErrors, rule: impl Fn(&str) -> Vec<String>) {
        if self.require(errors) {
            self.check(errors, rule);
        }
    }

    /// It must be one of these.
    pub(crate) fn one_of(&self, errors: &mut FieldErrors, allowed: &[&str]) {
        if self.require(errors) {
            self.one_of_if_set(errors, allowed);
        }
    }

    /// It must be one of these, unless it is absent.
    pub(crate) fn one_of_if_set(&self, errors: &mut FieldErrors, allowed: &[&str]) {
        if self.is_set() && !allowed.contains(&self.text()) {
            self.unsupported(errors, allowed);
        }
    }

    /// It must not be below zero.
    pub(crate) fn not_negative(&self, errors: &mut FieldErrors) {
        if self.int() < 0 {
            self.invalid(errors, "must be greater than or equal to 0");
        }
    }

    /// It must be above zero.
    pub(crate) fn positive(&self, errors: &mut FieldErrors) {
        if self.int() <= 0 {
            self.invalid_value(errors, self.int(), "must be greater than zero");
        }
    }

    /// It must lie between these, both included, if it is there.
    pub(crate) fn within(&self, errors: &mut FieldErrors, low: i64, high: i64) {
        if self.opt_int().is_some_and(|value| value < low || value > high) {
            self.invalid(errors, format!("must be between {low} and {high}, inclusive"));
        }
    }

    /// It must be what it was.
    pub(crate) fn unchanged(&self, errors: &mut FieldErrors, old: &Field<'_>) {
        if !self.same_as(old) {
            self.invalid(errors, "field is immutable");
        }
    }

    /// Whether it means the same as another.
    pub(crate) fn same_as(&self, other: &Field<'_>) -> bool {
        same(self.value, other.value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_say_where() {
        let object = json!({"spec": {"ports": [{"name": "A"}], "selector": {"a/b": null, "c": "d"}}});
        let spec = Field::of(&object).field("spec");
        let mut errors = FieldErrors::new();
        for port in spec.field("ports").items() {
            port.field("name").check(&mut errors, |_| vec!["bad".into()]);
            port.field("protocol").one_of(&mut errors, &["TCP", "UDP"]);
        }
        for (_, value) in spec.field("selector").entries() {
            value.forbidden(&mut errors, "no");
        }
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.ports[0].name: Invalid value: \"A\": bad",
                "spec.ports[0].protocol: Required value",
                "spec.selector[a/b]: Forbidden: no",
                "spec.selector[c]: Forbidden: no",
            ]
        );
    }
}
