//! What upstream says of a strategic merge patch that leaves an object with a value of a wrong type. It makes its object of a map
//! there and decodes no JSON, so its words are others than those of its decoder. Pure.
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/runtime/converter.go` of Kubernetes.

use std::collections::BTreeMap;

use kubewright_api::schema::{Shape, Type};
use serde_json::Value;

/// The first value that is not of its type; `None` if upstream's words are its decoder's.
#[must_use]
pub fn fault(ty: &'static Type, value: &Value) -> Option<String> {
    let Some(fields) = value.as_object() else { return Some(format!("cannot restore struct from: {}", kind(value))) };
    fields.iter().find_map(|(name, value)| ty.field(name).and_then(|field| fault_in(&field.shape, value)))
}

fn fault_in(shape: &'static Shape, value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match (shape, value) {
        (Shape::Object(_), value) => shape.as_type().and_then(|ty| fault(ty, value)),
        (Shape::Map(inner), Value::Object(map)) => map.values().find_map(|value| fault_in(inner, value)),
        (Shape::Map(_), value) => Some(format!("cannot restore map from {}", kind(value))),
        (Shape::Array(inner), Value::Array(list)) => list.iter().find_map(|value| fault_in(inner, value)),
        (Shape::Array(_), value) => Some(format!("cannot restore slice from {}", kind(value))),
        (Shape::Bytes, value) if !value.is_string() => Some(format!("cannot restore slice from {}", kind(value))),
        (Shape::String | Shape::Boolean | Shape::Int32 | Shape::Int64 | Shape::Number, value) => scalar(shape, value),
        _ => None,
    }
}

fn scalar(shape: &Shape, value: &Value) -> Option<String> {
    let fits = match shape {
        Shape::String => value.is_string(),
        Shape::Boolean => value.is_boolean(),
        Shape::Number => value.is_number(),
        _ => value.is_i64() || value.as_f64().is_some_and(|number| number.trunc() == number),
    };
    if fits {
        return None;
    }
    let to = shape.go_name();
    // Go turns numbers into one another and whole numbers into strings, and only then refuses them.
    let converts = match shape {
        Shape::String => value.is_i64(),
        Shape::Boolean => false,
        _ => value.is_number(),
    };
    Some(if converts { format!("cannot convert {} to {to}", kind(value)) } else { format!("unrecognized type: {to}") })
}

/// What Go calls such a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// A value as Go prints it.
#[must_use]
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let pairs: Vec<String> =
                sorted.into_iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kubewright_api::schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_types_read_as_upstream_reads_them() {
        let ty = schema::of_kind("apps", "v1", "Deployment").unwrap();
        for (value, expected) in [
            (json!({"metadata": {"labels": "x"}}), Some("cannot restore map from string")),
            (json!({"metadata": {"finalizers": {}}}), Some("cannot restore slice from map")),
            (json!({"metadata": true}), Some("cannot restore struct from: bool")),
            (json!({"metadata": {"labels": {"a": 1}}}), Some("cannot convert int64 to string")),
            (json!({"metadata": {"labels": {"a": 1.5}}}), Some("unrecognized type: string")),
            (json!({"spec": {"replicas": "x"}}), Some("unrecognized type: int32")),
            (json!({"spec": {"replicas": 1.5}}), Some("cannot convert float64 to int32")),
            (json!({"spec": {"paused": 0}}), Some("unrecognized type: bool")),
            (json!({"spec": {"replicas": null, "paused": true}, "unknown": 1}), None),
        ] {
            assert_eq!(fault(ty, &value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn maps_are_printed_by_key() {
        let value = json!({"b": [1, "x", null], "a": {"c": true, "d": 1.5}});
        assert_eq!(printed(&value), "map[a:map[c:true d:1.5] b:[1 x <nil>]]");
    }
}
