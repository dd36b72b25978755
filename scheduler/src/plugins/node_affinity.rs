//! Node selectors and node affinity.

use std::collections::BTreeSet;
use std::sync::Arc;

use kubewright_api::selector::Operator;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Flow, Interest, NodeScore, NodeSubset, Object, Plugin,
    PreFilterOutcome, PreFilterPlugin, PreScorePlugin, SCORE_MAX, ScorePlugin, Status, normalize_to_max,
};
use crate::object::{Name, Node, NodeSelector, NodeSelectorTerm, PodInfo, Preferred};

/// An affinity that a profile adds to that of each of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddedAffinity {
    /// Nodes must match this, too.
    pub required: Option<NodeSelector>,
    /// These are preferred, too.
    pub preferred: Vec<Preferred>,
}

/// Lets pods go only to nodes that match their node selector and required affinity, and prefers those they prefer.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    added: AddedAffinity,
}

impl NodeAffinity {
    /// Why a node is refused on behalf of the pod.
    pub const REASON_POD: &'static str = "node(s) didn't match Pod's node affinity/selector";
    /// Why a node is refused on behalf of the profile.
    pub const REASON_ENFORCED: &'static str = "node(s) didn't match scheduler-enforced node affinity";
    /// Why a pod fits nowhere.
    pub const REASON_CONFLICT: &'static str = "pod affinity terms conflict";

    /// A plugin that adds an affinity to that of each pod.
    #[must_use]
    pub const fn new(added: AddedAffinity) -> Self {
        Self { added }
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> Vec<Interest> {
        let added = self.added.required.clone();
        let matched = move |pod: &PodInfo, object: &Object| {
            let Object::Node(old, Some(new)) = object else { return true.into() };
            let required = &pod.spec.required_nodes;
            let enforced = added.as_ref().is_none_or(|added| added.matches(new));
            let before = old.as_ref().is_some_and(|old| required.matches(old));
            (enforced && required.matches(new) && !before).into()
        };
        vec![Interest::hinted(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL, matched)]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }

    fn pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScorePlugin>> {
        Some(self)
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }
}

/// The nodes that a term names, if it names any.
fn named(term: &NodeSelectorTerm) -> Option<NodeSubset> {
    let names = |values: &[String]| -> BTreeSet<Name> { values.iter().map(|v| v.as_str().into()).collect() };
    term.match_fields
        .iter()
        .filter(|r| r.key == "metadata.name" && r.operator == Operator::In)
        .map(|r| names(&r.values))
        .reduce(|own, other| own.intersection(&other).cloned().collect())
}

impl PreFilterPlugin for NodeAffinity {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Result<PreFilterOutcome, Status> {
        let required = &pod.spec.required_nodes;
        if required.is_empty() && self.added.required.is_none() {
            return Ok(PreFilterOutcome::Skip);
        }
        let terms = required.affinity.as_ref().map_or(&[][..], |affinity| &affinity.node_selector_terms);
        if terms.is_empty() {
            return Ok(PreFilterOutcome::AllNodes);
        }
        let mut nodes = NodeSubset::new();
        for term in terms {
            match named(term) {
                Some(names) => nodes.extend(names),
                None => return Ok(PreFilterOutcome::AllNodes),
            }
        }
        if nodes.is_empty() {
            return Err(Status::unresolvable(Self::REASON_CONFLICT));
        }
        Ok(PreFilterOutcome::Nodes(nodes))
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl FilterPlugin for NodeAffinity {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        if self.added.required.as_ref().is_some_and(|added| !added.matches(&node.node)) {
            return Err(Status::unresolvable(Self::REASON_ENFORCED));
        }
        if pod.spec.required_nodes.matches(&node.node) { Ok(()) } else { Err(Status::unresolvable(Self::REASON_POD)) }
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl PreScorePlugin for NodeAffinity {
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[&NodeInfo], _: &Snapshot) -> Result<Flow, Status> {
        let none = pod.spec.preferred_nodes.is_empty() && self.added.preferred.is_empty();
        Ok(if none { Flow::Skip } else { Flow::Continue })
    }
}

impl ScorePlugin for NodeAffinity {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let node: &Node = &node.node;
        let wishes = self.added.preferred.iter().chain(&pod.spec.preferred_nodes);
        Ok(wishes.filter(|wish| wish.preference.matches(node)).map(|wish| i64::from(wish.weight)).sum())
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [NodeScore]) -> Result<(), Status> {
        normalize_to_max(scores, false);
        Ok(())
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalizes_by_extremes(&self) -> bool {
        true
    }

    fn normalized_when_equal(&self, raw: i64) -> Option<i64> {
        Some(if raw > 0 { SCORE_MAX } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{PodMaker, node, node_info, pod, scores};

    #[track_caller]
    fn filter(pod: PodMaker, labels: &[(&str, &str)], fits: bool) {
        let plugin = NodeAffinity::default();
        let pod = pod.build();
        let info = node_info(node("node_1").labels(labels), []);
        let pre = PreFilterPlugin::pre_filter(&plugin, &mut CycleState::new(), &pod, &Snapshot::new());
        let kept = match pre {
            Ok(PreFilterOutcome::Nodes(nodes)) => nodes.contains("node_1"),
            Ok(_) => true,
            Err(_) => false,
        };
        let verdict = FilterPlugin::filter(&plugin, &CycleState::new(), &pod, &info);
        assert_eq!(kept && verdict.is_ok(), fits);
    }

    fn required(terms: serde_json::Value) -> PodMaker {
        pod("p").affinity(json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}))
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> serde_json::Value {
        json!({"key": key, "operator": operator, "values": values})
    }

    #[test]
    fn selectors_and_required_terms() {
        filter(pod("p"), &[], true);
        filter(pod("p").node_selector(&[("foo", "bar")]), &[], false);
        filter(pod("p").node_selector(&[("foo", "bar")]), &[("foo", "bar"), ("baz", "blah")], true);
        filter(pod("p").node_selector(&[("foo", "bar"), ("baz", "blah")]), &[("foo", "bar")], false);
        let one = |e: serde_json::Value| required(json!([{"matchExpressions": [e]}]));
        filter(one(expression("foo", "In", &["bar", "value2"])), &[("foo", "bar")], true);
        filter(one(expression("kernel-version", "Gt", &["0204"])), &[("kernel-version", "0206")], true);
        filter(one(expression("mem-type", "NotIn", &["DDR", "DDR2"])), &[("mem-type", "DDR3")], true);
        filter(one(expression("GPU", "Exists", &[])), &[("GPU", "NVIDIA-GRID-K1")], true);
        filter(one(expression("foo", "In", &["value1", "value2"])), &[("foo", "bar")], false);
        filter(required(json!([])), &[("foo", "bar")], false);
        filter(required(json!([{}])), &[("foo", "bar")], false);
        let and = json!([{"matchExpressions": [expression("GPU", "Exists", &[]), expression("GPU", "NotIn", &["a"])]}]);
        filter(required(and), &[("GPU", "b")], true);
        let or = json!([
            {"matchExpressions": [expression("foo", "In", &["bar"])]},
            {"matchExpressions": [expression("diffkey", "In", &["wrong"])]},
        ]);
        filter(required(or), &[("foo", "bar")], true);
        filter(one(expression("foo", "NotIn", &["invalid value: ___@#$%^"])), &[("foo", "bar")], false);
    }

    #[test]
    fn fields_name_nodes() {
        let by_name = |name: &str| json!({"key": "metadata.name", "operator": "In", "values": [name]});
        filter(required(json!([{"matchFields": [by_name("node_1")]}])), &[], true);
        filter(required(json!([{"matchFields": [by_name("node_2")]}])), &[], false);
        filter(required(json!([{"matchFields": [by_name("node_2"), by_name("node_1")]}])), &[], false);
        let either =
            json!([{"matchFields": [by_name("node_2")]}, {"matchExpressions": [expression("foo", "In", &["bar"])]}]);
        filter(required(either), &[("foo", "bar")], true);
        let both = json!([{"matchFields": [by_name("node_1")], "matchExpressions": [expression("foo", "In", &["x"])]}]);
        filter(required(both), &[("foo", "bar")], false);
    }

    #[test]
    fn preferred_terms_add_up() {
        let wish = |weight: i32, key: &str, value: &str| json!({"weight": weight, "preference": {"matchExpressions": [expression(key, "In", &[value])]}});
        let wishes = |list: serde_json::Value| {
            pod("p").affinity(json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": list}}))
        };
        let nodes = || {
            [
                node("a").labels(&[("foo", "bar"), ("key", "value")]),
                node("b").labels(&[("foo", "bar")]),
                node("c").labels(&[("other", "x")]),
            ]
        };
        let one = json!([wish(2, "foo", "bar")]);
        assert_eq!(scores(NodeAffinity::default(), wishes(one), nodes(), []), [100, 100, 0]);
        let two = json!([wish(2, "foo", "bar"), wish(4, "key", "value"), wish(5, "az", "az1")]);
        assert_eq!(scores(NodeAffinity::default(), wishes(two), nodes(), []), [100, 33, 0]);
    }

    #[test]
    fn a_profile_may_add_its_own() {
        let selector: NodeSelector = serde_json::from_value(json!({"nodeSelectorTerms": [
            {"matchExpressions": [expression("foo", "In", &["bar"])]}]}))
        .unwrap();
        let plugin = NodeAffinity::new(AddedAffinity { required: Some(selector), preferred: Vec::new() });
        let judge = |labels: &[(&str, &str)]| {
            let info = node_info(node("n").labels(labels), []);
            FilterPlugin::filter(&plugin, &CycleState::new(), &pod("p").build(), &info)
        };
        assert!(judge(&[("foo", "bar")]).is_ok());
        assert_eq!(judge(&[]).unwrap_err().message(), NodeAffinity::REASON_ENFORCED);
    }
}
