//! How deep objects are.

use kubewright_api::status::Status;
use serde_json::Value;

/// So many lists and objects may be within one another in what is stored. Readers of JSON, ours and others', follow 127
/// of them, and there are some around an object in lists, events and reviews.
pub(crate) const DEPTH_MAX: usize = 120;

/// Lists and objects within one another, the value itself included; and how many values there are in it. Without
/// recursion: a value that is too deep to be followed by it is what this is asked about.
pub(crate) fn measure(value: &Value) -> (usize, usize) {
    let (mut deepest, mut count, mut open) = (0, 0, vec![(value, 1)]);
    while let Some((value, depth)) = open.pop() {
        count += 1;
        match value {
            Value::Array(elements) => open.extend(elements.iter().map(|element| (element, depth + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|field| (field, depth + 1))),
            _ => continue,
        }
        deepest = deepest.max(depth);
    }
    (deepest, count)
}

/// Refuses what could be stored but not be read again.
///
/// # Errors
/// 400 if it is deeper than [`DEPTH_MAX`].
pub(crate) fn check(object: &Value) -> Result<(), Status> {
    if !is_deeper(object, DEPTH_MAX) {
        return Ok(());
    }
    let why = format!("the object is nested too deeply: there may be {DEPTH_MAX} lists and objects within one another");
    Err(Status::bad_request(why))
}

/// Goes no deeper than it is allowed to, so it may recurse.
fn is_deeper(value: &Value, depth_max: usize) -> bool {
    match value {
        Value::Array(elements) => depth_max == 0 || elements.iter().any(|element| is_deeper(element, depth_max - 1)),
        Value::Object(fields) => depth_max == 0 || fields.values().any(|field| is_deeper(field, depth_max - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |value, at| if at % 2 == 0 { json!([value]) } else { json!({"a": value, "b": 1}) })
    }

    #[test]
    fn lists_and_objects_count() {
        assert_eq!(measure(&json!(1)), (0, 1));
        assert_eq!(measure(&json!({"a": [1, {}], "b": 2})), (3, 5));
        for depth in [1, 2, DEPTH_MAX, DEPTH_MAX + 1] {
            assert_eq!(measure(&nested(depth)).0, depth);
            assert_eq!(check(&nested(depth)).is_err(), depth > DEPTH_MAX, "{depth}");
        }
    }
}
