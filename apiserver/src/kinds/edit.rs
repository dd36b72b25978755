//! Changing an object field by field: what defaults and strategies are written in. Whatever isn't the object or list
//! that it should be is left alone; the decoder has refused it, or will.

use serde_json::{Map, Value};

/// The value that a dotted path names, if it is there.
pub(crate) fn find<'a>(object: &'a mut Value, dotted: &str) -> Option<&'a mut Value> {
    dotted.split('.').try_fold(object, |value, name| value.get_mut(name)).filter(|value| !value.is_null())
}

/// The object that a dotted path names, made if it isn't there.
pub(crate) fn ensure<'a>(object: &'a mut Value, dotted: &str) -> Option<&'a mut Value> {
    let mut here = object;
    for name in dotted.split('.') {
        let entries = here.as_object_mut()?;
        if entries.get(name).is_none_or(Value::is_null) {
            entries.insert(name.to_owned(), Value::Object(Map::new()));
        }
        here = entries.get_mut(name)?;
    }
    here.is_object().then_some(here)
}

/// Sets a field that is absent.
pub(crate) fn default_to(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(entries) = object.as_object_mut()
        && entries.get(name).is_none_or(Value::is_null)
    {
        entries.insert(name.to_owned(), value.into());
    }
}

/// Sets a text that is absent or empty.
pub(crate) fn default_text(object: &mut Value, name: &str, value: &str) {
    if object.get(name).is_none_or(|now| now.is_null() || now == "") {
        set(object, name, value);
    }
}

/// Sets a number that is absent or zero.
pub(crate) fn default_number(object: &mut Value, name: &str, value: i64) {
    if object.get(name).is_none_or(|now| now.is_null() || *now == 0) {
        set(object, name, value);
    }
}

/// Sets a field.
pub(crate) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(entries) = object.as_object_mut() {
        entries.insert(name.to_owned(), value.into());
    }
}

/// Removes a field.
pub(crate) fn remove(object: &mut Value, name: &str) -> Option<Value> {
    object.as_object_mut()?.remove(name)
}

/// Sets a field to what another object has there, or removes it.
pub(crate) fn restore(object: &mut Value, name: &str, from: &Value) {
    match from.get(name) {
        Some(value) => set(object, name, value.clone()),
        None => drop(remove(object, name)),
    }
}

/// The elements of the list that a dotted path names.
pub(crate) fn each<'a>(object: &'a mut Value, dotted: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    find(object, dotted).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Does something with the value that a dotted path names, if it is there.
pub(crate) fn with(object: &mut Value, dotted: &str, then: impl FnOnce(&mut Value)) {
    if let Some(value) = find(object, dotted) {
        then(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_absent_is_set() {
        let mut object = json!({"a": null, "b": "", "c": 0, "d": 1});
        default_to(&mut object, "a", "x");
        default_to(&mut object, "b", "x");
        default_text(&mut object, "b", "y");
        default_number(&mut object, "c", 3);
        default_number(&mut object, "d", 4);
        set(ensure(&mut object, "e.f").unwrap(), "g", true);
        assert!(ensure(&mut object, "d.x").is_none());
        assert_eq!(object, json!({"a": "x", "b": "y", "c": 3, "d": 1, "e": {"f": {"g": true}}}));
    }
}
