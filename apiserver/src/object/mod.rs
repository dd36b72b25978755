//! Objects as JSON: access to their metadata, decoding, encoding.

use serde_json::Value;

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
