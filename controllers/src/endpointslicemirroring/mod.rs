//! Mirrors endpoints that users made by hand into endpoint slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::Error;
use crate::cache::Cache;
use crate::endpointslice::pack::pack;
use crate::endpointslice::write::{Group, MANAGED_BY, SERVICE_NAME, Target, group, write};
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, ObjectKey, OwnerReference, Service,
    TargetRef, kinds,
};
use crate::plan::Plan;

const OURSELVES: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// How many endpoints of one subset are mirrored at most.
const MOST: usize = 1000;

struct Mirroring {
    services: Arc<Cache<Service>>,
    endpoints: Arc<Cache<Endpoints>>,
    slices: Arc<Cache<EndpointSlice>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Endpoints>();
    setup.reconcile_each::<Service>();
    setup.on::<EndpointSlice>(|change, queue| {
        let ours = change.states().filter(|slice| slice.metadata.labels.get(MANAGED_BY) == Some(OURSELVES));
        for slice in ours {
            if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
                queue.add(ObjectKey::new(&slice.metadata.namespace, service));
            }
        }
    });
    let (services, endpoints, slices) = (setup.cache(), setup.cache(), setup.cache());
    Ok(Some(Made::controller(Mirroring { services, endpoints, slices })))
}

impl Controller for Mirroring {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        let slices = self.slices.indexed(&key.name).into_iter();
        let slices: Vec<_> = slices.filter(|slice| slice.metadata.namespace == *key.namespace).collect();
        reconcile(self.services.get(key).as_deref(), self.endpoints.get(key).as_deref(), &slices)
    }
}

/// What must be done so that slices show the endpoints of a service that selects no pods.
#[must_use]
pub fn reconcile(service: Option<&Service>, endpoints: Option<&Endpoints>, slices: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::nothing();
    let mut existing = group(slices, OURSELVES);
    let mirrored = service.filter(|service| service.spec.selector.is_none()).and(endpoints).filter(|endpoints| {
        let meta = &endpoints.metadata;
        !meta.deleting() && meta.labels.get(SKIP) != Some("true") && !meta.annotations.contains(LEADER)
    });
    if let Some(endpoints) = mirrored {
        let meta = &endpoints.metadata;
        let labels = meta.labels.without("endpoints.kubernetes.io/managed-by");
        let target = Target {
            name: &meta.name,
            namespace: &meta.namespace,
            labels: labels.with(SERVICE_NAME, &meta.name).with(MANAGED_BY, OURSELVES),
            owner: OwnerReference::to_controller(kinds::ENDPOINTS, meta),
        };
        for (group, wanted) in wanted(endpoints) {
            let held = existing.remove(&group).unwrap_or_default();
            write(&mut plan, &target, &group, pack(wanted, &held));
        }
    }
    existing.values().flatten().for_each(|slice| plan.delete(slice.as_ref(), None));
    plan
}

fn wanted(endpoints: &Endpoints) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let mut ports: Vec<EndpointPort> = serde_json::from_value(subset["ports"].clone()).unwrap_or_default();
        ports.iter_mut().filter(|port| port.protocol.is_empty()).for_each(|port| port.protocol = "TCP".to_owned());
        ports.sort();
        let addresses = [("addresses", true), ("notReadyAddresses", false)].into_iter().flat_map(|(field, ready)| {
            subset[field].as_array().into_iter().flatten().map(move |address| endpoint(address, ready))
        });
        for endpoint in addresses.take(MOST) {
            let ipv6 = endpoint.addresses.first().is_some_and(|address| address.contains(':'));
            let family = if ipv6 { "IPv6" } else { "IPv4" };
            groups.entry((family.to_owned(), ports.clone())).or_default().push(endpoint);
        }
    }
    groups
}

fn endpoint(address: &Value, ready: bool) -> Endpoint {
    let text = |field: &str| address[field].as_str().map(str::to_owned);
    Endpoint {
        addresses: vec![text("ip").unwrap_or_default()],
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        hostname: text("hostname"),
        node_name: text("nodeName"),
        zone: None,
        target_ref: serde_json::from_value::<Option<TargetRef>>(address["targetRef"].clone()).unwrap_or_default(),
        hints: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::World;

    #[test]
    fn hand_made_endpoints_are_mirrored_while_their_service_selects_nothing() {
        let mut world = World::new(&[make]);
        world.add(kinds::SERVICE, json!({"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}}));
        let subset = json!({"addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 5432}]});
        world.add(kinds::ENDPOINTS, json!({"metadata": {"name": "db", "labels": {"team": "x"}}, "subsets": [subset]}));
        world.settle();
        let slice = world.list::<EndpointSlice>().remove(0);
        let labels: Vec<_> = slice.metadata.labels.iter().collect();
        assert_eq!(labels, [(MANAGED_BY, OURSELVES), (SERVICE_NAME, "db"), ("team", "x")]);
        let ready: Vec<_> = slice.endpoints.iter().map(|endpoint| endpoint.conditions.ready).collect();
        assert_eq!((ready, slice.ports[0].port), (vec![Some(true), Some(false)], Some(5432)));
        world.assert_settled();
        world.change(kinds::ENDPOINTS, "default", "db", json!({"metadata": {"labels": {SKIP: "true"}}}));
        world.settle();
        assert!(world.list::<EndpointSlice>().is_empty());
    }
}
