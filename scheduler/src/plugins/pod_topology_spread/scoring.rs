//! Constraints that are wishes.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::constraint::{Constraint, count, has_all_keys};
use super::{HOSTNAME, PodTopologySpread};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{CycleState, Flow, NodeScore, PreScorePlugin, SCORE_MAX, ScorePlugin, ScoreTally, Status};
use crate::object::{Name, PodInfo, Unsatisfiable};

/// The constraints, how many pods there are in each domain, and how much each constraint weighs.
#[derive(Clone)]
struct State {
    constraints: Vec<Constraint>,
    domains: Vec<HashMap<Name, i64>>,
    weights: Vec<f64>,
    groups: Arc<[Vec<bool>]>,
    ignored: BTreeSet<NodeSlot>,
}

/// The more domains there are, the more each pod in one of them counts.
#[allow(clippy::cast_precision_loss, reason = "a number of nodes needs no more than 53 bits")]
pub(super) fn weight(domains: usize) -> f64 {
    ((domains + 2) as f64).ln()
}

impl PreScorePlugin for PodTopologySpread {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Result<Flow, Status> {
        let constraints = self.constraints(pod, Unsatisfiable::ScheduleAnyway, snapshot);
        if constraints.is_empty() {
            return Ok(Flow::Skip);
        }
        let all_keys_needed = !pod.spec.spread.is_empty() || !self.system;
        let mut domains = vec![HashMap::new(); constraints.len()];
        let mut ignored = BTreeSet::new();
        for node in nodes {
            if all_keys_needed && !has_all_keys(node.labels(), &constraints) {
                ignored.insert(node.slot);
                continue;
            }
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                if constraint.topology_key != HOSTNAME {
                    let domain = node.labels().get(&constraint.topology_key).cloned().unwrap_or_default();
                    domains.entry(domain).or_insert(0);
                }
            }
        }
        let size = |(constraint, domains): (&Constraint, &HashMap<Name, i64>)| {
            if constraint.topology_key == HOSTNAME { nodes.len() - ignored.len() } else { domains.len() }
        };
        let weights = constraints.iter().zip(&domains).map(size).map(weight).collect();
        let groups: Arc<[Vec<bool>]> = constraints.iter().map(|c| c.matching_groups(pod, snapshot)).collect();
        for node in snapshot.nodes() {
            if all_keys_needed && !has_all_keys(node.labels(), &constraints) {
                continue;
            }
            for ((constraint, domains), groups) in constraints.iter().zip(&mut domains).zip(&*groups) {
                if constraint.topology_key == HOSTNAME {
                    continue;
                }
                let domain = node.labels().get(&constraint.topology_key).map_or("", Name::as_str);
                if let Some(sum) = domains.get_mut(domain)
                    && constraint.counts(pod, node)
                {
                    *sum += count(groups, node);
                }
            }
        }
        state.put(State { constraints, domains, weights, groups, ignored });
        Ok(Flow::Continue)
    }
}

impl ScorePlugin for PodTopologySpread {
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let state: &State = state.get().ok_or_else(|| Status::error("PreScore of PodTopologySpread has not run"))?;
        if state.ignored.contains(&node.slot) {
            return Ok(0);
        }
        let term = |(at, constraint): (usize, &Constraint)| {
            let domain = node.labels().get(&constraint.topology_key)?;
            let pods = if constraint.topology_key == HOSTNAME {
                count(&state.groups[at], node)
            } else {
                state.domains[at].get(domain).copied().unwrap_or(0)
            };
            Some((pods, state.weights[at], constraint.max_skew))
        };
        Ok(raw_score(state.constraints.iter().enumerate().filter_map(term)))
    }

    fn normalize(&self, state: &CycleState, _: &PodInfo, scores: &mut [NodeScore]) -> Result<(), Status> {
        let state: &State = state.get().ok_or_else(|| Status::error("PreScore of PodTopologySpread has not run"))?;
        let ignored = |entry: &NodeScore| state.ignored.contains(&entry.node);
        normalize(scores.iter_mut().map(|entry| (ignored(entry), &mut entry.score)).collect());
        Ok(())
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        self.is_idle(pod, Unsatisfiable::ScheduleAnyway, snapshot)
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalized_when_equal(&self, _: i64) -> Option<i64> {
        None
    }

    fn has_tally(&self) -> bool {
        true
    }

    fn tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Option<Box<dyn ScoreTally>> {
        Some(self.score_tally(pod, snapshot))
    }

    fn stamp(&self, pod: &PodInfo, snapshot: &Snapshot) -> u64 {
        self.stamp_of(pod, Unsatisfiable::ScheduleAnyway, snapshot)
    }
}

/// What the pods in a node's domains come to: number of pods, weight and skew for each constraint.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "upstream computes this in floating point and rounds, and so must we to agree with it"
)]
pub(super) fn raw_score(terms: impl Iterator<Item = (i64, f64, i32)>) -> i64 {
    let score: f64 =
        terms.fold(0.0, |sum, (pods, weight, max_skew)| sum + (pods as f64 * weight + f64::from(max_skew - 1)));
    f64::round(score) as i64
}

/// Turns scores around, so that fewer pods are better; ignored nodes get nothing.
pub(super) fn normalize(scores: Vec<(bool, &mut i64)>) {
    let counted = || scores.iter().filter(|(ignored, _)| !ignored).map(|(_, score)| **score);
    let (least, most) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
    for (ignored, score) in scores {
        *score = match most {
            _ if ignored => 0,
            0 => SCORE_MAX,
            _ => SCORE_MAX * (most + least - *score) / most,
        };
    }
}
