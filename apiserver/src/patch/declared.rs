//! Whether what a manager applies is of its type: upstream merges it by the schema, and so takes nothing that the schema lacks,
//! whatever the request says of unknown fields. Pure.

use kubewright_api::schema::{Shape, Topology, Type};
use serde_json::Value;

use super::fields::Step;
use super::typed::Keys;

/// What of the configuration isn't of that type, in upstream's words.
#[must_use]
pub fn faults(ty: &'static Type, config: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    object(ty, config, &mut String::new(), &mut faults);
    faults
}

fn object(ty: &'static Type, value: &Value, path: &mut String, faults: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        return faults.push(format!("{path}: expected map, got &{{{}}}", held(value)));
    };
    for (name, value) in fields {
        let length = path.len();
        path.push('.');
        path.push_str(name);
        match ty.field(name) {
            Some(field) => shape(&field.shape, field.topology, value, path, faults),
            None => faults.push(format!("{path}: field not declared in schema")),
        }
        path.truncate(length);
    }
}

fn shape(of: &'static Shape, topology: Topology, value: &Value, path: &mut String, faults: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let length = path.len();
    match (of, value) {
        (Shape::Object(_), value) => {
            if let Some(ty) = of.as_type() {
                object(ty, value, path, faults);
            }
        }
        (Shape::Map(inner), Value::Object(map)) => {
            for (key, value) in map {
                path.push('.');
                path.push_str(key);
                shape(inner, Topology::Granular, value, path, faults);
                path.truncate(length);
            }
        }
        (Shape::Map(_), value) => faults.push(format!("{path}: expected map, got &{{{}}}", held(value))),
        (Shape::Array(inner), Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                match topology {
                    Topology::ListMap(keys) if value.is_object() => {
                        Step::key(value, Keys::BuiltIn(keys)).write_path(path)
                    }
                    Topology::ListSet => Step::value(value).write_path(path),
                    _ => path.push_str(&format!("[{index}]")),
                }
                shape(inner, Topology::Granular, value, path, faults);
                path.truncate(length);
            }
        }
        (Shape::Array(_), value) => faults.push(format!("{path}: expected list, got &{{{}}}", held(value))),
        (of, value) => {
            let (fits, wanted) = match of {
                Shape::String | Shape::Bytes | Shape::Time | Shape::MicroTime => (value.is_string(), "string"),
                Shape::Boolean => (value.is_boolean(), "boolean"),
                Shape::Int32 | Shape::Int64 | Shape::Number => (value.is_number(), "numeric (int or float)"),
                _ => (true, ""),
            };
            if !fits {
                let held = literal(value);
                faults.push(format!("{path}: expected {wanted}, got &value.valueUnstructured{{Value:{held}}}"));
            }
        }
    }
}

/// A value as Go prints it.
fn held(value: &Value) -> String {
    super::restore::printed(value)
}

/// A value as Go writes it in its source.
fn literal(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key:?}:{}", literal(value))).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
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
    fn faults_name_the_place_as_upstream_does() {
        let ty = schema::of_kind("", "v1", "Pod").unwrap();
        for (config, expected) in [
            (json!({"metadata": []}), ".metadata: expected map, got &{[]}"),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
            ),
            (
                json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": "x"}]}]}}),
                ".spec.containers[name=\"c\"].ports[containerPort=\"x\",protocol=\"TCP\"].containerPort: expected numeric (int or \
                 float), got &value.valueUnstructured{Value:\"x\"}",
            ),
            (json!({"spec": {"containers": "x"}}), ".spec.containers: expected list, got &{x}"),
            (json!({"spec": {"bar": 1}}), ".spec.bar: field not declared in schema"),
        ] {
            assert_eq!(faults(ty, &config), [expected]);
        }
        assert!(faults(ty, &json!({"metadata": {"name": "a", "creationTimestamp": null}})).is_empty());
    }
}
