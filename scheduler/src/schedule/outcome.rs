//! What became of an attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::framework::{Action, CycleState};
use crate::object::{Name, PodInfo, Time};
use crate::queue::QueuedPod;

/// What became of one attempt to place a pod.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It has a node and is to be bound.
    Placed(Box<Placement>),
    /// It has a node, and waits for plugins to permit its binding.
    Waiting(Arc<PodInfo>),
    /// It has none.
    Failed(Box<Failure>),
    /// All pods of a pod group that could be tried were tried, which was told before.
    Group(Box<GroupTried>),
    /// Extenders have a say: ask them, and hand the answer to [`Scheduler::answer`](super::Scheduler::answer). Until
    /// then no other pod should be tried.
    Consult(Box<super::Consultation>),
    /// It need not be placed any more: it is being deleted, or was placed already.
    Skipped {
        /// The pod.
        pod: Arc<PodInfo>,
        /// What to tell its owner, if anything.
        message: Option<String>,
    },
}

impl Outcome {
    /// Whether it is about a pod of a pod group.
    #[must_use]
    pub fn is_of_group(&self) -> bool {
        let pod = match self {
            Self::Placed(placement) => &placement.pod,
            Self::Failed(failure) => &failure.pod,
            Self::Waiting(pod) | Self::Skipped { pod, .. } => pod,
            Self::Group(_) => return true,
            Self::Consult(_) => return false,
        };
        !pod.spec.pod_group.is_empty()
    }
}

/// What became of an attempt to place a pod group.
#[derive(Clone, Debug)]
pub struct GroupTried {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// The scheduler that its pods name.
    pub profile: Name,
    /// How it ended.
    pub result: GroupResult,
    /// Why, in upstream's words; nothing if it was placed.
    pub message: String,
    /// What is to be done about it.
    pub actions: Vec<Action>,
}

/// How an attempt to place a pod group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupResult {
    /// Enough of its pods have nodes.
    Scheduled,
    /// Too few have.
    Unschedulable,
    /// Enough will have when other pods have gone.
    WaitingOnPreemption,
    /// Something went wrong.
    Error,
}

impl GroupResult {
    /// What it is called in upstream's metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::WaitingOnPreemption => "waiting_on_preemption",
            Self::Error => "error",
        }
    }
}

/// A pod that has a node and is not bound yet.
#[derive(Debug)]
pub struct Placement {
    /// The pod as it will be: with its node.
    pub pod: Arc<PodInfo>,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// How many of those could take it.
    pub feasible: usize,
    pub(super) queued: QueuedPod,
    pub(super) state: CycleState,
}

impl Placement {
    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &Name {
        &self.pod.node_name
    }

    /// The pod in the queue: how often and since when it was tried.
    #[must_use]
    pub const fn queued(&self) -> &QueuedPod {
        &self.queued
    }
}

/// A placement that waits to be permitted.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) placement: Box<Placement>,
    /// Who has not permitted it yet, and until when that is waited for.
    pub(super) by: BTreeMap<Name, Time>,
    /// Since when it waits.
    pub(super) since: Time,
}

/// A pod that has no node, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// Why, in upstream's words.
    pub message: String,
    /// The node that it was promised now, empty for none any more; `None` if nothing changed.
    pub nominated_node_name: Option<Name>,
    /// What is to be done about it.
    pub actions: Vec<Action>,
}

impl Failure {
    /// The pod doesn't fit.
    pub const UNSCHEDULABLE: &'static str = "Unschedulable";
    /// Something went wrong.
    pub const SCHEDULER_ERROR: &'static str = "SchedulerError";
}
