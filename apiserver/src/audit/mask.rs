//! What no log may hold: secrets' values and tokens.

use serde_json::Value;

const MASK: &str = "***";

/// Masks them, also in lists, tables and JSON patches. What need not say its kind is told by the request's resource.
pub(super) fn mask(object: &mut Value, group: &str, resource: &str) {
    if let Some(operations) = object.as_array_mut() {
        if (group, resource) == ("", "secrets") {
            operations
                .iter_mut()
                .filter_map(|operation| operation.get_mut("value"))
                .for_each(|value| *value = MASK.into());
        }
        return;
    }
    if object_kind(object).is_empty() && object.is_object() {
        let kind = match (group, resource) {
            ("", "secrets") => "Secret",
            ("authentication.k8s.io", "tokenreviews") => "TokenReview",
            ("", "serviceaccounts") => "TokenRequest",
            _ => "",
        };
        if !kind.is_empty() {
            object["kind"] = kind.into();
        }
    }
    if object["rows"].is_array() {
        // A column shows no secret's value, but its object may come along.
        for row in object["rows"].as_array_mut().into_iter().flatten() {
            if let Some(object) = row.get_mut("object") {
                mask_one(object, (group, resource) == ("", "secrets"));
            }
        }
        return;
    }
    if object["items"].is_array() {
        let of_secrets = object_kind(object) == "SecretList";
        for item in object["items"].as_array_mut().into_iter().flatten() {
            mask_one(item, of_secrets);
        }
        return;
    }
    mask_one(object, false);
}

fn object_kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn mask_one(object: &mut Value, secret: bool) {
    let kind = object_kind(object).to_owned();
    if secret || kind == "Secret" {
        for field in ["data", "stringData"] {
            for (_, value) in object.get_mut(field).and_then(Value::as_object_mut).into_iter().flatten() {
                *value = MASK.into();
            }
        }
        // It repeats the object as it was applied.
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        if let Some(applied) =
            annotations.and_then(|all| all.get_mut("kubectl.kubernetes.io/last-applied-configuration"))
        {
            *applied = MASK.into();
        }
    }
    let token = match kind.as_str() {
        "TokenReview" => "/spec/token",
        "TokenRequest" => "/status/token",
        _ => return,
    };
    if let Some(token) = object.pointer_mut(token) {
        *token = MASK.into();
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
        mask(&mut one, "", "secrets");
        assert_eq!(one, masked);
        let mut list = json!({"kind": "SecretList", "items": [{"data": {"a": "b"}}]});
        mask(&mut list, "", "secrets");
        assert_eq!(list["items"][0]["data"]["a"], "***");
        let mut review = json!({"kind": "TokenReview", "spec": {"token": "t"}});
        mask(&mut review, "", "");
        assert_eq!(review["spec"]["token"], "***");
        let mut map = json!({"kind": "ConfigMap", "data": {"a": "b"}});
        mask(&mut map, "", "configmaps");
        assert_eq!(map["data"]["a"], "b");
    }

    #[test]
    fn what_does_not_say_its_kind_is_masked_too() {
        let mut patch = json!([{"op": "test", "path": "/data/a", "value": "b"}, {"op": "remove", "path": "/data/a"}]);
        mask(&mut patch, "", "secrets");
        assert_eq!(
            patch,
            json!([{"op": "test", "path": "/data/a", "value": "***"}, {"op": "remove", "path": "/data/a"}])
        );
        let mut patch = json!({"stringData": {"a": "b"}});
        mask(&mut patch, "", "secrets");
        assert_eq!(patch["stringData"]["a"], "***");
        let mut review = json!({"spec": {"token": "t"}});
        mask(&mut review, "authentication.k8s.io", "tokenreviews");
        assert_eq!(review["spec"]["token"], "***");
        let row = json!({"cells": ["s"], "object": {"kind": "Secret", "data": {"a": "b"}}});
        let mut table = json!({"kind": "Table", "rows": [row]});
        mask(&mut table, "", "secrets");
        assert_eq!(table["rows"][0]["object"]["data"]["a"], "***");
    }
}
