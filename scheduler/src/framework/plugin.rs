//! The extension points.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::event::Verdict;
use super::post_filter::PostFilterPlugin;
use super::{Action, CycleState, FilterTally, Interest, NodeScore, ScoreTally, Status};
use crate::cache::{NodeInfo, Objects, Snapshot};
use crate::object::{Name, Node, PodInfo};
use crate::queue::{Gangs, QueuedPod};

/// A plugin, shared between the extension points it serves.
pub type PluginRef = Arc<dyn Plugin>;

/// Something that takes part in scheduling decisions.
///
/// A plugin names itself and hands out itself for each extension point that it serves; each of those is a trait of its
/// own with one or two methods.
///
/// ```
/// use std::sync::Arc;
/// use kubewright_scheduler::cache::NodeInfo;
/// use kubewright_scheduler::framework::{CycleState, FilterPlugin, Plugin, Status};
/// use kubewright_scheduler::object::PodInfo;
///
/// struct OnlyEven;
///
/// impl Plugin for OnlyEven {
///     fn name(&self) -> &str {
///         "OnlyEven"
///     }
///
///     fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
///         Some(self)
///     }
/// }
///
/// impl FilterPlugin for OnlyEven {
///     fn filter(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
///         let even = node.pods.len() % 2 == 0;
///         if even { Ok(()) } else { Err(Status::unschedulable("node(s) had an odd number of pods")) }
///     }
/// }
/// ```
pub trait Plugin: Send + Sync + 'static {
    /// The name under which profiles, messages and metrics know it.
    fn name(&self) -> &str;

    /// Which events may make a pod schedulable that this plugin rejected. Without any, none but a timeout does.
    fn events(&self) -> Vec<Interest> {
        Vec::new()
    }

    /// Whether pods of a pod group are to be placed in one go where this plugin is.
    fn places_gangs(&self) -> bool {
        false
    }

    /// Whether room is made for a pod group as a whole, where no place was found for it, instead of pod by pod.
    fn makes_room_for_gangs(&self) -> bool {
        false
    }

    /// Itself as PreEnqueue plugin.
    fn pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueuePlugin>> {
        None
    }

    /// Itself as QueueSort plugin.
    fn queue_sort(self: Arc<Self>) -> Option<Arc<dyn QueueSortPlugin>> {
        None
    }

    /// Itself as PreFilter plugin.
    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        None
    }

    /// Itself as Filter plugin.
    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        None
    }

    /// Itself as PostFilter plugin.
    fn post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilterPlugin>> {
        None
    }

    /// Itself as PreScore plugin.
    fn pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScorePlugin>> {
        None
    }

    /// Itself as Score plugin.
    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        None
    }

    /// Itself as Reserve plugin.
    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        None
    }

    /// Itself as Permit plugin.
    fn permit(self: Arc<Self>) -> Option<Arc<dyn PermitPlugin>> {
        None
    }

    /// Itself as PreBind plugin.
    fn pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBindPlugin>> {
        None
    }

    /// Itself as Bind plugin.
    fn bind(self: Arc<Self>) -> Option<Arc<dyn BindPlugin>> {
        None
    }

    /// Itself as PostBind plugin.
    fn post_bind(self: Arc<Self>) -> Option<Arc<dyn PostBindPlugin>> {
        None
    }
}

/// Decides whether a pod may enter the queue of those to be tried.
pub trait PreEnqueuePlugin: Send + Sync {
    /// Lets the pod in, or says what it waits for.
    ///
    /// # Errors
    /// The pod must wait.
    fn pre_enqueue(&self, pod: &PodInfo, gangs: &Gangs) -> Verdict;
}

/// Orders the pods to be tried.
pub trait QueueSortPlugin: Send + Sync {
    /// Whether `a` goes before `b`. Of equals, the one that came first goes first.
    fn less(&self, a: &QueuedPod, b: &QueuedPod) -> bool;
}

/// The nodes that a PreFilter plugin leaves to be looked at.
pub type NodeSubset = BTreeSet<Name>;

/// What a PreFilter plugin found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreFilterOutcome {
    /// The plugin has no say about this pod; its Filter is not called.
    Skip,
    /// Any node may do.
    AllNodes,
    /// Only these may.
    Nodes(NodeSubset),
}

/// Looks at the pod and the whole cluster once, before nodes are looked at one by one.
pub trait PreFilterPlugin: Send + Sync {
    /// Prepares `state` for [`FilterPlugin::filter`].
    ///
    /// # Errors
    /// The pod fits nowhere, or something went wrong.
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status>;

    /// Tells it to judge as if another pod were on a node, too.
    fn add_pod(&self, _state: &mut CycleState, _pod: &PodInfo, _added: &PodInfo, _node: &NodeInfo) {}

    /// Tells it to judge as if one of the node's pods were gone.
    fn remove_pod(&self, _state: &mut CycleState, _pod: &PodInfo, _removed: &PodInfo, _node: &NodeInfo) {}

    /// Whether for this pod the plugin looks at nothing but the pod and single nodes: then what it found for one pod
    /// holds for all with the same spec.
    fn is_node_local(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> bool {
        false
    }
}

/// Decides whether a node can take a pod.
pub trait FilterPlugin: Send + Sync {
    /// Judges one node.
    ///
    /// # Errors
    /// The node can't, or something went wrong.
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict;

    /// Whether for this pod the verdict depends on nothing but the pod's spec and the node. Verdicts are then kept and
    /// used again for pods with the same spec, until the node changes.
    fn is_node_local(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> bool {
        false
    }

    /// Whether it can give a [`tally`](Self::tally).
    fn has_tally(&self) -> bool {
        false
    }

    /// If the verdict depends on more than the node: a tally, to be told of every node, that agrees with
    /// [`filter`](Self::filter) for all pods with this one's spec, namespace, labels and controller.
    fn tally(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> Option<Box<dyn FilterTally>> {
        None
    }

    /// A number that differs when anything differs, beside pod and nodes, that kept verdicts depend on.
    fn stamp(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> u64 {
        0
    }
}

/// Whether a plugin goes on with its later calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It has no say about this pod; its Score is not called.
    Skip,
}

/// Looks at all nodes that can take the pod once, before they are scored one by one.
pub trait PreScorePlugin: Send + Sync {
    /// Prepares `state` for [`ScorePlugin::score`].
    ///
    /// # Errors
    /// Something went wrong.
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Result<Flow, Status>;
}

/// Says how good a node is.
pub trait ScorePlugin: Send + Sync {
    /// Scores one node: more is better.
    ///
    /// # Errors
    /// Something went wrong.
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Result<i64, Status>;

    /// Brings the scores of all nodes between 0 and [`SCORE_MAX`](super::SCORE_MAX).
    ///
    /// # Errors
    /// Something went wrong.
    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, _scores: &mut [NodeScore]) -> Verdict {
        Ok(())
    }

    /// Whether for this pod the score of a node depends on nothing but the pod's spec and the node; see
    /// [`FilterPlugin::is_node_local`].
    fn is_node_local(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> bool {
        false
    }

    /// What every node's score becomes if the raw scores of all are equal to `raw`; `None` if that cannot be said.
    /// Without normalizing it is the raw score itself.
    fn normalized_when_equal(&self, raw: i64) -> Option<i64> {
        Some(raw)
    }

    /// Whether [`normalize`](Self::normalize) changes scores.
    fn normalizes(&self) -> bool {
        false
    }

    /// Whether normalizing depends only on which scores there are, not on how many nodes have each.
    fn normalizes_by_extremes(&self) -> bool {
        false
    }

    /// Whether it can give a [`tally`](Self::tally).
    fn has_tally(&self) -> bool {
        false
    }

    /// If the score depends on more than the node: a tally, to be told of every node, that agrees with
    /// [`score`](Self::score) and [`normalize`](Self::normalize) for all pods with this one's spec, namespace, labels
    /// and controller.
    fn tally(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> Option<Box<dyn ScoreTally>> {
        None
    }

    /// A number that differs when anything differs, beside pod and nodes, that kept scores depend on.
    fn stamp(&self, _pod: &PodInfo, _snapshot: &Snapshot) -> u64 {
        0
    }
}

/// Keeps books about decisions.
pub trait ReservePlugin: Send + Sync {
    /// Notes that the pod goes to that node.
    ///
    /// # Errors
    /// It cannot, after all.
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &Name) -> Verdict;

    /// Notes that it doesn't, after all. Also called for what was never noted.
    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &Name);

    /// Enters the decision into the cluster's books, after [`reserve`](Self::reserve).
    ///
    /// # Errors
    /// It cannot be, after all.
    fn enter(&self, _state: &mut CycleState, _pod: &PodInfo, _node: &Arc<Node>, _objects: &mut Objects) -> Verdict {
        Ok(())
    }

    /// Strikes it out again. Also called for what was never entered.
    fn strike(&self, _state: &mut CycleState, _pod: &PodInfo, _node: &Name, _objects: &mut Objects) {}
}

/// What a Permit plugin decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermitOutcome {
    /// Go on.
    Allow,
    /// Wait until allowed, at most so long.
    Wait(Duration),
    /// Go on, and so may these waiting pods, as far as this plugin is concerned.
    AllowWith(Vec<Name>),
    /// Wait for these pods, which are to be tried now.
    WaitFor {
        /// The pods, by their identity.
        others: Vec<Name>,
        /// For how long at most.
        most: Duration,
    },
}

/// Holds decisions back.
pub trait PermitPlugin: Send + Sync {
    /// Allows the pod to be bound, or makes it wait.
    ///
    /// # Errors
    /// The pod must not be bound.
    fn permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Name,
        gangs: &Gangs,
    ) -> Result<PermitOutcome, Status>;
}

/// Prepares the cluster for a pod.
pub trait PreBindPlugin: Send + Sync {
    /// What must be done before binding.
    ///
    /// # Errors
    /// The pod must not be bound.
    fn pre_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &Name) -> Result<Vec<Action>, Status>;
}

/// What a Bind plugin says.
#[derive(Clone, Debug, PartialEq)]
pub enum BindOutcome {
    /// Another plugin shall bind this pod.
    Skip,
    /// This does it.
    Do(Action),
}

/// Binds a pod to a node.
pub trait BindPlugin: Send + Sync {
    /// How to bind the pod.
    ///
    /// # Errors
    /// It cannot be bound.
    fn bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &Name) -> Result<BindOutcome, Status>;
}

/// Hears of pods that were bound.
pub trait PostBindPlugin: Send + Sync {
    /// Notes it.
    fn post_bind(&self, pod: &PodInfo, node: &Name);
}
