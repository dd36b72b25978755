//! Patches: JSON patch, merge patch, strategic merge patch, server-side apply. Pure: an object and a patch in, the new
//! object out.

pub mod apply;
mod bounds;
mod client_side;
pub mod declared;
mod fields;
pub mod managed;
pub mod restore;
mod strategic;
mod typed;

use kubewright_api::status::Status;
use serde_json::Value;

use crate::object::parse;

pub use fields::FieldSet;
pub use strategic::strategic;

/// Operations that one JSON patch may hold, as upstream limits them.
const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Why a JSON patch cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misfit {
    /// An operation does not fit the object.
    #[error(transparent)]
    Operation(#[from] json_patch::PatchError),
    /// It would make more of the object than is allowed.
    #[error(transparent)]
    Bounds(#[from] bounds::Exceeded),
}

impl Misfit {
    /// Whether a test in the patch failed.
    pub(crate) fn is_failed_test(&self) -> bool {
        matches!(self, Self::Operation(error) if matches!(error.kind, json_patch::PatchErrorKind::TestFailed))
    }
}

/// Applies a JSON patch (RFC 6902), given as text.
///
/// # Errors
/// 400 if it is malformed, 413 if it has over 10,000 operations, 422 if it doesn't fit the object.
pub fn json(object: &Value, patch: &[u8]) -> Result<Value, Status> {
    let malformed = |error: String| Status::bad_request(format!("error decoding patch: {error}"));
    let operations = parse::json(patch).map_err(malformed)?.value;
    let Value::Array(list) = &operations else {
        let found = parse::go_kind(&operations);
        return Err(malformed(format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp")));
    };
    if list.len() > JSON_PATCH_OPERATIONS_MAX {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
            list.len()
        );
        return Err(Status::too_large(&message));
    }
    let patch: json_patch::Patch = serde_json::from_value(operations).map_err(does_not_fit)?;
    let mut patched = object.clone();
    apply_operations(&mut patched, &patch).map_err(does_not_fit)?;
    Ok(patched)
}

/// 422, with the reason among the causes: upstream gives none.
fn does_not_fit(error: impl std::fmt::Display) -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::failure(422, "Invalid", message).with_cause("", error.to_string(), "")
}

/// Applies the operations one by one. A test for null holds where nothing is, as it does upstream: kube-rs adds
/// finalizers that way.
pub(crate) fn apply_operations(object: &mut Value, patch: &json_patch::Patch) -> Result<(), Misfit> {
    let mut bounds = bounds::Bounds::of(object);
    for (at, operation) in patch.0.iter().enumerate() {
        if let json_patch::PatchOperation::Test(test) = operation
            && test.value.is_null()
            && object.pointer(test.path.as_str()).is_none()
            && test.path.as_str().rsplit_once('/').is_some_and(|(parent, _)| object.pointer(parent).is_some())
        {
            continue;
        }
        bounds.check(object, operation)?;
        json_patch::patch(object, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = at;
            error
        })?;
    }
    Ok(())
}

/// Applies a merge patch (RFC 7386).
#[must_use]
pub fn merge(object: &Value, patch: &Value) -> Value {
    let mut merged = object.clone();
    json_patch::merge(&mut merged, patch);
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_patches_apply_whole_or_not_at_all() {
        let object = json!({"a": {"b": [1, 2]}});
        let patched =
            json(&object, br#"[{"op":"add","path":"/a/b/-","value":3},{"op":"test","path":"/a/b/0","value":1}]"#);
        assert_eq!(patched.unwrap(), json!({"a": {"b": [1, 2, 3]}}));
        assert_eq!(json(&object, br#"[{"op":"remove","path":"/x"}]"#).unwrap_err().code, 422);
        assert_eq!(json(&object, br#"[{"op":"test","path":"/a/b/0","value":9}]"#).unwrap_err().code, 422);
        assert_eq!(json(&object, b"{}").unwrap_err().code, 400);
    }

    #[test]
    fn copies_of_copies_end() {
        let copies = (0..40).map(|n| format!(r#"{{"op":"copy","from":"/data","path":"/data/{n}"}}"#));
        let patch = format!("[{}]", copies.collect::<Vec<_>>().join(","));
        let refused = json(&json!({"data": {"text": "a".repeat(100)}}), patch.as_bytes()).unwrap_err();
        assert_eq!(refused.code, 422);
        assert!(refused.details.unwrap().causes[0].message.contains("exceeding the limit 3145728"));
    }

    /// Moving one part into the deepest place of another, in turn, adds to the depth each time.
    #[test]
    fn moves_and_copies_make_nothing_deep() {
        let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let path = |root: &str, depth: usize| format!("{root}{}", "/a".repeat(depth));
        let add = |to: &str| format!(r#"{{"op":"add","path":"{to}","value":{}}}"#, deep(100));
        let then = |op: &str, from: &str, to: &str| format!(r#"{{"op":"{op}","from":"{from}","path":"{to}"}}"#);
        for (second, why) in [
            (then("move", "/x", &path("/y", 99)), "levels deep"),
            (then("copy", "/x", &path("/x", 99)), "levels deep"),
            (add(&path("/x", 100)), "levels deep"),
        ] {
            let patch = format!("[{},{},{second}]", add("/x"), add("/y"));
            let refused = json(&json!({}), patch.as_bytes()).unwrap_err();
            assert_eq!(refused.code, 422);
            let told = &refused.details.unwrap().causes[0].message;
            assert!(told.contains(why), "{second}: {told}");
        }
        // To and fro is no deeper than it was.
        let to_and_fro =
            (0..200).map(|n| if n % 2 == 0 { then("move", "/x", "/y/b") } else { then("move", "/y/b", "/x") });
        let patch = format!("[{},{},{}]", add("/x"), add("/y"), to_and_fro.collect::<Vec<_>>().join(","));
        assert!(json(&json!({}), patch.as_bytes()).is_ok());
    }

    #[test]
    fn a_test_for_null_holds_where_nothing_is() {
        let object = json!({"metadata": {"name": "a"}});
        let add = br#"[{"op":"test","path":"/metadata/finalizers","value":null},
                       {"op":"add","path":"/metadata/finalizers","value":["f"]}]"#;
        let added = json(&object, add).unwrap();
        assert_eq!(added["metadata"]["finalizers"], json!(["f"]));
        let refused = json(&added, add).unwrap_err();
        assert!(refused.details.unwrap().causes[0].message.contains("'/0'"));
        assert!(json(&object, br#"[{"op":"test","path":"/status/phase","value":null}]"#).is_err(), "no such parent");
    }

    #[test]
    fn merge_patches_delete_with_null() {
        assert_eq!(
            merge(&json!({"a": 1, "b": {"c": 1}}), &json!({"a": null, "b": {"d": 2}})),
            json!({"b": {"c": 1, "d": 2}})
        );
    }
}
