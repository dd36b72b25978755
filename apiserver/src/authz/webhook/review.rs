//! The `SubjectAccessReview` of a request, and what the answer to one means.

use kubewright_api::selector::{FieldSelector, LabelSelector, Operator};
use serde_json::{Map, Value, json};

use crate::authz::{Attributes, Decision};

/// The `spec` of the review that asks for this, in version `v1`.
pub(crate) fn spec_of(a: &Attributes) -> Value {
    let mut spec = Map::new();
    let mut put = |field: &str, value: Value| {
        spec.insert(field.to_owned(), value);
    };
    if a.is_resource_request {
        put("resourceAttributes", resource(a));
    } else {
        put("nonResourceAttributes", texts([("path", &a.path), ("verb", &a.verb)]));
    }
    for (field, value) in [("user", &a.user.name), ("uid", &a.user.uid)] {
        if !value.is_empty() {
            put(field, value.as_str().into());
        }
    }
    if !a.user.groups.is_empty() {
        put("groups", json!(a.user.groups));
    }
    if !a.user.extra.is_empty() {
        put("extra", json!(a.user.extra));
    }
    Value::Object(spec)
}

/// Those of the fields that are not empty.
fn texts<'a>(fields: impl IntoIterator<Item = (&'a str, &'a String)>) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(field, value)| (field.to_owned(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

fn resource(a: &Attributes) -> Value {
    let mut resource = texts([
        ("namespace", &a.namespace),
        ("verb", &a.verb),
        ("group", &a.group),
        ("version", &a.version),
        ("resource", &a.resource),
        ("subresource", &a.subresource),
        ("name", &a.name),
    ]);
    for (field, requirements) in [("fieldSelector", of_fields(a)), ("labelSelector", of_labels(a))] {
        if !requirements.is_empty() {
            resource[field] = json!({"requirements": requirements});
        }
    }
    resource
}

/// What can't be parsed narrows nothing: the question is then about more, never less.
fn of_fields(a: &Attributes) -> Vec<Value> {
    let parsed = FieldSelector::parse(&a.field_selector).unwrap_or_default();
    let requirement = |r: &kubewright_api::selector::FieldRequirement| json!({"key": r.field, "operator": if r.equal { "In" } else { "NotIn" }, "values": [r.value]});
    parsed.requirements.iter().map(requirement).collect()
}

fn of_labels(a: &Attributes) -> Vec<Value> {
    let Ok(parsed) = LabelSelector::parse(&a.label_selector) else { return Vec::new() };
    let mut requirements = Vec::new();
    for requirement in parsed.requirements() {
        let operator = match requirement.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            Operator::Gt | Operator::Lt => continue,
        };
        let mut written = json!({"key": requirement.key, "operator": operator});
        if !requirement.values.is_empty() {
            written["values"] = json!(requirement.values);
        }
        requirements.push(written);
    }
    requirements
}

/// The spec as that version names its fields: `v1beta1` has `group` for `groups`.
pub(super) fn in_version(mut spec: Value, v1beta1: bool) -> Value {
    if v1beta1
        && let Some(fields) = spec.as_object_mut()
        && let Some(groups) = fields.remove("groups")
    {
        fields.insert("group".into(), groups);
    }
    spec
}

/// The decision in a review's status.
pub(super) fn read(status: &Value) -> Decision {
    let reason = status["reason"].as_str().unwrap_or_default().to_owned();
    match (status["allowed"] == true, status["denied"] == true) {
        // Also if it says both.
        (_, true) => Decision::Deny(reason),
        (true, false) => Decision::Allow(reason),
        (false, false) => Decision::NoOpinion(reason),
    }
}
