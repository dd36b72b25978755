//! Holding an object against its schema.

use std::collections::{HashMap, HashSet};

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::{Number, Value};

use super::formats;
use super::structural::{Checks, ListType, Structural};

/// Finds what of an object its schema forbids. What an update leaves as it was is not held against it.
pub(crate) fn validate(object: &Value, old: Option<&Value>, schema: &Structural, errors: &mut FieldErrors) {
    Walk { errors }.value(object, old, schema, &Path::root(), true);
}

struct Walk<'e> {
    errors: &'e mut FieldErrors,
}

/// The path as messages begin with it.
fn named(path: &Path) -> String {
    let text = path.to_string();
    if text == "<nil>" { String::new() } else { text }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

impl Walk<'_> {
    fn invalid(&mut self, path: &Path, value: impl Into<Value>, message: String) {
        self.errors.push(FieldError::invalid(path, value, message));
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, schema: &Structural, path: &Path, root: bool) {
        if value.is_null() && (schema.nullable || (schema.kind.is_empty() && !schema.int_or_string)) {
            return;
        }
        // What was accepted before stays accepted as long as nobody touches it.
        if !root && old == Some(value) {
            return;
        }
        if !self.right_type(value, schema, path) {
            return;
        }
        self.checks(value, old, &schema.checks, path);
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    if (root || schema.embedded) && matches!(name.as_str(), "apiVersion" | "kind") {
                        continue;
                    }
                    let before = old.and_then(|old| old.get(name));
                    if let Some(property) = schema.properties.get(name) {
                        self.value(inner, before, property, &path.child(name), false);
                    } else if let Some(additional) = &schema.additional {
                        self.value(inner, before, additional, &path.child(name), false);
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = &schema.items {
                    let before = Before::of(old, &schema.list);
                    for (at, inner) in list.iter().enumerate() {
                        let before = before.as_ref().and_then(|before| before.element(inner, at));
                        self.value(inner, before, items, &path.index(at), false);
                    }
                }
                self.unique(list, &schema.list, path);
            }
            _ => {}
        }
    }

    fn right_type(&mut self, value: &Value, schema: &Structural, path: &Path) -> bool {
        let actual = type_name(value);
        let wanted = if schema.int_or_string { "integer,string" } else { schema.kind.as_str() };
        let fits = wanted.is_empty()
            || wanted.split(',').any(|wanted| wanted == actual || (wanted == "number" && actual == "integer"));
        if !fits {
            let name = named(path);
            let wanted = if schema.int_or_string { "[integer string]" } else { wanted };
            let message = format!("{name} in body must be of type {wanted}: \"{actual}\"");
            self.errors.push(FieldError::type_invalid(path, actual, message));
        }
        fits
    }

    fn checks(&mut self, value: &Value, old: Option<&Value>, checks: &Checks, path: &Path) {
        let name = named(path);
        if let Some(choices) = &checks.choices
            && !choices.contains(value)
        {
            let supported: Vec<String> = choices
                .iter()
                .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned))
                .collect();
            let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
            self.errors.push(FieldError::not_supported(path, value.clone(), &supported));
        }
        match value {
            Value::Number(number) => self.number(number, checks, path, &name),
            Value::String(text) => self.text(text, checks, path, &name),
            Value::Array(list) => {
                let count = list.len() as u64;
                if let Some(max) = checks.max_items.filter(|max| count > *max) {
                    self.errors.push(FieldError::too_many(
                        path,
                        list.len(),
                        usize::try_from(max).unwrap_or(usize::MAX),
                    ));
                }
                if let Some(min) = checks.min_items.filter(|min| count < *min) {
                    self.invalid(path, count, format!("{name} in body should have at least {min} items"));
                }
            }
            Value::Object(fields) => {
                for required in checks.required.iter().filter(|required| !fields.contains_key(*required)) {
                    self.errors.push(FieldError::required(&path.child(required), ""));
                }
                let count = fields.len() as u64;
                if let Some(max) = checks.max_properties.filter(|max| count > *max) {
                    let max = usize::try_from(max).unwrap_or(usize::MAX);
                    self.errors.push(FieldError::too_many(path, fields.len(), max));
                }
                if let Some(min) = checks.min_properties.filter(|min| count < *min) {
                    self.invalid(path, count, format!("{name} in body should have at least {min} properties"));
                }
            }
            _ => {}
        }
        self.combinations(value, old, checks, path, &name);
    }

    fn number(&mut self, number: &Number, checks: &Checks, path: &Path, name: &str) {
        let value = number.as_f64().unwrap_or(f64::NAN);
        let given = Value::Number(number.clone());
        if let Some(max) = checks.maximum {
            let over = if checks.exclusive_maximum { value >= max } else { value > max };
            let words = if checks.exclusive_maximum { "less than" } else { "less than or equal to" };
            if over {
                self.invalid(path, given.clone(), format!("{name} in body should be {words} {max}"));
            }
        }
        if let Some(min) = checks.minimum {
            let under = if checks.exclusive_minimum { value <= min } else { value < min };
            let words = if checks.exclusive_minimum { "greater than" } else { "greater than or equal to" };
            if under {
                self.invalid(path, given.clone(), format!("{name} in body should be {words} {min}"));
            }
        }
        if let Some(factor) = checks.multiple_of.filter(|factor| *factor != 0.0)
            && !is_multiple(value, factor)
        {
            self.invalid(path, given.clone(), format!("{name} in body should be a multiple of {factor}"));
        }
        let fits = match checks.format.as_str() {
            "int32" => number.as_f64().is_some_and(|value| (-2_147_483_648.0..2_147_483_648.0).contains(&value)),
            "int64" => number.is_i64() || !number.is_u64(),
            _ => true,
        };
        if !fits {
            let format = &checks.format;
            self.invalid(path, given, format!("Checked value must be of type integer with format {format}"));
        }
    }

    fn text(&mut self, text: &str, checks: &Checks, path: &Path, name: &str) {
        let length = text.chars().count() as u64;
        if let Some(max) = checks.max_length.filter(|max| length > *max) {
            self.errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
        }
        if let Some(min) = checks.min_length.filter(|min| length < *min) {
            self.invalid(path, text, format!("{name} in body should be at least {min} chars long"));
        }
        if let Some((pattern, Some(regex))) = &checks.pattern
            && !regex.is_match(text)
        {
            self.invalid(path, text, format!("{name} in body should match '{pattern}'"));
        }
        if !checks.format.is_empty() && !formats::fits(&checks.format, text) {
            let message = format!("{name} in body must be of type {}: {text:?}", checks.format);
            self.errors.push(FieldError::type_invalid(path, text, message));
        }
    }

    fn combinations(&mut self, value: &Value, old: Option<&Value>, checks: &Checks, path: &Path, name: &str) {
        for schema in &checks.all_of {
            let before = self.errors.len();
            Walk { errors: self.errors }.value(value, old.filter(|old| *old != value), schema, path, true);
            if self.errors.len() > before {
                self.invalid(path, "", format!("{name:?} must validate all the schemas (allOf)"));
            }
        }
        let fitting = |schemas: &[Structural]| schemas.iter().filter(|schema| accepts(value, schema)).count();
        if !checks.any_of.is_empty() && fitting(&checks.any_of) == 0 {
            self.invalid(path, "", format!("{name:?} must validate at least one schema (anyOf)"));
        }
        if !checks.one_of.is_empty() {
            match fitting(&checks.one_of) {
                1 => {}
                0 => {
                    let message = format!("{name:?} must validate one and only one schema (oneOf). Found none valid");
                    self.invalid(path, "", message);
                }
                found => {
                    let message = format!(
                        "{name:?} must validate one and only one schema (oneOf). Found {found} valid alternatives"
                    );
                    self.invalid(path, "", message);
                }
            }
        }
        if checks.not.as_ref().is_some_and(|schema| accepts(value, schema)) {
            self.invalid(path, "", format!("{name:?} must not validate the schema (not)"));
        }
    }

    /// Sets and maps have no element twice.
    fn unique(&mut self, list: &[Value], kind: &ListType, path: &Path) {
        let keys: Vec<Value> = match kind {
            ListType::Atomic => return,
            ListType::Set => list.to_vec(),
            ListType::Map(keys) => list.iter().map(|element| key_of(element, keys)).collect(),
        };
        let mut seen = HashSet::new();
        for (at, key) in keys.into_iter().enumerate() {
            if !seen.insert(key.to_string()) {
                self.errors.push(FieldError::duplicate(&path.index(at), key));
            }
        }
    }
}

/// Whether a quotient is a whole number, but for what is lost in the arithmetic.
fn is_multiple(value: f64, factor: f64) -> bool {
    let quotient = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
    let whole = quotient.round();
    (quotient - whole).abs() <= 1e-9 * whole.abs()
}

fn accepts(value: &Value, schema: &Structural) -> bool {
    let mut errors = FieldErrors::new();
    Walk { errors: &mut errors }.value(value, None, schema, &Path::root(), true);
    errors.is_empty()
}

fn key_of(element: &Value, keys: &[String]) -> Value {
    Value::Object(keys.iter().filter_map(|key| Some((key.clone(), element.get(key)?.clone()))).collect())
}

/// What the elements of a list were before: of a map those with the same keys, of a set the same elements. Found by an
/// index: looking through the old list for each new element would take a time that grows with the square of their length.
pub(super) struct Before<'o> {
    list: &'o [Value],
    /// Of maps and sets: the places of elements by what identifies them.
    places: HashMap<String, usize>,
    kind: &'o ListType,
}

impl<'o> Before<'o> {
    /// `None` if there was no list.
    pub(super) fn of(old: Option<&'o Value>, kind: &'o ListType) -> Option<Self> {
        let list = old?.as_array()?;
        let mut places = HashMap::new();
        if !matches!(kind, ListType::Atomic) {
            for (at, element) in list.iter().enumerate() {
                places.entry(identity(element, kind)).or_insert(at);
            }
        }
        Some(Self { list, places, kind })
    }

    /// What the element at that place was.
    pub(super) fn element(&self, element: &Value, at: usize) -> Option<&'o Value> {
        match self.kind {
            ListType::Atomic => self.list.get(at).filter(|other| *other == element),
            kind => self.list.get(*self.places.get(&identity(element, kind))?),
        }
    }
}

fn identity(element: &Value, kind: &ListType) -> String {
    match kind {
        ListType::Map(keys) => key_of(element, keys).to_string(),
        ListType::Set | ListType::Atomic => element.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(schema: Value, object: Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        let schema = Structural::read(&json!({"type": "object", "properties": {"spec": schema}}));
        validate(&json!({"spec": object}), None, &schema, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_read_as_upstreams() {
        for (schema, value, expected) in [
            (
                json!({"type": "integer"}),
                json!("a"),
                "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "integer", "maximum": 10}),
                json!(11),
                "spec: Invalid value: 11: spec in body should be less than or equal to 10",
            ),
            (
                json!({"type": "string", "pattern": "^a+$"}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should match '^a+$'",
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
            (
                json!({"type": "string", "minLength": 2}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should be at least 2 chars long",
            ),
            (
                json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                json!({}),
                "spec: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
                json!(["a", "a"]),
                "spec[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"type": "string", "format": "ipv4"}),
                json!("x"),
                "spec: Invalid value: \"x\": spec in body must be of type ipv4: \"x\"",
            ),
        ] {
            assert_eq!(faults(schema.clone(), value), [expected], "{schema}");
        }
        assert!(faults(json!({"x-kubernetes-int-or-string": true}), json!("5%")).is_empty());
        assert!(faults(json!({"type": "string", "nullable": true}), Value::Null).is_empty());
    }

    #[test]
    fn what_was_accepted_stays_until_it_is_touched() {
        let schema = Structural::read(&json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 2}, "b": {"type": "string", "maxLength": 2}}}));
        let old = json!({"a": "long", "b": "x"});
        let check = |new: Value| {
            let mut errors = FieldErrors::new();
            validate(&new, Some(&old), &schema, &mut errors);
            errors.len()
        };
        assert_eq!((check(json!({"a": "long", "b": "y"})), check(json!({"a": "other", "b": "y"}))), (0, 1));
    }
    #[test]
    fn multiples_of_fractions_are_found() {
        for (value, factor, expected) in [
            (0.3, 0.1, true),
            (0.25, 0.1, false),
            (1e9, 0.01, true),
            (7.0, 2.0, false),
            (-0.7, 0.1, true),
            (0.0, 3.0, true),
            (1e-12, 1.0, false),
        ] {
            assert_eq!(is_multiple(value, factor), expected, "{value} {factor}");
        }
    }

    /// By looking through the old list for each new element this would take minutes.
    #[test]
    fn long_lists_are_compared_at_once() {
        let items = json!({"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}});
        for (kind, element) in [
            (
                json!({"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
                (|n: usize| json!({"k": n.to_string(), "v": 1})) as fn(usize) -> Value,
            ),
            (json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"}), |n| json!(n)),
        ] {
            let schema = Structural::read(&json!({"type": "object", "properties": {"l": kind}}));
            let list = |from: usize, to: usize| json!({"l": (from..to).map(element).collect::<Value>()});
            let mut errors = FieldErrors::new();
            validate(&list(10_000, 60_000), Some(&list(0, 50_000)), &schema, &mut errors);
            assert_eq!(errors, []);
        }
    }
}
