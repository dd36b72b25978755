//! The pods that a kubelet may make, and what it may say of those bound to it.

use kubewright_api::status::Status;
use serde_json::Value;

use super::{is_empty, operation_name};
use crate::admission::{AdmissionAttributes, Operation};
use crate::authz::node::{Referenced, references};

pub(super) const MIRROR_POD: &str = "kubernetes.io/config.mirror";
pub(super) fn check_mirror_pod(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let (meta, no) = (&a.object["metadata"], |why: String| Err(a.forbidden(why)));
    if meta["annotations"].get(MIRROR_POD).is_none() {
        return no(format!("pod does not have {MIRROR_POD:?} annotation, node {node:?} can only create mirror pods"));
    }
    if a.object["spec"]["nodeName"] != node {
        return no(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match meta["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice) {
        [owner] => owner,
        [] => return no(format!("node {node:?} can only create pods with an owner reference set to itself")),
        _ => return no(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return no(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return no(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner["blockOwnerDeletion"] == true {
        return no(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(())
}

/// Volumes that need nothing of the API.
const PLAIN_VOLUMES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// What a pod refers to that a kubelet must not get at through a pod of its own making.
pub(super) fn api_reference(pod: &Value) -> Option<&'static str> {
    let refers = references(pod);
    let has = |what| refers.iter().any(|(kind, _)| *kind == what);
    if has(Referenced::ServiceAccount) {
        return Some("serviceaccounts");
    }
    if has(Referenced::Secret) {
        return Some("secrets");
    }
    if has(Referenced::ConfigMap) {
        return Some("configmaps");
    }
    if pod["spec"]["resourceClaims"].as_array().is_some_and(|claims| !claims.is_empty()) {
        return Some("resourceclaims");
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if PLAIN_VOLUMES.iter().any(|kind| volume.get(kind).is_some()) {
            continue;
        }
        for (kind, what) in [
            ("csi", "csidrivers (via CSI volumes)"),
            ("glusterfs", "endpoints (via glusterFS volumes)"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ] {
            if volume.get(kind).is_some() {
                return Some(what);
            }
        }
        let sources = volume["projected"]["sources"].as_array();
        for source in sources.into_iter().flatten() {
            if source.get("serviceAccountToken").is_some() {
                return Some("serviceaccounts (via projected volumes)");
            }
            if source.get("downwardAPI").is_none() {
                return Some("objects (via projected volumes)");
            }
        }
        if sources.is_none() {
            return Some("volumes of an unknown kind");
        }
    }
    None
}

pub(super) fn check_pod_status(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let Some(old) = a.old.filter(|_| a.operation == Operation::Update) else {
        return Err(a.forbidden(format!("unexpected operation \"{}\"", operation_name(a.operation))));
    };
    if old["spec"]["nodeName"] != node {
        let why = format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
        return Err(a.forbidden(why));
    }
    let same = |pointer: &str| {
        let value = |object: &Value| object.pointer(pointer).cloned().filter(|value| !is_empty(value));
        value(old) == value(&a.object)
    };
    if !same("/metadata/labels") {
        return Err(a.forbidden(format!("node {node:?} cannot update labels through pod status")));
    }
    if !same("/status/resourceClaimStatuses") {
        return Err(a.forbidden(format!("node {node:?} cannot update resource claim statues")));
    }
    if !same("/status/extendedResourceClaimStatus") {
        return Err(a.forbidden(format!("node {node:?} cannot update extended resource claim status")));
    }
    Ok(())
}
