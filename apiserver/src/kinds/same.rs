//! Whether two values mean the same.

use serde_json::Value;

/// Whether two fields mean the same: clients that decode into structures leave out what is zero or empty, so absent,
/// `null`, `false`, `0`, `""`, `[]` and `{}` are all one.
pub(crate) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(value), None) | (None, Some(value)) => is_zero(value),
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.iter().all(|(key, value)| same(Some(value), b.get(key)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_zero(value))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(a), Some(b)) => a == b || (is_zero(a) && is_zero(b)),
    }
}

/// Whether it is what is left out.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.values().all(is_zero),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_makes_no_difference() {
        let check = |a: Value, b: Value, expected: bool| {
            assert_eq!(same(Some(&a), Some(&b)), expected, "{a} {b}");
            assert_eq!(same(Some(&b), Some(&a)), expected, "{b} {a}");
        };
        check(json!({"a": 1}), json!({"a": 1, "b": false, "c": {"d": []}}), true);
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({"a": 1}), json!({"b": 1}), false);
        check(json!([{"a": ""}]), json!([{}]), true);
        check(json!([1]), json!([1, 2]), false);
        check(json!(null), json!({}), true);
    }
}
