//! One APIService that leads to another server. Pure.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use serde_json::{Value, json};

use crate::remote::Target;

/// Another server's group and version.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    /// Name of the APIService.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    /// Where its group stands among the others, and the version in the group: greater ones come first.
    pub(crate) priorities: (i64, i64),
    /// Namespace, name and port of the Service.
    pub(super) service: (String, String, u16),
    authorities: Option<Arc<str>>,
    insecure: bool,
    /// Whether the condition `Available` holds.
    pub(crate) available: bool,
    /// Its resources as aggregated discovery shows them; null while they are not known.
    pub(crate) resources: Value,
    /// Its part of the OpenAPI document of version 2, with the tag of the document that it was taken from.
    pub(crate) openapi: Option<Arc<Value>>,
    pub(super) openapi_tag: Option<String>,
}

impl Extension {
    /// Reads an APIService; `None` for one that is served here.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let port = service.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let bundle = STANDARD.decode(text(&spec["caBundle"])).ok().filter(|bundle| !bundle.is_empty());
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let mut available = conditions.filter(|condition| condition["type"] == "Available");
        Some(Self {
            name: text(&object["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            priorities: (
                spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
                spec["versionPriority"].as_i64().unwrap_or_default(),
            ),
            service: (text(&service["namespace"]), text(&service["name"]), port.unwrap_or(443)),
            authorities: bundle.map(|bundle| String::from_utf8_lossy(&bundle).into()),
            insecure: spec["insecureSkipTLSVerify"] == true,
            available: available.any(|condition| condition["status"] == "True"),
            resources: Value::Null,
            openapi: None,
            openapi_tag: None,
        })
    }

    /// Whom to call, at that address of the Service's.
    pub(super) fn target(&self, connect: (String, u16), identity: Option<(Arc<str>, Arc<str>)>) -> Option<Target> {
        let (namespace, name, port) = &self.service;
        let host = format!("{name}.{namespace}.svc");
        let mut target = Target::new(format!("https://{host}:{port}/").parse::<Uri>().ok()?);
        target.connect = Some(connect);
        target.authorities = self.authorities.clone();
        target.insecure = self.insecure;
        target.identity = identity;
        Some(target)
    }

    /// Its version in the aggregated document, as far as it is known.
    pub(crate) fn discovery(&self) -> Value {
        let freshness = if self.available { "Current" } else { "Stale" };
        let resources = if self.resources.is_null() { json!([]) } else { self.resources.clone() };
        json!({"version": self.version, "resources": resources, "freshness": freshness})
    }
}

/// The resources of an `APIResourceList`, as aggregated discovery shows them.
pub(super) fn aggregated(list: &Value, group: &str, version: &str) -> Value {
    let mut resources: Vec<Value> = Vec::new();
    for entry in list["resources"].as_array().into_iter().flatten() {
        let name = entry["name"].as_str().unwrap_or_default();
        let or = |field: &str, other: &str| {
            entry[field].as_str().filter(|text| !text.is_empty()).unwrap_or(other).to_owned()
        };
        let kind = json!({"group": or("group", group), "version": or("version", version), "kind": entry["kind"]});
        if let Some((parent, sub)) = name.split_once('/') {
            let sub = json!({"subresource": sub, "responseKind": kind, "verbs": entry["verbs"]});
            if let Some(parent) = resources.iter_mut().find(|known| known["resource"] == parent) {
                match parent["subresources"].as_array_mut() {
                    Some(all) => all.push(sub),
                    None => parent["subresources"] = json!([sub]),
                }
            }
            continue;
        }
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut resource = json!({"resource": name, "responseKind": kind, "scope": scope,
            "singularResource": entry["singularName"], "verbs": entry["verbs"]});
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                resource[field] = entry[field].clone();
            }
        }
        resources.push(resource);
    }
    resources.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_service_says_whom_to_call_and_trust() {
        let mut object = json!({"metadata": {"name": "v1.m.example.com"}, "spec": {"group": "m.example.com",
            "version": "v1", "caBundle": STANDARD.encode("PEM"), "service": {"namespace": "ns", "name": "m"}}});
        let extension = Extension::of(&object).unwrap();
        assert!(!extension.available);
        let target = extension.target(("10.0.0.1".into(), 8443), None).unwrap();
        assert_eq!(target.url.host(), Some("m.ns.svc"));
        assert_eq!((target.authorities.as_deref(), target.insecure), (Some("PEM"), false));
        object["status"]["conditions"] = json!([{"type": "Available", "status": "True"}]);
        assert!(Extension::of(&object).unwrap().available);
        object["spec"]["service"] = Value::Null;
        assert!(Extension::of(&object).is_none());
    }

    #[test]
    fn plain_lists_become_aggregated_ones() {
        let list = json!({"resources": [
            {"name": "lamps", "singularName": "lamp", "namespaced": true, "kind": "Lamp", "verbs": ["get"], "shortNames": ["l"]},
            {"name": "lamps/status", "singularName": "", "namespaced": true, "kind": "Lamp", "verbs": ["get"]}]});
        let found = aggregated(&list, "g", "v1");
        assert_eq!(found[0]["responseKind"], json!({"group": "g", "version": "v1", "kind": "Lamp"}));
        assert_eq!((&found[0]["scope"], &found[0]["shortNames"][0]), (&json!("Namespaced"), &json!("l")));
        assert_eq!(found[0]["subresources"][0]["subresource"], "status");
        assert_eq!(found.as_array().unwrap().len(), 1);
    }
}
