//! Types as OpenAPI schemas.

use std::collections::BTreeSet;

use kubewright_api::schema::{self, Field, Shape, Topology, Type};
use serde_json::{Map, Value, json};

use super::{Flavor, descriptions};

pub(super) fn reference(name: &str, flavor: Flavor) -> Value {
    let place = match flavor {
        Flavor::V2 => "#/definitions",
        Flavor::V3 => "#/components/schemas",
    };
    json!({"$ref": format!("{place}/{name}")})
}

/// A reference that other things may stand beside: one in version 3 swallows them.
pub(super) fn referred_to(name: &str, flavor: Flavor) -> Value {
    let reference = reference(name, flavor);
    if flavor == Flavor::V2 { reference } else { json!({"allOf": [reference]}) }
}

fn shape(shape: &Shape, flavor: Flavor) -> Value {
    match shape {
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::IntOrString if flavor == Flavor::V2 => json!({"type": "string", "format": "int-or-string"}),
        Shape::IntOrString => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        Shape::Quantity if flavor == Flavor::V2 => json!({"type": "string"}),
        Shape::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Opaque => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Shape::Object(_) => referred_to(shape.as_type().map_or("", |ty| ty.name), flavor),
        Shape::Array(inner) => json!({"type": "array", "items": self::shape(inner, flavor)}),
        Shape::Map(inner) => json!({"type": "object", "additionalProperties": self::shape(inner, flavor)}),
    }
}

fn property(ty: &Type, field: &Field, flavor: Flavor) -> Value {
    let mut value = shape(&field.shape, flavor);
    if let Some(text) = descriptions::of_field(ty.name, field.name).filter(|text| !text.is_empty()) {
        value["description"] = text.into();
    } else if let Some(text) = of_items(ty, field) {
        value["description"] = text.into();
    }
    let is_map = matches!(field.shape, Shape::Object(_) | Shape::Map(_));
    match field.topology {
        Topology::Granular => {}
        Topology::Atomic if is_map => value["x-kubernetes-map-type"] = "atomic".into(),
        Topology::Atomic => value["x-kubernetes-list-type"] = "atomic".into(),
        Topology::ListSet => value["x-kubernetes-list-type"] = "set".into(),
        Topology::ListMap(keys) => {
            value["x-kubernetes-list-type"] = "map".into();
            value["x-kubernetes-list-map-keys"] = json!(keys);
        }
    }
    let strategies: Vec<&str> = [(field.patch.merge, "merge"), (field.patch.retain_keys, "retainKeys")]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect();
    if !strategies.is_empty() {
        value["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if let Some(key) = field.patch.key {
        value["x-kubernetes-patch-merge-key"] = key.into();
    }
    value
}

/// What the objects of a list are; only kinds are described elsewhere.
fn of_items(ty: &Type, field: &Field) -> Option<String> {
    let kind = ty.short_name().strip_suffix("List").filter(|_| field.name == "items")?;
    let (group, version, _) = schema::kinds_of(ty).next()?;
    let resource = kubewright_api::resources::of_kind(group, version, kind)?;
    Some(format!("List of {}", resource.plural))
}

fn type_schema(ty: &Type, flavor: Flavor) -> Value {
    let mut properties = Map::new();
    for field in ty.fields {
        properties.insert(field.name.to_owned(), property(ty, field, flavor));
    }
    let mut value = json!({"type": "object", "properties": properties});
    if let Some(description) = descriptions::of(ty.name).filter(|found| !found.text.is_empty()) {
        value["description"] = description.text.as_str().into();
    }
    let required: Vec<&str> = ty.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    if ty.atomic {
        value["x-kubernetes-map-type"] = "atomic".into();
    }
    let kinds: Vec<Value> = schema::kinds_of(ty)
        .map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind}))
        .collect();
    if !kinds.is_empty() {
        value["x-kubernetes-group-version-kind"] = kinds.into();
    }
    value
}

fn referred(shape: &Shape, into: &mut Vec<&'static str>) {
    match shape {
        Shape::Array(inner) | Shape::Map(inner) => referred(inner, into),
        _ => into.extend(shape.as_type().map(|ty| ty.name)),
    }
}

/// The schemas of these types and of all they are made of.
pub(super) fn closure(wanted: BTreeSet<&'static str>, flavor: Flavor) -> Map<String, Value> {
    let mut pending: Vec<&'static str> = wanted.into_iter().collect();
    let mut schemas = Map::new();
    while let Some(name) = pending.pop() {
        if schemas.contains_key(name) {
            continue;
        }
        let Some(ty) = schema::of_name(name) else { continue };
        schemas.insert(name.to_owned(), type_schema(ty, flavor));
        ty.fields.iter().for_each(|field| referred(&field.shape, &mut pending));
    }
    schemas
}
