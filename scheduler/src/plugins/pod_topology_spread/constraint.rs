//! Constraints made ready for counting.

use std::hash::{Hash, Hasher};

use kubewright_api::selector::{LabelSelector, Operator, Requirement};

use super::PodTopologySpread;
use crate::cache::{NodeInfo, Snapshot};
use crate::object::{InclusionPolicy, Labels, Name, PodInfo, SpreadConstraint, Unsatisfiable, WorkloadKind};
use crate::plugins::taint_toleration::repels;

/// One constraint.
#[derive(Clone, Debug)]
pub(super) struct Constraint {
    pub(super) max_skew: i32,
    pub(super) topology_key: Name,
    pub(super) selector: LabelSelector,
    pub(super) min_domains: usize,
    pub(super) honors_affinity: bool,
    pub(super) honors_taints: bool,
}

impl Constraint {
    fn new(raw: &SpreadConstraint, selector: LabelSelector) -> Self {
        Self {
            max_skew: raw.max_skew,
            topology_key: raw.topology_key.clone(),
            selector,
            min_domains: raw.min_domains.and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            honors_affinity: raw.node_affinity_policy != Some(InclusionPolicy::Ignore),
            honors_taints: raw.node_taints_policy == Some(InclusionPolicy::Honor),
        }
    }

    /// Whether a node's pods count.
    pub(super) fn counts(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honors_affinity || pod.spec.required_nodes.matches(&node.node))
            && (!self.honors_taints || !repels(&node.node.taints, pod))
    }

    /// Whether it is about another pod.
    pub(super) fn is_about(&self, pod: &PodInfo, other: &PodInfo) -> bool {
        other.namespace == pod.namespace
            && other.deletion_timestamp.is_none()
            && !self.selector.is_everything()
            && self.selector.matches(&other.labels)
    }

    /// For each group of pods in the cluster, whether it is about them.
    pub(super) fn matching_groups(&self, pod: &PodInfo, snapshot: &Snapshot) -> Vec<bool> {
        snapshot.groups().ask(|other| self.is_about(pod, other))
    }
}

/// How many of a node's pods are in one of those groups.
pub(super) fn count(groups: &[bool], node: &NodeInfo) -> i64 {
    let matching = node.groups.iter().filter(|(group, _)| groups.get(*group as usize) == Some(&true));
    matching.map(|(_, count)| i64::from(*count)).sum()
}

/// Whether a node is in a domain of every constraint.
pub(super) fn has_all_keys(labels: &Labels, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|c| labels.get(&c.topology_key).is_some())
}

/// The pod's own constraints of one kind.
pub(super) fn constraints_of_pod(pod: &PodInfo, kind: Unsatisfiable) -> Vec<Constraint> {
    let own = pod.spec.spread.iter().filter(|raw| raw.when_unsatisfiable == kind);
    own.map(|raw| Constraint::new(raw, narrowed(raw, pod))).collect()
}

/// The selector, narrowed by the values that the pod's labels have under `matchLabelKeys`.
fn narrowed(raw: &SpreadConstraint, pod: &PodInfo) -> LabelSelector {
    let keys = raw.match_label_keys.iter().filter_map(|key| Some((key, pod.labels.get(key)?)));
    let mut requirements: Vec<Requirement> = keys
        .map(|(key, value)| Requirement {
            key: key.to_string(),
            operator: Operator::In,
            values: vec![value.to_string()],
        })
        .collect();
    if requirements.is_empty() || raw.label_selector == LabelSelector::nothing() {
        return raw.label_selector.clone();
    }
    requirements.extend(raw.label_selector.requirements().iter().cloned());
    LabelSelector::new(requirements)
}

impl PodTopologySpread {
    /// The pod's own constraints, or else the defaults, of one kind.
    pub(super) fn constraints(&self, pod: &PodInfo, kind: Unsatisfiable, snapshot: &Snapshot) -> Vec<Constraint> {
        if !pod.spec.spread.is_empty() {
            return constraints_of_pod(pod, kind);
        }
        if !self.defaults.iter().any(|raw| raw.when_unsatisfiable == kind) {
            return Vec::new();
        }
        let selector = selector_of_workloads(pod, snapshot);
        if selector.is_everything() {
            return Vec::new();
        }
        let defaults = self.defaults.iter().filter(|raw| raw.when_unsatisfiable == kind);
        defaults.map(|raw| Constraint::new(raw, selector.clone())).collect()
    }

    /// Whether no constraint of one kind applies.
    pub(super) fn is_idle(&self, pod: &PodInfo, kind: Unsatisfiable, snapshot: &Snapshot) -> bool {
        let of_kind = |raw: &SpreadConstraint| raw.when_unsatisfiable == kind;
        if !pod.spec.spread.is_empty() {
            return !pod.spec.spread.iter().any(of_kind);
        }
        !self.defaults.iter().any(of_kind) || selector_of_workloads(pod, snapshot).is_everything()
    }

    /// A number that differs when the constraints of one kind do.
    pub(super) fn stamp_of(&self, pod: &PodInfo, kind: Unsatisfiable, snapshot: &Snapshot) -> u64 {
        if !pod.spec.spread.is_empty() || !self.defaults.iter().any(|raw| raw.when_unsatisfiable == kind) {
            return 0;
        }
        let mut hasher = std::hash::DefaultHasher::new();
        selector_of_workloads(pod, snapshot).requirements().hash(&mut hasher);
        hasher.finish()
    }
}

/// What all workloads that the pod belongs to select together; everything, if it belongs to none.
fn selector_of_workloads(pod: &PodInfo, snapshot: &Snapshot) -> LabelSelector {
    let objects = snapshot.objects();
    let mut requirements: Vec<Requirement> = Vec::new();
    for service in objects.services(&pod.namespace) {
        if service.selector.matches(&pod.labels) {
            requirements.extend(service.selector.requirements().iter().cloned());
        }
    }
    if let Some(owner) = &pod.controller {
        let kind = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => Some(WorkloadKind::ReplicationController),
            ("apps/v1", "ReplicaSet") => Some(WorkloadKind::ReplicaSet),
            ("apps/v1", "StatefulSet") => Some(WorkloadKind::StatefulSet),
            _ => None,
        };
        if let Some(workload) = kind.and_then(|kind| objects.workload(kind, &pod.namespace, &owner.name)) {
            requirements.extend(workload.selector.requirements().iter().cloned());
        }
    }
    requirements.sort();
    requirements.dedup();
    if requirements.is_empty() { LabelSelector::everything() } else { LabelSelector::new(requirements) }
}
