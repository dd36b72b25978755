//! What no log may hold: secrets' values and tokens.

use serde_json::Value;

const MASK: &str = "***";

/// Masks them, also in the items of lists.
pub(super) fn mask(object: &mut Value) {
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
        mask(&mut one);
        assert_eq!(one, masked);
        let mut list = json!({"kind": "SecretList", "items": [{"data": {"a": "b"}}]});
        mask(&mut list);
        assert_eq!(list["items"][0]["data"]["a"], "***");
        let mut review = json!({"kind": "TokenReview", "spec": {"token": "t"}});
        mask(&mut review);
        assert_eq!(review["spec"]["token"], "***");
        let mut map = json!({"kind": "ConfigMap", "data": {"a": "b"}});
        mask(&mut map);
        assert_eq!(map["data"]["a"], "b");
    }
}
