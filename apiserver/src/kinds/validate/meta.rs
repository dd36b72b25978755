//! Rules for the metadata that every object has. The registry calls these for every kind.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

/// The rules for a new object's metadata. `name_rule` is the kind's rule for names.
#[must_use]
pub fn object_meta(object: &Value, namespaced: bool, name_rule: fn(&str) -> Vec<String>) -> FieldErrors {
    let path = Path::new("metadata");
    let meta = &object["metadata"];
    let mut errors = FieldErrors::new();
    match meta["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(&path.child("name"), "name or generateName is required")),
        name => errors
            .extend(name_rule(name).into_iter().map(|fault| FieldError::invalid(&path.child("name"), name, fault))),
    }
    if namespaced && meta["namespace"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(&path.child("namespace"), ""));
    }
    errors
}

/// The rules for a change of an object's metadata.
#[must_use]
pub fn object_meta_update(object: &Value, old: &Value) -> FieldErrors {
    let path = Path::new("metadata");
    let mut errors = FieldErrors::new();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if object["metadata"][field] != old["metadata"][field] {
            let value = object["metadata"][field].clone();
            errors.push(FieldError::invalid(&path.child(field), value, "field is immutable"));
        }
    }
    errors
}
