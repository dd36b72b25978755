//! Bringing an object into its schema's form: unknown fields dropped, defaults filled in.

use kubewright_api::field::Path;
use kubewright_api::schema;
use serde_json::{Map, Value};

use super::structural::Structural;
use crate::object::{schema as check, tell};

/// The fields of every object, whatever its schema.
const TYPE_META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops the fields that the schema doesn't know, and lists them.
pub(crate) fn prune(object: &mut Value, schema: &Structural, unknown: &mut Vec<String>) {
    prune_value(object, schema, true, &Path::root(), unknown);
}

/// The same for a value that is a part of an object.
pub(super) fn prune_part(value: &mut Value, schema: &Structural, unknown: &mut Vec<String>) {
    prune_value(value, schema, false, &Path::root(), unknown);
}

fn prune_value(value: &mut Value, schema: &Structural, resource: bool, path: &Path, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let resource = resource || schema.embedded;
            let mut dropped = Vec::new();
            for (name, value) in fields.iter_mut() {
                if resource && TYPE_META.contains(&name.as_str()) {
                    continue;
                }
                match schema.field(name) {
                    Some(inner) => prune_value(value, inner, false, &path.child(name), unknown),
                    None if schema.preserves => {}
                    None => dropped.push(name.clone()),
                }
            }
            for name in dropped {
                tell(unknown, || path.child(&name).to_string());
                fields.remove(&name);
            }
        }
        Value::Array(list) => {
            let nothing = Structural::default();
            let items = match schema.items.as_deref() {
                Some(items) => items,
                None if schema.preserves => return,
                None => &nothing,
            };
            for (at, value) in list.iter_mut().enumerate() {
                prune_value(value, items, false, &path.index(at), unknown);
            }
        }
        _ => {}
    }
}

/// Brings the metadata of the object, and of those embedded in it, into form.
///
/// # Errors
/// A value of a wrong type, in the words of Go's decoder.
pub(crate) fn coerce_metadata(
    object: &mut Value,
    schema: &Structural,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    coerce(object, schema, true, &Path::root(), unknown)
}

fn coerce(
    value: &mut Value,
    schema: &Structural,
    resource: bool,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            let resource = resource || schema.embedded;
            if resource
                && let Some(metadata) = fields.get_mut("metadata")
                && let Some(ty) = schema::of_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
            {
                let mut dropped = Vec::new();
                check::normalize(ty, metadata, &mut dropped)?;
                let metadata_path = path.child("metadata");
                for name in dropped {
                    tell(unknown, || metadata_path.child(&name).to_string());
                }
            }
            for (name, value) in fields.iter_mut() {
                if !(resource && name == "metadata")
                    && let Some(inner) = schema.field(name)
                {
                    coerce(value, inner, false, &path.child(name), unknown)?;
                }
            }
            Ok(())
        }
        Value::Array(list) => {
            let Some(items) = schema.items.as_deref() else { return Ok(()) };
            list.iter_mut()
                .enumerate()
                .try_for_each(|(at, value)| coerce(value, items, false, &path.index(at), unknown))
        }
        _ => Ok(()),
    }
}

/// Fills in defaults, and drops nulls where the schema doesn't allow any.
pub(crate) fn default(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(fields) => default_fields(fields, schema),
        Value::Array(list) => {
            let Some(items) = schema.items.as_deref() else { return };
            for value in list {
                if value.is_null()
                    && !items.nullable
                    && let Some(default) = &items.default
                {
                    *value = default.clone();
                }
                default(value, items);
            }
        }
        _ => {}
    }
}

fn default_fields(fields: &mut Map<String, Value>, schema: &Structural) {
    for (name, property) in &schema.properties {
        let missing = fields.get(name).is_none_or(|value| value.is_null() && !property.nullable);
        match &property.default {
            Some(default) if missing => drop(fields.insert(name.clone(), default.clone())),
            _ => {}
        }
    }
    fields.retain(|name, value| {
        let Some(inner) = schema.field(name) else { return true };
        if value.is_null() && !inner.nullable && !inner.preserves {
            match (&inner.default, schema.properties.contains_key(name)) {
                (Some(default), false) => *value = default.clone(),
                _ if !inner.kind.is_empty() || inner.int_or_string => return false,
                _ => {}
            }
        }
        default(value, inner);
        true
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Structural {
        Structural::read(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer", "default": 3},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "mode": {"type": "string", "default": "x"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "none": {"type": "string", "nullable": true},
        }}}}))
    }

    #[test]
    fn unknown_fields_go_and_are_named() {
        let mut object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "extra": 1, "spec": {
            "size": 1, "other": 1, "free": {"any": 1, "known": {"a": "b", "c": 1}},
            "list": [{"name": "a", "x": 1}], "map": {"k": "v"}}});
        let mut unknown = Vec::new();
        prune(&mut object, &schema(), &mut unknown);
        unknown.sort();
        assert_eq!(unknown, ["extra", "spec.free.known.c", "spec.list[0].x", "spec.other"]);
        assert_eq!(object["spec"]["free"], json!({"any": 1, "known": {"a": "b"}}));
    }

    #[test]
    fn defaults_come_in_and_nulls_go() {
        let mut object = json!({"spec": {"size": null, "list": [{"name": "a"}], "map": null, "none": null}});
        default(&mut object, &schema());
        assert_eq!(object, json!({"spec": {"size": 3, "list": [{"name": "a", "mode": "x"}], "none": null}}));
        let mut bare = json!({});
        default(&mut bare, &schema());
        assert_eq!(bare, json!({}), "defaults fill in what is there, and make no objects of their own");
    }
}
