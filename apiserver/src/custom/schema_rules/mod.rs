//! Which schemas a definition may have: structural ones, with defaults that fit and rules that compile and are not too
//! costly.

mod lists;
mod rules;

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::{Value, json};

use self::rules::over_budget;
use crate::custom::jsonpath::JsonPath;
use crate::custom::structural::{Structural, compile, fields};
use crate::custom::{shape, validate};

/// What one rule may be estimated to cost on the largest object that the schema allows.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may.
const TOTAL_COST_MAX: u64 = 100_000_000;
const SELECTABLE_MAX: usize = 8;
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = ["FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired", "FieldValueDuplicate"];

/// Finds what is wrong with the schemas of a definition's versions.
pub(crate) fn check_versions(object: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let empty = Vec::new();
    let versions = object["spec"]["versions"].as_array().unwrap_or(&empty);
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    // As upstream reports it: a schema that all versions share is the definition's own.
    let shared = versions.windows(2).all(|pair| schema(&pair[0]) == schema(&pair[1]));
    for (at, version) in versions.iter().enumerate() {
        let of_version = spec.child("versions").index(at);
        let base = if shared { spec.child("validation") } else { of_version.child("schema") };
        let schema = &version["schema"]["openAPIV3Schema"];
        if (at == 0 || !shared) && schema.is_object() {
            let has_status = version["subresources"].get("status").is_some();
            check_schema(schema, has_status, &base.child("openAPIV3Schema"), errors);
        }
        let fields = &version["selectableFields"];
        let path = if shared { spec.clone() } else { of_version };
        selectable(fields, schema, &path.child("selectableFields"), errors);
    }
}

fn check_schema(schema: &Value, has_status: bool, path: &Path, errors: &mut FieldErrors) {
    if schema["nullable"] == true {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let _ = has_status;
    let before = errors.len();
    let mut walk = Walk { errors, total: 0 };
    walk.node(schema, Level::Root, path);
    if walk.errors.len() > before {
        return;
    }
    let structural = Structural::read(schema);
    walk.defaults(schema, &structural, path);
    walk.rules(&structural, true, Some(1), true, path);
    if walk.total > TOTAL_COST_MAX {
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let message = over_budget(what, walk.total, TOTAL_COST_MAX);
        walk.errors.push(FieldError::forbidden(path, message));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

struct Walk<'e> {
    errors: &'e mut FieldErrors,
    total: u64,
}

fn is_set(schema: &Value, name: &str) -> bool {
    schema.get(name).is_some_and(|value| !value.is_null() && *value != false && *value != "")
}

impl Walk<'_> {
    fn required(&mut self, path: &Path, why: &str) {
        self.errors.push(FieldError::required(path, why));
    }

    fn forbid(&mut self, path: &Path, why: &str) {
        self.errors.push(FieldError::forbidden(path, why));
    }

    fn invalid(&mut self, path: &Path, value: &Value, why: &str) {
        self.errors.push(FieldError::invalid(path, value.clone(), why));
    }

    /// A schema and all below it.
    fn node(&mut self, schema: &Value, level: Level, path: &Path) {
        let kind = schema["type"].as_str().unwrap_or_default();
        self.unsupported(schema, path);
        if !kind.is_empty() && !TYPES.contains(&kind) {
            self.errors.push(FieldError::not_supported(&path.child("type"), kind, &TYPES));
        }
        self.types(schema, kind, level, path);
        self.lists(schema, kind, path);
        self.values(schema, level, path);
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.node(items, Level::Item, &path.child("items"));
        } else if kind == "array" {
            self.required(&path.child("items"), "must be specified");
        }
        for (name, property) in fields(&schema["properties"]) {
            self.node(property, Level::Field, &path.child("properties").key(name));
        }
        if let Some(additional) = schema.get("additionalProperties").filter(|value| !value.is_null()) {
            let at = path.child("additionalProperties");
            if level == Level::Root {
                self.forbid(&at, "must not be used at the root");
            }
            if fields(&schema["properties"]).next().is_some() && *additional != true {
                self.forbid(&at, "additionalProperties and properties are mutual exclusive");
            }
            if additional.is_object() {
                self.node(additional, Level::Field, &at);
            }
        }
        self.rule_texts(schema, path);
    }

    fn unsupported(&mut self, schema: &Value, path: &Path) {
        for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if is_set(schema, name) {
                self.forbid(&path.child(name), &format!("{name} is not supported"));
            }
        }
        if schema["uniqueItems"] == true {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbid(&path.child("uniqueItems"), why);
        }
        if schema["type"] == "null" {
            self.forbid(&path.child("type"), "type cannot be set to null, use nullable as an alternative");
        }
        if schema["items"].is_array() {
            self.forbid(&path.child("items"), "items must be a schema object and not an array");
        }
    }

    fn types(&mut self, schema: &Value, kind: &str, level: Level, path: &Path) {
        let flag = |name: &str| schema[name] == true;
        let embedded = flag("x-kubernetes-embedded-resource");
        let (free, preserves) = (flag("x-kubernetes-int-or-string"), flag("x-kubernetes-preserve-unknown-fields"));
        let at = path.child("type");
        if embedded && kind != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            if kind.is_empty() { self.required(&at, why) } else { self.invalid(&at, &schema["type"], why) }
        } else if kind.is_empty() && !free && !preserves {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.required(&at, why);
        }
        if level == Level::Root && !kind.is_empty() && kind != "object" {
            self.invalid(&at, &schema["type"], "must be object at the root");
        }
        if schema["x-kubernetes-preserve-unknown-fields"] == false {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.invalid(&at, &json!(false), "must be true or undefined");
        }
        if free && preserves {
            let at = path.child("x-kubernetes-preserve-unknown-fields");
            self.invalid(&at, &json!(true), "must be false if x-kubernetes-int-or-string is true");
        }
        if free && !kind.is_empty() {
            self.forbid(&at, "must be empty if x-kubernetes-int-or-string is true");
        }
        if embedded && !preserves && schema["properties"].as_object().is_none_or(serde_json::Map::is_empty) {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            self.required(&path.child("properties"), why);
        }
        if level == Level::Root || embedded {
            self.metadata(schema, level, path);
        }
    }

    fn metadata(&mut self, schema: &Value, level: Level, path: &Path) {
        let properties = path.child("properties");
        for name in ["apiVersion", "kind"] {
            if let Some(property) = schema["properties"].get(name)
                && property["type"] != "string"
            {
                self.invalid(&properties.key(name).child("type"), &property["type"], "must be string");
            }
        }
        let Some(metadata) = schema["properties"].get("metadata") else { return };
        let at = properties.key("metadata");
        if metadata["type"] != "object" {
            self.invalid(&at.child("type"), &metadata["type"], "must be object");
        }
        let only_names =
            fields(&metadata["properties"]).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
        let plain = fields(metadata).all(|(name, _)| matches!(name.as_str(), "type" | "properties" | "description"));
        if level == Level::Root && !(only_names && plain) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbid(&at, why);
        }
    }

    /// Value validations, and those nested in logical junctors, which may not say anything of the structure.
    fn values(&mut self, schema: &Value, level: Level, path: &Path) {
        if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !pattern.is_empty())
            && compile(pattern).is_none()
        {
            let why = "must be a valid regular expression, but isn't: error parsing regexp";
            self.invalid(&path.child("pattern"), &schema["pattern"], why);
        }
        let free = schema["x-kubernetes-int-or-string"] == true;
        let pair = json!([{"type": "integer"}, {"type": "string"}]);
        for junctor in ["allOf", "anyOf", "oneOf"] {
            for (at, nested) in schema[junctor].as_array().into_iter().flatten().enumerate() {
                if free && (schema[junctor] == pair || (junctor == "allOf" && nested["anyOf"] == pair)) {
                    continue;
                }
                self.nested(nested, level, &path.child(junctor).index(at));
            }
        }
        if let Some(nested) = schema.get("not").filter(|nested| nested.is_object()) {
            self.nested(nested, level, &path.child("not"));
        }
    }

    fn nested(&mut self, schema: &Value, level: Level, path: &Path) {
        for (name, empty) in [
            ("type", true),
            ("additionalProperties", false),
            ("default", false),
            ("title", true),
            ("description", true),
        ] {
            if is_set(schema, name) {
                let why = if empty { "must be empty to be structural" } else { "must be undefined to be structural" };
                self.forbid(&path.child(name), why);
            }
        }
        if schema["nullable"] == true {
            self.forbid(&path.child("nullable"), "must be false to be structural");
        }
        for name in
            ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"]
        {
            if schema[name] == true {
                self.forbid(&path.child(name), "must be false to be structural");
            }
        }
        for (name, property) in fields(&schema["properties"]) {
            self.nested(property, Level::Field, &path.child("properties").key(name));
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.nested(items, Level::Item, &path.child("items"));
        }
        self.values(schema, level, path);
    }

    /// Defaults must be what the schema allows.
    fn defaults(&mut self, schema: &Value, structural: &Structural, path: &Path) {
        if let Some(default) = &structural.default {
            let at = path.child("default");
            let mut pruned = default.clone();
            let mut unknown = Vec::new();
            shape::prune_part(&mut pruned, structural, &mut unknown);
            if !unknown.is_empty() {
                self.invalid(&at, default, "must not have unknown fields");
            }
            let mut found = FieldErrors::new();
            let mut filled = default.clone();
            shape::default(&mut filled, structural);
            validate::validate(&filled, None, structural, &mut found);
            for error in found {
                let below = error.path.to_string();
                let at = if below == "<nil>" { at.clone() } else { at.child(&below) };
                let name = below.replace("<nil>", "");
                let detail = error.detail.replacen(&format!("{name} in body"), "default in body", 1);
                self.errors.push(FieldError { path: at, detail, ..error });
            }
        }
        if let Some(items) = &structural.items {
            self.defaults(&schema["items"], items, &path.child("items"));
        }
        if let Some(additional) = &structural.additional {
            self.defaults(&schema["additionalProperties"], additional, &path.child("additionalProperties"));
        }
        for (name, property) in &structural.properties {
            self.defaults(&schema["properties"][name], property, &path.child("properties").key(name));
        }
    }
}

fn selectable(list: &Value, schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let structural = Structural::read(schema);
    let mut seen = Vec::new();
    for (at, field) in list.iter().enumerate() {
        let at = path.index(at).child("jsonPath");
        let text = field["jsonPath"].as_str().unwrap_or_default();
        if text.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let parsed = JsonPath::parse(text).ok().filter(|_| text.starts_with('.'));
        let names = parsed.as_ref().and_then(JsonPath::fields);
        let found = names
            .as_ref()
            .and_then(|names| names.iter().try_fold(&structural, |schema, name| schema.properties.get(*name)));
        match found {
            _ if text.starts_with(".metadata") => {
                errors.push(FieldError::invalid(&at, text, "must not point to fields in metadata"));
            }
            None => errors.push(FieldError::invalid(&at, text, "is an invalid path: does not refer to a valid field")),
            Some(found) if !matches!(found.kind.as_str(), "string" | "boolean" | "integer") => {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                           with formats are allowed.";
                errors.push(FieldError::invalid(&at, text, why));
            }
            Some(_) => {}
        }
        if seen.contains(&text) {
            errors.push(FieldError::duplicate(&at, text));
        }
        seen.push(text);
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(spec: Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        let object = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}});
        let mut errors = FieldErrors::new();
        check_versions(&object, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schemas_that_are_not_structural_are_refused() {
        let at = "spec.validation.openAPIV3Schema.properties[spec]";
        for (schema, expected) in [
            (json!({}), "type: Required value: must not be empty for specified object fields"),
            (json!({"type": "array"}), "items: Required value: must be specified"),
            (json!({"type": "object", "$ref": "x"}), "$ref: Forbidden: $ref is not supported"),
            (
                json!({"type": "object", "anyOf": [{"type": "object"}]}),
                "anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}),
                "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ),
            (
                json!({"type": "integer", "default": "x"}),
                "default: Invalid value: \"string\": default in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "string", "pattern": "("}),
                "pattern: Invalid value: \"(\": must be a valid regular expression",
            ),
        ] {
            let found = faults(schema.clone());
            assert!(found.iter().any(|fault| fault.starts_with(&format!("{at}.{expected}"))), "{schema}: {found:?}");
        }
        assert!(
            faults(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}))
                .is_empty()
        );
    }

    #[test]
    fn rules_must_compile_and_be_cheap() {
        let with = |rule: &str, list: Value| {
            faults(json!({"type": "object", "properties": {"list": list, "n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": rule}]}))
        };
        let list = |max: Value| json!({"type": "array", "maxItems": max, "items": {"type": "string", "maxLength": 64}});
        assert!(with("self.n > 1 && self.list.all(x, x != '')", list(json!(10))).is_empty());
        let unknown = with("self.nope > 1", list(json!(10)));
        assert!(unknown[0].contains("compilation failed: ERROR: <input>:1:5: undefined field 'nope'"), "{unknown:?}");
        let wrong = with("self.n", list(json!(10)));
        assert!(wrong[0].ends_with("cel expression must evaluate to a bool"), "{wrong:?}");
        let costly = with("self.list.all(x, self.list.all(y, x == y))", list(Value::Null));
        assert!(costly[0].contains("estimated rule cost exceeds budget by factor of more than 100x"), "{costly:?}");
    }
}
