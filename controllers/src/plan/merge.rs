//! JSON merge patches (RFC 7386): made from two values, and applied.

use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`; `None` if they are equal.
///
/// Lists are replaced as a whole.
#[must_use]
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                match old.get(key) {
                    Some(before) => {
                        if let Some(inner) = merge_patch(before, value) {
                            patch.insert(key.clone(), inner);
                        }
                    }
                    None => _ = patch.insert(key.clone(), value.clone()),
                }
            }
            Some(Value::Object(patch))
        }
        _ => Some(new.clone()),
    }
}

/// Applies a merge patch.
pub fn apply_merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            apply_merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_leads_from_old_to_new() {
        for (old, new) in [
            (json!({"a": 1}), json!({"a": 1})),
            (json!({"a": 1, "b": {"c": 2}}), json!({"b": {"d": 3}})),
            (json!({"a": [1, 2]}), json!({"a": [2]})),
            (json!({}), json!({"a": {"b": {"c": 1}}})),
            (json!({"a": 1}), json!({"a": {"b": 1}})),
        ] {
            let mut reached = old.clone();
            if let Some(patch) = merge_patch(&old, &new) {
                apply_merge_patch(&mut reached, &patch);
            }
            assert_eq!(reached, new);
        }
        assert_eq!(merge_patch(&json!({"a": 1, "b": 2}), &json!({"b": 2})), Some(json!({"a": null})));
    }
}
