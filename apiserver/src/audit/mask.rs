//! What no log may hold: secrets' values and tokens.

use serde_json::Value;

use crate::request::RequestInfo;

const MASK: &str = "***";

/// What a request is about that must not be logged, whatever its bodies say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Secrets,
    Tokens,
}

impl Held {
    /// By the path of the request: patches and mistaken bodies need not name a kind.
    pub(super) fn of(info: &RequestInfo) -> Self {
        match (info.resource.as_str(), info.subresource.as_str()) {
            ("secrets", _) => Self::Secrets,
            ("tokenreviews", _) | ("serviceaccounts", "token") => Self::Tokens,
            _ => Self::Nothing,
        }
    }

    /// What an object says that it is.
    fn by_kind(object: &Value) -> Self {
        match object["kind"].as_str().unwrap_or_default() {
            "Secret" | "SecretList" => Self::Secrets,
            "TokenReview" | "TokenRequest" => Self::Tokens,
            _ => Self::Nothing,
        }
    }
}

/// Masks them: in objects, in the items of lists and the rows of tables, and in JSON patches.
pub(super) fn mask(body: &mut Value, held: Held) {
    match body {
        Value::Array(operations) => operations.iter_mut().for_each(|operation| mask_operation(operation, held)),
        Value::Object(_) => mask_object(body, held),
        // No object has such a body.
        _ if held != Held::Nothing => *body = MASK.into(),
        _ => {}
    }
}

/// Of a JSON patch only the paths are kept: a value may be the whole object.
fn mask_operation(operation: &mut Value, held: Held) {
    match operation {
        _ if held == Held::Nothing => {}
        Value::Object(fields) => {
            if let Some(value) = fields.get_mut("value") {
                *value = MASK.into();
            }
        }
        other => *other = MASK.into(),
    }
}

fn mask_object(object: &mut Value, held: Held) {
    let held = if held == Held::Nothing { Held::by_kind(object) } else { held };
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        mask_one(item, held);
    }
    for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        row.get_mut("object").into_iter().for_each(|object| mask_one(object, held));
    }
    mask_one(object, held);
}

fn mask_one(object: &mut Value, held: Held) {
    match if held == Held::Nothing { Held::by_kind(object) } else { held } {
        Held::Nothing => {}
        Held::Secrets => {
            for field in ["data", "stringData"] {
                object.get_mut(field).into_iter().for_each(mask_values);
            }
            // It repeats the object as it was applied.
            let applied = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
            object.pointer_mut(applied).into_iter().for_each(mask_values);
        }
        Held::Tokens => {
            for token in ["/spec/token", "/status/token"] {
                object.pointer_mut(token).into_iter().for_each(|token| *token = MASK.into());
            }
        }
    }
}

/// Masks a value, or each of a map's.
fn mask_values(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| *value = MASK.into()),
        Value::Null => {}
        other => *other = MASK.into(),
    }
}

/// Leaves out `managedFields`, also of the items of lists.
pub(super) fn omit_managed_fields(object: &mut Value) {
    let omit = |object: &mut Value| {
        object.get_mut("metadata").and_then(Value::as_object_mut).map(|meta| meta.remove("managedFields"));
    };
    omit(object);
    object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(omit);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_masked_and_keys_kept() {
        let secret = json!({"kind": "Secret", "data": {"password": "aHVudGVy"}, "metadata": {"name": "s"}});
        let masked = json!({"kind": "Secret", "data": {"password": "***"}, "metadata": {"name": "s"}});
        let mut one = secret.clone();
        mask(&mut one, Held::Nothing);
        assert_eq!(one, masked);
        let mut list = json!({"kind": "SecretList", "items": [{"data": {"a": "b"}}]});
        mask(&mut list, Held::Nothing);
        assert_eq!(list["items"][0]["data"]["a"], "***");
        let mut review = json!({"kind": "TokenReview", "spec": {"token": "t"}});
        mask(&mut review, Held::Nothing);
        assert_eq!(review["spec"]["token"], "***");
        let mut map = json!({"kind": "ConfigMap", "data": {"a": "b"}});
        mask(&mut map, Held::Nothing);
        assert_eq!(map["data"]["a"], "b");
    }
    #[test]
    fn what_a_request_is_about_counts_whatever_its_body_says() {
        let masked = |mut body: Value, held| {
            mask(&mut body, held);
            body
        };
        let patch = json!([{"op": "add", "path": "/data/a", "value": "b"}, {"op": "remove", "path": "/data/c"}, "b"]);
        let expected =
            json!([{"op": "add", "path": "/data/a", "value": "***"}, {"op": "remove", "path": "/data/c"}, "***"]);
        assert_eq!(masked(patch.clone(), Held::Secrets), expected);
        assert_eq!(masked(patch.clone(), Held::Nothing), patch);
        let applied = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "b"}}});
        let table = json!({"kind": "Table", "rows": [{"object": {"kind": "Secret", "data": {"a": "b"}}}, {"object": applied.clone()}]});
        assert!(!masked(table, Held::Secrets).to_string().contains("\"b\""));
        for body in [
            json!({"kind": "Other", "data": {"a": "b"}}),
            json!({"data": "b"}),
            json!({"stringData": ["b"]}),
            json!("b"),
        ] {
            assert!(!masked(body, Held::Secrets).to_string().contains("\"b\""));
        }
        let listed = json!({"kind": "PartialObjectMetadataList", "items": [applied.clone()], "data": {"a": "b"}});
        assert!(!masked(listed, Held::Secrets).to_string().contains("\"b\""));
        assert_eq!(masked(json!({"spec": {"token": "t"}}), Held::Tokens), json!({"spec": {"token": "***"}}));
        let list =
            json!({"items": [{"kind": "Secret", "data": {"a": "b"}}, {"kind": "ConfigMap", "data": {"a": "b"}}]});
        let masked = masked(list, Held::Nothing);
        assert_eq!((&masked["items"][0]["data"]["a"], &masked["items"][1]["data"]["a"]), (&json!("***"), &json!("b")));
    }
}
