//! The schema of a definition as OpenAPI publishes it.

use serde_json::{Map, Value, json};

/// Which OpenAPI it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Openapi {
    /// Version 2, which knows no junctors and no nulls.
    V2,
    /// Version 3.
    V3,
}

/// What version 2 cannot express.
const V3_ONLY: [&str; 6] = ["allOf", "anyOf", "oneOf", "not", "nullable", "default"];

/// The schema of a resource's objects: what the definition says, and the metadata of every object.
pub(crate) fn publish(schema: &Value, group: &str, version: &str, kind: &str, openapi: Openapi) -> Value {
    let mut published = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
    if openapi == Openapi::V2 {
        simplify(&mut published);
    }
    let place = match openapi {
        Openapi::V2 => "#/definitions",
        Openapi::V3 => "#/components/schemas",
    };
    let reference = json!({"$ref": format!("{place}/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")});
    let metadata = if openapi == Openapi::V3 { json!({"allOf": [reference]}) } else { reference };
    if !published["properties"].is_object() {
        published["properties"] = Value::Object(Map::new());
    }
    for name in ["apiVersion", "kind"] {
        let described = &mut published["properties"][name];
        if !described.is_object() {
            *described = json!({"type": "string"});
        }
    }
    published["properties"]["metadata"] = metadata;
    published["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
    published
}

fn simplify(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let nullable = fields.get("nullable") == Some(&Value::Bool(true));
    for name in V3_ONLY {
        fields.remove(name);
    }
    let is = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    // Older clients hold objects against this, and know of no exceptions to a type.
    if nullable || is("x-kubernetes-int-or-string") || is("x-kubernetes-preserve-unknown-fields") {
        let kept = fields.get("type").filter(|kind| *kind == "object" && !nullable).cloned();
        fields.remove("type");
        fields.remove("items");
        fields.remove("properties");
        if let Some(kind) = kept {
            fields.insert("type".into(), kind);
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(simplify);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            simplify(inner);
        }
    }
}
