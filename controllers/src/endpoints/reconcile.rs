//! What a service's endpoints object needs done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::endpoints_of::{addresses, hostname, may_serve, ports_of};
use crate::objects::{EndpointPort, Endpoints, Labels, Pod, Service, kinds};
use crate::plan::{Action, Announce, Create, Note, Plan, Reference};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OURSELVES: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// How many addresses one object holds at most.
const MOST: usize = 1000;

/// An address: IP, pod's UID, and as JSON.
type Address = (String, String, String);

/// What must be done so that the endpoints object shows the pods behind a service.
#[must_use]
pub fn reconcile(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Plan {
    let mut plan = Plan::nothing();
    if service.spec.selector.is_none() || service.spec.kind == "ExternalName" || service.metadata.deleting() {
        return plan;
    }
    let (subsets, truncated) = subsets(service, pods);
    let labels = labels(service);
    let announce = |reason, text: &str| Announce {
        regarding: Reference::to(service),
        success: None,
        failure: Some(Note::warning(
            reason,
            format!("{text} {}/{}: ", service.metadata.namespace, service.metadata.name),
        )),
    };
    let Some(current) = current else {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": service.metadata.name, "namespace": service.metadata.namespace, "labels": labels},
        });
        if !subsets.is_empty() {
            object["subsets"] = json!(subsets);
        }
        if truncated {
            object["metadata"]["annotations"] = json!({OVER_CAPACITY: "truncated"});
        }
        plan.push(Action::Create(Create {
            kind: kinds::ENDPOINTS,
            namespace: service.metadata.namespace.clone(),
            object,
            or_exists: false,
            announce: Some(announce("FailedToCreateEndpoint", "Failed to create endpoint for service")),
        }));
        return plan;
    };
    let mut body = json!({});
    if current.metadata.labels != labels {
        let mut changes = json!(labels);
        for (gone, _) in current.metadata.labels.iter().filter(|(key, _)| !labels.contains(key)) {
            changes[gone] = Value::Null;
        }
        body["metadata"]["labels"] = changes;
    }
    let marked = current.metadata.annotations.get(OVER_CAPACITY).is_some();
    if marked != truncated {
        body["metadata"]["annotations"] = json!({OVER_CAPACITY: truncated.then_some("truncated")});
    }
    if current.subsets != subsets {
        body["subsets"] = if subsets.is_empty() { Value::Null } else { json!(subsets) };
    }
    plan.patch(current, "", body);
    if let Some(Action::Patch(patch)) = plan.actions.last_mut() {
        patch.announce = Some(announce("FailedToUpdateEndpoint", "Failed to update endpoint"));
    }
    plan
}

/// What becomes of an endpoints object whose service is gone: those we made go, others stay.
pub(super) fn without_service(current: Option<&Endpoints>) -> Plan {
    let mut plan = Plan::nothing();
    if let Some(current) = current.filter(|current| current.metadata.labels.get(MANAGED_BY) == Some(OURSELVES)) {
        plan.delete(current, None);
    }
    plan
}

fn labels(service: &Service) -> Labels {
    let labels = service.metadata.labels.without(HEADLESS).with(MANAGED_BY, OURSELVES);
    if service.spec.headless() { labels.with(HEADLESS, "") } else { labels }
}

/// The pods' addresses by the ports they share, ready or not, and whether some were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<Value>, bool) {
    let publish_all = service.spec.publish_not_ready_addresses;
    let ipv6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None => service.spec.cluster_ip.contains(':'),
    };
    let mut by_ports: BTreeMap<Vec<EndpointPort>, [BTreeSet<Address>; 2]> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| may_serve(pod, publish_all)) {
        let Some(ip) = addresses(pod).find(|ip| ip.contains(':') == ipv6) else { continue };
        let mut ports = ports_of(pod, service);
        ports.sort();
        if ports.is_empty() && !(service.spec.ports.is_empty() && service.spec.headless()) {
            continue;
        }
        let not_ready = usize::from(!(publish_all || pod.ready()));
        let address = (ip.to_owned(), pod.metadata.uid.clone(), address(service, pod, ip).to_string());
        by_ports.entry(ports).or_default()[not_ready].insert(address);
    }
    let total: usize = by_ports.values().flatten().map(BTreeSet::len).sum();
    let ready: usize = by_ports.values().map(|[ready, _]| ready.len()).sum();
    // Beyond the limit, ready addresses are kept before others.
    let (mut ready_left, mut other_left) = (ready.min(MOST), MOST.saturating_sub(ready));
    let mut subsets = Vec::new();
    for (ports, [ready, not_ready]) in by_ports {
        let mut subset = json!({});
        for (field, addresses, left) in
            [("addresses", ready, &mut ready_left), ("notReadyAddresses", not_ready, &mut other_left)]
        {
            let kept: Vec<Value> =
                addresses.into_iter().take(*left).filter_map(|(_, _, json)| serde_json::from_str(&json).ok()).collect();
            *left -= kept.len();
            if !kept.is_empty() {
                subset[field] = Value::Array(kept);
            }
        }
        if subset.as_object().is_some_and(|fields| !fields.is_empty()) {
            if !ports.is_empty() {
                subset["ports"] = ports.iter().map(port).collect();
            }
            subsets.push(subset);
        }
    }
    (subsets, total > MOST)
}

fn address(service: &Service, pod: &Pod, ip: &str) -> Value {
    let mut address = json!({
        "ip": ip,
        "targetRef": {"kind": "Pod", "namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.metadata.uid},
    });
    if !pod.spec.node_name.is_empty() {
        address["nodeName"] = json!(pod.spec.node_name);
    }
    if let Some(hostname) = hostname(pod, service) {
        address["hostname"] = json!(hostname);
    }
    address
}

fn port(port: &EndpointPort) -> Value {
    let mut value = json!({"port": port.port, "protocol": port.protocol});
    if !port.name.is_empty() {
        value["name"] = json!(port.name);
    }
    if let Some(protocol) = &port.app_protocol {
        value["appProtocol"] = json!(protocol);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::make;
    use super::*;
    use crate::world::World;

    fn pod(world: &mut World, n: usize, ready: bool) {
        world.add(
            kinds::POD,
            json!({
                "metadata": {"name": format!("p{n}"), "labels": {"app": "web"}},
                "spec": {"nodeName": "n", "containers": []},
                "status": {"phase": "Running", "podIP": format!("10.0.{}.{}", n / 250, n % 250),
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            }),
        );
    }

    fn world() -> World {
        let mut world = World::new(&[make]);
        world.add(kinds::SERVICE, json!({
            "metadata": {"name": "web", "labels": {"team": "x"}},
            "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]},
        }));
        world
    }

    #[test]
    fn ready_and_other_addresses_are_told_apart() {
        let mut world = world();
        pod(&mut world, 1, true);
        pod(&mut world, 2, false);
        world.settle();
        let endpoints = world.get(kinds::ENDPOINTS, "default", "web").unwrap();
        assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], json!("10.0.0.1"));
        assert_eq!(endpoints["subsets"][0]["notReadyAddresses"][0]["ip"], json!("10.0.0.2"));
        assert_eq!(endpoints["subsets"][0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
        assert_eq!(endpoints["metadata"]["labels"], json!({MANAGED_BY: OURSELVES, "team": "x"}));
        world.assert_settled();
        world.remove(kinds::SERVICE, "default", "web");
        world.settle();
        assert!(world.get(kinds::ENDPOINTS, "default", "web").is_none());
    }

    #[test]
    fn too_many_addresses_are_cut_and_marked() {
        let mut world = world();
        for n in 0..1010 {
            pod(&mut world, n, n >= 20);
        }
        world.settle();
        let endpoints = world.get(kinds::ENDPOINTS, "default", "web").unwrap();
        let count = |field: &str| endpoints["subsets"][0][field].as_array().unwrap().len();
        assert_eq!((count("addresses"), count("notReadyAddresses")), (990, 10));
        assert_eq!(endpoints["metadata"]["annotations"][OVER_CAPACITY], json!("truncated"));
        world.assert_settled();
    }
}
