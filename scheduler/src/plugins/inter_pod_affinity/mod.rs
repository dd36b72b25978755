//! Pods that want to be near other pods, or far from them.

mod counts;
mod filtering;
mod scoring;
mod tally;

use std::sync::Arc;

use kubewright_api::selector::LabelSelector;

use crate::cache::Snapshot;
use crate::framework::{
    ActionType, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterPlugin, PreScorePlugin, ScorePlugin,
};
use crate::object::{Name, Node, PodAffinityTerm, PodInfo};

/// How [`InterPodAffinity`] scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterPodAffinityArgs {
    /// How much a placed pod's insistence on being near counts as a wish to have the new one near, 0 to 100.
    pub hard_pod_affinity_weight: i32,
    /// Whether the wishes of placed pods don't count.
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    /// Upstream's: 1, and they count.
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// Places pods near those they want near, and far from those that they or the others want far.
#[derive(Clone, Debug, Default)]
pub struct InterPodAffinity {
    args: InterPodAffinityArgs,
}

impl InterPodAffinity {
    /// Why a node is refused on behalf of pods that are there.
    pub const REASON_EXISTING: &'static str = "node(s) didn't satisfy existing pods anti-affinity rules";
    /// Why a node is refused that has none of the wanted pods near.
    pub const REASON_AFFINITY: &'static str = "node(s) didn't match pod affinity rules";
    /// Why a node is refused that has unwanted pods near.
    pub const REASON_ANTI_AFFINITY: &'static str = "node(s) didn't match pod anti-affinity rules";

    /// A plugin with those settings.
    #[must_use]
    pub const fn new(args: InterPodAffinityArgs) -> Self {
        Self { args }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events(&self) -> Vec<Interest> {
        let pod_actions = ActionType::ADD | ActionType::UPDATE_POD_LABEL | ActionType::DELETE;
        let node_actions = ActionType::ADD | ActionType::UPDATE_NODE_LABEL;
        vec![
            Interest::hinted(EventResource::Pod, pod_actions, |pod, object| pod_is_news(pod, object).into()),
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

/// The same terms with the namespaces written out that they select by label now.
fn with_namespaces<'a>(
    terms: impl Iterator<Item = &'a PodAffinityTerm>,
    snapshot: &Snapshot,
) -> Arc<[PodAffinityTerm]> {
    let resolve = |term: &PodAffinityTerm| {
        let mut term = term.clone();
        let selector = &term.namespace_selector;
        if !selector.is_everything() && !selector.requirements().is_empty() {
            let selected = snapshot.objects().namespaces().filter(|(_, labels)| selector.matches(*labels));
            let selected: Vec<Name> = selected.map(|(name, _)| name.clone()).collect();
            term.namespaces.extend(selected);
            term.namespace_selector = LabelSelector::nothing();
        }
        term
    };
    terms.map(resolve).collect()
}

fn matches_all(terms: &[PodAffinityTerm], pod: &PodInfo) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, None))
}

fn pod_is_news(pod: &PodInfo, object: &Object) -> bool {
    let Object::Pod(old, new) = object else { return true };
    if matches!((old, new), (Some(_), Some(new)) if new.uid == pod.uid) {
        return true;
    }
    let placed = |other: &Arc<PodInfo>| other.is_assigned() || !other.nominated_node_name.is_empty();
    if !old.iter().chain(new).all(placed) {
        return false;
    }
    let (near, far) = (&pod.spec.affinity, &pod.spec.anti_affinity);
    // Namespaces selected by label are not looked up here, so such terms count as matching.
    let by_label =
        |terms: &[PodAffinityTerm]| terms.iter().any(|term| !term.namespace_selector.requirements().is_empty());
    if by_label(near) || by_label(far) {
        return true;
    }
    match (old, new) {
        (Some(old), Some(new)) => {
            (!matches_all(near, old) && matches_all(near, new)) || (matches_all(far, old) && !matches_all(far, new))
        }
        (None, Some(new)) => matches_all(near, new),
        (Some(old), None) => matches_all(far, old) || matches_all(&old.spec.anti_affinity, pod),
        (None, None) => true,
    }
}

fn node_is_news(pod: &PodInfo, object: &Object) -> bool {
    let Object::Node(old, Some(new)) = object else { return true };
    let value = |node: &Arc<Node>, term: &PodAffinityTerm| node.labels.get(&term.topology_key).cloned();
    let near = |term: &PodAffinityTerm| match old {
        None => value(new, term).is_some(),
        Some(old) => value(new, term).is_some() && value(old, term) != value(new, term),
    };
    let far = |term: &PodAffinityTerm| match old {
        None => true,
        Some(old) => value(old, term).is_some() && value(old, term) != value(new, term),
    };
    pod.spec.affinity.iter().any(near) || pod.spec.anti_affinity.iter().any(far)
}

#[cfg(test)]
mod tests;
