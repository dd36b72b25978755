//! Spreading pods over zones, hosts and other domains.

mod constraint;
mod filtering;
mod scoring;
mod tally;

use std::sync::Arc;

use crate::framework::{
    ActionType, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterPlugin, PreScorePlugin, ScorePlugin,
};
use crate::object::{Labels, Name, Node, PodInfo, SpreadConstraint, Unsatisfiable};
use constraint::constraints_of_pod;
use kubewright_api::selector::LabelSelector;

/// Constraints for pods that have none of their own and belong to a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpreadDefaults {
    /// Upstream's: over hosts with a skew of 3 and over zones with a skew of 5, as a wish.
    #[default]
    System,
    /// These; their selectors are ignored.
    List(Vec<SpreadConstraint>),
}

/// Keeps pods of a kind spread over domains, by refusing nodes or by preferring others.
#[derive(Clone, Debug)]
pub struct PodTopologySpread {
    defaults: Vec<SpreadConstraint>,
    system: bool,
}

impl Default for PodTopologySpread {
    fn default() -> Self {
        Self::new(SpreadDefaults::System)
    }
}

impl PodTopologySpread {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) didn't match pod topology spread constraints";
    /// Why a node is refused that is in no domain.
    pub const REASON_LABEL: &'static str =
        "node(s) didn't match pod topology spread constraints (missing required label)";

    /// A plugin with those defaults.
    #[must_use]
    pub fn new(defaults: SpreadDefaults) -> Self {
        let wish = |key: &str, max_skew| SpreadConstraint {
            max_skew,
            topology_key: key.into(),
            when_unsatisfiable: Unsatisfiable::ScheduleAnyway,
            label_selector: LabelSelector::nothing(),
            min_domains: None,
            node_affinity_policy: None,
            node_taints_policy: None,
            match_label_keys: Vec::new(),
        };
        match defaults {
            SpreadDefaults::List(defaults) => Self { defaults, system: false },
            SpreadDefaults::System => {
                Self { defaults: vec![wish(HOSTNAME, 3), wish("topology.kubernetes.io/zone", 5)], system: true }
            }
        }
    }
}

/// The label whose domains are single nodes.
const HOSTNAME: &str = "kubernetes.io/hostname";

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events(&self) -> Vec<Interest> {
        let actions =
            ActionType::ADD | ActionType::UPDATE_POD_LABEL | ActionType::UPDATE_POD_TOLERATION | ActionType::DELETE;
        let node_actions =
            ActionType::ADD | ActionType::DELETE | ActionType::UPDATE_NODE_LABEL | ActionType::UPDATE_NODE_TAINT;
        vec![
            Interest::hinted(EventResource::Pod, actions, |pod, object| pod_is_news(pod, object).into()),
            Interest::hinted(EventResource::Node, node_actions, |pod, object| node_is_news(pod, object).into()),
        ]
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

fn pod_is_news(pod: &PodInfo, object: &Object) -> bool {
    let Object::Pod(old, new) = object else { return true };
    let involved = |other: &Arc<PodInfo>| {
        let placed = other.is_assigned() || !other.nominated_node_name.is_empty();
        other.uid == pod.uid || (placed && other.namespace == pod.namespace)
    };
    if !old.iter().chain(new).all(involved) {
        return false;
    }
    let constraints = constraints_of_pod(pod, Unsatisfiable::DoNotSchedule);
    if constraints.is_empty() {
        // Constraints of a default that insists: which pods they count is known only while scheduling.
        return true;
    }
    match (old, new) {
        (Some(old), Some(new)) => {
            let tolerates = new.uid == pod.uid
                && old.spec.tolerations != new.spec.tolerations
                && constraints.iter().any(|c| c.honors_taints);
            let counts = |labels: &Labels| constraints.iter().map(|c| c.selector.matches(labels)).collect::<Vec<_>>();
            tolerates || (old.labels != new.labels && counts(&old.labels) != counts(&new.labels))
        }
        (one, other) => {
            let changed = one.iter().chain(other);
            changed.into_iter().any(|changed| constraints.iter().any(|c| c.selector.matches(&changed.labels)))
        }
    }
}

fn node_is_news(pod: &PodInfo, object: &Object) -> bool {
    let Object::Node(old, new) = object else { return true };
    let constraints = constraints_of_pod(pod, Unsatisfiable::DoNotSchedule);
    let matches = |node: &Arc<Node>| constraint::has_all_keys(&node.labels, &constraints);
    match (old, new) {
        (Some(old), Some(new)) => {
            let values = |node: &Node| -> Vec<Option<Name>> {
                constraints.iter().map(|c| node.labels.get(&c.topology_key).cloned()).collect()
            };
            matches(old) != matches(new) || (matches(new) && (values(old) != values(new) || old.taints != new.taints))
        }
        (one, other) => one.iter().chain(other).any(matches),
    }
}

#[cfg(test)]
mod tests;
