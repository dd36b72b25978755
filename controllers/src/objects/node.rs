//! Nodes, their leases, and selectors over them.

use kubewright_api::selector::Operator;
use kubewright_api::taint::Taint;
use serde::Deserialize;

use super::{Condition, Kind, Labels, Meta, Object, Time, kinds, null_default, objects};

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: NodeSpec,
    /// What it is.
    pub status: NodeStatus,
}

/// What a node should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// Whether new pods stay away.
    pub unschedulable: bool,
    /// Its taints.
    #[serde(deserialize_with = "null_default")]
    pub taints: Vec<Taint>,
    /// The main range of its pods' addresses.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// All ranges of its pods' addresses.
    #[serde(rename = "podCIDRs", deserialize_with = "null_default")]
    pub pod_cidrs: Vec<String>,
}

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Conditions.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
}

objects!(Node => kinds::NODE);

impl Object for Lease {
    const KIND: Kind = kinds::LEASE;
    const FIELD_SELECTOR: &'static str = "metadata.namespace=kube-node-lease";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A lease: who holds something, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Metadata.
    pub metadata: Meta,
    /// Holder and times.
    pub spec: LeaseSpec,
}

/// Holder and times of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeaseSpec {
    /// Who holds it; empty if nobody does.
    pub holder_identity: String,
    /// For how long it is good without being renewed, in seconds.
    pub lease_duration_seconds: i32,
    /// When the holder got it.
    pub acquire_time: Option<Time>,
    /// When the holder last renewed it.
    pub renew_time: Option<Time>,
    /// How often it changed hands.
    pub lease_transitions: i32,
}

/// A selector over nodes: one of the terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    /// The terms.
    #[serde(deserialize_with = "null_default")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// All of its requirements must hold; a term without any never does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// On labels.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<NodeRequirement>,
    /// On fields; only `metadata.name` is one.
    #[serde(deserialize_with = "null_default")]
    pub match_fields: Vec<NodeRequirement>,
}

/// A requirement on a label or field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NodeRequirement {
    /// Label or field.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    #[serde(default)]
    pub values: Vec<String>,
}

impl NodeSelector {
    /// Whether the node of that name and labels is selected.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.node_selector_terms.iter().any(|term| {
            let some = !term.match_expressions.is_empty() || !term.match_fields.is_empty();
            some && term.match_expressions.iter().all(|requirement| requirement.matches(labels.get(&requirement.key)))
                && term.match_fields.iter().all(|r| r.key == "metadata.name" && r.matches(Some(name)))
        })
    }

    /// The only node that can be selected, if the terms name one.
    #[must_use]
    pub fn single_node(&self) -> Option<String> {
        let fields = self.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        let mut named =
            fields.filter(|r| r.key == "metadata.name" && r.operator == Operator::In && r.values.len() == 1);
        Some(named.next()?.values[0].clone())
    }
}

impl NodeRequirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|candidate| candidate == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let limit = || self.values.first().and_then(|text| number(text));
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => value.and_then(number).zip(limit()).is_some_and(|(value, limit)| value > limit),
            Operator::Lt => value.and_then(number).zip(limit()).is_some_and(|(value, limit)| value < limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn node_selectors_match_labels_and_names() {
        let check = |terms: serde_json::Value, expected: bool| {
            let selector: NodeSelector = serde_json::from_value(json!({"nodeSelectorTerms": terms})).unwrap();
            let labels = [("zone", "a"), ("size", "5")].into_iter().collect();
            assert_eq!(selector.matches("n1", &labels), expected, "{terms}");
        };
        check(json!([]), false);
        check(json!([{}]), false);
        check(json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]), true);
        check(json!([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}]), false);
        check(json!([{"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}]), true);
        check(json!([{"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["4"]}]}]), true);
        check(
            json!([{"matchExpressions": [{"key": "size", "operator": "Lt", "values": ["4"]}]}, {"matchFields":
            [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]),
            true,
        );
    }
}
