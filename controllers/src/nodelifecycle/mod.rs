//! Notices nodes that fell silent, says so, and taints them so that their pods move.

mod health;
mod reconcile;
mod taints;
#[cfg(test)]
mod tests;
mod zones;

pub use health::Health;
pub use reconcile::{Memory, Observed, reconcile};
pub use taints::condition_taints;
pub use zones::{Limits, ZoneState};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Lease, Node, ObjectKey, Pod};
use crate::plan::Plan;

/// How often all nodes are looked at.
const PERIOD: Duration = Duration::from_secs(5);

struct NodeLifecycle {
    nodes: Arc<Cache<Node>>,
    leases: Arc<Cache<Lease>>,
    pods: Arc<Cache<Pod>>,
    limits: Limits,
    memory: Mutex<Memory>,
}

pub(crate) fn make(setup: &Setup<'_>, config: &Config) -> Result<Option<Made>, Error> {
    setup.queue().add(ObjectKey::default());
    // Conditions become taints at once; silence is looked for every few seconds.
    setup.on::<Node>(|change, queue| {
        if let Some(node) = &change.new {
            queue.add(node.metadata.key());
            if change.old.is_none() {
                queue.add(ObjectKey::default());
            }
        }
    });
    Ok(Some(Made::controller(NodeLifecycle {
        nodes: setup.cache(),
        leases: setup.cache(),
        pods: setup.cache(),
        limits: Limits::of(config),
        memory: Mutex::default(),
    })))
}

impl Controller for NodeLifecycle {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        if !key.name.is_empty() {
            return self.nodes.get(key).map_or_else(Plan::nothing, |node| condition_taints(&node));
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let observed = Observed {
            nodes: self.nodes.all(),
            lease: &|name| self.leases.named("kube-node-lease", name),
            pods: &|name| self.pods.indexed(name),
            limits: &self.limits,
        };
        let mut plan = reconcile(&observed, &mut memory, context.now);
        plan.look_again(PERIOD);
        plan
    }
}
