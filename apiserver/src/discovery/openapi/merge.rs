//! Other servers' part of the document of version 2. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

const PLACE: &str = "#/definitions/";

/// What a document says of one group and version: its paths, and the definitions that they need.
pub(crate) fn of_group(document: &Value, group: &str, version: &str) -> Value {
    let root = format!("/apis/{group}/{version}/");
    let paths = document["paths"].as_object().into_iter().flatten();
    let paths: Map<String, Value> = paths
        .filter(|(path, _)| path.starts_with(&root) || path.trim_end_matches('/') == root.trim_end_matches('/'))
        .map(|(path, item)| (path.clone(), item.clone()))
        .collect();
    let mut pending = Vec::new();
    paths.values().for_each(|item| references(item, &mut pending));
    let mut definitions = Map::new();
    while let Some(name) = pending.pop() {
        let found = document["definitions"].get(&name);
        if let Some(found) = found.filter(|_| !definitions.contains_key(&name)) {
            references(found, &mut pending);
            definitions.insert(name, found.clone());
        }
    }
    let parts = [("paths", paths), ("definitions", definitions)];
    Value::Object(parts.into_iter().map(|(name, part)| (name.to_owned(), part.into())).collect())
}

/// Adds such a part to a document. What has the name of another definition and isn't the same gets a name of its own.
pub(super) fn add(document: &mut Value, part: &Value) {
    let (Some(paths), Some(definitions)) = (part["paths"].as_object(), part["definitions"].as_object()) else { return };
    let names = new_names(&document["definitions"], definitions);
    for (name, definition) in definitions {
        let mut definition = definition.clone();
        rename(&mut definition, &names);
        document["definitions"][names.get(name).unwrap_or(name)] = definition;
    }
    for (path, item) in paths {
        let mut item = item.clone();
        rename(&mut item, &names);
        document["paths"][path] = item;
    }
}

/// New names of the definitions that another one stands in the way of.
fn new_names(known: &Value, added: &Map<String, Value>) -> BTreeMap<String, String> {
    // Meaning, not wording: one server describes its types and another does not.
    let same = |known: &Value, added: &Value| bare(known) == bare(added);
    let mut changed: BTreeSet<&String> = added
        .iter()
        .filter(|(name, own)| known.get(name.as_str()).is_some_and(|known| !same(known, own)))
        .map(|(name, _)| name)
        .collect();
    // Whoever refers to a renamed one is not the same any more, either.
    loop {
        let before = changed.len();
        for (name, definition) in added.iter().filter(|(name, _)| known.get(name.as_str()).is_some()) {
            let mut referred = Vec::new();
            references(definition, &mut referred);
            if referred.iter().any(|referred| changed.contains(referred)) {
                changed.insert(name);
            }
        }
        if changed.len() == before {
            break;
        }
    }
    let free = |name: &str| {
        let candidates = (2..).map(|number| format!("{name}_v{number}"));
        let mut free = candidates.filter(|name| known.get(name).is_none() && !added.contains_key(name));
        free.next().unwrap_or_default()
    };
    changed.into_iter().map(|name| (name.clone(), free(name))).collect()
}

/// A schema without descriptions.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, value)| *name != "description" || !value.is_string());
            Value::Object(kept.map(|(name, value)| (name.clone(), bare(value))).collect())
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        other => other.clone(),
    }
}

fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(PLACE));
            into.extend(own.map(str::to_owned));
            fields.values().for_each(|value| references(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("$ref")
                && let Some(name) = text.strip_prefix(PLACE).and_then(|name| names.get(name))
            {
                *text = format!("{PLACE}{name}");
            }
            fields.values_mut().for_each(|value| rename(value, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reference(name: &str) -> Value {
        json!({"$ref": format!("{PLACE}{name}")})
    }

    #[test]
    fn only_what_a_group_needs_is_taken() {
        let document = json!({
            "paths": {"/apis/g/v1/": {}, "/apis/g/v1/lamps": {"get": {"schema": reference("Lamp")}}, "/apis/h/v1/x": {}},
            "definitions": {"Lamp": {"properties": {"meta": reference("Meta")}}, "Meta": {}, "Other": {}},
        });
        let part = of_group(&document, "g", "v1");
        assert_eq!(part["paths"].as_object().unwrap().len(), 2);
        assert_eq!(part["definitions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Lamp", "Meta"]);
    }

    #[test]
    fn definitions_of_one_name_and_two_meanings_are_kept_apart() {
        let mut document = json!({"paths": {}, "definitions": {"Meta": {"type": "object", "description": "here"},
            "List": {"items": reference("Meta")}, "Time": {"type": "string"}}});
        let part = json!({"paths": {"/apis/g/v1/lamps": {"get": reference("List")}}, "definitions": {
            "Meta": {"type": "object"}, "List": {"items": reference("Time")}, "Time": {"type": "integer"}}});
        add(&mut document, &part);
        let definitions = &document["definitions"];
        assert_eq!(definitions["Meta"]["type"], "object");
        assert_eq!(
            (&definitions["Time"]["type"], &definitions["Time_v2"]["type"]),
            (&json!("string"), &json!("integer"))
        );
        assert_eq!(definitions["List"]["items"], reference("Meta"));
        assert_eq!(definitions["List_v2"]["items"], reference("Time_v2"));
        assert_eq!(document["paths"]["/apis/g/v1/lamps"]["get"], reference("List_v2"));
    }
}
