//! What kubelets may do: their own node, the pods bound to it, and what those pods refer to.

mod graph;
mod references;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use kubewright_api::selector::FieldSelector;
use serde_json::Value;

pub(crate) use references::{Referenced, references};

use graph::Graph;

use super::rbac::PolicyRule;
use super::{Attributes, Authorizer, Decision};
use crate::objects::{GroupResource, Objects, Observer};
use crate::request::User;

const NODE_USER_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";

/// `None` for who is no kubelet; the node's name (perhaps empty) for who is.
#[must_use]
pub fn node_of(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(NODE_USER_PREFIX)?;
    user.in_group(NODES_GROUP).then_some(name)
}

/// Decides for kubelets.
#[derive(Clone, Debug, Default)]
pub struct NodeAuthorizer {
    graph: Arc<RwLock<Graph>>,
    rules: Arc<[PolicyRule]>,
}

type Update = fn(&mut Graph, &str, &str, Option<&Value>);

struct Feed {
    graph: Arc<RwLock<Graph>>,
    update: Update,
}

impl Observer for Feed {
    fn changed(&self, namespace: &str, name: &str, object: Option<&Value>) {
        let mut graph = self.graph.write().unwrap_or_else(PoisonError::into_inner);
        (self.update)(&mut graph, namespace, name, object);
    }
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

impl NodeAuthorizer {
    /// Follows the pods and volumes among these objects; `rules` are those of the cluster role `system:node`, for
    /// everything that isn't narrowed down here.
    #[must_use]
    pub fn observing(objects: &dyn Objects, rules: Vec<PolicyRule>) -> Self {
        let authorizer = Self { graph: Arc::default(), rules: rules.into() };
        let feeds: [(&str, &str, Update); 4] = [
            ("", "pods", Graph::set_pod),
            ("", "persistentvolumes", Graph::set_volume),
            ("storage.k8s.io", "volumeattachments", Graph::set_attachment),
            ("resource.k8s.io", "resourceslices", Graph::set_slice),
        ];
        for (group, resource, update) in feeds {
            let feed = Feed { graph: Arc::clone(&authorizer.graph), update };
            objects.observe(GroupResource::new(group, resource), Arc::new(feed));
        }
        authorizer
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, a: &Attributes) -> Decision {
        let Some(node) = node_of(&a.user) else { return no("") };
        if node.is_empty() {
            return no(format!("unknown node for user {:?}", a.user.name));
        }
        if a.is_resource_request {
            match (a.group.as_str(), a.resource.as_str()) {
                ("", "secrets") => return self.read_one(node, Referenced::Secret, a),
                ("", "configmaps") => return self.read_one(node, Referenced::ConfigMap, a),
                ("", "persistentvolumeclaims") if a.subresource == "status" => {
                    if !matches!(a.verb.as_str(), "update" | "patch") {
                        return no("can only get/update/patch this type");
                    }
                    return self.related(node, Referenced::Claim, a);
                }
                ("", "persistentvolumeclaims") => return self.get_one(node, Referenced::Claim, a),
                ("", "persistentvolumes") => return self.get_one(node, Referenced::Volume, a),
                ("resource.k8s.io", "resourceclaims") => return self.get_one(node, Referenced::ResourceClaim, a),
                ("storage.k8s.io", "volumeattachments") => return self.get_one(node, Referenced::Attachment, a),
                ("", "serviceaccounts") => return self.service_account(node, a),
                ("coordination.k8s.io", "leases") => return lease(node, a),
                ("storage.k8s.io", "csinodes") => return csi_node(node, a),
                ("resource.k8s.io", "resourceslices") => return self.slice(node, a),
                ("", "nodes") => return own_node(node, a),
                ("", "pods") => return self.pod(node, a),
                _ => {}
            }
        }
        if self.rules.iter().any(|rule| rule.allows(a)) { yes() } else { no("") }
    }

    fn related(&self, node: &str, what: Referenced, a: &Attributes) -> Decision {
        if a.name.is_empty() {
            return no("No Object name found");
        }
        let graph = self.graph.read().unwrap_or_else(PoisonError::into_inner);
        if graph.relates(node, what, &a.namespace, &a.name) {
            return yes();
        }
        no(format!("no relationship found between node '{node}' and this object"))
    }

    fn read_one(&self, node: &str, what: Referenced, a: &Attributes) -> Decision {
        if !matches!(a.verb.as_str(), "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if a.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, what, a)
    }

    fn get_one(&self, node: &str, what: Referenced, a: &Attributes) -> Decision {
        if a.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(node, what, a)
    }

    fn service_account(&self, node: &str, a: &Attributes) -> Decision {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.read_one(node, Referenced::ServiceAccount, a);
        }
        if a.verb != "create" || a.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if a.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(node, Referenced::ServiceAccount, a)
    }

    fn slice(&self, node: &str, a: &Attributes) -> Decision {
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match a.verb.as_str() {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(node, Referenced::Slice, a),
            "watch" | "list" | "deletecollection" if selects(a, "spec.nodeName", node) => yes(),
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn pod(&self, node: &str, a: &Attributes) -> Decision {
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "get") => self.get_one(node, Referenced::Pod, a),
            ("", "list" | "watch") if selects(a, "spec.nodeName", node) => yes(),
            ("", "list" | "watch") if !a.name.is_empty() => self.related(node, Referenced::Pod, a),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            // NodeRestriction narrows these down to the node's own pods.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }
}

fn selects(a: &Attributes, field: &str, value: &str) -> bool {
    FieldSelector::parse(&a.field_selector).is_ok_and(|selector| selector.exact(field) == Some(value))
}

fn lease(node: &str, a: &Attributes) -> Decision {
    if !matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if a.namespace != "kube-node-lease" {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    // The name of what is created is only known to admission.
    if a.verb != "create" && a.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    yes()
}

fn csi_node(node: &str, a: &Attributes) -> Decision {
    if !matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !a.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if a.verb != "create" && a.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    yes()
}

fn own_node(node: &str, a: &Attributes) -> Decision {
    match (a.subresource.as_str(), a.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
        ("", "get" | "list" | "watch") if a.name == node => yes(),
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            no(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => no(""),
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        self.decide(attributes)
    }

    fn cannot_list_rules(&self, user: &User) -> Vec<String> {
        // Whom it allows nothing it need not list anything for.
        let is_node = node_of(user).is_some();
        is_node.then(|| "node authorizer does not support user rule resolution".to_owned()).into_iter().collect()
    }
}

#[cfg(test)]
#[path = "test.rs"]
mod tests;
