//! Objects as JSON: access to their metadata, decoding, encoding.

pub mod codec;
pub mod convert;
pub mod decode;
pub(crate) mod depth;
mod duplicates;
mod order;
pub mod parse;
pub mod protobuf;
pub(crate) mod said;
pub mod schema;
mod syntax;
pub mod typed;
pub mod yaml;

use serde_json::Value;

/// So many faults of a document are told, as upstream tells them, and so many bytes of them: it can have very many, each
/// at a very long path.
const FAULTS_MAX: usize = 100;
const FAULTS_BYTES_MAX: usize = 64 << 10;

/// Adds a fault to those that are told, once.
pub(crate) fn tell(faults: &mut Vec<String>, fault: impl FnOnce() -> String) {
    if faults.len() < FAULTS_MAX && faults.iter().map(String::len).sum::<usize>() < FAULTS_BYTES_MAX {
        let fault = fault();
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
}

/// How long a value is as JSON, in bytes.
pub(crate) fn size_of(value: &Value) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Counting does not fail, and every value can be written.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// A string of the metadata; empty if it is not there.
#[must_use]
pub fn meta_str<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The name; empty while there is none.
#[must_use]
pub fn name(object: &Value) -> &str {
    meta_str(object, "name")
}

/// The namespace; empty for a cluster-scoped object.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    meta_str(object, "namespace")
}

/// The UID.
#[must_use]
pub fn uid(object: &Value) -> &str {
    meta_str(object, "uid")
}

/// Whether the object's deletion has begun.
#[must_use]
pub fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The resource version as a number; 0 if there is none.
#[must_use]
pub fn resource_version(object: &Value) -> u64 {
    meta_str(object, "resourceVersion").parse().unwrap_or(0)
}

/// The finalizers.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The metadata, to be changed; an object without gets some.
pub fn metadata_mut(object: &mut Value) -> &mut serde_json::Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    match &mut object["metadata"] {
        Value::Object(metadata) => metadata,
        _ => unreachable!("metadata was just made an object"),
    }
}
