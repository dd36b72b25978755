//! Brings slices to what was packed, whoever they are made for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::pack::Packing;
use crate::objects::{Endpoint, EndpointPort, EndpointSlice, Labels, OwnerReference, kinds};
use crate::plan::{Action, Plan};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Slices of one address family and set of ports.
pub(crate) type Group = (String, Vec<EndpointPort>);

/// What slices are made for.
pub(crate) struct Target<'a> {
    /// The service's name.
    pub(crate) name: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// The slices' labels.
    pub(crate) labels: Labels,
    /// What the slices belong to.
    pub(crate) owner: OwnerReference,
}

/// The slices that a controller of that name made, by family and ports.
pub(crate) fn group(slices: &[Arc<EndpointSlice>], manager: &str) -> BTreeMap<Group, Vec<Arc<EndpointSlice>>> {
    let ours = |slice: &&Arc<EndpointSlice>| {
        slice.metadata.labels.get(MANAGED_BY) == Some(manager) && !slice.metadata.deleting()
    };
    let mut groups: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices.iter().filter(ours) {
        let mut ports = slice.ports.clone();
        ports.sort();
        groups.entry((slice.address_type.clone(), ports)).or_default().push(slice.clone());
    }
    groups
}

/// Labels whose present values differ, and those that must go.
fn label_changes(slice: &EndpointSlice, wanted: &Labels) -> serde_json::Map<String, Value> {
    let mut changes = serde_json::Map::new();
    for (key, value) in wanted.iter().filter(|(key, value)| slice.metadata.labels.get(key) != Some(value)) {
        changes.insert(key.to_owned(), json!(value));
    }
    for (key, _) in slice.metadata.labels.iter().filter(|(key, _)| !wanted.contains(key)) {
        changes.insert(key.to_owned(), Value::Null);
    }
    changes
}

/// Keeps one slice without endpoints.
pub(crate) fn placeholder(plan: &mut Plan, target: &Target<'_>, group: &Group, slices: &[Arc<EndpointSlice>]) {
    match slices.split_first() {
        None => plan.push(create(target, group, &[])),
        Some((kept, surplus)) => {
            surplus.iter().for_each(|slice| plan.delete(slice.as_ref(), None));
            update(plan, target, kept, (!kept.endpoints.is_empty()).then_some(&[]));
        }
    }
}

/// Creates, changes and deletes slices as packed.
pub(crate) fn write(plan: &mut Plan, target: &Target<'_>, group: &Group, packing: Packing) {
    for endpoints in &packing.create {
        plan.push(create(target, group, endpoints));
    }
    for (slice, endpoints) in &packing.update {
        update(plan, target, slice, Some(endpoints));
    }
    for slice in &packing.keep {
        update(plan, target, slice, None);
    }
    for slice in &packing.delete {
        plan.delete(slice.as_ref(), None);
    }
}

fn update(plan: &mut Plan, target: &Target<'_>, slice: &EndpointSlice, endpoints: Option<&[Endpoint]>) {
    let mut body = json!({});
    let changes = label_changes(slice, &target.labels);
    if !changes.is_empty() {
        body["metadata"] = json!({"labels": changes});
    }
    if let Some(endpoints) = endpoints {
        body["endpoints"] = json!(endpoints);
    }
    plan.patch(slice, "", body);
}

fn create(target: &Target<'_>, (family, ports): &Group, endpoints: &[Endpoint]) -> Action {
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", target.name),
            "namespace": target.namespace,
            "labels": target.labels,
            "ownerReferences": [target.owner],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    });
    Action::create(kinds::ENDPOINT_SLICE, target.namespace, object, None)
}
