//! Kubernetes' protobuf encoding of objects, as `kubectl` and Go clients speak it: read into JSON, and made of JSON.
//!
//! A body is four magic bytes and an envelope that names version and kind; the object inside is read and written by the
//! schema and the field numbers of its type.

mod encode;
mod fields;
mod schemas;
mod wire;

pub use encode::{LIST_TAIL, encode, envelope, item_size, list_head, message, metadata_message, put_item, watch_frame};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubewright_api::schema::{self, Shape, Type};
use serde_json::{Map, Value};

pub(crate) use wire::Writer;
use wire::{Item, Reader};

use crate::environment::{micro_time, time};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8; 4] = b"k8s\0";
/// Deeper messages are refused.
const DEPTH_MAX: usize = 64;

/// A field of a message.
#[derive(Clone, Copy, Debug)]
struct Field {
    number: u32,
    name: &'static str,
    /// Zero is a value of its own, and not the absence of one.
    optional: bool,
    /// The field holds fields of the surrounding object: those of this message.
    inline: Option<&'static str>,
}

impl Field {
    const fn plain(number: u32, name: &'static str) -> Self {
        Self { number, name, optional: false, inline: None }
    }

    const fn optional(number: u32, name: &'static str) -> Self {
        Self { number, name, optional: true, inline: None }
    }

    const fn inline(number: u32, message: &'static str) -> Self {
        Self { number, name: "", optional: false, inline: Some(message) }
    }
}

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct ProtobufError {
    /// What is wrong.
    pub reason: String,
}

impl ProtobufError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Reads an object.
///
/// # Errors
/// The bytes are no such encoding, or of a kind that is not known.
pub fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        ProtobufError::new("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    })?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader::new(envelope) {
        match field? {
            (1, Item::Bytes(type_meta)) => {
                for field in Reader::new(type_meta) {
                    match field? {
                        (1, Item::Bytes(text)) => api_version = wire::text(text)?,
                        (2, Item::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(inner)) => raw = inner,
            _ => {}
        }
    }
    let ty = type_of(&api_version, &kind)?;
    let mut object = Map::new();
    read_message(ty, ty.name, raw, &mut object, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(object.into())
}

/// The type of a kind; those that all groups share are meant by any version.
fn type_of(api_version: &str, kind: &str) -> Result<&'static Type, ProtobufError> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let shared = || schema::of_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    let ty = schema::of_kind(group, version, kind).or_else(shared);
    ty.ok_or_else(|| ProtobufError::new(format!("no kind {kind:?} is registered for version {api_version:?}")))
}

/// The fields of the message of that name.
fn fields_of(name: &str) -> Result<&'static [Field], ProtobufError> {
    let at = fields::MESSAGES.binary_search_by(|(known, _)| (*known).cmp(name));
    at.map(|at| fields::MESSAGES[at].1).map_err(|_| ProtobufError::new(format!("{name} has no protobuf encoding")))
}

/// Reads a message's fields into an object of that type.
fn read_message(
    ty: &'static Type,
    name: &str,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::new("the message is nested too deeply"));
    }
    let known = fields_of(name)?;
    for item in Reader::new(bytes) {
        let (number, item) = item?;
        let Some(field) = known.iter().find(|field| field.number == number) else { continue };
        if let (Some(inner), Item::Bytes(bytes)) = (field.inline, item) {
            read_message(ty, inner, bytes, object, depth + 1)?;
            continue;
        }
        let Some(declared) = ty.field(field.name) else { continue };
        match schemas::form_of(ty, field.name) {
            Some(form) => form.read_field(field, item, object, depth)?,
            None => read_field(field, &declared.shape, item, object, depth)?,
        }
    }
    Ok(())
}

fn read_field(
    field: &Field,
    shape: &'static Shape,
    item: Item<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match shape {
        Shape::Array(inner) => {
            let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            list.push(value(inner, item, depth)?);
        }
        Shape::Map(inner) => {
            let Item::Bytes(entry) = item else { return Err(wrong(field.name)) };
            let (mut key, mut entry_value) = (String::new(), None);
            for part in Reader::new(entry) {
                match part? {
                    (1, Item::Bytes(text)) => key = wire::text(text)?,
                    (2, item) => entry_value = Some(map_value(inner, item, depth)?),
                    _ => {}
                }
            }
            let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, entry_value.unwrap_or_else(|| zero(inner)));
            }
        }
        shape => {
            let value = value(shape, item, depth)?;
            if field.optional || !is_zero(&value) {
                object.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// A map's value; lists in maps are messages of one repeated field.
fn map_value(shape: &'static Shape, item: Item<'_>, depth: usize) -> Result<Value, ProtobufError> {
    let (Shape::Array(inner), Item::Bytes(bytes)) = (shape, item) else { return value(shape, item, depth) };
    let mut list = Vec::new();
    for part in Reader::new(bytes) {
        if let (1, item) = part? {
            list.push(value(inner, item, depth + 1)?);
        }
    }
    Ok(list.into())
}

fn value(shape: &'static Shape, item: Item<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (shape, item) {
        (Shape::String, Item::Bytes(bytes)) => wire::text(bytes)?.into(),
        (Shape::Bytes, Item::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Shape::Boolean, Item::Varint(number)) => (number != 0).into(),
        (Shape::Int32 | Shape::Int64, Item::Varint(number)) => wire::signed(number).into(),
        (Shape::Number, Item::Fixed64(bits)) => f64::from_bits(bits).into(),
        (Shape::IntOrString, Item::Bytes(bytes)) => int_or_string(bytes)?,
        (Shape::Quantity, Item::Bytes(bytes)) => match first(bytes)? {
            Some(text) => wire::text(text)?.into(),
            None => "0".into(),
        },
        (Shape::Time, Item::Bytes(bytes)) => timestamp(bytes)?.map_or(Value::Null, |at| time(at).into()),
        (Shape::MicroTime, Item::Bytes(bytes)) => timestamp(bytes)?.map_or(Value::Null, |at| micro_time(at).into()),
        (Shape::Opaque, Item::Bytes(bytes)) => match first(bytes)? {
            Some(json) if !json.is_empty() => {
                serde_json::from_slice(json).map_err(|error| ProtobufError::new(error.to_string()))?
            }
            _ => Value::Null,
        },
        (Shape::Object(_), Item::Bytes(bytes)) => {
            let mut object = Map::new();
            if let Some(ty) = shape.as_type() {
                read_message(ty, ty.name, bytes, &mut object, depth + 1)?;
            }
            object.into()
        }
        _ => return Err(wrong(shape.go_name())),
    })
}

fn wrong(what: &str) -> ProtobufError {
    ProtobufError::new(format!("proto: wrong wireType for {what}"))
}

/// The bytes of a message's first field.
fn first(bytes: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    for field in Reader::new(bytes) {
        if let (1, Item::Bytes(inner)) = field? {
            return Ok(Some(inner));
        }
    }
    Ok(None)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in Reader::new(bytes) {
        match field? {
            (1, Item::Varint(kind)) => is_text = kind == 1,
            (2, Item::Varint(value)) => number = wire::signed(value),
            (3, Item::Bytes(value)) => text = wire::text(value)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// A moment; `None` for the zero time.
fn timestamp(bytes: &[u8]) -> Result<Option<Timestamp>, ProtobufError> {
    let (mut seconds, mut nanos) = (None, 0);
    for field in Reader::new(bytes) {
        match field? {
            (1, Item::Varint(value)) => seconds = Some(wire::signed(value)),
            (2, Item::Varint(value)) => nanos = i32::try_from(wire::signed(value)).unwrap_or(0),
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Ok(None) };
    Timestamp::new(seconds, nanos).map(Some).map_err(|error| ProtobufError::new(error.to_string()))
}

/// Whether Go would leave a value out that is no pointer.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Boolean => false.into(),
        Shape::Array(_) => Value::Array(Vec::new()),
        Shape::Object(_) | Shape::Map(_) => Value::Object(Map::new()),
        _ => 0.into(),
    }
}

#[cfg(test)]
mod tests;
