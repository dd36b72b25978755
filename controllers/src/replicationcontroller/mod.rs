//! Keeps the number of pods that a replication controller asks for: a replica set with a simpler selector.

use std::sync::Arc;

use kubewright_api::selector::LabelSelector;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{ObjectKey, Pod, ReplicationController};
use crate::plan::Plan;
use crate::pods;
use crate::replicaset::{Observed, Replicas, reconcile};

struct ReplicationControllerController {
    controllers: Arc<Cache<ReplicationController>>,
    pods: Arc<Cache<Pod>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<ReplicationController>();
    setup.reconcile_owner::<Pod, ReplicationController>();
    setup.wake_adopters::<Pod, ReplicationController>(|controller, labels| selector(controller).matches(labels));
    let controller = ReplicationControllerController { controllers: setup.cache(), pods: setup.cache() };
    Ok(Some(Made::controller(controller)))
}

fn selector(controller: &ReplicationController) -> LabelSelector {
    if controller.spec.selector.is_empty() {
        return LabelSelector::nothing();
    }
    LabelSelector::from_pairs(controller.spec.selector.iter())
}

impl Controller for ReplicationControllerController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(controller) = self.controllers.get(key) else { return Plan::nothing() };
        let observed = Observed {
            owner: controller.as_ref(),
            replicas: Replicas {
                wanted: controller.spec.replicas,
                selector: selector(&controller),
                template: &controller.spec.template,
                min_ready_seconds: controller.spec.min_ready_seconds,
                status: &controller.status,
                counts_terminating: false,
            },
            pods: pods::candidates(&self.pods, &controller.metadata),
            related: self.pods.controlled_by(&controller.metadata.uid),
            failure: context.failure.as_ref(),
        };
        reconcile(&observed, context.now)
    }
}
