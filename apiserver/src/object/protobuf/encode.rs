//! Objects written in protobuf, byte for byte as Kubernetes writes them: every field that is no pointer in Go is there,
//! also when it is zero, and maps are in the order of their keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubewright_api::schema::{self, Shape, Type};
use serde_json::{Map, Value};

use super::wire::{self, Writer};
use super::{Field, MAGIC, ProtobufError, fields_of, schemas, type_of};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// An object with its envelope: what an answer's body is.
///
/// # Errors
/// Its kind has no protobuf encoding.
pub fn encode(object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let inner = match kind {
        "PartialObjectMetadata" if api_version.starts_with("meta.k8s.io/") => metadata_message(object)?,
        "PartialObjectMetadataList" if api_version.starts_with("meta.k8s.io/") => {
            let items = object["items"].as_array().map_or(&[][..], Vec::as_slice);
            let items = items.iter().map(metadata_message).collect::<Result<Vec<_>, _>>()?;
            list_message(&object["metadata"], items.iter().map(Vec::as_slice))?
        }
        _ => message(type_of(api_version, kind)?, object)?,
    };
    Ok(envelope(api_version, kind, &inner))
}

/// An object of that type, without an envelope: as lists hold it.
///
/// # Errors
/// The type, or one within it, has no protobuf encoding.
pub fn message(ty: &'static Type, object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let mut writer = Writer::with_capacity(1024);
    write_message(&mut writer, ty, ty.name, object.as_object())?;
    Ok(writer.into_bytes())
}

/// The metadata of an object alone, as a `PartialObjectMetadata` without an envelope.
///
/// # Errors
/// None, as long as metadata has a protobuf encoding.
pub fn metadata_message(object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let mut writer = Writer::with_capacity(512);
    write_named(&mut writer, 1, OBJECT_META, object.get("metadata"))?;
    Ok(writer.into_bytes())
}

/// A message in its envelope.
#[must_use]
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = envelope_head(api_version, kind, message.len());
    out.reserve(message.len() + LIST_TAIL.len());
    out.extend_from_slice(message);
    out.extend_from_slice(LIST_TAIL);
    out
}

/// An envelope up to a message of that length.
fn envelope_head(api_version: &str, kind: &str, message_bytes: usize) -> Vec<u8> {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    wire::put_bytes(&mut type_meta, 1, api_version.as_bytes());
    wire::put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(type_meta.len() + 24);
    out.extend_from_slice(MAGIC);
    wire::put_bytes(&mut out, 1, &type_meta);
    wire::put_head(&mut out, 2, message_bytes);
    out
}

/// What comes before the items of a list in its envelope, if they take so many bytes as [`item_size`] tells.
///
/// # Errors
/// None, as long as the metadata of lists has a protobuf encoding.
pub fn list_head(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items_bytes: usize,
) -> Result<Vec<u8>, ProtobufError> {
    let mut writer = Writer::default();
    write_named(&mut writer, 1, LIST_META, Some(metadata))?;
    let metadata = writer.into_bytes();
    let mut out = envelope_head(api_version, kind, metadata.len() + items_bytes);
    out.extend_from_slice(&metadata);
    Ok(out)
}

/// What comes after the items of a list: the rest of its envelope.
pub const LIST_TAIL: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// How many bytes an item takes in its list.
#[must_use]
pub const fn item_size(length: usize) -> usize {
    wire::bytes_size(2, length)
}

/// Adds an item of a list.
pub fn put_item(out: &mut Vec<u8>, item: &[u8]) {
    wire::put_bytes(out, 2, item);
}

fn list_message<'a>(metadata: &Value, items: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Vec<u8>, ProtobufError> {
    let mut writer = Writer::default();
    write_named(&mut writer, 1, LIST_META, Some(metadata))?;
    let mut out = writer.into_bytes();
    out.reserve(items.clone().map(|item| wire::bytes_size(2, item.len())).sum());
    for item in items {
        wire::put_bytes(&mut out, 2, item);
    }
    Ok(out)
}

/// An event of a watch in its frame: four bytes of length, then the event around an object in its envelope.
#[must_use]
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let raw = wire::bytes_size(1, object.len());
    let length = wire::bytes_size(1, event.len()) + wire::bytes_size(2, raw);
    let mut out = Vec::with_capacity(length + 4);
    // An object is much smaller than what 32 bits can count.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    wire::put_bytes(&mut out, 1, event.as_bytes());
    wire::put_head(&mut out, 2, raw);
    wire::put_bytes(&mut out, 1, object);
    out
}

/// A field that is a message of that type.
fn write_named(writer: &mut Writer, number: u32, name: &str, object: Option<&Value>) -> Result<(), ProtobufError> {
    let ty = schema::of_name(name).ok_or_else(|| ProtobufError::new(format!("{name} is not known")))?;
    let end = writer.end();
    write_message(writer, ty, name, object.and_then(Value::as_object))?;
    writer.begin(number, end);
    Ok(())
}

pub(super) fn write_message(
    writer: &mut Writer,
    ty: &'static Type,
    name: &str,
    object: Option<&Map<String, Value>>,
) -> Result<(), ProtobufError> {
    for field in fields_of(name)?.iter().rev() {
        if let Some(inner) = field.inline {
            let end = writer.end();
            write_message(writer, ty, inner, object)?;
            writer.begin(field.number, end);
            continue;
        }
        let Some(declared) = ty.field(field.name) else { continue };
        let value = object.and_then(|object| object.get(field.name)).filter(|value| !value.is_null());
        match schemas::form_of(ty, field.name) {
            Some(form) => form.write_field(writer, field.number, value)?,
            None => write_field(writer, field, &declared.shape, value)?,
        }
    }
    Ok(())
}

fn write_field(
    writer: &mut Writer,
    field: &Field,
    shape: &'static Shape,
    value: Option<&Value>,
) -> Result<(), ProtobufError> {
    match (shape, value) {
        (Shape::Array(inner), value) => {
            for item in value.and_then(Value::as_array).into_iter().flatten().rev() {
                write_value(writer, field.number, inner, Some(item))?;
            }
            Ok(())
        }
        (Shape::Map(inner), value) => {
            write_map(writer, value, field.number, |writer, value| write_map_value(writer, inner, value))
        }
        (Shape::Bytes, None) => Ok(()),
        (_, None) if field.optional => Ok(()),
        (shape, value) => write_value(writer, field.number, shape, value),
    }
}

/// A map: a message of key and value for each entry.
pub(super) fn write_map(
    writer: &mut Writer,
    value: Option<&Value>,
    number: u32,
    write: impl Fn(&mut Writer, &Value) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    for (key, value) in value.and_then(Value::as_object).into_iter().flatten().rev() {
        let end = writer.end();
        write(writer, value)?;
        writer.bytes(1, key.as_bytes());
        writer.begin(number, end);
    }
    Ok(())
}

/// A map's value; lists in maps are messages of one repeated field.
fn write_map_value(writer: &mut Writer, shape: &'static Shape, value: &Value) -> Result<(), ProtobufError> {
    match shape {
        Shape::Array(inner) => {
            let end = writer.end();
            for item in value.as_array().into_iter().flatten().rev() {
                write_value(writer, 1, inner, Some(item))?;
            }
            writer.begin(2, end);
            Ok(())
        }
        Shape::Bytes if value.is_null() => Ok(()),
        shape => write_value(writer, 2, shape, Some(value)),
    }
}

fn write_value(
    writer: &mut Writer,
    number: u32,
    shape: &'static Shape,
    value: Option<&Value>,
) -> Result<(), ProtobufError> {
    let text = || value.and_then(Value::as_str).unwrap_or_default();
    match shape {
        Shape::String => writer.bytes(number, text().as_bytes()),
        Shape::Bytes => writer.bytes(number, &STANDARD.decode(text()).unwrap_or_default()),
        Shape::Boolean => writer.varint(number, u64::from(value.and_then(Value::as_bool).unwrap_or_default())),
        Shape::Int32 | Shape::Int64 => writer.varint(number, whole(value)),
        Shape::Number => writer.fixed64(number, value.and_then(Value::as_f64).unwrap_or_default().to_bits()),
        _ => {
            let end = writer.end();
            write_within(writer, shape, value)?;
            writer.begin(number, end);
        }
    }
    Ok(())
}

/// What is inside a value that is a message.
fn write_within(writer: &mut Writer, shape: &'static Shape, value: Option<&Value>) -> Result<(), ProtobufError> {
    match shape {
        Shape::IntOrString => {
            let text = value.and_then(Value::as_str);
            writer.bytes(3, text.unwrap_or_default().as_bytes());
            writer.varint(2, whole(value));
            writer.varint(1, u64::from(text.is_some()));
        }
        Shape::Quantity => writer.bytes(1, value.and_then(Value::as_str).unwrap_or("0").as_bytes()),
        Shape::Time | Shape::MicroTime => write_time(writer, value, *shape == Shape::MicroTime),
        Shape::Opaque => {
            if let Some(value) = value {
                writer.bytes(1, value.to_string().as_bytes());
            }
        }
        shape => {
            if let Some(ty) = shape.as_type() {
                write_message(writer, ty, ty.name, value.and_then(Value::as_object))?;
            }
        }
    }
    Ok(())
}

/// Whole numbers are written as 64 bits in two's complement.
fn whole(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_i64).unwrap_or_default().cast_unsigned()
}

/// Seconds and the rest of a moment; nothing for the zero time.
fn write_time(writer: &mut Writer, value: Option<&Value>, micro: bool) {
    const YEAR_ONE: i64 = -62_135_596_800_000_000;
    let at: Option<Timestamp> = value.and_then(Value::as_str).and_then(|text| text.parse().ok());
    let Some(at) = at.map(Timestamp::as_microsecond).filter(|at| *at != YEAR_ONE) else { return };
    let (seconds, micros) = (at.div_euclid(1_000_000), at.rem_euclid(1_000_000));
    writer.varint(2, if micro { micros.cast_unsigned() * 1000 } else { 0 });
    writer.varint(1, seconds.cast_unsigned());
}
