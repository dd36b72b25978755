//! What a service's endpoint slices need done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pack::pack;
use super::write::{Group, MANAGED_BY, SERVICE_NAME, Target, group, placeholder, write};
use crate::endpoints_of::{addresses, hostname, may_serve, ports_of};
use crate::objects::{
    Endpoint, EndpointConditions, EndpointSlice, Hints, Labels, Named, OwnerReference, Pod, Service, TargetRef, kinds,
};
use crate::plan::Plan;

pub(super) const OURSELVES: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A service and what there is of its endpoints.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The service.
    pub service: &'a Service,
    /// The pods it selects.
    pub pods: Vec<Arc<Pod>>,
    /// The zones of their nodes, as far as known.
    pub zones: BTreeMap<String, String>,
    /// The slices with the service's name.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// What must be done so that slices show the pods behind a service.
#[must_use]
pub fn reconcile(observed: &Observed<'_>) -> Plan {
    let service = observed.service;
    let mut plan = Plan::nothing();
    if service.spec.selector.is_none() || service.spec.kind == "ExternalName" || service.metadata.deleting() {
        return plan;
    }
    let families = families(service);
    let target = Target {
        name: &service.metadata.name,
        namespace: &service.metadata.namespace,
        labels: labels(service),
        owner: OwnerReference::to_controller(kinds::SERVICE, &service.metadata),
    };
    let mut wanted = wanted(observed, &families);
    let mut existing = group(&observed.slices, OURSELVES);
    // A family without any endpoint keeps one empty slice, so that readers can tell "none" from "not yet".
    for family in &families {
        if !wanted.keys().any(|(of, _)| of == family) {
            let placeholder = (family.clone(), Vec::new());
            wanted.insert(placeholder, Vec::new());
        }
    }
    let groups: BTreeSet<Group> = wanted.keys().chain(existing.keys()).cloned().collect();
    for group in groups {
        let slices = existing.remove(&group).unwrap_or_default();
        match wanted.remove(&group) {
            None => slices.iter().for_each(|slice| plan.delete(slice.as_ref(), None)),
            Some(endpoints) if endpoints.is_empty() => placeholder(&mut plan, &target, &group, &slices),
            Some(endpoints) => write(&mut plan, &target, &group, pack(endpoints, &slices)),
        }
    }
    plan
}

fn families(service: &Service) -> BTreeSet<String> {
    if !service.spec.ip_families.is_empty() {
        return service.spec.ip_families.iter().cloned().collect();
    }
    [if service.spec.cluster_ip.contains(':') { "IPv6" } else { "IPv4" }.to_owned()].into()
}

fn wanted(observed: &Observed<'_>, families: &BTreeSet<String>) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for pod in observed.pods.iter().filter(|pod| may_serve(pod, true)) {
        let mut ports = ports_of(pod, observed.service);
        ports.sort();
        for family in families {
            let of_family = |ip: &&str| ip.contains(':') == (family == "IPv6");
            if let Some(address) = addresses(pod).find(of_family) {
                let endpoint = endpoint(observed, pod, address);
                wanted.entry((family.clone(), ports.clone())).or_default().push(endpoint);
            }
        }
    }
    wanted
}

fn endpoint(observed: &Observed<'_>, pod: &Pod, address: &str) -> Endpoint {
    let (serving, terminating) = (pod.ready(), pod.metadata.deleting());
    let ready = observed.service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node = Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty());
    let zone = observed.zones.get(&pod.spec.node_name).cloned();
    let hints = hints(observed.service, ready, zone.as_deref(), node.as_deref());
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) },
        hostname: hostname(pod, observed.service),
        node_name: node,
        zone,
        target_ref: Some(TargetRef {
            kind: "Pod".to_owned(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        }),
        hints,
    }
}

fn hints(service: &Service, ready: bool, zone: Option<&str>, node: Option<&str>) -> Option<Hints> {
    let named = |name: Option<&str>| name.map(|name| Named { name: name.to_owned() }).into_iter().collect::<Vec<_>>();
    let hints = match service.spec.traffic_distribution.as_deref() {
        _ if !ready => return None,
        Some("PreferClose" | "PreferSameZone") => Hints { for_zones: named(zone), for_nodes: vec![] },
        Some("PreferSameNode") => Hints { for_zones: named(zone), for_nodes: named(node) },
        _ => return None,
    };
    (hints != Hints::default()).then_some(hints)
}

fn labels(service: &Service) -> Labels {
    let own = [SERVICE_NAME, MANAGED_BY, HEADLESS];
    let copied: Labels = service.metadata.labels.iter().filter(|(key, _)| !own.contains(key)).collect();
    let labels = copied.with(SERVICE_NAME, &service.metadata.name).with(MANAGED_BY, OURSELVES);
    if service.spec.headless() { labels.with(HEADLESS, "") } else { labels }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::make;
    use super::*;
    use crate::objects::Node;
    use crate::world::World;

    fn world(service: Value) -> World {
        let mut world = World::new(&[make]);
        world.add(kinds::NODE, json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}}}));
        let mut object = json!({
            "metadata": {"name": "web", "labels": {"team": "x"}},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]},
        });
        crate::plan::apply_merge_patch(&mut object, &service);
        world.add(kinds::SERVICE, object);
        world
    }

    fn pod(world: &mut World, name: &str, ready: bool) {
        world.add(kinds::POD, json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": format!("10.0.0.{name}"), "podIPs": [{"ip": format!("10.0.0.{name}")}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }));
    }

    #[test]
    fn slices_show_pods_with_their_states() {
        let mut world = world(json!({"spec": {"trafficDistribution": "PreferClose"}}));
        world.settle();
        let slice = world.list::<EndpointSlice>().remove(0);
        assert!(slice.endpoints.is_empty(), "a placeholder");
        pod(&mut world, "1", true);
        pod(&mut world, "2", false);
        world.settle();
        world.remove(kinds::POD, "default", "1");
        pod(&mut world, "3", true);
        world.settle();
        let slices = world.list::<EndpointSlice>();
        assert_eq!(slices.len(), 1);
        let state = |n: usize| {
            let conditions = &slices[0].endpoints[n].conditions;
            [conditions.ready, conditions.serving, conditions.terminating].map(Option::unwrap)
        };
        assert_eq!([state(0), state(1), state(2)], [[false, true, true], [false, false, false], [true, true, false]]);
        assert_eq!((slices[0].ports[0].port, slices[0].endpoints[2].zone.as_deref()), (Some(8080), Some("z")));
        assert_eq!(slices[0].endpoints[2].hints.as_ref().unwrap().for_zones[0].name, "z");
        let labels: Vec<_> = slices[0].metadata.labels.iter().collect();
        assert_eq!(labels, [(MANAGED_BY, OURSELVES), (SERVICE_NAME, "web"), ("team", "x")]);
        world.assert_settled();
    }

    #[test]
    fn a_changed_zone_or_label_reaches_the_slices() {
        let mut world = world(json!({}));
        pod(&mut world, "1", true);
        world.settle();
        world.change(kinds::NODE, "", "n", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "y"}}}));
        world.change(kinds::SERVICE, "default", "web", json!({"metadata": {"labels": {"team": null, "a": "b"}}}));
        world.settle();
        assert_eq!(world.list::<Node>().len(), 1);
        let slice = world.list::<EndpointSlice>().remove(0);
        assert_eq!(slice.endpoints[0].zone.as_deref(), Some("y"));
        assert_eq!((slice.metadata.labels.get("a"), slice.metadata.labels.get("team")), (Some("b"), None));
        world.assert_settled();
    }

    #[test]
    fn many_endpoints_are_spread_and_gone_ones_leave_nothing() {
        let mut world = world(json!({"spec": {"clusterIP": "None"}}));
        for n in 0..230 {
            pod(&mut world, &n.to_string(), true);
        }
        world.settle();
        let slices = world.list::<EndpointSlice>();
        assert_eq!(slices.iter().map(|slice| slice.endpoints.len()).sum::<usize>(), 230);
        assert!(
            slices.iter().all(|slice| slice.endpoints.len() <= 100 && slice.metadata.labels.get(HEADLESS) == Some(""))
        );
        world.assert_settled();
        for pod in world.list::<Pod>() {
            world.erase(kinds::POD, &pod.metadata.key());
        }
        world.settle();
        assert_eq!(world.list::<EndpointSlice>().len(), 1);
        world.assert_settled();
    }
}
