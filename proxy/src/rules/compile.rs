//! From Services and EndpointSlices to the rule table of one node, by kube-proxy's rules.
//!
//! Source: `pkg/proxy/topology.go` and `pkg/proxy/serviceport.go` of Kubernetes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::input::{Endpoint, EndpointSlice, Service, ServicePort};
use super::table::{Backends, Frontend, RuleTable};

const AFFINITY_SECONDS_DEFAULT: u32 = 10_800;

/// The node whose table is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Names of the nodes that count as local: usually one; more when several nodes share a host.
    pub names: Vec<String>,
    /// Addresses on which node ports are served.
    pub addresses: Vec<IpAddr>,
    /// The node's zone (`topology.kubernetes.io/zone`), if it has one.
    pub zone: Option<String>,
}

impl Node {
    /// A node without node ports.
    pub fn new(name: impl Into<String>) -> Self {
        Self { names: vec![name.into()], ..Self::default() }
    }

    /// Serves node ports on these addresses.
    #[must_use]
    pub fn addresses(mut self, addresses: Vec<IpAddr>) -> Self {
        self.addresses = addresses;
        self
    }

    /// Adds another node that counts as local.
    #[must_use]
    pub fn and(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node_name.as_ref().is_some_and(|name| self.names.contains(name))
    }
}

/// Makes the table of a node. Headless, external-name and unknown things give no rules; a malformed address is skipped.
#[must_use]
pub fn compile(services: &[Service], slices: &[EndpointSlice], node: &Node) -> RuleTable {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        if let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") {
            by_service.entry((&slice.metadata.namespace, service)).or_default().push(slice);
        }
    }
    let mut table = RuleTable::default();
    for service in services {
        let none = Vec::new();
        let slices =
            by_service.get(&(service.metadata.namespace.as_str(), service.metadata.name.as_str())).unwrap_or(&none);
        for port in &service.spec.ports {
            compile_port(service, port, slices, node, &mut table);
        }
    }
    table
}

fn compile_port(service: &Service, port: &ServicePort, slices: &[&EndpointSlice], node: &Node, table: &mut RuleTable) {
    let cluster_ips = cluster_ips(service);
    if cluster_ips.is_empty() {
        return;
    }
    let spec = &service.spec;
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let externals = spec.external_ips.iter().filter_map(|ip| ip.parse().ok());
    let node_port = port.node_port.filter(|port| *port != 0 && spec.kind != "ClusterIP" && !spec.kind.is_empty());
    let node_addresses = node.addresses.iter().filter(|_| node_port.is_some()).copied();
    let internal = cluster_ips.iter().map(|ip| (*ip, port.port, local(&spec.internal_traffic_policy)));
    let external = externals.map(|ip| (ip, port.port, local(&spec.external_traffic_policy)));
    let nodes = node_addresses.map(|ip| (ip, node_port.unwrap_or_default(), local(&spec.external_traffic_policy)));
    for (address, number, only_local) in internal.chain(external).chain(nodes) {
        let (endpoints, any) = endpoints(slices, port, address.is_ipv4(), only_local, node);
        let backends = Backends {
            service: label(service, port),
            drop_if_empty: endpoints.is_empty() && any,
            endpoints,
            affinity_seconds: affinity(service),
        };
        // Two Services with one external IP: the first in order keeps it, as upstream's map does by chance.
        let frontend = Frontend { address, port: number, protocol: port.protocol };
        table.frontends.entry(frontend).or_insert(backends);
    }
}

fn label(service: &Service, port: &ServicePort) -> String {
    let name = format!("{}/{}", service.metadata.namespace, service.metadata.name);
    if port.name.is_empty() { name } else { format!("{name}:{}", port.name) }
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = &service.spec;
    if spec.kind == "ExternalName" {
        return Vec::new();
    }
    let listed = spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect::<Vec<_>>();
    if listed.is_empty() { spec.cluster_ip.parse().into_iter().collect() } else { listed }
}

fn affinity(service: &Service) -> Option<u32> {
    let spec = &service.spec;
    let configured =
        spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    (spec.session_affinity == "ClientIP").then(|| configured.unwrap_or(AFFINITY_SECONDS_DEFAULT))
}

/// The endpoints that a frontend leads to, and whether the port has any usable endpoint in the cluster at all.
fn endpoints(
    slices: &[&EndpointSlice],
    port: &ServicePort,
    ipv4: bool,
    only_local: bool,
    node: &Node,
) -> (Vec<SocketAddr>, bool) {
    let mut all: Vec<(SocketAddr, &Endpoint)> = Vec::new();
    for slice in slices {
        let matching = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in matching.filter_map(|p| p.port) {
            let addressed = slice.endpoints.iter().filter_map(|e| Some((SocketAddr::new(e.address()?, number), e)));
            all.extend(addressed.filter(|(address, _)| address.is_ipv4() == ipv4));
        }
    }
    let ready: Vec<_> = all.iter().filter(|(_, e)| e.is_ready()).copied().collect();
    let usable = if ready.is_empty() {
        all.iter().filter(|(_, e)| e.is_serving_terminating()).copied().collect()
    } else {
        ready
    };
    let any = !usable.is_empty();
    let chosen = if only_local { locals(&all, node) } else { hinted(usable, node) };
    let mut addresses: Vec<SocketAddr> = chosen.into_iter().map(|(address, _)| address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    (addresses, any)
}

type Found<'a> = Vec<(SocketAddr, &'a Endpoint)>;

/// Local endpoints: the ready ones, or else those that still serve while they end.
fn locals<'a>(all: &[(SocketAddr, &'a Endpoint)], node: &Node) -> Found<'a> {
    let own: Found<'a> = all.iter().filter(|(_, e)| node.is_local(e)).copied().collect();
    let ready: Found<'a> = own.iter().filter(|(_, e)| e.is_ready()).copied().collect();
    if ready.is_empty() { own.into_iter().filter(|(_, e)| e.is_serving_terminating()).collect() } else { ready }
}

/// Follows topology hints if every endpoint has them and some are for this node; node hints before zone hints.
fn hinted<'a>(usable: Found<'a>, node: &Node) -> Found<'a> {
    let for_node =
        |e: &Endpoint| e.hints.as_ref().map(|hints| hints.for_nodes.iter().any(|h| node.names.contains(&h.name)));
    let for_zone = |e: &Endpoint| {
        let zone = node.zone.as_ref()?;
        Some(e.hints.as_ref()?.for_zones.iter().any(|hint| &hint.name == zone))
    };
    let has =
        |list: fn(&super::input::EndpointHints) -> bool| usable.iter().all(|(_, e)| e.hints.as_ref().is_some_and(list));
    if has(|hints| !hints.for_nodes.is_empty()) {
        let chosen: Found<'a> = usable.iter().filter(|(_, e)| for_node(e) == Some(true)).copied().collect();
        if !chosen.is_empty() {
            return chosen;
        }
    }
    if has(|hints| !hints.for_zones.is_empty()) {
        let chosen: Found<'a> = usable.iter().filter(|(_, e)| for_zone(e) == Some(true)).copied().collect();
        if !chosen.is_empty() {
            return chosen;
        }
    }
    usable
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "svc"}, "spec": spec})).unwrap()
    }

    fn slice(endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "svc-1", "labels": {"kubernetes.io/service-name": "svc"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        }))
        .unwrap()
    }

    fn node() -> Node {
        Node::new("me").addresses(vec!["192.168.0.1".parse().unwrap()])
    }

    #[track_caller]
    fn check(spec: Value, endpoints: Value, expected: &str) {
        assert_eq!(compile(&[service(spec)], &[slice(endpoints)], &node()).to_string(), expected);
    }

    #[test]
    fn cluster_ip_and_node_port() {
        check(
            json!({"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30080}]}),
            json!([{"addresses": ["10.1.0.2"]}, {"addresses": ["10.1.0.1"]}]),
            "10.0.0.1:80/TCP ns/svc -> 10.1.0.1:8080 10.1.0.2:8080\n\
             192.168.0.1:30080/TCP ns/svc -> 10.1.0.1:8080 10.1.0.2:8080\n",
        );
    }

    #[test]
    fn headless_and_external_names_give_nothing() {
        check(json!({"clusterIP": "None", "ports": [{"port": 80}]}), json!([{"addresses": ["10.1.0.1"]}]), "");
        check(json!({"type": "ExternalName", "clusterIP": "10.0.0.1", "ports": [{"port": 80}]}), json!([]), "");
    }

    #[test]
    fn without_endpoints_connections_are_refused() {
        check(
            json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}),
            json!([]),
            "10.0.0.1:80/TCP ns/svc -> reject\n",
        );
    }

    #[test]
    fn unready_endpoints_are_left_out_and_terminating_ones_are_the_last_resort() {
        let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]});
        let ending =
            json!({"addresses": ["10.1.0.9"], "conditions": {"ready": false, "serving": true, "terminating": true}});
        let unready = json!({"addresses": ["10.1.0.8"], "conditions": {"ready": false}});
        let ready = json!({"addresses": ["10.1.0.1"], "conditions": {"ready": true}});
        check(spec.clone(), json!([ready, ending, unready]), "10.0.0.1:80/TCP ns/svc -> 10.1.0.1:8080\n");
        check(spec, json!([ending, unready]), "10.0.0.1:80/TCP ns/svc -> 10.1.0.9:8080\n");
    }

    #[test]
    fn local_policies_use_the_nodes_own_endpoints_or_drop() {
        let spec = json!({"type": "NodePort", "clusterIP": "10.0.0.1", "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 30080}]});
        let here = json!({"addresses": ["10.1.0.1"], "nodeName": "me"});
        let there = json!({"addresses": ["10.1.0.2"], "nodeName": "other"});
        check(
            spec.clone(),
            json!([here, there]),
            "10.0.0.1:80/TCP ns/svc -> 10.1.0.1:8080\n192.168.0.1:30080/TCP ns/svc -> 10.1.0.1:8080 10.1.0.2:8080\n",
        );
        check(spec, json!([there]), "10.0.0.1:80/TCP ns/svc -> drop\n192.168.0.1:30080/TCP ns/svc -> 10.1.0.2:8080\n");
    }

    #[test]
    fn hints_are_followed_only_if_all_have_them() {
        let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]});
        let a = json!({"addresses": ["10.1.0.1"], "hints": {"forNodes": [{"name": "me"}]}});
        let b = json!({"addresses": ["10.1.0.2"], "hints": {"forNodes": [{"name": "other"}]}});
        let bare = json!({"addresses": ["10.1.0.3"]});
        check(spec.clone(), json!([a, b]), "10.0.0.1:80/TCP ns/svc -> 10.1.0.1:8080\n");
        check(spec, json!([a, bare]), "10.0.0.1:80/TCP ns/svc -> 10.1.0.1:8080 10.1.0.3:8080\n");
    }

    #[test]
    fn affinity_has_upstreams_default() {
        check(
            json!({"clusterIP": "10.0.0.1", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}),
            json!([{"addresses": ["10.1.0.1"]}]),
            "10.0.0.1:80/TCP ns/svc -> 10.1.0.1:8080 affinity 10800s\n",
        );
    }

    #[test]
    fn changes_lead_from_one_table_to_the_next() {
        use super::super::Change;
        let one = compile(&[service(json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}))], &[], &node());
        let two = compile(&[service(json!({"clusterIP": "10.0.0.2", "ports": [{"port": 80}]}))], &[], &node());
        let changes = one.changes(&two);
        assert!(matches!(changes[..], [Change::Remove(_), Change::Set(..)]), "{changes:?}");
        assert!(two.changes(&two).is_empty());
    }
}
