//! What a Service has and what it needs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

/// Addresses and node ports of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) ports: BTreeSet<u16>,
}

impl Claims {
    /// What a Service says it has.
    pub(super) fn of(service: &Value) -> Self {
        let spec = &service["spec"];
        let listed = spec["clusterIPs"].as_array().into_iter().flatten().chain([&spec["clusterIP"]]);
        let addresses = listed.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        let node_ports = ports(service).map(|port| &port["nodePort"]).chain([&spec["healthCheckNodePort"]]);
        Self { addresses, ports: node_ports.map(number).filter(|port| *port != 0).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ports.is_empty()
    }

    /// Whether all of the other's are among these.
    pub(super) fn has(&self, other: &Self) -> bool {
        self.addresses.is_superset(&other.addresses) && self.ports.is_superset(&other.ports)
    }
}

/// The Service's ports.
pub(super) fn ports(service: &Value) -> impl Iterator<Item = &Value> {
    service["spec"]["ports"].as_array().into_iter().flatten()
}

/// A port number; 0 for none and for what validation will refuse.
pub(super) fn number(value: &Value) -> u16 {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or(0)
}

fn kind(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

/// Whether it is to have a cluster IP.
pub(super) fn wants_address(service: &Value) -> bool {
    kind(service) != "ExternalName" && !is_headless(service)
}

/// Whether it is headless.
pub(super) fn is_headless(service: &Value) -> bool {
    service["spec"]["clusterIP"] == "None" || service["spec"]["clusterIPs"][0] == "None"
}

/// Whether its ports are to have node ports.
pub(super) fn wants_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether it is to have a port for health checks.
pub(super) fn wants_health_check_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}
