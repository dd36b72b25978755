//! Resources of a pod as a whole: defaults, and that they fit with its containers'.

use kubewright_api::field::FieldErrors;
use kubewright_api::quantity::Quantity;
use kubewright_api::requests::{PodResources, ResourceList};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kinds::edit::set;
use crate::kinds::read::Field;
use crate::kinds::validate::resources::{is_huge_page, is_pod_level, may_overcommit, pod_resource_name, requirements};

/// What the containers ask for together, and their limits.
fn of_containers(spec: &Value) -> (ResourceList, ResourceList) {
    match PodResources::deserialize(spec) {
        Ok(mut pod) => {
            pod.resources = None;
            pod.overhead.clear();
            (pod.requests(), pod.limits())
        }
        Err(_) => (ResourceList::new(), ResourceList::new()),
    }
}

fn list(resources: &Value, name: &str) -> serde_json::Map<String, Value> {
    resources[name].as_object().cloned().unwrap_or_default()
}

/// Fills in pod-level requests, and limits of huge pages, where some are given.
pub(crate) fn defaults(spec: &mut Value) {
    let resources = &spec["resources"];
    let (mut limits, mut requests) = (list(resources, "limits"), list(resources, "requests"));
    if !resources.is_object() || (limits.is_empty() && requests.is_empty()) {
        return;
    }
    let (container_requests, container_limits) = of_containers(spec);
    for (name, limit) in container_limits.iter().filter(|(name, _)| is_huge_page(name)) {
        if !requests.contains_key(name) && !limits.contains_key(name) {
            limits.insert(name.clone(), json!(limit.to_string()));
        }
    }
    if !limits.is_empty() {
        for (name, request) in container_requests.iter().filter(|(name, _)| is_pod_level(name) && may_overcommit(name))
        {
            if !requests.contains_key(name) {
                requests.insert(name.clone(), json!(request.to_string()));
            }
        }
        for (name, limit) in limits.iter().filter(|(name, _)| is_pod_level(name)) {
            if !requests.contains_key(name) {
                requests.insert(name.clone(), limit.clone());
            }
        }
    }
    for (name, amounts) in [("limits", limits), ("requests", requests)] {
        if !amounts.is_empty() {
            super::super::edit::with(spec, "resources", |resources| set(resources, name, amounts));
        }
    }
}

/// The rules for pod-level resources.
pub(crate) fn validate(spec: &Field<'_>, claims: &[&str], errors: &mut FieldErrors) {
    let resources = spec.field("resources");
    if !resources.is_set() {
        return;
    }
    if spec.at("os.name").text() == "windows" {
        resources.forbidden(errors, "may not be set for a windows pod");
        return;
    }
    if resources.field("claims").is_set() {
        resources.field("claims").forbidden(errors, "claims may not be set for Resources at pod-level");
    }
    requirements(&resources, pod_resource_name, claims, errors);
    consistency(spec, &resources, errors);
}

fn consistency(spec: &Field<'_>, resources: &Field<'_>, errors: &mut FieldErrors) {
    let (requests, limits) = spec.value().map(of_containers).unwrap_or_default();
    let (own_requests, own_limits) = (resources.field("requests"), resources.field("limits"));
    for (name, total) in &requests {
        let own = own_requests.key(name);
        if let Some(asked) = own.quantity().filter(|asked| total > asked) {
            let why = format!("must be greater than or equal to aggregate container requests of {total}");
            own.invalid_value(errors, asked.to_string(), why);
        }
    }
    for (name, total) in limits.iter().filter(|(name, _)| is_huge_page(name)) {
        let own = own_limits.key(name);
        if let Some(limit) = own.quantity().filter(|limit| total > limit) {
            let why = format!("must be greater than or equal to aggregate container limits of {total}");
            own.invalid_value(errors, limit.to_string(), why);
        }
    }
    for (at, container) in spec.field("containers").items().enumerate() {
        for (name, limit) in container.at("resources.limits").entries() {
            let (Some(own), Some(limit)) = (own_limits.key(name).quantity(), limit.quantity()) else { continue };
            if limit > own {
                let path = resources.field("containers").index(at).key(name).field("limits");
                path.invalid_value(errors, limit.to_string(), less_or_equal(own));
            }
        }
    }
}

fn less_or_equal(limit: Quantity) -> String {
    format!("must be less than or equal to pod limits of {limit}")
}
