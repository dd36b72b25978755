//! A pod in the queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::object::{Name, PodInfo, Time};

/// A pod that waits to be placed, and what is known of its attempts.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// When it came into the queue, or when its last attempt failed.
    pub timestamp: Time,
    /// How often it was tried.
    pub attempts: u32,
    /// How often it was found not to fit.
    pub unschedulable_count: u32,
    /// How often in a row something went wrong with it.
    pub consecutive_errors: u32,
    /// When it was first let in.
    pub initial_attempt: Option<Time>,
    /// The plugins that rejected it last.
    pub unschedulable_plugins: BTreeSet<Name>,
    /// The plugins that told it to wait.
    pub pending_plugins: BTreeSet<Name>,
    /// The plugin that keeps it out.
    pub gating_plugin: Option<Name>,
    /// Whether it was last tried because it had waited too long, and not because anything had happened.
    pub flushed: bool,
    /// Until when it is held back, once that is known.
    pub(super) backoff_until: Option<Time>,
    /// The order in which pods came, for those that are otherwise equal.
    pub(super) sequence: u64,
}

impl QueuedPod {
    pub(super) const fn new(pod: Arc<PodInfo>, now: Time, sequence: u64) -> Self {
        Self {
            pod,
            timestamp: now,
            attempts: 0,
            unschedulable_count: 0,
            consecutive_errors: 0,
            initial_attempt: None,
            unschedulable_plugins: BTreeSet::new(),
            pending_plugins: BTreeSet::new(),
            gating_plugin: None,
            flushed: false,
            backoff_until: None,
            sequence,
        }
    }

    /// A pod that is only tried and never waits in a queue.
    pub(crate) fn trial(pod: Arc<PodInfo>) -> Self {
        Self::new(pod, Time::UNIX_EPOCH, 0)
    }

    /// Whether nobody rejected it: then something went wrong, and it is tried again whatever happens.
    #[must_use]
    pub fn has_no_rejector(&self) -> bool {
        self.unschedulable_plugins.is_empty() && self.pending_plugins.is_empty()
    }

    pub(super) fn rejected_by(&self, plugin: &Name) -> bool {
        self.unschedulable_plugins.contains(plugin) || self.pending_plugins.contains(plugin)
    }
}
