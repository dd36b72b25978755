//! What a kubelet may change of its own node.

use std::collections::BTreeSet;

use kubewright_api::status::Status;
use serde_json::Value;

use super::is_empty;
use crate::admission::{AdmissionAttributes, Operation};

const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels that kubelets may set on their own node, among those of Kubernetes' own domains.
const KUBELET_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const KUBELET_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn changed_labels(new: &Value, old: Option<&Value>) -> BTreeSet<String> {
    let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (new, old) = (labels(new), old.map(labels).unwrap_or_default());
    new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key)).cloned().collect()
}

fn is_in(domain: &str, of: &str) -> bool {
    domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'))
}

pub(super) fn may_set_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    if is_in(domain, RESTRICTED) {
        return false;
    }
    let of_kubernetes = is_in(domain, "kubernetes.io") || is_in(domain, "k8s.io");
    !of_kubernetes
        || KUBELET_LABELS.contains(&key)
        || KUBELET_LABEL_DOMAINS.iter().any(|allowed| is_in(domain, allowed))
}

pub(super) fn check_node(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    // Whatever a name is generated from names no node.
    let named = a.object["metadata"]["name"].as_str().unwrap_or_default();
    let requested = if a.name.is_empty() { named } else { a.name };
    if requested != node {
        return Err(a.forbidden(format!("node {node:?} is not allowed to modify node {requested:?}")));
    }
    if a.operation == Operation::Delete {
        return Ok(());
    }
    let source = a.object["spec"].get("configSource").filter(|source| !source.is_null());
    let Some(old) = a.old else {
        if source.is_some() {
            let why = format!("node {node:?} is not allowed to create pods with a non-nil configSource");
            return Err(a.forbidden(why));
        }
        let refused = refused_labels(&a.object, None);
        if !refused.is_empty() {
            let why = format!("node {node:?} is not allowed to set the following labels: {refused}");
            return Err(a.forbidden(why));
        }
        return Ok(());
    };
    if source.is_some() && source != old["spec"].get("configSource") {
        let why = format!("node {node:?} is not allowed to update configSource to a new non-nil configSource");
        return Err(a.forbidden(why));
    }
    for (pointer, what) in [("/spec/taints", "taints"), ("/metadata/ownerReferences", "ownerReferences")] {
        let value = |object: &Value| object.pointer(pointer).cloned().filter(|value| !is_empty(value));
        if value(old) != value(&a.object) {
            return Err(a.forbidden(format!("node {node:?} is not allowed to modify {what}")));
        }
    }
    let refused = refused_labels(&a.object, Some(old));
    if refused.is_empty() { Ok(()) } else { Err(a.forbidden(format!("is not allowed to modify labels: {refused}"))) }
}

pub(super) fn refused_labels(new: &Value, old: Option<&Value>) -> String {
    let changed = changed_labels(new, old).into_iter().filter(|key| !may_set_label(key));
    changed.collect::<Vec<_>>().join(", ")
}
