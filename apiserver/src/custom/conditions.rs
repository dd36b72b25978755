//! The conditions of a definition: which names it gets, whether it is served.

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub(super) const NAMES_ACCEPTED: &str = "NamesAccepted";
pub(super) const ESTABLISHED: &str = "Established";
pub(super) const TERMINATING: &str = "Terminating";
const NON_STRUCTURAL: &str = "NonStructuralSchema";

fn find<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// Whether a condition holds.
pub(super) fn is_true(object: &Value, name: &str) -> bool {
    find(object, name).is_some_and(|condition| condition["status"] == "True")
}

/// Sets a condition; its time moves only if its status changes.
pub(super) fn set(object: &mut Value, name: &str, status: bool, reason: &str, message: &str, now: &str) {
    let status = if status { "True" } else { "False" };
    let since = find(object, name).filter(|old| old["status"] == status).map(|old| old["lastTransitionTime"].clone());
    let condition = json!({
        "type": name, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| now.into()),
    });
    let Some(fields) = object.as_object_mut() else { return };
    let status = fields.entry("status").or_insert(Value::Null);
    if !status.is_object() {
        *status = json!({});
    }
    let list = &mut status["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        match list.iter_mut().find(|condition| condition["type"] == name) {
            Some(old) => *old = condition,
            None => list.push(condition),
        }
    }
}

/// Decides the names and conditions of a definition, given all definitions. Says whether anything changes.
pub(super) fn decide(object: &mut Value, all: &[Value], now: &str) -> bool {
    let before = object["status"].clone();
    let (resources, kinds) = taken(object, all);
    let (spec_names, accepted) = (object["spec"]["names"].clone(), object["status"]["acceptedNames"].clone());
    let mut names = if accepted.is_object() { accepted.clone() } else { json!({}) };
    let mut conflict = None;
    let fields = [("plural", "Plural", &resources), ("singular", "Singular", &resources)];
    let kind_fields = [("kind", "Kind", &kinds), ("listKind", "ListKind", &kinds)];
    let mut check = |field: &str, reason: &str, used: &BTreeSet<String>| {
        let wanted = spec_names[field].as_str().unwrap_or_default();
        if wanted != accepted[field].as_str().unwrap_or_default() && used.contains(wanted) {
            conflict = Some((format!("{reason}Conflict"), format!("{wanted:?} is already in use")));
        } else {
            names[field] = wanted.into();
        }
    };
    for (field, reason, used) in fields.into_iter().chain(kind_fields) {
        check(field, reason, used);
    }
    let short = |names: &Value| -> Vec<String> {
        let list = names["shortNames"].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let known = short(&accepted);
    let used: Vec<String> =
        short(&spec_names).into_iter().filter(|name| !known.contains(name) && resources.contains(name)).collect();
    if used.is_empty() {
        for field in ["shortNames", "categories"] {
            set_or_remove(&mut names, field, &spec_names[field]);
        }
    } else {
        let texts: Vec<String> = used.iter().map(|name| format!("{name:?} is already in use")).collect();
        let message = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        conflict = Some(("ShortNamesConflict".into(), message));
    }
    object["status"]["acceptedNames"] = names;
    match &conflict {
        Some((reason, message)) => set(object, NAMES_ACCEPTED, false, reason, message, now),
        None => set(object, NAMES_ACCEPTED, true, "NoConflicts", "no conflicts found", now),
    }
    if !is_true(object, ESTABLISHED) {
        if conflict.is_none() {
            set(object, ESTABLISHED, true, "InitialNamesAccepted", "the initial names have been accepted", now);
        } else {
            set(object, ESTABLISHED, false, "NotAccepted", "not all names are accepted", now);
        }
    }
    if let Some(list) = object["status"]["conditions"].as_array_mut() {
        // What is stored has passed the rules for structural schemas.
        list.retain(|condition| condition["type"] != NON_STRUCTURAL);
    }
    object["status"] != before
}

fn set_or_remove(names: &mut Value, field: &str, value: &Value) {
    match (value, names.as_object_mut()) {
        (Value::Null, Some(names)) => drop(names.remove(field)),
        (value, Some(names)) => drop(names.insert(field.into(), value.clone())),
        _ => {}
    }
}

/// The names of resources and kinds that others of the group have.
fn taken(object: &Value, all: &[Value]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let others = all.iter().filter(|other| {
        other["spec"]["group"] == object["spec"]["group"] && other["metadata"]["name"] != object["metadata"]["name"]
    });
    for other in others {
        let names = &other["status"]["acceptedNames"];
        let text = |field: &str| names[field].as_str().map(str::to_owned);
        resources.extend([text("plural"), text("singular")].into_iter().flatten());
        let short = names["shortNames"].as_array().into_iter().flatten();
        resources.extend(short.filter_map(Value::as_str).map(str::to_owned));
        kinds.extend([text("kind"), text("listKind")].into_iter().flatten());
    }
    for set in [&mut resources, &mut kinds] {
        set.remove("");
    }
    (resources, kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, short: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.a.io")}, "spec": {"group": "a.io", "names": {
            "plural": plural, "singular": format!("{plural}x"), "kind": plural, "listKind": format!("{plural}List"),
            "shortNames": [short]}}, "status": {}})
    }

    #[test]
    fn the_first_to_come_gets_the_name() {
        let mut first = definition("as", "x");
        assert!(decide(&mut first, &[], "t"));
        assert!(is_true(&first, NAMES_ACCEPTED) && is_true(&first, ESTABLISHED));
        assert!(!decide(&mut first, &[], "u"), "deciding again changes nothing");
        let mut second = definition("bs", "x");
        decide(&mut second, std::slice::from_ref(&first), "t");
        assert!(!is_true(&second, ESTABLISHED));
        let refused = find(&second, NAMES_ACCEPTED).unwrap();
        assert_eq!(
            (&refused["reason"], &refused["message"]),
            (&json!("ShortNamesConflict"), &json!("\"x\" is already in use"))
        );
        decide(&mut second, &[], "t");
        assert!(is_true(&second, ESTABLISHED), "the name is free again");
    }
}
