//! What came of trying to make room on nodes, kept for the next pod of the same kind: a choice then takes as long as the
//! nodes that changed ask for, however many there are.

use std::sync::Arc;

use super::harm::{Harm, HarmTree, Leaf, Stop, Sum};
use super::{DefaultPreemption, Trial, try_node};
use crate::cache::NodeSlot;
use crate::framework::{Candidate, Code, CycleState, NodeStatuses, PostFilterContext};
use crate::object::PodInfo;

/// How many different refusals are kept before all is tried anew.
const KINDS_MAX: usize = 1024;

/// What came of trying nodes, by their places.
pub(super) struct Trials {
    tree: HarmTree,
    refused: NodeStatuses,
    seen: u64,
    seen_promises: u64,
    budgets: u64,
}

/// What a choice from what is kept comes to.
pub(super) enum Chosen {
    /// There is no node whose pods could go.
    NothingToTry,
    /// The best candidate.
    Best(Candidate),
    /// None of the nodes will do, for these reasons.
    None(NodeStatuses),
}

impl Trials {
    /// Nothing was tried yet.
    pub(super) fn new(context: &PostFilterContext<'_>) -> Self {
        let order = context.snapshot.order();
        let leaves = order.iter().enumerate().map(|(place, node)| untried(context, place, *node));
        Self {
            tree: HarmTree::new(leaves),
            refused: NodeStatuses::in_order(order),
            seen: context.snapshot.changes_end(),
            seen_promises: context.nominator.changes_end(),
            budgets: context.snapshot.objects().budgets_version(),
        }
    }

    /// Forgets what came of trying nodes that changed since.
    fn catch_up(&mut self, context: &PostFilterContext<'_>) {
        let PostFilterContext { snapshot, nominator, places, .. } = context;
        let changed = snapshot.changes_since(self.seen).zip(nominator.changes_since(self.seen_promises));
        let current = self.budgets == snapshot.objects().budgets_version() && self.refused.kinds() <= KINDS_MAX;
        let Some((changed, promised)) = changed.filter(|_| current) else {
            *self = Self::new(context);
            return;
        };
        let promised = promised.iter().filter_map(|name| Some(snapshot.node(name)?.slot));
        for slot in changed.iter().copied().chain(promised) {
            let Some(place) = places.get(slot.at()).map(|place| *place as usize).filter(|at| *at < snapshot.len())
            else {
                continue;
            };
            self.tree.set(place, untried(context, place, slot));
            self.refused.set_at(place, None);
        }
        self.seen = snapshot.changes_end();
        self.seen_promises = nominator.changes_end();
    }

    /// Comes to what trying the nodes in turn from a random one on would have come to.
    pub(super) fn choose(
        &mut self,
        plugin: &DefaultPreemption,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        context: &mut PostFilterContext<'_>,
    ) -> Chosen {
        self.catch_up(context);
        let nodes = self.tree.all().resolvable as usize;
        if nodes == 0 {
            return Chosen::NothingToTry;
        }
        let wanted = u32::try_from(plugin.candidates_wanted(nodes)).unwrap_or(u32::MAX);
        let start = self.tree.nth_resolvable(u32::try_from(context.random.below(nodes)).unwrap_or(0));
        let mut sum = Sum::default();
        for (mut from, to) in [(start, context.snapshot.len()), (0, start)] {
            while let Some(stop) = self.tree.scan(from, to, wanted, &mut sum) {
                let Stop::Untried(place) = stop else { return self.best(state, pod, sum, context) };
                self.try_place(place, state, pod, context);
                from = place;
            }
        }
        self.best(state, pod, sum, context)
    }

    fn try_place(&mut self, place: usize, state: &CycleState, pod: &Arc<PodInfo>, context: &PostFilterContext<'_>) {
        let snapshot = context.snapshot;
        let Some(node) = snapshot.node_at(snapshot.order()[place]) else { return };
        let leaf = match try_node(state, pod, node, context) {
            Ok(candidate) => Leaf::Candidate(Harm::of(&candidate)),
            Err(status) => {
                self.refused.set_at(place, Some(status));
                Leaf::Refused
            }
        };
        self.tree.set(place, leaf);
    }

    fn best(&self, state: &CycleState, pod: &Arc<PodInfo>, sum: Sum, context: &PostFilterContext<'_>) -> Chosen {
        let snapshot = context.snapshot;
        let node = sum.best.and_then(|place| snapshot.node_at(snapshot.order()[place as usize]));
        // What is kept of a candidate is how much harm it does; who the victims are is found out once more.
        match node.map(|node| -> Trial { try_node(state, pod, node, context) }) {
            Some(Ok(candidate)) => Chosen::Best(candidate),
            _ => Chosen::None(self.refused.clone()),
        }
    }
}

fn untried(context: &PostFilterContext<'_>, place: usize, node: NodeSlot) -> Leaf {
    match context.statuses.code_at(place, node) {
        Code::Unschedulable => Leaf::Untried,
        _ => Leaf::Hopeless,
    }
}
