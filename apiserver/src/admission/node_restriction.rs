//! `NodeRestriction`: a kubelet changes its own node and the pods bound to it, and of those only what is its business.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

use super::{Admission, AdmissionAttributes, Operation, certificates};
use crate::authz::node::{Referenced, node_of, references};
use crate::authz::{Attributes, Authorizer};
use crate::objects::{GroupResource, Objects};

const MIRROR_POD: &str = "kubernetes.io/config.mirror";
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

/// The plugin.
pub struct NodeRestriction {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
}

impl fmt::Debug for NodeRestriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeRestriction")
    }
}

impl NodeRestriction {
    /// Looks objects up there; the authorizer is asked about token audiences that no volume names.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { objects, authorizer }
    }

    fn pod(&self, a: &AdmissionAttributes<'_>, name: &str) -> Result<Value, Status> {
        let found = self.objects.cached(GroupResource::core("pods"), a.namespace, name);
        found.ok_or_else(|| Status::not_found("", "pods", name))
    }

    fn admit_pod(&self, node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        match a.operation {
            Operation::Create => {
                check_mirror_pod(node, a)?;
                let own = self.objects.cached(GroupResource::core("nodes"), "", node);
                let own = own.ok_or_else(|| Status::not_found("", "nodes", node))?;
                let (claimed, actual) = (&a.object["metadata"]["ownerReferences"][0]["uid"], &own["metadata"]["uid"]);
                if claimed != actual {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let (claimed, actual) = (text(claimed), text(actual));
                    return Err(a.forbidden(format!("node {node} UID mismatch: expected {claimed} got {actual}")));
                }
                if let Some(what) = api_reference(&a.object) {
                    return Err(a.forbidden(format!("node {node:?} can not create pods that reference {what}")));
                }
                Ok(())
            }
            Operation::Delete => {
                let pod = self.pod(a, a.name)?;
                if pod["spec"]["nodeName"] != node {
                    let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                    return Err(a.forbidden(why));
                }
                Ok(())
            }
            Operation::Update | Operation::Connect => {
                let why = format!(
                    "unexpected operation \"{}\", node {node:?} can only create and delete mirror pods",
                    operation_name(a.operation)
                );
                Err(a.forbidden(why))
            }
        }
    }

    fn admit_eviction(&self, node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let pod = self.pod(a, a.display_name())?;
        if pod["spec"]["nodeName"] != node {
            return Err(a.forbidden(format!("node {node} can only evict pods with spec.nodeName set to itself")));
        }
        Ok(())
    }

    async fn admit_token(&self, node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.operation != Operation::Create || a.subresource != "token" {
            return Ok(());
        }
        let reference = &a.object["spec"]["boundObjectRef"];
        let field = |name: &str| reference[name].as_str().unwrap_or_default();
        if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
            return Err(a.forbidden("node requested token not bound to a pod"));
        }
        let uid = field("uid");
        if uid.is_empty() {
            return Err(a.forbidden("node requested token with a pod binding without a uid"));
        }
        let pod = self.pod(a, field("name"))?;
        if pod["metadata"]["uid"] != uid {
            return Err(a.forbidden(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            )));
        }
        if pod["spec"]["nodeName"] != node {
            return Err(a.forbidden("node requested token bound to a pod scheduled on a different node"));
        }
        self.admit_audience(&pod, a).await
    }

    /// A kubelet only gets tokens for audiences that the pod's volumes name.
    async fn admit_audience(&self, pod: &Value, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let audience = match a.object["spec"]["audiences"].as_array().map_or(&[][..], Vec::as_slice) {
            [] => "",
            [one] => one.as_str().unwrap_or_default(),
            _ => return Err(a.forbidden("node may only request 0 or 1 audiences")),
        };
        if self.names_audience(pod, a.namespace, audience) {
            return Ok(());
        }
        let attributes = Attributes {
            user: a.user.clone(),
            verb: "request-serviceaccounts-token-audience".into(),
            namespace: a.namespace.into(),
            version: "v1".into(),
            resource: audience.into(),
            name: a.name.into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        if self.authorizer.authorize(&attributes).await.is_allowed() {
            return Ok(());
        }
        Err(a.forbidden(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            a.user.name
        )))
    }

    fn names_audience(&self, pod: &Value, namespace: &str, audience: &str) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        pod["spec"]["volumes"].as_array().into_iter().flatten().any(|volume| {
            let mut sources = volume["projected"]["sources"].as_array().into_iter().flatten();
            if sources.any(|source| {
                let token = &source["serviceAccountToken"];
                token.is_object() && text(&token["audience"]) == audience
            }) {
                return true;
            }
            let claim = if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
                format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]))
            } else {
                text(&volume["persistentVolumeClaim"]["claimName"])
            };
            self.driver_names_audience(&text(&volume["csi"]["driver"]), &claim, namespace, audience)
        })
    }

    fn driver_names_audience(&self, inline: &str, claim: &str, namespace: &str, audience: &str) -> bool {
        let name = if claim.is_empty() { inline.to_owned() } else { self.driver(namespace, claim) };
        let drivers = GroupResource::new("storage.k8s.io", "csidrivers");
        let driver = self.objects.cached(drivers, "", &name).unwrap_or_default();
        let mut requests = driver["spec"]["tokenRequests"].as_array().into_iter().flatten();
        requests.any(|request| request["audience"].as_str().unwrap_or_default() == audience)
    }

    /// The driver of the volume that a claim is bound to.
    fn driver(&self, namespace: &str, claim: &str) -> String {
        let claim = self.objects.cached(GroupResource::core("persistentvolumeclaims"), namespace, claim);
        let volume = claim.and_then(|claim| claim["spec"]["volumeName"].as_str().map(str::to_owned));
        let volume = volume.and_then(|name| self.objects.cached(GroupResource::core("persistentvolumes"), "", &name));
        volume.and_then(|volume| volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}

fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn check_mirror_pod(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
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
fn api_reference(pod: &Value) -> Option<&'static str> {
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

fn check_pod_status(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
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

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn check_claim_status(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    if a.subresource != "status" {
        return Err(a.forbidden("may only update PVC status"));
    }
    let Some(old) = a.old.filter(|_| a.operation == Operation::Update) else {
        return Err(a.forbidden(format!("unexpected operation \"{}\"", operation_name(a.operation))));
    };
    let rest = |object: &Value| {
        let mut object = object.clone();
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            object["status"].as_object_mut().and_then(|status| status.remove(field));
        }
        for field in ["resourceVersion", "managedFields"] {
            object["metadata"].as_object_mut().and_then(|meta| meta.remove(field));
        }
        object
    };
    if rest(old) == rest(&a.object) {
        return Ok(());
    }
    Err(a.forbidden(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    )))
}

fn changed_labels(new: &Value, old: Option<&Value>) -> BTreeSet<String> {
    let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (new, old) = (labels(new), old.map(labels).unwrap_or_default());
    new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key)).cloned().collect()
}

fn is_in(domain: &str, of: &str) -> bool {
    domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'))
}

fn may_set_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    if is_in(domain, RESTRICTED) {
        return false;
    }
    let of_kubernetes = is_in(domain, "kubernetes.io") || is_in(domain, "k8s.io");
    !of_kubernetes
        || KUBELET_LABELS.contains(&key)
        || KUBELET_LABEL_DOMAINS.iter().any(|allowed| is_in(domain, allowed))
}

fn check_node(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let requested = if a.name.is_empty() { a.display_name() } else { a.name };
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

fn refused_labels(new: &Value, old: Option<&Value>) -> String {
    let changed = changed_labels(new, old).into_iter().filter(|key| !may_set_label(key));
    changed.collect::<Vec<_>>().join(", ")
}

fn check_named_after(node: &str, what: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let name = if a.operation == Operation::Create {
        a.object["metadata"]["name"].as_str().unwrap_or_default()
    } else {
        a.name
    };
    if name == node {
        return Ok(());
    }
    Err(a.forbidden(format!("can only access {what} with the same name as the requesting node")))
}

fn check_slice(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let (object, verb) = match a.operation {
        Operation::Create => (Some(&a.object), "create"),
        Operation::Delete => (a.old, "delete"),
        _ => return Ok(()),
    };
    if object.is_some_and(|slice| slice["spec"]["nodeName"] == node) {
        return Ok(());
    }
    Err(a.forbidden(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")))
}

fn check_signing_request(node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let signer = a.object["spec"]["signerName"].as_str().unwrap_or_default();
    let of_nodes = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if a.operation != Operation::Create || !of_nodes.contains(&signer) {
        return Ok(());
    }
    let subject = certificates::subject(&a.object);
    let subject = subject.ok_or_else(|| a.forbidden("unable to parse csr: not a certificate request in PEM form"))?;
    if subject.common_name == format!("system:node:{node}") {
        return Ok(());
    }
    Err(a.forbidden(format!("can only create a node CSR with CN=system:node:{node}")))
}

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.operation != Operation::Connect && node_of(a.user).is_some()
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let Some(node) = node_of(a.user) else { return Ok(()) };
        if node.is_empty() {
            return Err(a.forbidden(format!("could not determine node from user {:?}", a.user.name)));
        }
        match (a.group, a.resource, a.subresource) {
            ("", "pods", "") => self.admit_pod(node, a),
            ("", "pods", "status") => check_pod_status(node, a),
            ("", "pods", "eviction") => self.admit_eviction(node, a),
            ("", "pods", other) => Err(
                a.forbidden(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
            ),
            ("", "nodes", _) => check_node(node, a),
            ("", "persistentvolumeclaims", _) => check_claim_status(node, a),
            ("", "serviceaccounts", _) => self.admit_token(node, a).await,
            ("coordination.k8s.io", "leases", _) => {
                if a.namespace != "kube-node-lease" {
                    return Err(a.forbidden("can only access leases in the \"kube-node-lease\" system namespace"));
                }
                check_named_after(node, "node lease", a)
            }
            ("storage.k8s.io", "csinodes", _) => check_named_after(node, "CSINode", a),
            ("resource.k8s.io", "resourceslices", _) => check_slice(node, a),
            ("certificates.k8s.io", "certificatesigningrequests", _) => check_signing_request(node, a),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "node_restriction_test.rs"]
mod tests;
