//! Runs pods that keep their name, their claims and their order.

mod claims;
mod identity;
mod reconcile;
#[cfg(test)]
mod tests;

pub use reconcile::{Observed, reconcile};

use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{ControllerRevision, ObjectKey, PersistentVolumeClaim, Pod, StatefulSet};
use crate::ownership::selects;
use crate::plan::Plan;
use crate::{pods, revisions};

struct StatefulSetController {
    sets: Arc<Cache<StatefulSet>>,
    pods: Arc<Cache<Pod>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    revisions: Arc<Cache<ControllerRevision>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<StatefulSet>();
    setup.reconcile_owner::<Pod, StatefulSet>();
    setup.reconcile_owner::<ControllerRevision, StatefulSet>();
    setup.wake_adopters::<Pod, StatefulSet>(|set, labels| selects(set.spec.selector.as_ref(), labels));
    setup.wake_adopters::<ControllerRevision, StatefulSet>(|set, labels| selects(set.spec.selector.as_ref(), labels));
    Ok(Some(Made::controller(StatefulSetController {
        sets: setup.cache(),
        pods: setup.cache(),
        claims: setup.cache(),
        revisions: setup.cache(),
    })))
}

impl Controller for StatefulSetController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(set) = self.sets.get(key) else { return Plan::nothing() };
        let mut candidates = self.revisions.controlled_by(&set.metadata.uid);
        candidates.extend(self.revisions.uncontrolled_in(&set.metadata.namespace));
        let observed = Observed {
            set: &set,
            pods: pods::candidates(&self.pods, &set.metadata),
            revisions: candidates,
            claim: &|name| self.claims.named(&set.metadata.namespace, name),
            name_taken: &|name| self.revisions.get(&revisions::key(&set.metadata, name)).is_some(),
        };
        reconcile(&observed, context.now)
    }
}
