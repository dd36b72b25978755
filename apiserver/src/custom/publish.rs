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

const PRESERVES: &str = "x-kubernetes-preserve-unknown-fields";

/// The schema of a resource's objects: what the definition says, and the metadata of every object.
pub(crate) fn publish(schema: &Value, group: &str, version: &str, kind: &str, openapi: Openapi) -> Value {
    let mut published = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
    if openapi == Openapi::V2 && is_true(&published, PRESERVES) {
        // Older clients take what has properties for complete, and would refuse all others.
        published = json!({"type": "object"});
    } else {
        if openapi == Openapi::V2 {
            simplify(&mut published);
        }
        if let Value::Object(every) = type_and_metadata(openapi) {
            for (name, property) in every {
                published["properties"][name] = property;
            }
        }
        embed(&mut published["properties"], openapi);
    }
    published["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
    published
}

fn is_true(schema: &Value, field: &str) -> bool {
    schema[field] == true
}

/// What every object has.
fn type_and_metadata(openapi: Openapi) -> Value {
    let name = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let metadata = match openapi {
        Openapi::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Openapi::V3 => json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]}),
    };
    json!({"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata})
}

/// Whole objects within objects have what every object has.
fn embed(properties: &mut Value, openapi: Openapi) {
    for schema in properties.as_object_mut().into_iter().flat_map(Map::values_mut) {
        embed_in(schema, openapi);
    }
}

fn embed_in(schema: &mut Value, openapi: Openapi) {
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(properties) = fields.get_mut("properties") {
        embed(properties, openapi);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            embed_in(inner, openapi);
        }
    }
    if !is_true(schema, "x-kubernetes-embedded-resource") || (openapi == Openapi::V2 && is_true(schema, PRESERVES)) {
        return;
    }
    if let Value::Object(whole) = type_and_metadata(openapi) {
        for (name, property) in whole {
            schema["properties"][name] = property;
        }
    }
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in ["kind", "apiVersion"].map(Value::from) {
        if !required.contains(&name) {
            required.push(name);
        }
    }
    schema["required"] = required.into();
}

fn simplify(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let is = |fields: &Map<String, Value>, name: &str| fields.get(name) == Some(&Value::Bool(true));
    let nullable = |schema: &Value| is_true(schema, "nullable");
    let (optional, preserves) = (is(fields, "nullable"), is(fields, PRESERVES));
    for name in V3_ONLY {
        fields.remove(name);
    }
    // Older clients hold objects against this, and know of no exceptions to a type.
    if optional || preserves {
        fields.remove("items");
        fields.remove("properties");
    }
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let any = optional
        || is(fields, "x-kubernetes-int-or-string")
        || (preserves && kind == "object")
        || (kind == "array" && !fields.contains_key("items"));
    if any {
        fields.remove("type");
    }
    if fields.get("additionalProperties").is_some_and(nullable) {
        fields.remove("required");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        let optional: Vec<Value> =
            properties.iter().filter(|(_, schema)| nullable(schema)).map(|(name, _)| name.clone().into()).collect();
        properties.values_mut().for_each(simplify);
        if let Some(Value::Array(required)) = fields.get_mut("required") {
            required.retain(|name| !optional.contains(name));
            if required.is_empty() {
                fields.remove("required");
            }
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            simplify(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(schema: &Value) -> Value {
        publish(schema, "g", "v1", "K", Openapi::V2)
    }

    #[test]
    fn a_schema_that_keeps_everything_is_published_without_properties() {
        let keeps = json!({"type": "object", PRESERVES: true, "description": "d", "properties": {"a": {}}});
        let published = v2(&keeps);
        assert_eq!((&published["type"], published.as_object().unwrap().len()), (&json!("object"), 2));
        assert_eq!(publish(&keeps, "g", "v1", "K", Openapi::V3)["description"], "d");
    }

    #[test]
    fn what_version_2_cannot_say_is_left_out() {
        let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}}},
            "b": {"type": "array", PRESERVES: true, "items": {"type": "string"}},
            "c": {"type": "object", PRESERVES: true, "properties": {"x": {"type": "string"}}},
            "d": {"anyOf": [{"type": "integer"}], "type": "integer", "default": 1},
        }});
        let published = v2(&schema);
        assert_eq!(published["required"], json!(["b"]));
        let properties = &published["properties"];
        assert_eq!(properties["a"], json!({}));
        assert_eq!(properties["b"], json!({PRESERVES: true}));
        assert_eq!(properties["c"], json!({PRESERVES: true}));
        assert_eq!(properties["d"], json!({"type": "integer"}));
        assert!(properties["metadata"]["$ref"].is_string());
    }

    #[test]
    fn whole_objects_within_objects_have_types_and_metadata() {
        let schema = json!({"type": "object", "properties": {"template": {"type": "object",
            "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}});
        let published = publish(&schema, "g", "v1", "K", Openapi::V3);
        let template = &published["properties"]["template"];
        assert!(template["properties"]["metadata"]["allOf"].is_array());
        assert_eq!(template["required"], json!(["kind", "apiVersion"]));
    }
}
