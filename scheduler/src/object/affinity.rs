//! Affinity: which nodes a pod wants, and which pods it wants near or far.

use std::collections::BTreeSet;

use kubewright_api::selector::{LabelSelector, Operator, Requirement};
use serde::{Deserialize, Deserializer};

use super::{Labels, Name, Node, PodInfo};

/// Nodes that match at least one of several terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The terms, of which one must match.
    #[serde(deserialize_with = "super::wire::null_is_default")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

impl NodeSelector {
    /// Whether a node matches.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(node))
    }
}

/// Requirements on a node's labels and name, all of which must hold. A term without any matches nothing, and so does
/// one that is malformed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSelectorTerm {
    /// On labels.
    pub match_expressions: Vec<Requirement>,
    /// On fields; `metadata.name` is the only one there is.
    pub match_fields: Vec<Requirement>,
    malformed: bool,
}

impl NodeSelectorTerm {
    /// A term with these requirements on labels and fields.
    #[must_use]
    pub fn new(match_expressions: Vec<Requirement>, match_fields: Vec<Requirement>) -> Self {
        let bad_label = |r: &Requirement| Requirement::new(r.key.clone(), r.operator, r.values.clone()).is_err();
        let bad_field = |r: &Requirement| !matches!(r.operator, Operator::In | Operator::NotIn) || r.values.len() != 1;
        let malformed = match_expressions.iter().any(bad_label) || match_fields.iter().any(bad_field);
        Self { match_expressions, match_fields, malformed }
    }

    /// Whether it requires nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_expressions.is_empty() && self.match_fields.is_empty()
    }

    /// Whether a node matches.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        let field = |r: &Requirement| {
            let own = if r.key == "metadata.name" { node.name.as_str() } else { "" };
            (r.operator == Operator::In) == r.values.iter().any(|value| value == own)
        };
        !self.malformed
            && !self.is_empty()
            && self.match_expressions.iter().all(|r| r.matches(&node.labels))
            && self.match_fields.iter().all(field)
    }
}

impl<'de> Deserialize<'de> for NodeSelectorTerm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Wire {
            #[serde(deserialize_with = "super::wire::null_is_default")]
            match_expressions: Vec<Requirement>,
            #[serde(deserialize_with = "super::wire::null_is_default")]
            match_fields: Vec<Requirement>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self::new(wire.match_expressions, wire.match_fields))
    }
}

/// Nodes that a pod would rather have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Preferred {
    /// How much, 1 to 100.
    pub weight: i32,
    /// Which nodes.
    pub preference: NodeSelectorTerm,
}

/// The nodes that a pod insists on: its node selector and its required node affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequiredNodeAffinity {
    /// Labels that the node must have.
    pub node_selector: Labels,
    /// Terms of which one must match, if there is an affinity.
    pub affinity: Option<NodeSelector>,
}

impl RequiredNodeAffinity {
    /// Whether a node is acceptable.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        self.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && self.affinity.as_ref().is_none_or(|affinity| affinity.matches(node))
    }

    /// Whether every node is acceptable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node_selector.is_empty() && self.affinity.is_none()
    }
}

/// Pods, and the topology within which they count as near.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodAffinityTerm {
    /// Which pods, by their labels.
    pub selector: LabelSelector,
    /// In which namespaces, by name. Filled with the pod's own where a term names none.
    pub namespaces: BTreeSet<Name>,
    /// In which namespaces, by their labels.
    pub namespace_selector: LabelSelector,
    /// The node label whose equal values mean "near".
    pub topology_key: Name,
    names_no_namespace: bool,
}

impl PodAffinityTerm {
    /// Whether a pod is meant, given the labels of its namespace.
    #[must_use]
    pub fn matches(&self, pod: &PodInfo, namespace_labels: Option<&Labels>) -> bool {
        let no_labels = Labels::default();
        (self.namespaces.contains(&pod.namespace)
            || self.namespace_selector.matches(namespace_labels.unwrap_or(&no_labels)))
            && self.selector.matches(&pod.labels)
    }

    /// A term that says nothing of namespaces means those of its own pod.
    pub(super) fn settle(&mut self, own_namespace: &Name) {
        if self.names_no_namespace {
            self.namespaces.insert(own_namespace.clone());
        }
    }
}

impl<'de> Deserialize<'de> for PodAffinityTerm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            #[serde(default)]
            label_selector: Option<LabelSelector>,
            #[serde(default, deserialize_with = "super::wire::null_is_default")]
            namespaces: BTreeSet<Name>,
            #[serde(default)]
            namespace_selector: Option<LabelSelector>,
            #[serde(default)]
            topology_key: Name,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            names_no_namespace: wire.namespaces.is_empty() && wire.namespace_selector.is_none(),
            selector: wire.label_selector.unwrap_or_else(LabelSelector::nothing),
            namespaces: wire.namespaces,
            namespace_selector: wire.namespace_selector.unwrap_or_else(LabelSelector::nothing),
            topology_key: wire.topology_key,
        })
    }
}

/// A pod affinity term that is only a wish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Weighted {
    /// How much, 1 to 100.
    pub weight: i32,
    /// Which pods.
    pub pod_affinity_term: PodAffinityTerm,
}
