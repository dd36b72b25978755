//! How much harm is done by making room on a node, and a tree that finds where the least is done.

use std::cmp::Reverse;

use crate::framework::Candidate;
use crate::object::Time;

/// The harm done, in the order of what weighs most: broken budgets, the highest priority, the sum of priorities, the
/// number of victims, and how long the most important of them have run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Harm {
    budget_violations: usize,
    highest: i32,
    sum: i64,
    victims: usize,
    earliest: Reverse<Option<Time>>,
}

impl Harm {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let victims = &candidate.victims;
        let highest = victims.iter().map(|victim| victim.spec.priority).max().unwrap_or(i32::MIN);
        let top = victims.iter().filter(|victim| victim.spec.priority == highest);
        Self {
            budget_violations: candidate.budget_violations,
            highest: victims.first().map_or(i32::MIN, |victim| victim.spec.priority),
            sum: victims.iter().map(|victim| i64::from(victim.spec.priority) + (1 << 31)).sum(),
            victims: victims.len(),
            earliest: Reverse(top.map(|victim| victim.start_time.unwrap_or(Time::MAX)).min()),
        }
    }
}

/// What is known of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    /// No pod's going would help.
    Hopeless,
    /// It must be tried.
    Untried,
    /// It was tried, to no avail.
    Refused,
    /// Room can be made there.
    Candidate(Harm),
}

/// What is known of a stretch of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// How many are worth a try.
    pub(super) resolvable: u32,
    untried: u32,
    candidates: u32,
    /// How many of the candidates break no budget.
    harmless: u32,
    /// Where the least harm is done; the first of several such places.
    pub(super) best: Option<u32>,
}

/// Why a scan ended before the stretch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A node must be tried first.
    Untried(usize),
    /// There are candidates enough.
    Enough,
}

/// The tree: leaves from `width` on, each inner node the sum of its two children.
pub(super) struct HarmTree {
    width: usize,
    sums: Vec<Sum>,
    harms: Vec<Harm>,
}

impl HarmTree {
    pub(super) fn new(leaves: impl ExactSizeIterator<Item = Leaf>) -> Self {
        let (nodes, width) = (leaves.len(), leaves.len().next_power_of_two());
        let mut tree = Self { width, sums: vec![Sum::default(); 2 * width], harms: vec![Harm::default(); nodes] };
        for (place, leaf) in leaves.enumerate() {
            tree.put(place, leaf);
        }
        for at in (1..width).rev() {
            tree.sums[at] = tree.join(tree.sums[2 * at], tree.sums[2 * at + 1]);
        }
        tree
    }

    pub(super) fn all(&self) -> Sum {
        self.sums[1]
    }

    pub(super) fn set(&mut self, place: usize, leaf: Leaf) {
        self.put(place, leaf);
        let mut at = self.width + place;
        while at > 1 {
            at /= 2;
            self.sums[at] = self.join(self.sums[2 * at], self.sums[2 * at + 1]);
        }
    }

    fn put(&mut self, place: usize, leaf: Leaf) {
        let one = Sum { resolvable: 1, ..Sum::default() };
        self.sums[self.width + place] = match leaf {
            Leaf::Hopeless => Sum::default(),
            Leaf::Untried => Sum { untried: 1, ..one },
            Leaf::Refused => one,
            Leaf::Candidate(harm) => {
                self.harms[place] = harm;
                let harmless = u32::from(harm.budget_violations == 0);
                Sum { candidates: 1, harmless, best: u32::try_from(place).ok(), ..one }
            }
        };
    }

    fn join(&self, left: Sum, right: Sum) -> Sum {
        let harm = |place: u32| self.harms[place as usize];
        let best = match (left.best, right.best) {
            (Some(a), Some(b)) => Some(if harm(b) < harm(a) { b } else { a }),
            (a, b) => a.or(b),
        };
        Sum {
            resolvable: left.resolvable + right.resolvable,
            untried: left.untried + right.untried,
            candidates: left.candidates + right.candidates,
            harmless: left.harmless + right.harmless,
            best,
        }
    }

    /// Where the node number `nth` of those worth a try is, counted from 0.
    pub(super) fn nth_resolvable(&self, mut nth: u32) -> usize {
        let mut at = 1;
        while at < self.width {
            at *= 2;
            let left = self.sums[at].resolvable;
            if nth >= left {
                nth -= left;
                at += 1;
            }
        }
        at - self.width
    }

    /// Sums up the nodes from `from` up to but not including `to` into `sum`, up to the one with which there are `wanted`
    /// candidates, one of them harmless, or up to one that must be tried first.
    pub(super) fn scan(&self, from: usize, to: usize, wanted: u32, sum: &mut Sum) -> Option<Stop> {
        self.scan_under(1, (0, self.width), (from, to), wanted, sum)
    }

    fn scan_under(
        &self,
        at: usize,
        (first, end): (usize, usize),
        (from, to): (usize, usize),
        wanted: u32,
        sum: &mut Sum,
    ) -> Option<Stop> {
        let own = self.sums[at];
        if end <= from || to <= first || own.resolvable == 0 {
            return None;
        }
        let joined = self.join(*sum, own);
        let enough = joined.harmless > 0 && joined.candidates >= wanted;
        if from <= first && end <= to && own.untried == 0 && (!enough || at >= self.width) {
            *sum = joined;
            return enough.then_some(Stop::Enough);
        }
        if at >= self.width {
            return Some(Stop::Untried(first));
        }
        let middle = usize::midpoint(first, end);
        self.scan_under(2 * at, (first, middle), (from, to), wanted, sum)
            .or_else(|| self.scan_under(2 * at + 1, (middle, end), (from, to), wanted, sum))
    }
}
