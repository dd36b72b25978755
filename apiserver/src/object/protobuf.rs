//! Kubernetes' protobuf encoding of objects, as `kubectl` and Go clients send it: read, and turned into JSON.
//!
//! A body is four magic bytes and an envelope that names version and kind; the object inside is read by the schema and
//! the field numbers of its type.

mod fields;
mod wire;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubewright_api::schema::{self, Shape, Type};
use serde_json::{Map, Value};

use crate::environment::{micro_time, time};
use wire::{Item, Reader};

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
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let options = || schema::of_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    let ty = schema::of_kind(group, version, &kind).or_else(options);
    let ty =
        ty.ok_or_else(|| ProtobufError::new(format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let mut object = Map::new();
    message(ty, ty.name, raw, &mut object, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(object.into())
}

/// Reads a message's fields into an object of that type.
fn message(
    ty: &'static Type,
    name: &str,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::new("the message is nested too deeply"));
    }
    let at = fields::MESSAGES.binary_search_by(|(known, _)| (*known).cmp(name));
    let known = at.map(|at| fields::MESSAGES[at].1);
    let known = known.map_err(|_| ProtobufError::new(format!("{name} cannot be read from protobuf")))?;
    for item in Reader::new(bytes) {
        let (number, item) = item?;
        let Some(field) = known.iter().find(|field| field.number == number) else { continue };
        if let (Some(inner), Item::Bytes(bytes)) = (field.inline, item) {
            message(ty, inner, bytes, object, depth + 1)?;
            continue;
        }
        let Some(declared) = ty.field(field.name) else { continue };
        read_field(field, &declared.shape, item, object, depth)?;
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
                message(ty, ty.name, bytes, &mut object, depth + 1)?;
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
mod tests {
    use super::*;
    use serde_json::json;

    /// A field that holds bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        assert!(bytes.len() < 128);
        out.push(u8::try_from(bytes.len()).unwrap());
        out.extend_from_slice(bytes);
        out
    }

    fn varint(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn objects_read_as_their_json() {
        let entry = [field(1, b"app"), field(2, b"web")].concat();
        let time = [varint(1, 5), varint(2, 0)].concat();
        let metadata = [field(1, b"web"), field(2, b""), field(8, &time), field(11, &entry)].concat();
        let port = [field(1, b""), varint(2, 0), varint(3, 80), field(4, b"TCP")].concat();
        let quantity = [field(1, b"cpu"), field(2, &field(1, b"500m"))].concat();
        let container = [field(1, b"c"), field(2, b"i"), field(6, &port), field(8, &field(1, &quantity))].concat();
        let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
        let spec = [field(1, &volume), field(2, &container), varint(4, 0), varint(11, 0)].concat();
        let raw = [field(1, &metadata), field(2, &spec), field(3, b"")].concat();
        // Longer than one byte of length can say.
        let meta = [field(1, b"v1"), field(2, b"Pod")].concat();
        let length = u8::try_from(raw.len() % 128).unwrap() | 0x80;
        let bytes =
            [MAGIC.to_vec(), field(1, &meta), vec![2 << 3 | 2, length, u8::try_from(raw.len() / 128).unwrap()], raw];
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "web", "creationTimestamp": "1970-01-01T00:00:05Z", "labels": { "app": "web" } },
            "spec": {
                "volumes": [{ "name": "v", "emptyDir": {} }],
                "containers": [{
                    "name": "c", "image": "i", "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                    "resources": { "limits": { "cpu": "500m" } },
                }],
                // A pointer in Go: zero is a value.
                "terminationGracePeriodSeconds": 0,
            },
            "status": {},
        });
        assert_eq!(decode(&bytes.concat()).unwrap(), expected);
    }

    #[test]
    fn lists_in_maps() {
        let extra = [field(1, b"k"), field(2, &[field(1, b"a"), field(1, b"b")].concat())].concat();
        let review = field(2, &[field(3, b"u"), field(5, &extra)].concat());
        let review = decode(&object("authorization.k8s.io/v1", "SubjectAccessReview", &review)).unwrap();
        assert_eq!(review["spec"], json!({ "user": "u", "extra": { "k": ["a", "b"] } }));
    }

    #[test]
    fn options_come_under_any_group() {
        let options = decode(&object("apps/v1", "DeleteOptions", &varint(1, 0))).unwrap();
        assert_eq!(options["gracePeriodSeconds"], 0);
    }

    #[test]
    fn garbage_is_refused() {
        assert!(decode(b"{}").is_err());
        let sound = object("v1", "ConfigMap", &field(1, &field(1, b"a")));
        assert!(decode(&sound).is_ok());
        assert!(decode(&sound[..sound.len() - 8]).is_err());
        assert!(decode(&object("v1", "Nothing", b"")).is_err());
    }

    fn compare(ours: &Value, theirs: &Value, at: &str, faults: &mut Vec<String>) {
        match (ours, theirs) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys()) {
                    let none = Value::Null;
                    let (a, b) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
                    compare(a, b, &format!("{at}.{key}"), faults);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                a.iter().zip(b).for_each(|(a, b)| compare(a, b, &format!("{at}[]"), faults));
            }
            _ if ours == theirs => {}
            _ => faults.push(format!("{at}: {ours} / {theirs}")),
        }
    }

    /// Held against Kubernetes' own pairs of encodings where they are: in `shared/data/api` of a directory above.
    #[test]
    fn objects_are_the_same_whichever_way_they_come() {
        let mut directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut candidates = std::iter::from_fn(|| directory.pop().then(|| directory.join("shared/data/api")));
        let Some(samples) = candidates.find(|path| path.is_dir()) else { return };
        let (mut compared, mut faults) = (0, Vec::new());
        for row in kubewright_api::resources::built_in() {
            let group = if row.group.is_empty() { "core" } else { row.group };
            let file = samples.join(format!("{group}.{}.{}", row.version, row.kind));
            let Ok(protobuf) = std::fs::read(file.with_added_extension("pb")) else { continue };
            let text = std::fs::read(file.with_added_extension("json")).unwrap();
            let theirs: Value = serde_json::from_slice(&text).unwrap();
            match decode(&protobuf) {
                Ok(ours) => compare(&ours, &theirs, row.kind, &mut faults),
                Err(error) => faults.push(format!("{}: {error}", row.kind)),
            }
            compared += 1;
        }
        assert!(faults.is_empty(), "{compared} compared:\n{}", faults.join("\n"));
        assert!(compared > 50, "{compared}");
    }
}
