//! Rolls deployments out through replica sets.

mod reconcile;
mod revision;
mod rollout;
mod scale;
mod status;

pub use reconcile::{Observed, reconcile};

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Deployment, ObjectKey, Pod, ReplicaSet, kinds};
use crate::ownership::selects;
use crate::plan::Plan;

struct DeploymentController {
    deployments: Arc<Cache<Deployment>>,
    sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Deployment>();
    setup.reconcile_owner::<ReplicaSet, Deployment>();
    setup.wake_adopters::<ReplicaSet, Deployment>(|deployment, labels| {
        selects(deployment.spec.selector.as_ref(), labels)
    });
    // A deployment that recreates waits for its old pods to be gone.
    let (deployments, sets) = (setup.cache::<Deployment>(), setup.cache::<ReplicaSet>());
    setup.on::<Pod>(move |change, queue| {
        let (Some(pod), None) = (&change.old, &change.new) else { return };
        let owner = pod.metadata.controller().filter(|owner| kinds::REPLICA_SET.is(&owner.api_version, &owner.kind));
        let set = owner.and_then(|owner| sets.named(&pod.metadata.namespace, &owner.name));
        if let Some(owner) = set.as_ref().and_then(|set| set.metadata.controller()) {
            let key = ObjectKey::new(&pod.metadata.namespace, &owner.name);
            if deployments.get(&key).is_some_and(|deployment| deployment.spec.strategy.kind == "Recreate") {
                queue.add(key);
            }
        }
    });
    let controller = DeploymentController { deployments: setup.cache(), sets: setup.cache(), pods: setup.cache() };
    Ok(Some(Made::controller(controller)))
}

impl Controller for DeploymentController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(deployment) = self.deployments.get(key) else { return Plan::nothing() };
        let mut candidates = self.sets.controlled_by(&deployment.metadata.uid);
        candidates.extend(self.sets.uncontrolled_in(&deployment.metadata.namespace));
        let mut pods = BTreeMap::new();
        if deployment.spec.strategy.kind == "Recreate" {
            for set in &candidates {
                pods.insert(set.metadata.uid.clone(), self.pods.controlled_by(&set.metadata.uid));
            }
        }
        let observed = Observed {
            deployment: &deployment,
            replica_sets: candidates,
            pods,
            name_taken: &|name| self.sets.named(&deployment.metadata.namespace, name).is_some(),
            failure: context.failure.as_ref(),
        };
        reconcile(&observed, context.now)
    }
}
