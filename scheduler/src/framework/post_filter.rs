//! Making room for pods that fit nowhere.

use std::sync::Arc;

use super::{Action, CycleState, Kept, NodeStatuses, Profile, Status};
use crate::cache::Snapshot;
use crate::object::{Name, PodInfo};
use crate::queue::Nominator;
use crate::random::Random;

/// What a PostFilter plugin gets to see.
pub struct PostFilterContext<'a> {
    /// The profile, to run filters with.
    pub profile: &'a Profile,
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// Which nodes were promised to whom.
    pub nominator: &'a Nominator,
    /// What was said about each node.
    pub statuses: &'a NodeStatuses,
    /// The seeded generator.
    pub random: &'a mut Random,
    /// Whether candidates are to be told in the outcome, for extenders to look at before one is chosen.
    pub candidates_wanted: bool,
    /// Where to keep something for the next pods of this kind, if the pod is one of many and all that speaks against nodes
    /// lies in its spec and in the single nodes.
    pub kept: Option<&'a mut Kept>,
    /// The nodes' places in the snapshot's order, by their slots, if something may be kept.
    pub(crate) places: &'a [u32],
}

/// A node where a pod would fit if others went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: Name,
    /// Who would have to go, the most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them break a disruption budget by going.
    pub budget_violations: usize,
}

/// What a PostFilter plugin achieved.
#[derive(Clone, Debug, Default)]
pub struct PostFilterOutcome {
    /// The node to promise to the pod: `None` leaves its promise as it is, an empty name takes it away.
    pub nominated_node_name: Option<Name>,
    /// Why it didn't succeed; nothing if it did.
    pub status: Option<Status>,
    /// What must be done.
    pub actions: Vec<Action>,
    /// The nodes to choose from, where they are [wanted](PostFilterContext::candidates_wanted).
    pub candidates: Vec<Candidate>,
}

/// Makes room for a pod that fits nowhere.
pub trait PostFilterPlugin: Send + Sync {
    /// Tries.
    fn post_filter(&self, state: &CycleState, pod: &Arc<PodInfo>, context: PostFilterContext<'_>) -> PostFilterOutcome;

    /// Chooses from the candidates that it named and that extenders left; nothing if it never names any.
    fn choose(&self, _: &Arc<PodInfo>, _: Vec<Candidate>, _: PostFilterContext<'_>) -> Option<PostFilterOutcome> {
        None
    }
}
