//! Terms that must be met.

use std::sync::Arc;

use super::counts::Counts;
use super::{InterPodAffinity, matches_all, with_namespaces};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, FilterPlugin, FilterTally, PreFilterOutcome, PreFilterPlugin, Status};
use crate::object::{Labels, Name, PodAffinityTerm, PodInfo};

/// The pod's terms, and where in the cluster there is what they and the other pods' terms speak of.
#[derive(Clone)]
pub(super) struct State {
    pub(super) near: Arc<[PodAffinityTerm]>,
    pub(super) far: Arc<[PodAffinityTerm]>,
    namespace_labels: Option<Labels>,
    /// Where pods are that want this one far.
    repelled: Counts,
    /// Where pods are that match all of `near`.
    wanted: Counts,
    /// Where pods are that match one of `far`.
    unwanted: Counts,
}

/// Which of the counts a pod adds to, under which label.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Repelled,
    Wanted,
    Unwanted,
}

pub(super) type Effects = Vec<(Side, Name)>;

impl State {
    /// The pod's terms, and nothing counted yet.
    pub(super) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        Self {
            near: with_namespaces(pod.spec.affinity.iter(), snapshot),
            far: with_namespaces(pod.spec.anti_affinity.iter(), snapshot),
            namespace_labels: snapshot.objects().namespace_labels(&pod.namespace).cloned(),
            repelled: Counts::default(),
            wanted: Counts::default(),
            unwanted: Counts::default(),
        }
    }

    /// What another pod adds to the domains of its node.
    pub(super) fn effects(&self, pod: &PodInfo, other: &PodInfo) -> Effects {
        let mut effects = Effects::new();
        for term in &other.spec.anti_affinity {
            if term.matches(pod, self.namespace_labels.as_ref()) {
                effects.push((Side::Repelled, term.topology_key.clone()));
            }
        }
        if matches_all(&self.near, other) {
            effects.extend(self.near.iter().map(|term| (Side::Wanted, term.topology_key.clone())));
        }
        let unwanted = self.far.iter().filter(|term| term.matches(other, None));
        effects.extend(unwanted.map(|term| (Side::Unwanted, term.topology_key.clone())));
        effects
    }

    fn apply(&mut self, effects: &[(Side, Name)], labels: &Labels, by: i64) {
        for (side, key) in effects {
            let counts = match side {
                Side::Repelled => &mut self.repelled,
                Side::Wanted => &mut self.wanted,
                Side::Unwanted => &mut self.unwanted,
            };
            counts.add(key, labels, by);
        }
    }

    fn shift(&mut self, pod: &PodInfo, other: &PodInfo, labels: &Labels, by: i64) {
        let effects = self.effects(pod, other);
        self.apply(&effects, labels, by);
    }

    fn count<'a>(&mut self, pod: &PodInfo, snapshot: &Snapshot, nodes: impl Iterator<Item = &'a NodeInfo>) {
        let effects = snapshot.groups().ask(|other| self.effects(pod, other));
        if effects.iter().all(Vec::is_empty) {
            return;
        }
        for node in nodes {
            for (group, count) in &node.groups {
                self.apply(&effects[*group as usize], node.labels(), i64::from(*count));
            }
        }
    }
}

impl PreFilterPlugin for InterPodAffinity {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status> {
        let mut own = State::new(pod, snapshot);
        if own.near.is_empty() && own.far.is_empty() {
            own.count(pod, snapshot, snapshot.nodes_with_anti_affinity());
            if own.repelled.is_empty() {
                return Ok(PreFilterOutcome::Skip);
            }
        } else {
            own.count(pod, snapshot, snapshot.nodes());
        }
        state.put(own);
        Ok(PreFilterOutcome::AllNodes)
    }

    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, node: &NodeInfo) {
        if let Some(state) = state.get_mut::<State>() {
            state.shift(pod, added, node.labels(), 1);
        }
    }

    fn remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, node: &NodeInfo) {
        if let Some(state) = state.get_mut::<State>() {
            state.shift(pod, removed, node.labels(), -1);
        }
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        filters_nothing(pod, snapshot)
    }
}

fn filters_nothing(pod: &PodInfo, snapshot: &Snapshot) -> bool {
    pod.spec.affinity.is_empty()
        && pod.spec.anti_affinity.is_empty()
        && snapshot.nodes_with_anti_affinity().next().is_none()
}

impl FilterPlugin for InterPodAffinity {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let Some(state) = state.get::<State>() else {
            return Err(Status::error("PreFilter of InterPodAffinity has not run"));
        };
        if !has_wanted(state, pod, node) {
            return Err(Status::unresolvable(Self::REASON_AFFINITY));
        }
        let unwanted = |term: &PodAffinityTerm| state.unwanted.get(&term.topology_key, node.labels()) > 0;
        if state.far.iter().any(unwanted) {
            return Err(Status::unschedulable(Self::REASON_ANTI_AFFINITY));
        }
        if state.repelled.any_positive(node.labels()) {
            return Err(Status::unschedulable(Self::REASON_EXISTING));
        }
        Ok(())
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        filters_nothing(pod, snapshot)
    }

    fn has_tally(&self) -> bool {
        true
    }

    fn tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Option<Box<dyn FilterTally>> {
        Some(Self::filter_tally(pod, snapshot))
    }

    fn stamp(&self, _: &PodInfo, snapshot: &Snapshot) -> u64 {
        snapshot.objects().namespaces_version()
    }
}

/// Whether all the wanted pods are near. The first of a group that wants its own kind near may go anywhere where there
/// is a domain to start from.
fn has_wanted(state: &State, pod: &PodInfo, node: &NodeInfo) -> bool {
    let in_domain = |term: &PodAffinityTerm| node.labels().get(&term.topology_key).is_some();
    if !state.near.iter().all(in_domain) {
        return false;
    }
    let there = |term: &PodAffinityTerm| state.wanted.get(&term.topology_key, node.labels()) > 0;
    state.near.iter().all(there) || (state.wanted.is_empty() && matches_all(&state.near, pod))
}
