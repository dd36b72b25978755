//! How many pods each domain has, kept node by node.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::constraint::{Constraint, has_all_keys};
use super::scoring::{normalize, raw_score, weight};
use super::{HOSTNAME, PodTopologySpread};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{FilterTally, ScoreTally};
use crate::object::{PodInfo, Unsatisfiable};
use crate::plugins::topology::{Domains, Kinds, Part, Parts};

/// Which groups of pods a constraint is about, found out once for each group.
#[derive(Default)]
struct Matching(Vec<Option<(u64, bool)>>);

impl Matching {
    /// How many of a node's pods a constraint is about.
    fn count(&mut self, constraint: &Constraint, pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Option<i64> {
        let mut count = 0;
        for (group, pods) in &node.groups {
            let at = *group as usize;
            let (member, serial) = snapshot.groups().member(at)?;
            if self.0.len() <= at {
                self.0.resize(at + 1, None);
            }
            let matches = match self.0[at] {
                Some((own, matches)) if own == serial => matches,
                _ => constraint.is_about(pod, member),
            };
            self.0[at] = Some((serial, matches));
            if matches {
                count += i64::from(*pods);
            }
        }
        Some(count)
    }
}

/// One constraint with what is in its domains.
struct Tallied {
    constraint: Constraint,
    own: i64,
    matching: Matching,
    domains: Domains,
    /// Counted nodes and their pods, in each domain.
    sums: Vec<(u32, i64)>,
    /// What each node adds: nothing if it isn't counted.
    shares: Vec<Option<i64>>,
    /// How many domains have so many pods.
    sizes: BTreeMap<i64, u32>,
}

impl Tallied {
    fn new(constraint: Constraint, pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let domains = Domains::new(constraint.topology_key.clone(), snapshot);
        let sums = vec![(0, 0); domains.len()];
        let shares = vec![None; snapshot.slot_count()];
        let own = i64::from(constraint.selector.matches(&pod.labels));
        Self { constraint, own, matching: Matching::default(), domains, sums, shares, sizes: BTreeMap::new() }
    }

    /// Takes note of a node whose pods are counted or not.
    fn put(&mut self, pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot, eligible: bool) -> Option<(u32, i64)> {
        let domain = self.domains.of(node)?;
        let here = self.matching.count(&self.constraint, pod, node, snapshot)?;
        if domain == Domains::MISSING {
            return Some((domain, here));
        }
        let share = (eligible && self.constraint.counts(pod, node)).then_some(here);
        let before = std::mem::replace(&mut self.shares[node.slot.at()], share);
        if before == share {
            return Some((domain, here));
        }
        let (nodes, pods) = &mut self.sums[domain as usize];
        if *nodes > 0 {
            resize(&mut self.sizes, *pods, -1);
        }
        *nodes = *nodes + u32::from(share.is_some()) - u32::from(before.is_some());
        *pods += share.unwrap_or(0) - before.unwrap_or(0);
        if *nodes > 0 {
            resize(&mut self.sizes, *pods, 1);
        }
        Some((domain, here))
    }
}

fn resize(sizes: &mut BTreeMap<i64, u32>, pods: i64, by: i32) {
    let count = sizes.entry(pods).or_insert(0);
    *count = count.saturating_add_signed(by);
    if *count == 0 {
        sizes.remove(&pods);
    }
}

struct Filtering {
    pod: PodInfo,
    tallied: Vec<Tallied>,
    constraints: Vec<Constraint>,
    kinds: Kinds,
}

impl PodTopologySpread {
    pub(super) fn filter_tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Box<dyn FilterTally> {
        let constraints = self.constraints(pod, Unsatisfiable::DoNotSchedule, snapshot);
        let tallied = constraints.iter().map(|c| Tallied::new(c.clone(), pod, snapshot)).collect();
        Box::new(Filtering { pod: pod.clone(), tallied, constraints, kinds: Kinds::default() })
    }

    pub(super) fn score_tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Box<dyn ScoreTally> {
        let constraints = self.constraints(pod, Unsatisfiable::ScheduleAnyway, snapshot);
        let tallied = constraints.iter().map(|c| Tallied::new(c.clone(), pod, snapshot)).collect();
        let all_keys_needed = !pod.spec.spread.is_empty() || !self.system;
        Box::new(Scoring { pod: pod.clone(), tallied, constraints, all_keys_needed, kinds: Kinds::default() })
    }
}

impl FilterTally for Filtering {
    fn put(&mut self, node: &NodeInfo, snapshot: &Snapshot) -> Option<u32> {
        let eligible = has_all_keys(node.labels(), &self.constraints);
        let mut parts = Parts::new();
        for tallied in &mut self.tallied {
            let (domain, here) = tallied.put(&self.pod, node, snapshot, eligible)?;
            parts.push(match domain {
                Domains::MISSING => Part::Missing,
                _ if tallied.domains.single => {
                    let counted = tallied.shares[node.slot.at()].is_some();
                    Part::Own([if counted { here } else { 0 }, 0, 0])
                }
                domain => Part::Domain(domain),
            });
        }
        self.kinds.id(parts, snapshot)
    }

    fn accepts(&self, kind: u32) -> bool {
        self.kinds.parts(kind).iter().zip(&self.tallied).all(|(part, tallied)| {
            let pods = match part {
                Part::Missing => return false,
                Part::Domain(domain) => tallied.sums[*domain as usize].1,
                Part::Own([pods, ..]) => *pods,
            };
            let domains: u32 = tallied.sizes.values().sum();
            let enough = domains as usize >= tallied.constraint.min_domains;
            let fewest = tallied.sizes.first_key_value().filter(|_| enough).map_or(0, |(pods, _)| *pods);
            pods + tallied.own - fewest <= i64::from(tallied.constraint.max_skew)
        })
    }
}

struct Scoring {
    pod: PodInfo,
    tallied: Vec<Tallied>,
    constraints: Vec<Constraint>,
    all_keys_needed: bool,
    kinds: Kinds,
}

impl ScoreTally for Scoring {
    fn put(&mut self, node: &NodeInfo, snapshot: &Snapshot) -> Option<u32> {
        let ignored = self.all_keys_needed && !has_all_keys(node.labels(), &self.constraints);
        let mut parts = Parts::new();
        for tallied in &mut self.tallied {
            let (domain, here) = tallied.put(&self.pod, node, snapshot, !ignored)?;
            parts.push(match domain {
                Domains::MISSING => Part::Missing,
                _ if tallied.constraint.topology_key == HOSTNAME => Part::Own([here, 0, 0]),
                domain => Part::Domain(domain),
            });
        }
        self.kinds.id(parts, snapshot)
    }

    fn score(&mut self, kinds: &[(u32, u32)], scores: &mut Vec<i64>) {
        let ignores = |kind: u32| self.all_keys_needed && self.kinds.parts(kind).contains(&Part::Missing);
        let counted = || kinds.iter().filter(|(kind, _)| !ignores(*kind));
        let size = |(at, tallied): (usize, &Tallied)| {
            if tallied.constraint.topology_key == HOSTNAME {
                return counted().map(|(_, nodes)| *nodes as usize).sum();
            }
            counted().map(|(kind, _)| self.kinds.parts(*kind)[at]).collect::<HashSet<Part>>().len()
        };
        let weights: Vec<f64> = self.tallied.iter().enumerate().map(size).map(weight).collect();
        for (kind, _) in kinds {
            let pods = |(at, part): (usize, &Part)| match part {
                Part::Missing => None,
                Part::Own([pods, ..]) => Some((at, *pods)),
                Part::Domain(domain) => Some((at, self.tallied[at].sums[*domain as usize].1)),
            };
            let parts = self.kinds.parts(*kind).iter().enumerate().filter_map(pods);
            let terms = parts.map(|(at, pods)| (pods, weights[at], self.constraints[at].max_skew));
            scores.push(if ignores(*kind) { 0 } else { raw_score(terms) });
        }
        normalize(scores.iter_mut().zip(kinds).map(|(score, (kind, _))| (ignores(*kind), score)).collect());
    }
}
