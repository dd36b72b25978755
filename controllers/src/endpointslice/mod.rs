//! Keeps the endpoint slices of services.

pub(crate) mod pack;
mod reconcile;
pub(crate) mod write;

pub use reconcile::{Observed, reconcile};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::endpoints_of::{selects, wake_services};
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{EndpointSlice, Node, ObjectKey, Pod, Service};
use crate::plan::Plan;

const ZONE: &str = "topology.kubernetes.io/zone";

struct EndpointSliceController {
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Service>();
    wake_services(setup);
    setup.on::<EndpointSlice>(|change, queue| {
        let ours =
            change.states().filter(|slice| slice.metadata.labels.get(write::MANAGED_BY) == Some(reconcile::OURSELVES));
        for slice in ours {
            if let Some(service) = slice.metadata.labels.get(write::SERVICE_NAME) {
                queue.add(ObjectKey::new(&slice.metadata.namespace, service));
            }
        }
    });
    let services = setup.cache::<Service>();
    setup.on::<Node>(move |change, queue| {
        let zone =
            |node: &Option<Arc<Node>>| node.as_ref().map(|node| node.metadata.labels.get(ZONE).map(str::to_owned));
        if zone(&change.old) != zone(&change.new) {
            services.all().iter().for_each(|service| queue.add(service.metadata.key()));
        }
    });
    Ok(Some(Made::controller(EndpointSliceController {
        services: setup.cache(),
        slices: setup.cache(),
        pods: setup.cache(),
        nodes: setup.cache(),
    })))
}

impl Controller for EndpointSliceController {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        let Some(service) = self.services.get(key) else { return Plan::nothing() };
        let pods = self.pods.in_namespace(&key.namespace);
        let pods: Vec<_> = pods.into_iter().filter(|pod| selects(&service, pod)).collect();
        let mut zones = BTreeMap::new();
        for name in pods.iter().map(|pod| &pod.spec.node_name) {
            if let Some(zone) =
                self.nodes.named("", name).and_then(|node| node.metadata.labels.get(ZONE).map(str::to_owned))
            {
                zones.insert(name.clone(), zone);
            }
        }
        let slices = self.slices.indexed(&key.name).into_iter();
        let slices = slices.filter(|slice| *slice.metadata.namespace == *key.namespace).collect();
        reconcile(&Observed { service: &service, pods, zones, slices })
    }
}
