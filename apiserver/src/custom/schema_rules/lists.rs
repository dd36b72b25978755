//! Lists and maps of a schema: how they are merged, and what their items must be for that.

use kubewright_api::field::{FieldError, Path};
use serde_json::Value;

use super::Walk;

impl Walk<'_> {
    /// What a schema says of how lists and maps are merged.
    pub(super) fn lists(&mut self, schema: &Value, kind: &str, path: &Path) {
        if let Some(map_type) = schema["x-kubernetes-map-type"].as_str() {
            if kind != "object" {
                self.wrong_kind(schema, kind, path, "must be object if x-kubernetes-map-type is specified");
            }
            if !["atomic", "granular"].contains(&map_type) {
                let at = path.child("x-kubernetes-map-type");
                self.errors.push(FieldError::not_supported(&at, map_type, &["atomic", "granular"]));
            }
        }
        let keys: Vec<&str> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let list_type = schema["x-kubernetes-list-type"].as_str();
        let at = path.child("x-kubernetes-list-type");
        if let Some(list_type) = list_type {
            if kind != "array" {
                self.wrong_kind(schema, kind, path, "must be array if x-kubernetes-list-type is specified");
            }
            if !["atomic", "set", "map"].contains(&list_type) {
                self.errors.push(FieldError::not_supported(&at, list_type, &["atomic", "map", "set"]));
            }
            if list_type == "set" {
                self.set_items(&schema["items"], &path.child("items"));
            }
        }
        if !keys.is_empty() && list_type != Some("map") {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                None => self.required(&at, why),
                Some(_) => self.invalid(&at, &schema["x-kubernetes-list-type"], why),
            }
        }
        if list_type == Some("map") {
            self.map_items(schema, &keys, path);
        }
    }

    fn wrong_kind(&mut self, schema: &Value, kind: &str, path: &Path, why: &str) {
        let at = path.child("type");
        if kind.is_empty() { self.required(&at, why) } else { self.invalid(&at, &schema["type"], why) }
    }

    fn set_items(&mut self, items: &Value, path: &Path) {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let atomic = |name: &str| items[name] == "atomic";
        if items["type"] == "array" && !items["x-kubernetes-list-type"].is_null() && !atomic("x-kubernetes-list-type") {
            self.invalid(&path.child("x-kubernetes-list-type"), &items["x-kubernetes-list-type"], why);
        }
        if items["type"] == "object" && !atomic("x-kubernetes-map-type") {
            self.invalid(&path.child("x-kubernetes-map-type"), &items["x-kubernetes-list-type"], why);
        }
        if items["nullable"] == true {
            self.forbid(&path.child("nullable"), "cannot be nullable when x-kubernetes-list-type is set");
        }
    }

    fn map_items(&mut self, schema: &Value, keys: &[&str], path: &Path) {
        let (items, at) = (&schema["items"], path.child("items"));
        let keys_path = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
        }
        if items["type"].is_string() && items["type"] != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            self.invalid(&at.child("type"), &items["type"], why);
        }
        if items["nullable"] == true {
            self.forbid(&at.child("nullable"), "cannot be nullable when x-kubernetes-list-type is map");
        }
        let required = items["required"].as_array();
        for (place, key) in keys.iter().enumerate() {
            if keys[..place].contains(key) {
                self.invalid(&keys_path, &schema["x-kubernetes-list-map-keys"], "must not contain duplicate entries");
            }
            let Some(property) = items["properties"].get(*key) else {
                let why = "entries must all be names of item properties";
                self.invalid(&keys_path, &schema["x-kubernetes-list-map-keys"], why);
                continue;
            };
            let below = at.child("properties").key(key);
            if matches!(property["type"].as_str(), Some("array" | "object")) {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.invalid(&below.child("type"), &property["type"], why);
            }
            let demanded = required.is_some_and(|list| list.iter().any(|name| name == key));
            if !demanded && property.get("default").is_none() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                           property";
                self.required(&below.child("default"), why);
            }
            if property["nullable"] == true {
                let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbid(&below.child("nullable"), why);
            }
        }
    }
}
