//! Which pods are near what, kept node by node.

use std::sync::Arc;

use super::filtering::{Side, State};
use super::scoring::Wishes;
use super::{InterPodAffinity, matches_all};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{FilterTally, ScoreTally};
use crate::object::{Name, PodInfo};
use crate::plugins::topology::{Domains, Kinds, Part, Parts};

/// What a pod of some group adds to the domains of its node: label, side and amount.
type Effects = Vec<(usize, usize, i64)>;

/// What pods add up to in each domain of each label, on up to three sides.
struct Sums {
    domains: Vec<Domains>,
    sums: Vec<Vec<[i64; 3]>>,
    /// What each node adds, under each label.
    shares: Vec<Vec<[i64; 3]>>,
    /// In how many domains a side's sum is not 0.
    nonzero: [usize; 3],
    /// What each group's pods add, with the group's serial number.
    effects: Vec<Option<(u64, Effects)>>,
    kinds: Kinds,
}

impl Sums {
    fn new(keys: Vec<Name>, snapshot: &Snapshot) -> Self {
        let domains: Vec<Domains> = keys.into_iter().map(|key| Domains::new(key, snapshot)).collect();
        let sums = domains.iter().map(|domains| vec![[0; 3]; domains.len()]).collect();
        let shares = vec![vec![[0; 3]; snapshot.slot_count()]; domains.len()];
        Self { domains, sums, shares, nonzero: [0; 3], effects: Vec::new(), kinds: Kinds::default() }
    }

    fn place(&self, key: &Name) -> Option<usize> {
        self.domains.iter().position(|domains| domains.key == *key)
    }

    /// Takes note of a node; `ask` says what a pod adds under which label and on which side.
    fn put(
        &mut self,
        node: &NodeInfo,
        snapshot: &Snapshot,
        ask: impl Fn(&PodInfo) -> Vec<(Name, usize, i64)>,
    ) -> Option<u32> {
        let mut totals: smallvec::SmallVec<[[i64; 3]; 2]> = smallvec::smallvec![[0; 3]; self.domains.len()];
        for (group, count) in &node.groups {
            self.learn(*group as usize, snapshot, &ask)?;
            let (_, effects) = self.effects[*group as usize].as_ref()?;
            for (key, side, amount) in effects {
                totals[*key][*side] += amount * i64::from(*count);
            }
        }
        let mut parts = Parts::new();
        for (at, total) in totals.into_iter().enumerate() {
            let domain = self.domains[at].of(node)?;
            if domain == Domains::MISSING {
                parts.push(Part::Missing);
                continue;
            }
            let share = &mut self.shares[at][node.slot.at()];
            let sum = &mut self.sums[at][domain as usize];
            for side in 0..3 {
                self.nonzero[side] -= usize::from(sum[side] != 0);
                sum[side] += total[side] - share[side];
                self.nonzero[side] += usize::from(sum[side] != 0);
            }
            *share = total;
            parts.push(if self.domains[at].single { Part::Own(total) } else { Part::Domain(domain) });
        }
        self.kinds.id(parts, snapshot)
    }

    /// Finds out what a group's pods add, unless that is known. `None` if it is under a label unknown so far.
    fn learn(
        &mut self,
        group: usize,
        snapshot: &Snapshot,
        ask: &impl Fn(&PodInfo) -> Vec<(Name, usize, i64)>,
    ) -> Option<()> {
        let (pod, serial) = snapshot.groups().member(group)?;
        if self.effects.len() <= group {
            self.effects.resize_with(group + 1, || None);
        }
        if self.effects[group].as_ref().is_none_or(|(own, _)| *own != serial) {
            let mut effects = Effects::new();
            for (key, side, amount) in ask(pod) {
                effects.push((self.place(&key)?, side, amount));
            }
            self.effects[group] = Some((serial, effects));
        }
        Some(())
    }

    /// The sums of the domains that nodes of a kind are in; `None` for a label that they lack.
    fn of(&self, kind: u32) -> impl Iterator<Item = Option<[i64; 3]>> + '_ {
        self.kinds.parts(kind).iter().enumerate().map(|(at, part)| match part {
            Part::Missing => None,
            Part::Domain(domain) => Some(self.sums[at][*domain as usize]),
            Part::Own(sums) => Some(*sums),
        })
    }
}

/// All labels that matter: the given ones and those under which pods that are there add something.
fn labels(
    own: impl Iterator<Item = Name>,
    snapshot: &Snapshot,
    ask: impl Fn(&PodInfo) -> Vec<(Name, usize, i64)>,
) -> Vec<Name> {
    let mut keys: Vec<Name> = own.collect();
    for effects in snapshot.groups().ask(&ask) {
        keys.extend(effects.into_iter().map(|(key, _, _)| key));
    }
    keys.sort();
    keys.dedup();
    keys
}

struct Filtering {
    pod: Arc<PodInfo>,
    state: State,
    near: Vec<usize>,
    far: Vec<usize>,
    starts_alone: bool,
    sums: Sums,
}

impl InterPodAffinity {
    pub(super) fn filter_tally(pod: &PodInfo, snapshot: &Snapshot) -> Box<dyn FilterTally> {
        let state = State::new(pod, snapshot);
        let own = state.near.iter().chain(&*state.far).map(|term| term.topology_key.clone());
        let keys = labels(own, snapshot, |other| sided(&state, pod, other));
        let sums = Sums::new(keys, snapshot);
        let places = |terms: &[crate::object::PodAffinityTerm]| -> Vec<usize> {
            terms.iter().filter_map(|term| sums.place(&term.topology_key)).collect()
        };
        let (near, far) = (places(&state.near), places(&state.far));
        let starts_alone = matches_all(&state.near, pod);
        Box::new(Filtering { pod: Arc::new(pod.clone()), state, near, far, starts_alone, sums })
    }

    pub(super) fn score_tally(&self, pod: &PodInfo, snapshot: &Snapshot) -> Box<dyn ScoreTally> {
        let wishes = Wishes::of(pod, snapshot, self.args.hard_pod_affinity_weight);
        let own = wishes.own.iter().map(|(term, _)| term.topology_key.clone());
        let keys = labels(own, snapshot, |other| weighted(&wishes, pod, other));
        let sums = Sums::new(keys, snapshot);
        Box::new(Scoring { pod: Arc::new(pod.clone()), wishes, sums })
    }
}

fn sided(state: &State, pod: &PodInfo, other: &PodInfo) -> Vec<(Name, usize, i64)> {
    state.effects(pod, other).into_iter().map(|(side, key)| (key, side as usize, 1)).collect()
}

fn weighted(wishes: &Wishes, pod: &PodInfo, other: &PodInfo) -> Vec<(Name, usize, i64)> {
    wishes.effects(pod, other).into_iter().map(|(key, weight)| (key, 0, weight)).collect()
}

impl FilterTally for Filtering {
    fn put(&mut self, node: &NodeInfo, snapshot: &Snapshot) -> Option<u32> {
        let Self { pod, state, sums, .. } = self;
        sums.put(node, snapshot, |other| sided(state, pod, other))
    }

    fn accepts(&self, kind: u32) -> bool {
        let sums: smallvec::SmallVec<[Option<[i64; 3]>; 4]> = self.sums.of(kind).collect();
        let over = |at: &usize, side: Side| sums[*at].is_some_and(|sums| sums[side as usize] > 0);
        if self.near.iter().any(|at| sums[*at].is_none()) || self.far.iter().any(|at| over(at, Side::Unwanted)) {
            return false;
        }
        let alone = self.sums.nonzero[Side::Wanted as usize] == 0 && self.starts_alone;
        let has_wanted = alone || self.near.iter().all(|at| over(at, Side::Wanted));
        has_wanted && !(0..sums.len()).any(|at| over(&at, Side::Repelled))
    }
}

struct Scoring {
    pod: Arc<PodInfo>,
    wishes: Wishes,
    sums: Sums,
}

impl ScoreTally for Scoring {
    fn put(&mut self, node: &NodeInfo, snapshot: &Snapshot) -> Option<u32> {
        let Self { pod, wishes, sums } = self;
        sums.put(node, snapshot, |other| weighted(wishes, pod, other))
    }

    fn score(&mut self, kinds: &[(u32, u32)], scores: &mut Vec<i64>) {
        let raw = |(kind, _): &(u32, u32)| self.sums.of(*kind).flatten().map(|sums| sums[0]).sum::<i64>();
        scores.extend(kinds.iter().map(raw));
        super::scoring::stretch(&mut scores.iter_mut().collect::<Vec<_>>());
    }
}
