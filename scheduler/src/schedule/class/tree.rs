//! A tree over the nodes in their order, which answers for any stretch of it how many nodes can take a pod, what the
//! best score among them is and how many have it.

/// What is known of a node, or of a stretch of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many can take the pod.
    pub(super) feasible: u32,
    /// The cell of those, or [`MIXED`] if they are of several.
    pub(super) cell: u32,
    /// The best score among those that can take it.
    pub(super) best: i32,
    /// How many have that score.
    pub(super) ties: u32,
}

/// Nodes of several cells.
const MIXED: u32 = u32::MAX;

impl Summary {
    pub(super) const fn infeasible() -> Self {
        Self { feasible: 0, cell: MIXED, best: i32::MIN, ties: 0 }
    }

    pub(super) const fn one(score: i32, cell: u32) -> Self {
        Self { feasible: 1, cell, best: score, ties: 1 }
    }

    /// Whether its nodes are of several cells.
    pub(super) const fn is_mixed(self) -> bool {
        self.feasible > 0 && self.cell == MIXED
    }

    /// Whether there are nodes on both sides, and of different cells.
    pub(super) const fn differs_from(self, other: Self) -> bool {
        self.feasible > 0 && other.feasible > 0 && self.cell != other.cell
    }

    fn join(self, other: Self) -> Self {
        let ties = match self.best.cmp(&other.best) {
            std::cmp::Ordering::Less => other.ties,
            std::cmp::Ordering::Equal => self.ties + other.ties,
            std::cmp::Ordering::Greater => self.ties,
        };
        Self {
            feasible: self.feasible + other.feasible,
            cell: match (self.feasible, other.feasible) {
                (0, _) => other.cell,
                (_, 0) => self.cell,
                _ if self.cell == other.cell => self.cell,
                _ => MIXED,
            },
            best: self.best.max(other.best),
            ties,
        }
    }
}

/// The tree: leaves from `width` on, each inner node the sum of its two children.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    width: usize,
    sums: Vec<Summary>,
}

impl Tree {
    pub(super) fn new(leaves: impl ExactSizeIterator<Item = Summary>) -> Self {
        let width = leaves.len().next_power_of_two();
        let mut sums = vec![Summary::infeasible(); 2 * width];
        for (at, leaf) in leaves.enumerate() {
            sums[width + at] = leaf;
        }
        for at in (1..width).rev() {
            sums[at] = sums[2 * at].join(sums[2 * at + 1]);
        }
        Self { width, sums }
    }

    pub(super) fn all(&self) -> Summary {
        self.sums[1]
    }

    pub(super) fn set(&mut self, at: usize, leaf: Summary) {
        let mut at = self.width + at;
        if self.sums[at] == leaf {
            return;
        }
        self.sums[at] = leaf;
        while at > 1 {
            at /= 2;
            self.sums[at] = self.sums[2 * at].join(self.sums[2 * at + 1]);
        }
    }

    /// The sum of the leaves from `from` up to but not including `to`.
    pub(super) fn range(&self, from: usize, to: usize) -> Summary {
        self.cover(from, to).fold(Summary::infeasible(), |sum, at| sum.join(self.sums[at]))
    }

    /// Where the feasible leaf number `nth` is, counted from 0.
    pub(super) fn nth_feasible(&self, nth: u32) -> usize {
        self.descend(1, nth, |sum| sum.feasible)
    }

    /// Where, between `from` and `to`, the leaf number `nth` with that score is, which must be the best between them.
    pub(super) fn nth_best(&self, from: usize, to: usize, best: i32, mut nth: u32) -> Option<usize> {
        // Nothing in the stretch is better, so within the parts that cover it the ties are those with this score.
        let count = |sum: Summary| if sum.best == best { sum.ties } else { 0 };
        for part in self.cover(from, to) {
            let ties = count(self.sums[part]);
            if nth < ties {
                return Some(self.descend(part, nth, count));
            }
            nth -= ties;
        }
        None
    }

    /// The stretch of nodes that a scan from `start` on would look at to find so many: up to the end, and from the
    /// beginning again.
    pub(super) fn window(&self, nodes: usize, start: usize, wanted: u32) -> Window {
        let all = self.all().feasible;
        if all < wanted {
            return Window { parts: [(start, nodes), (0, start)], length: nodes };
        }
        let before = self.range(0, start).feasible;
        if before + wanted <= all {
            let end = self.nth_feasible(before + wanted - 1) + 1;
            return Window { parts: [(start, end), (0, 0)], length: end - start };
        }
        let end = self.nth_feasible(before + wanted - all - 1) + 1;
        Window { parts: [(start, nodes), (0, end)], length: nodes - start + end }
    }

    /// The fewest inner nodes and leaves that cover a stretch, from left to right.
    fn cover(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + use<> {
        let (mut low, mut high) = (from + self.width, to + self.width);
        let (mut left, mut right) = ([0_usize; 64], [0_usize; 64]);
        let (mut lefts, mut rights) = (0, 0);
        while low < high {
            if low % 2 == 1 {
                left[lefts] = low;
                lefts += 1;
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                right[rights] = high;
                rights += 1;
            }
            low /= 2;
            high /= 2;
        }
        left.into_iter().take(lefts).chain(right.into_iter().take(rights).rev())
    }

    fn descend(&self, mut at: usize, mut nth: u32, count: impl Fn(Summary) -> u32) -> usize {
        while at < self.width {
            at *= 2;
            let left = count(self.sums[at]);
            if nth >= left {
                nth -= left;
                at += 1;
            }
        }
        at - self.width
    }
}

/// A stretch of nodes, perhaps in two parts.
pub(super) struct Window {
    pub(super) parts: [(usize, usize); 2],
    pub(super) length: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(score: Option<i32>) -> Summary {
        score.map_or(Summary::infeasible(), |best| Summary::one(best, 0))
    }

    proptest! {
        #[test]
        fn agrees_with_counting(
            scores in proptest::collection::vec(proptest::option::of(0_i32..4), 1..40),
            changes in proptest::collection::vec((0_usize..40, proptest::option::of(0_i32..4)), 0..10),
            (from, len) in (0_usize..40, 0_usize..40),
        ) {
            let mut scores = scores;
            let mut tree = Tree::new(scores.iter().map(|score| leaf(*score)));
            for (at, score) in changes {
                let at = at % scores.len();
                scores[at] = score;
                tree.set(at, leaf(score));
            }
            let from = from % scores.len();
            let to = (from + len).min(scores.len());
            let sum = tree.range(from, to);
            let best = scores[from..to].iter().flatten().max().copied();
            prop_assert_eq!(sum.feasible as usize, scores[from..to].iter().flatten().count());
            if let Some(best) = best {
                let places: Vec<usize> = (from..to).filter(|at| scores[*at] == Some(best)).collect();
                prop_assert_eq!((sum.best, sum.ties as usize), (best, places.len()));
                for (nth, place) in places.iter().enumerate() {
                    let nth = u32::try_from(nth).unwrap();
                    prop_assert_eq!(tree.nth_best(from, to, best, nth), Some(*place));
                }
            }
            let feasible: Vec<usize> = (0..scores.len()).filter(|at| scores[*at].is_some()).collect();
            for (nth, place) in feasible.iter().enumerate() {
                prop_assert_eq!(tree.nth_feasible(u32::try_from(nth).unwrap()), *place);
            }
        }
    }
}
