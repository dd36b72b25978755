//! Holding a document against its type: unknown fields, wrong types, and the one way to write a value.

use kubewright_api::field::Path;
use kubewright_api::quantity::Quantity;
use kubewright_api::schema::{Shape, Type};
use serde_json::Value;

use super::parse::go_kind;
use super::tell;

/// Brings a document into its type's form: drops unknown fields (and lists them), drops nulls and empty optional
/// lists, writes quantities and times in their one way.
///
/// # Errors
/// The first value of a wrong type, in the words of Go's decoder.
pub fn normalize(ty: &'static Type, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), String> {
    let mut walk = Walk { unknown };
    walk.object(ty, value, &Path::root(), &At { owner: ty.short_name(), field: "" })
}

/// The same for a value of some shape at some path below an object.
struct Walk<'a> {
    unknown: &'a mut Vec<String>,
}

/// How Go names a place: the struct and the dotted path.
struct At<'a> {
    owner: &'a str,
    field: &'a str,
}

impl Walk<'_> {
    fn object(&mut self, ty: &'static Type, value: &mut Value, path: &Path, at: &At<'_>) -> Result<(), String> {
        let Value::Object(fields) = value else {
            return Err(mismatch(value, at, &go_path(ty)));
        };
        let mut dropped = Vec::new();
        for (name, value) in fields.iter_mut() {
            let Some(field) = ty.field(name) else {
                tell(self.unknown, || path.child(name).to_string());
                dropped.push(name.clone());
                continue;
            };
            if value.is_null() && field.shape != Shape::Opaque {
                dropped.push(name.clone());
                continue;
            }
            let dotted = if at.field.is_empty() { name.clone() } else { format!("{}.{name}", at.field) };
            let below = At { owner: ty.short_name(), field: &dotted };
            self.value(&field.shape, value, &path.child(name), &below)?;
            let empty = match value {
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty() && matches!(field.shape, Shape::Map(_)),
                _ => false,
            };
            if empty && !field.required {
                dropped.push(name.clone());
            }
        }
        for name in dropped {
            fields.remove(&name);
        }
        Ok(())
    }

    fn value(&mut self, shape: &'static Shape, value: &mut Value, path: &Path, at: &At<'_>) -> Result<(), String> {
        match shape {
            Shape::Object(_) => {
                // Every object shape names a type of the table.
                let Some(ty) = shape.as_type() else { return Ok(()) };
                self.object(ty, value, path, at)
            }
            Shape::Array(inner) => match value {
                Value::Array(list) => {
                    for (index, value) in list.iter_mut().enumerate() {
                        if !value.is_null() {
                            self.value(inner, value, &path.index(index), at)?;
                        }
                    }
                    Ok(())
                }
                value => Err(mismatch(value, at, &go_type(shape))),
            },
            Shape::Map(inner) => match value {
                Value::Object(map) => {
                    for (key, value) in map.iter_mut() {
                        if value.is_null() {
                            *value = empty(inner);
                        }
                        if value.is_null() {
                            continue;
                        }
                        self.value(inner, value, &path.key(key), at)?;
                    }
                    Ok(())
                }
                value => Err(mismatch(value, at, &go_type(shape))),
            },
            shape => scalar(shape, value, at),
        }
    }
}

fn empty(shape: &Shape) -> Value {
    match shape {
        Shape::Object(_) | Shape::Map(_) => Value::Object(serde_json::Map::new()),
        Shape::Array(_) => Value::Array(Vec::new()),
        Shape::String | Shape::Bytes => "".into(),
        _ => Value::Null,
    }
}

fn scalar(shape: &'static Shape, value: &mut Value, at: &At<'_>) -> Result<(), String> {
    let fits = match shape {
        Shape::String => value.is_string(),
        Shape::Bytes => return bytes(value, at),
        Shape::Int32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Shape::Int64 => value.as_i64().is_some(),
        Shape::Number => value.is_number(),
        Shape::Boolean => value.is_boolean(),
        Shape::IntOrString => value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Shape::Quantity => return quantity(value),
        Shape::Time | Shape::MicroTime => return time(shape, value, at),
        _ => true,
    };
    if fits { Ok(()) } else { Err(mismatch(value, at, &go_type(shape))) }
}

fn bytes(value: &Value, at: &At<'_>) -> Result<(), String> {
    use base64::Engine;
    let Some(text) = value.as_str() else { return Err(mismatch(value, at, "[]uint8")) };
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(_) => Ok(()),
        Err(base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _)) => {
            Err(format!("illegal base64 data at input byte {offset}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
    }
}

fn quantity(value: &mut Value) -> Result<(), String> {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let pattern = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
    let parsed: Quantity =
        text.trim().parse().map_err(|_| format!("quantities must match the regular expression '{pattern}'"))?;
    *value = parsed.to_string().into();
    Ok(())
}

fn time(shape: &Shape, value: &mut Value, at: &At<'_>) -> Result<(), String> {
    let Some(text) = value.as_str() else { return Err(mismatch(value, at, "string")) };
    let layout = if *shape == Shape::Time { "2006-01-02T15:04:05Z07:00" } else { "2006-01-02T15:04:05.000000Z07:00" };
    let parsed: jiff::Timestamp =
        text.parse().map_err(|_| format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))?;
    let canonical = match shape {
        Shape::Time => crate::environment::time(parsed),
        _ => crate::environment::micro_time(parsed),
    };
    if canonical != text {
        *value = canonical.into();
    }
    Ok(())
}

fn mismatch(value: &Value, at: &At<'_>, go_type: &str) -> String {
    let found = match value {
        Value::Number(number) if go_type.starts_with("int") => format!("number {number}"),
        value => go_kind(value).to_owned(),
    };
    if at.field.is_empty() {
        return format!("json: cannot unmarshal {found} into Go value of type {go_type}");
    }
    format!("json: cannot unmarshal {found} into Go struct field {}.{} of type {go_type}", at.owner, at.field)
}

/// A type as Go writes it: package and name.
fn go_path(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let name = parts.next().unwrap_or_default();
    format!("{}.{name}", parts.next().unwrap_or_default())
}

fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::Array(inner) => format!("[]{}", go_type(inner)),
        Shape::Map(inner) => format!("map[string]{}", go_type(inner)),
        Shape::Object(_) => shape.as_type().map(go_path).unwrap_or_default(),
        shape => shape.go_name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubewright_api::schema;
    use serde_json::json;

    fn deployment(mut value: Value) -> Result<(Value, Vec<String>), String> {
        let mut unknown = Vec::new();
        normalize(schema::of_kind("apps", "v1", "Deployment").unwrap(), &mut value, &mut unknown)?;
        Ok((value, unknown))
    }

    #[test]
    fn wrong_types_read_as_in_go() {
        for (value, message) in [
            (
                json!({ "spec": { "replicas": "3" } }),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({ "metadata": { "labels": { "a": 1 } } }),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({ "metadata": { "labels": [] } }),
                "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (json!([]), "json: cannot unmarshal array into Go value of type v1.Deployment"),
        ] {
            assert_eq!(deployment(value).unwrap_err(), message);
        }
    }

    #[test]
    fn values_are_written_in_their_one_way() {
        let (value, unknown) = deployment(json!({
            "metadata": { "labels": {}, "creationTimestamp": "2026-01-02T03:04:05+01:00", "annotations": null },
            "foo": 1,
            "spec": { "template": { "spec": {
                "bar": 1, "nodeSelector": null, "volumes": [{ "name": "v", "emptyDir": {} }],
                "containers": [{ "resources": { "requests": { "cpu": "1000m", "memory": 5 } } }],
            } } },
        }))
        .unwrap();
        assert_eq!(value["metadata"], json!({ "creationTimestamp": "2026-01-02T02:04:05Z" }));
        let spec = &value["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["resources"]["requests"], json!({ "cpu": "1", "memory": "5" }));
        assert_eq!(spec["volumes"][0], json!({ "name": "v", "emptyDir": {} }));
        assert_eq!(unknown, ["foo", "spec.template.spec.bar"]);
    }
}
