//! Runs one pod on every node that is eligible.

mod nodes;
mod reconcile;
#[cfg(test)]
mod tests;
mod update;

pub use reconcile::{Observed, reconcile};

use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{ControllerRevision, DaemonSet, Node, ObjectKey, Pod};
use crate::ownership::selects;
use crate::plan::Plan;
use crate::{pods, revisions};

struct DaemonSetController {
    sets: Arc<Cache<DaemonSet>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    revisions: Arc<Cache<ControllerRevision>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<DaemonSet>();
    setup.reconcile_owner::<Pod, DaemonSet>();
    setup.reconcile_owner::<ControllerRevision, DaemonSet>();
    setup.wake_adopters::<Pod, DaemonSet>(|set, labels| selects(set.spec.selector.as_ref(), labels));
    setup.wake_adopters::<ControllerRevision, DaemonSet>(|set, labels| selects(set.spec.selector.as_ref(), labels));
    let sets = setup.cache::<DaemonSet>();
    setup.on::<Node>(move |change, queue| {
        let same =
            |old: &Node, new: &Node| old.metadata.labels == new.metadata.labels && old.spec.taints == new.spec.taints;
        if !matches!((&change.old, &change.new), (Some(old), Some(new)) if same(old, new)) {
            sets.all().iter().for_each(|set| queue.add(set.metadata.key()));
        }
    });
    Ok(Some(Made::controller(DaemonSetController {
        sets: setup.cache(),
        pods: setup.cache(),
        nodes: setup.cache(),
        revisions: setup.cache(),
    })))
}

impl Controller for DaemonSetController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(set) = self.sets.get(key) else { return Plan::nothing() };
        let mut candidates = self.revisions.controlled_by(&set.metadata.uid);
        candidates.extend(self.revisions.uncontrolled_in(&set.metadata.namespace));
        let observed = Observed {
            set: &set,
            pods: pods::candidates(&self.pods, &set.metadata),
            nodes: self.nodes.all(),
            revisions: candidates,
            name_taken: &|name| self.revisions.get(&revisions::key(&set.metadata, name)).is_some(),
        };
        reconcile(&observed, context.now)
    }
}
