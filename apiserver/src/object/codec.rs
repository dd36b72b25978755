//! How objects are stored: as JSON whose metadata lacks the resource version, which is spliced in when it is read.
//!
//! The stored form starts with `{"apiVersion":…,"kind":…,"metadata":{`, whose length the kind alone decides. So an
//! object is handed out by copying its bytes around a resource version, without decoding it.

use bytes::Bytes;
use serde_json::{Map, Value};

/// The stored form of an object.
#[must_use]
pub fn encode(object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for field in ["apiVersion", "kind"] {
        member(&mut out, field, &object[field]);
        out.push(b',');
    }
    out.extend_from_slice(b"\"metadata\":{");
    members(&mut out, object["metadata"].as_object(), &["resourceVersion"]);
    out.push(b'}');
    if let Some(fields) = object.as_object().filter(|fields| fields.len() > 3) {
        out.push(b',');
        members(&mut out, Some(fields), &["apiVersion", "kind", "metadata"]);
    }
    out.push(b'}');
    out
}

fn members(out: &mut Vec<u8>, fields: Option<&Map<String, Value>>, except: &[&str]) {
    let mut first = true;
    for (name, value) in fields.into_iter().flatten().filter(|(name, _)| !except.contains(&name.as_str())) {
        if !first {
            out.push(b',');
        }
        first = false;
        member(out, name, value);
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &Value) {
    // Writing a value to memory cannot fail: its keys are strings and its numbers finite.
    let _ = serde_json::to_writer(&mut *out, name);
    out.push(b':');
    let _ = serde_json::to_writer(&mut *out, value);
}

/// How stored bytes of a kind begin: up to where the resource version belongs.
#[must_use]
pub fn head(api_version: &str, kind: &str) -> String {
    format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",\"metadata\":{{")
}

/// Where the resource version belongs in stored bytes of any version.
#[must_use]
pub fn metadata_offset(stored: &[u8]) -> usize {
    const MARK: &[u8] = b"\"metadata\":{";
    stored.windows(MARK.len()).position(|window| window == MARK).map_or(0, |at| at + MARK.len())
}

/// Stored bytes with the resource version in them.
#[must_use]
pub fn splice(stored: &[u8], offset: usize, revision: u64) -> Bytes {
    let field = format!("\"resourceVersion\":\"{revision}\",");
    let mut out = Vec::with_capacity(stored.len() + field.len());
    out.extend_from_slice(&stored[..offset]);
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(&stored[offset..]);
    out.into()
}

/// Spliced bytes with another resource version in them.
#[must_use]
pub fn resplice(spliced: &[u8], offset: usize, from: u64, to: u64) -> Bytes {
    let length = format!("\"resourceVersion\":\"{from}\",").len();
    let mut out = Vec::with_capacity(spliced.len() + 4);
    out.extend_from_slice(&spliced[..offset]);
    out.extend_from_slice(format!("\"resourceVersion\":\"{to}\",").as_bytes());
    out.extend_from_slice(&spliced[offset + length..]);
    out.into()
}

/// The object in stored bytes, with its resource version.
///
/// # Errors
/// The bytes are no JSON object with metadata.
pub fn decode(stored: &[u8], revision: u64) -> Result<Value, serde_json::Error> {
    let mut object: Value = serde_json::from_slice(stored)?;
    match object.get_mut("metadata").and_then(Value::as_object_mut) {
        Some(metadata) => metadata.insert("resourceVersion".into(), revision.to_string().into()),
        None => return Err(serde::de::Error::missing_field("metadata")),
    };
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_spliced_where_the_kind_says() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "1" },
            "metadata": { "name": "x", "resourceVersion": "5" },
        });
        let stored = encode(&object);
        assert_eq!(stored, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1"}}"#);
        let offset = head("v1", "ConfigMap").len();
        let spliced = splice(&stored, offset, 42);
        let expected =
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"42","name":"x"},"data":{"a":"1"}}"#;
        assert_eq!(spliced, expected.as_slice());
        assert_eq!(resplice(&spliced, offset, 42, 1000), splice(&stored, offset, 1000));
        assert_eq!(decode(&stored, 42).unwrap(), serde_json::from_slice::<Value>(&spliced).unwrap());
    }
}
