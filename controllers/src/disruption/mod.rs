//! Keeps the status of pod disruption budgets, by which evictions are granted or refused.

mod reconcile;

pub use reconcile::{Observed, reconcile};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{
    Deployment, Object, ObjectKey, OwnerReference, Pod, PodDisruptionBudget, ReplicaSet, ReplicationController,
    StatefulSet,
};
use crate::plan::Plan;

struct Disruption {
    budgets: Arc<Cache<PodDisruptionBudget>>,
    pods: Arc<Cache<Pod>>,
    deployments: Arc<Cache<Deployment>>,
    sets: Arc<Cache<ReplicaSet>>,
    controllers: Arc<Cache<ReplicationController>>,
    stateful: Arc<Cache<StatefulSet>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<PodDisruptionBudget>();
    let budgets = setup.cache::<PodDisruptionBudget>();
    setup.on::<Pod>(move |change, queue| {
        let Some(pod) = change.latest() else { return };
        for budget in budgets.in_namespace(&pod.metadata.namespace) {
            let selector = budget.spec.selector.as_ref();
            if change.states().any(|pod| selector.is_some_and(|selector| selector.matches(&pod.metadata.labels))) {
                queue.add(budget.metadata.key());
            }
        }
    });
    wake_on_scale::<Deployment>(setup, |deployment| deployment.spec.replicas);
    wake_on_scale::<ReplicaSet>(setup, |set| set.spec.replicas);
    wake_on_scale::<ReplicationController>(setup, |controller| controller.spec.replicas);
    wake_on_scale::<StatefulSet>(setup, |set| set.spec.replicas);
    Ok(Some(Made::controller(Disruption {
        budgets: setup.cache(),
        pods: setup.cache(),
        deployments: setup.cache(),
        sets: setup.cache(),
        controllers: setup.cache(),
        stateful: setup.cache(),
    })))
}

/// Reconciles the budgets of a namespace when an owner of pods there is given another size.
fn wake_on_scale<K: Object>(setup: &Setup<'_>, size: fn(&K) -> i32) {
    let budgets = setup.cache::<PodDisruptionBudget>();
    setup.on::<K>(move |change, queue| {
        if change.old.as_deref().map(size) != change.new.as_deref().map(size)
            && let Some(object) = change.latest()
        {
            budgets.in_namespace(&object.meta().namespace).iter().for_each(|budget| queue.add(budget.metadata.key()));
        }
    });
}

impl Controller for Disruption {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(budget) = self.budgets.get(key) else { return Plan::nothing() };
        let Some(selector) = &budget.spec.selector else { return Plan::nothing() };
        let all = self.pods.in_namespace(&key.namespace).into_iter();
        let pods: Vec<_> = all.filter(|pod| selector.matches(&pod.metadata.labels) && !pod.finished()).collect();
        let mut scales = BTreeMap::new();
        for owner in pods.iter().filter_map(|pod| pod.metadata.controller()) {
            if let Some((uid, scale)) = self.scale(&key.namespace, owner) {
                scales.insert(owner.uid.clone(), (uid, scale));
            }
        }
        reconcile(&Observed { budget: &budget, pods, scales }, context.now)
    }
}

impl Disruption {
    /// The size of what manages a pod in the end, and its UID.
    fn scale(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        fn found<K: Object>(cache: &Cache<K>, namespace: &str, owner: &OwnerReference) -> Option<Arc<K>> {
            let same_kind = K::KIND.is(&owner.api_version, &owner.kind);
            let object = cache.named(namespace, &owner.name).filter(|_| same_kind)?;
            (object.meta().uid == owner.uid).then_some(object)
        }
        if let Some(set) = found(&self.sets, namespace, owner) {
            let above = set.metadata.controller().and_then(|above| found(&self.deployments, namespace, above));
            return Some(match above {
                Some(deployment) => (deployment.metadata.uid.clone(), deployment.spec.replicas),
                None => (set.metadata.uid.clone(), set.spec.replicas),
            });
        }
        if let Some(set) = found(&self.stateful, namespace, owner) {
            return Some((set.metadata.uid.clone(), set.spec.replicas));
        }
        let controller = found(&self.controllers, namespace, owner)?;
        Some((controller.metadata.uid.clone(), controller.spec.replicas))
    }
}
