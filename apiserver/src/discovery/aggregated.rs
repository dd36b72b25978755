//! Aggregated discovery: every group, version and resource in one document.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, header};
use kubewright_api::resources::Scope;
use serde_json::{Value, json};

use super::Document;
use super::groups::{Group, place_of};
use crate::aggregate::Extension;
use crate::registry::ResourceInfo;

/// The forms of the aggregated document.
pub(super) const JSON: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
pub(super) const YAML: &str = "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The content type of the aggregated document, if a client prefers it to the plain one.
pub(super) fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for entry in accept.flat_map(|list| list.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<&str> = parts.collect();
        let has = |wanted: &str| parameters.contains(&wanted);
        let form = match media {
            "application/json" => Some(JSON),
            "application/yaml" => Some(YAML),
            _ => None,
        };
        if form.is_some() && has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList") {
            if has("v=v2") {
                return form;
            }
        } else if matches!(media, "application/json" | "application/yaml" | "application/*" | "*/*") {
            return None;
        }
    }
    None
}

fn resource(row: &ResourceInfo) -> Value {
    // Of its own types upstream says neither, where they are the resource's; of definitions it does.
    let built_in = kubewright_api::resources::find(&row.group, &row.version, &row.plural).is_some();
    let kind = |group: &str, version: &str, kind: &str| {
        let left_out = built_in && (group, version) == (&*row.group, &*row.version);
        let (group, version) = if left_out { ("", "") } else { (group, version) };
        json!({"group": group, "version": version, "kind": kind})
    };
    let scope = if row.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" };
    let mut entry = json!({
        "resource": row.plural, "responseKind": kind(&row.group, &row.version, &row.kind),
        "scope": scope, "singularResource": row.singular, "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let subresources: Vec<Value> = row
            .subresources
            .iter()
            .map(|sub| {
                let response_kind = kind(&sub.group, &sub.version, &sub.kind);
                json!({"subresource": sub.name, "responseKind": response_kind, "verbs": sub.verbs})
            })
            .collect();
        entry["subresources"] = subresources.into();
    }
    entry
}

/// The document of these groups, and of what other servers have.
pub(super) fn document(groups: &[Group], extensions: &[Arc<Extension>]) -> Document {
    let mut items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|(version, rows)| {
                    let resources: Vec<Value> = rows.iter().map(|row| resource(row)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let here: BTreeSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    for extension in extensions {
        let known = items.iter_mut().find(|item| item["metadata"]["name"] == extension.group);
        match known.and_then(|item| item["versions"].as_array_mut()) {
            // The APIService says that another server has the version, whatever is here.
            Some(versions) => {
                versions.retain(|version| version["version"] != extension.version);
                versions.push(extension.discovery());
            }
            None => items.push(json!({"metadata": {"name": extension.group}, "versions": [extension.discovery()]})),
        }
    }
    if !extensions.is_empty() {
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        items.sort_by_cached_key(|item| place_of(&name(item), here.contains(name(item).as_str()), extensions));
    }
    Document::new(&json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    }))
}
