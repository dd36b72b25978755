//! `NodeRestriction`: a kubelet changes its own node and the pods bound to it, and of those only what is its business.

mod node;
mod pods;
mod tokens;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

use self::node::check_node;
use self::pods::{api_reference, check_mirror_pod, check_pod_status};
use super::{Admission, AdmissionAttributes, Operation, certificates};
use crate::authz::Authorizer;
use crate::authz::node::node_of;
use crate::objects::{GroupResource, Objects};

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
        if a.operation != Operation::Create {
            return Err(a.forbidden(format!("unexpected operation {}", operation_name(a.operation))));
        }
        let pod = self.pod(a, a.display_name())?;
        if pod["spec"]["nodeName"] != node {
            return Err(a.forbidden(format!("node {node} can only evict pods with spec.nodeName set to itself")));
        }
        Ok(())
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
mod cases;
#[cfg(test)]
#[path = "test.rs"]
mod tests;
