//! Terms that are wishes.

use super::counts::Counts;
use super::{InterPodAffinity, with_namespaces};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, Flow, NodeScore, PreScorePlugin, SCORE_MAX, ScorePlugin, ScoreTally, Status};
use crate::object::{Labels, Name, PodAffinityTerm, PodInfo, Weighted};

/// What each domain is worth.
#[derive(Clone)]
struct State(Counts);

/// The pod's wishes with their weights, negative for what it wants far.
pub(super) struct Wishes {
    pub(super) own: Vec<(PodAffinityTerm, i64)>,
    namespace_labels: Option<Labels>,
    hard_weight: i64,
}

impl Wishes {
    pub(super) fn of(pod: &PodInfo, snapshot: &Snapshot, hard_weight: i32) -> Self {
        let resolved = |wishes: &[Weighted], sign: i64| -> Vec<(PodAffinityTerm, i64)> {
            let terms = with_namespaces(wishes.iter().map(|wish| &wish.pod_affinity_term), snapshot);
            let weights = wishes.iter().map(|wish| sign * i64::from(wish.weight));
            terms.iter().cloned().zip(weights).collect()
        };
        let mut own = resolved(&pod.spec.preferred_affinity, 1);
        own.extend(resolved(&pod.spec.preferred_anti_affinity, -1));
        let namespace_labels = snapshot.objects().namespace_labels(&pod.namespace).cloned();
        Self { own, namespace_labels, hard_weight: i64::from(hard_weight) }
    }

    /// What a placed pod and the new one wish of each other: weights under labels.
    pub(super) fn effects(&self, pod: &PodInfo, other: &PodInfo) -> Vec<(Name, i64)> {
        let mut effects = Vec::new();
        for (term, weight) in &self.own {
            if term.matches(other, None) {
                effects.push((term.topology_key.clone(), *weight));
            }
        }
        let mut theirs = |term: &PodAffinityTerm, weight: i64| {
            if weight != 0 && term.matches(pod, self.namespace_labels.as_ref()) {
                effects.push((term.topology_key.clone(), weight));
            }
        };
        let spec = &other.spec;
        spec.affinity.iter().for_each(|term| theirs(term, self.hard_weight));
        for (wishes, sign) in [(&spec.preferred_affinity, 1), (&spec.preferred_anti_affinity, -1)] {
            wishes.iter().for_each(|wish| theirs(&wish.pod_affinity_term, sign * i64::from(wish.weight)));
        }
        effects
    }

    fn count<'a>(&self, pod: &PodInfo, snapshot: &Snapshot, nodes: impl Iterator<Item = &'a NodeInfo>) -> Counts {
        let mut counts = Counts::default();
        let effects = snapshot.groups().ask(|other| self.effects(pod, other));
        if effects.iter().all(Vec::is_empty) {
            return counts;
        }
        for node in nodes {
            for (group, count) in &node.groups {
                for (key, weight) in &effects[*group as usize] {
                    counts.add(key, node.labels(), weight * i64::from(*count));
                }
            }
        }
        counts
    }
}

fn wishes_nothing(pod: &PodInfo) -> bool {
    pod.spec.preferred_affinity.is_empty() && pod.spec.preferred_anti_affinity.is_empty()
}

impl PreScorePlugin for InterPodAffinity {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Result<Flow, Status> {
        if wishes_nothing(pod) && self.args.ignore_preferred_terms_of_existing_pods {
            return Ok(Flow::Skip);
        }
        let wishes = Wishes::of(pod, snapshot, self.args.hard_pod_affinity_weight);
        let counts = if wishes_nothing(pod) {
            wishes.count(pod, snapshot, snapshot.nodes_with_affinity())
        } else {
            wishes.count(pod, snapshot, snapshot.nodes())
        };
        if counts.is_untouched() {
            return Ok(Flow::Skip);
        }
        state.put(State(counts));
        Ok(Flow::Continue)
    }
}

impl ScorePlugin for InterPodAffinity {
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let State(counts) = state.get().ok_or_else(|| Status::error("PreScore of InterPodAffinity has not run"))?;
        Ok(counts.sum(node.labels()))
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [NodeScore]) -> Result<(), Status> {
        stretch(&mut scores.iter_mut().map(|entry| &mut entry.score).collect::<Vec<_>>());
        Ok(())
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        wishes_nothing(pod)
            && (self.args.ignore_preferred_terms_of_existing_pods || snapshot.nodes_with_affinity().next().is_none())
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalized_when_equal(&self, _: i64) -> Option<i64> {
        Some(0)
    }

    fn has_tally(&self) -> bool {
        true
    }

    fn tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Option<Box<dyn ScoreTally>> {
        Some(self.score_tally(pod, snapshot))
    }

    fn stamp(&self, _: &PodInfo, snapshot: &Snapshot) -> u64 {
        snapshot.objects().namespaces_version()
    }
}

/// Stretches scores so that the least becomes 0 and the largest the most there is.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "upstream computes this in floating point and truncates, and so must we to agree with it"
)]
pub(super) fn stretch(scores: &mut [&mut i64]) {
    let least = scores.iter().map(|score| **score).min().unwrap_or(0);
    let most = scores.iter().map(|score| **score).max().unwrap_or(0);
    let span = (most - least) as f64;
    for score in scores {
        let above = (**score - least) as f64;
        **score = if most > least { (SCORE_MAX as f64 * (above / span)) as i64 } else { 0 };
    }
}
