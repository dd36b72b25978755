//! Constraints that must be met.

use std::sync::Arc;

use hashbrown::HashMap;

use super::PodTopologySpread;
use super::constraint::{Constraint, count, has_all_keys};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, FilterPlugin, FilterTally, PreFilterOutcome, PreFilterPlugin, Status};
use crate::object::{Name, PodInfo, Unsatisfiable};

/// The constraints, and how many pods there are in each of their domains.
#[derive(Clone)]
struct State {
    constraints: Arc<[Constraint]>,
    domains: Vec<Domains>,
}

/// The domains of one constraint.
#[derive(Clone, Default)]
struct Domains {
    places: HashMap<Name, usize>,
    counts: Vec<i64>,
    fewest: i64,
}

impl Domains {
    fn add(&mut self, domain: &Name, count: i64) {
        if let Some(place) = self.places.get(domain) {
            self.counts[*place] += count;
        } else {
            self.places.insert(domain.clone(), self.counts.len());
            self.counts.push(count);
        }
    }

    fn settle(&mut self) {
        self.fewest = self.counts.iter().min().copied().unwrap_or(0);
    }

    fn count(&self, domain: &Name) -> i64 {
        self.places.get(domain).map_or(0, |place| self.counts[*place])
    }
}

impl PreFilterPlugin for PodTopologySpread {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status> {
        let constraints: Arc<[Constraint]> = self.constraints(pod, Unsatisfiable::DoNotSchedule, snapshot).into();
        if constraints.is_empty() {
            return Ok(PreFilterOutcome::Skip);
        }
        let mut domains = vec![Domains::default(); constraints.len()];
        let groups: Vec<Vec<bool>> = constraints.iter().map(|c| c.matching_groups(pod, snapshot)).collect();
        for node in snapshot.nodes().filter(|node| has_all_keys(node.labels(), &constraints)) {
            for ((constraint, domains), groups) in constraints.iter().zip(&mut domains).zip(&groups) {
                if let Some(domain) = node.labels().get(&constraint.topology_key)
                    && constraint.counts(pod, node)
                {
                    domains.add(domain, count(groups, node));
                }
            }
        }
        domains.iter_mut().for_each(Domains::settle);
        state.put(State { constraints, domains });
        Ok(PreFilterOutcome::AllNodes)
    }

    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, node: &NodeInfo) {
        shift(state, pod, added, node, 1);
    }

    fn remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, node: &NodeInfo) {
        shift(state, pod, removed, node, -1);
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        self.is_idle(pod, Unsatisfiable::DoNotSchedule, snapshot)
    }
}

fn shift(state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
    let Some(State { constraints, domains }) = state.get_mut() else { return };
    if other.namespace != pod.namespace || !has_all_keys(node.labels(), constraints) {
        return;
    }
    for (constraint, domains) in constraints.iter().zip(domains) {
        if let Some(domain) = node.labels().get(&constraint.topology_key)
            && constraint.selector.matches(&other.labels)
            && constraint.counts(pod, node)
        {
            domains.add(domain, by);
            domains.settle();
        }
    }
}

impl FilterPlugin for PodTopologySpread {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let Some(State { constraints, domains }) = state.get() else {
            return Err(Status::error("PreFilter of PodTopologySpread has not run"));
        };
        for (constraint, domains) in constraints.iter().zip(domains) {
            let Some(domain) = node.labels().get(&constraint.topology_key) else {
                return Err(Status::unresolvable(Self::REASON_LABEL));
            };
            let fewest = if domains.counts.len() < constraint.min_domains { 0 } else { domains.fewest };
            let own = i64::from(constraint.selector.matches(&pod.labels));
            if domains.count(domain) + own - fewest > i64::from(constraint.max_skew) {
                return Err(Status::unschedulable(Self::REASON));
            }
        }
        Ok(())
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        self.is_idle(pod, Unsatisfiable::DoNotSchedule, snapshot)
    }

    fn has_tally(&self) -> bool {
        true
    }

    fn tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Option<Box<dyn FilterTally>> {
        Some(self.filter_tally(pod, snapshot))
    }

    fn stamp(&self, pod: &PodInfo, snapshot: &Snapshot) -> u64 {
        self.stamp_of(pod, Unsatisfiable::DoNotSchedule, snapshot)
    }
}
