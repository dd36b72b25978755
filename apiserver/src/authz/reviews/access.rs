//! What a review of access asks. Pure.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::{Value, json};

use super::{selectors, text};
use crate::authz::Attributes;
use crate::request::User;

/// What is wrong with a review of that kind, in upstream's words and order.
pub(super) fn validate(kind: &str, review: &Value) -> FieldErrors {
    let (spec, at) = (&review["spec"], Path::new("spec"));
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (at_resource, at_path) = (at.child("resourceAttributes"), at.child("nonResourceAttributes"));
    let mut faults = FieldErrors::new();
    if resource.is_object() && path.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        faults.push(FieldError::invalid(&at_path, shown(path), why));
    }
    if !resource.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        faults.push(FieldError::invalid(&at_resource, Value::Null, why));
    }
    let names_nobody = text(&spec["user"]).is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    if kind != "SelfSubjectAccessReview" && names_nobody {
        faults.push(FieldError::invalid(&at.child("user"), "", "at least one of user or group must be specified"));
    }
    faults.extend(selectors::check(resource, &at_resource));
    let is_local = kind == "LocalSubjectAccessReview";
    let metadata = review["metadata"].as_object();
    let of_its_own = |key: &str| key != "managedFields" && !(is_local && key == "namespace");
    if metadata.is_some_and(|metadata| metadata.iter().any(|(key, value)| of_its_own(key) && !is_empty(value))) {
        let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
        faults.push(FieldError::invalid(&Path::new("metadata"), review["metadata"].clone(), why));
    }
    if is_local && resource.is_object() && text(&resource["namespace"]) != text(&review["metadata"]["namespace"]) {
        let field = at_resource.child("namespace");
        faults.push(FieldError::invalid(&field, text(&resource["namespace"]), "must match metadata.namespace"));
    }
    if is_local && path.is_object() {
        faults.push(FieldError::invalid(&at_path, shown(path), "disallowed on this kind of request"));
    }
    faults
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Attributes as upstream shows its own form of them.
fn shown(path: &Value) -> Value {
    json!({"Path": text(&path["path"]), "Verb": text(&path["verb"])})
}

/// Whom a review is about.
pub(super) fn user_of(spec: &Value) -> User {
    User {
        name: text(&spec["user"]),
        uid: text(&spec["uid"]),
        groups: serde_json::from_value(spec["groups"].clone()).unwrap_or_default(),
        extra: serde_json::from_value(spec["extra"].clone()).unwrap_or_default(),
    }
}

/// What a review asks, and what of it can't be understood and is not asked.
pub(super) fn attributes_of(user: User, spec: &Value) -> (Attributes, Vec<String>) {
    let path = &spec["nonResourceAttributes"];
    if path.is_object() {
        let (verb, path) = (text(&path["verb"]), text(&path["path"]));
        return (Attributes { user, verb, path, ..Attributes::default() }, Vec::new());
    }
    let asked = &spec["resourceAttributes"];
    let (field_selector, fields_ignored) = selectors::of_fields(&asked["fieldSelector"]);
    let (label_selector, labels_ignored) = selectors::of_labels(&asked["labelSelector"]);
    let mut ignored = Vec::new();
    for (name, how, left) in
        [("fieldSelector", fields_ignored, &field_selector), ("labelSelector", labels_ignored, &label_selector)]
    {
        if how {
            let how = if left.is_empty() { "ignored" } else { "partially ignored" };
            ignored.push(format!("spec.resourceAttributes.{name} {how} due to parse error"));
        }
    }
    let attributes = Attributes {
        user,
        verb: text(&asked["verb"]),
        group: text(&asked["group"]),
        // Whoever names no version means all of them.
        version: Some(text(&asked["version"])).filter(|version| !version.is_empty()).unwrap_or_else(|| "*".to_owned()),
        namespace: text(&asked["namespace"]),
        resource: text(&asked["resource"]),
        subresource: text(&asked["subresource"]),
        name: text(&asked["name"]),
        is_resource_request: true,
        path: String::new(),
        label_selector,
        field_selector,
    };
    (attributes, ignored)
}
