//! Conditions in an object's status.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::environment::time;

/// Sets a condition: one of the same type is replaced, and its transition time moves only if its status changes.
pub fn set(object: &mut Value, mut condition: Value, now: Timestamp) {
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = object["status"]["conditions"].as_array_mut() else { return };
    let known = conditions.iter_mut().find(|known| known["type"] == condition["type"]);
    let since = match &known {
        Some(known) if known["status"] == condition["status"] => known["lastTransitionTime"].clone(),
        _ => time(now).into(),
    };
    condition["lastTransitionTime"] = since;
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

/// The condition of that type.
#[must_use]
pub fn find<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status() {
        let mut object = json!({});
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        set(&mut object, json!({ "type": "Ready", "status": "False" }), at(0));
        set(&mut object, json!({ "type": "Ready", "status": "False", "reason": "r" }), at(1));
        assert_eq!(find(&object, "Ready").unwrap()["lastTransitionTime"], "1970-01-01T00:00:00Z");
        set(&mut object, json!({ "type": "Ready", "status": "True" }), at(2));
        assert_eq!(find(&object, "Ready").unwrap()["lastTransitionTime"], "1970-01-01T00:00:02Z");
        assert_eq!(object["status"]["conditions"].as_array().map(Vec::len), Some(1));
    }
}
