//! What a plugin keeps in mind about the whole cluster, so that it need not look at all of it for every pod.
//!
//! A plugin whose verdicts depend on more than one node, such as on how many pods a zone has, can hand out a tally for
//! pods of one kind. The tally is told of every node once, and again of each node that changed. To it nodes come in
//! kinds: what it says of one node holds for all of the same kind, so a decision asks once for each kind.

use crate::cache::{NodeInfo, Snapshot};

/// What a Filter plugin keeps in mind for one kind of pod.
pub trait FilterTally: Send {
    /// Takes note of a node as it is now, and says of which kind it is. `None` if what was kept is of no use any more and
    /// must be made anew.
    fn put(&mut self, node: &NodeInfo, snapshot: &Snapshot) -> Option<u32>;

    /// Whether nodes of that kind can take the pod.
    fn accepts(&self, kind: u32) -> bool;
}

/// What a Score plugin keeps in mind for one kind of pod.
pub trait ScoreTally: Send {
    /// Takes note of a node as it is now, and says of which kind it is. `None` if what was kept is of no use any more and
    /// must be made anew.
    fn put(&mut self, node: &NodeInfo, snapshot: &Snapshot) -> Option<u32>;

    /// Scores the kinds of nodes that can take the pod, given how many there are of each, and normalizes the scores as
    /// if each node had been scored by itself. `scores` has one place for each of `kinds`.
    fn score(&mut self, kinds: &[(u32, u32)], scores: &mut Vec<i64>);
}
