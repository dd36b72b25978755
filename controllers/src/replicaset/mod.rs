//! Keeps the number of pods that a replica set asks for.

mod reconcile;

pub(crate) use reconcile::next_availability;
pub use reconcile::{Observed, Replicas, reconcile};

use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Labels, Object, ObjectKey, Pod, ReplicaSet};
use crate::ownership::selects;
use crate::plan::Plan;
use crate::pods;

struct ReplicaSetController {
    sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    let controller = ReplicaSetController { sets: setup.cache(), pods: setup.cache() };
    setup.reconcile_each::<ReplicaSet>();
    setup.reconcile_owner::<Pod, ReplicaSet>();
    setup.wake_adopters::<Pod, ReplicaSet>(|set, labels| selects(set.spec.selector.as_ref(), labels));
    Ok(Some(Made::controller(controller)))
}

impl Controller for ReplicaSetController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(set) = self.sets.get(key) else { return Plan::nothing() };
        let observed = Observed {
            owner: set.as_ref(),
            replicas: Replicas {
                wanted: set.spec.replicas,
                selector: set.spec.selector.clone().unwrap_or_else(kubewright_api::selector::LabelSelector::nothing),
                template: &set.spec.template,
                min_ready_seconds: set.spec.min_ready_seconds,
                status: &set.status,
                counts_terminating: true,
            },
            pods: pods::candidates(&self.pods, &set.metadata),
            related: self.related(&set),
            failure: context.failure.as_ref(),
        };
        reconcile(&observed, context.now)
    }
}

impl ReplicaSetController {
    /// The pods of all replica sets with the same owner.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(owner) = set.metadata.controller() else { return self.pods.controlled_by(&set.metadata.uid) };
        let siblings = self.sets.controlled_by(&owner.uid);
        siblings.iter().flat_map(|sibling| self.pods.controlled_by(&sibling.meta().uid)).collect()
    }
}

/// Whether all of the template's labels are on the pod.
fn fully_labeled(pod: &Pod, template: &Labels) -> bool {
    template.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}
