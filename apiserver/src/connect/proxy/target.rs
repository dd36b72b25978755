//! Which pod or endpoint a proxy request means, and which path there. Pure.

use std::net::IpAddr;

use http::Request;
use kubewright_api::status::Status;
use serde_json::Value;

use crate::connect::NodeAddress;
use crate::request::RequestInfo;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connect) struct Target {
    pub(in crate::connect) host: String,
    pub(in crate::connect) port: u16,
}

/// Which addresses of pods and nodes are connected to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::connect) struct Reach {
    /// Pods on this host's loopback addresses too, where everything that listens for this host alone is.
    pub(in crate::connect) loopback: bool,
}

impl Reach {
    /// Whether it is an address that a pod may have, and none by which this host or its cloud means itself. An IPv4
    /// address written as IPv6 is looked at as what it is.
    pub(in crate::connect) fn allows(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let own = match ip {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        !own && !ip.is_unspecified() && !ip.is_multicast() && (self.loopback || !ip.is_loopback())
    }
}

/// An endpoint of a service, and the namespace and name of the pod that it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connect) struct Candidate {
    pub(in crate::connect) target: Target,
    pub(in crate::connect) pod: (String, String),
}

impl Candidate {
    /// Whether this pod has the endpoint's address. Who may write EndpointSlices must not thereby reach what isn't a pod.
    pub(in crate::connect) fn is(&self, pod: &Value) -> bool {
        let all = pod["status"]["podIPs"].as_array().into_iter().flatten().map(|entry| &entry["ip"]);
        let mut all = all.chain([&pod["status"]["podIP"]]).filter_map(Value::as_str);
        all.any(|ip| ip == self.target.host)
    }
}

/// Whom a request names, as `name`, `name:port` or `scheme:name:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connect) struct Named<'a> {
    pub(in crate::connect) tls: bool,
    pub(in crate::connect) name: &'a str,
    /// A number, a name, or nothing.
    pub(in crate::connect) port: &'a str,
    /// What it is, as messages name it: `node`, `pod` or `service`.
    kind: &'a str,
    whole: &'a str,
}

impl<'a> Named<'a> {
    /// Reads the name of a request.
    pub(in crate::connect) fn read(info: &'a RequestInfo) -> Result<Self, Status> {
        let kind = info.resource.strip_suffix('s').unwrap_or(&info.resource);
        Self::parse(kind, &info.name)
    }

    fn parse(kind: &'a str, whole: &'a str) -> Result<Self, Status> {
        let parts: Vec<&str> = whole.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("?", "", ""),
        };
        let named = Self { tls: scheme == "https", name, port, kind, whole };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") { Err(named.invalid()) } else { Ok(named) }
    }

    fn invalid(&self) -> Status {
        Status::bad_request(format!("invalid {} request {:?}", self.kind, self.whole))
    }

    /// The port's number.
    pub(in crate::connect) fn number(&self) -> Result<u16, Status> {
        self.port.parse().ok().filter(|port| *port > 0).ok_or_else(|| self.invalid())
    }

    /// Whether it means the node's kubelet: by its port, or by none.
    pub(in crate::connect) fn is_kubelet(&self, node: &NodeAddress) -> bool {
        self.port.is_empty() || self.port.parse() == Ok(node.port)
    }
}

/// Where a pod's port is: a number, the name of one, or the first there is.
pub(in crate::connect) fn pod_target(pod: &Value, named: &Named<'_>, reach: Reach) -> Result<Target, Status> {
    let (name, port) = (named.name, named.port);
    let ports = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = ports.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let number = match port.parse::<u16>() {
        Ok(number) => Some(number),
        Err(_) => ports
            .find(|entry| port.is_empty() || entry["name"] == port)
            .and_then(|entry| u16::try_from(entry["containerPort"].as_u64()?).ok()),
    };
    let usual = if named.tls { 443 } else { 80 };
    let number = number.or_else(|| port.is_empty().then_some(usual));
    let number = number.ok_or_else(|| Status::bad_request(format!("no port {port:?} found for pod {name:?}")))?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default();
    if !host.parse().is_ok_and(|ip| reach.allows(ip)) {
        return Err(Status::bad_request(format!("address not allowed for pod {name:?}")));
    }
    Ok(Target { host: host.to_owned(), port: number })
}

/// Every ready endpoint of a service's port that says which pod it is.
pub(in crate::connect) fn service_targets(
    service: &Value,
    slices: &[Value],
    named: &Named<'_>,
) -> Result<Vec<Candidate>, Status> {
    let (name, port) = (named.name, named.port);
    let entries: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let entry = match (port, port.parse::<u64>()) {
        ("", _) => entries.first().filter(|_| entries.len() == 1),
        (_, Ok(number)) => {
            let found = entries.iter().find(|entry| entry["port"].as_u64() == Some(number));
            let none = || Status::unavailable(format!("no service port {number} found for service {name:?}"));
            Some(found.ok_or_else(none)?)
        }
        (port, Err(_)) => entries.iter().find(|entry| entry["name"] == port),
    };
    let Some(entry) = entry else { return Ok(Vec::new()) };
    let wanted = entry["name"].as_str().unwrap_or_default();
    let mut targets = Vec::new();
    for slice in slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"])
    {
        let ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports.filter(|port| port["name"].as_str().unwrap_or_default() == wanted);
        let number = number.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok()).next();
        let Some(number) = number else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] == false {
                continue;
            }
            let addresses = endpoint["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let pod = &endpoint["targetRef"];
            let (Some(namespace), Some(name)) = (pod["namespace"].as_str(), pod["name"].as_str()) else { continue };
            targets.extend(addresses.map(|host| Candidate {
                target: Target { host: host.to_owned(), port: number },
                pod: (namespace.to_owned(), name.to_owned()),
            }));
        }
    }
    Ok(targets)
}

/// The path below `…/proxy`, with its query, as it was written.
pub(in crate::connect) fn rest_of_path<B>(request: &Request<B>, info: &RequestInfo) -> String {
    // `api/v1[/namespaces/NS]/RESOURCE/NAME/proxy` are so many segments, which end at slashes however they are written.
    let segments = if info.namespace.is_empty() { 5 } else { 7 };
    let mut rest = request.uri().path();
    while let Some(after) = after_slash(rest).filter(|(before, _)| before.is_empty()) {
        rest = after.1;
    }
    for _ in 0..segments {
        rest = after_slash(rest).map_or("", |(_, after)| after);
    }
    match request.uri().query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    }
}

/// What is before and after the first slash, written plainly or as `%2F`.
fn after_slash(path: &str) -> Option<(&str, &str)> {
    let plain = path.find('/').map(|at| (at, 1));
    let encoded = path.find("%2F").into_iter().chain(path.find("%2f")).min().map(|at| (at, 3));
    let (at, length) = plain.into_iter().chain(encoded).min()?;
    Some((&path[..at], &path[at + length..]))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "a", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": "10.1.0.5"},
        })
    }

    fn named(whole: &str) -> Result<Named<'_>, Status> {
        Named::parse("pod", whole)
    }

    fn service_named(port: &str) -> Named<'_> {
        Named { tls: false, name: "s", port, kind: "service", whole: port }
    }

    #[test]
    fn proxied_names_and_ports() {
        let read = |whole: &'static str| named(whole).map(|named| (named.tls, named.name, named.port));
        assert_eq!(read("https:web:443").unwrap(), (true, "web", "443"));
        assert_eq!(read("http:web:").unwrap(), (false, "web", ""));
        assert_eq!(read("web:http").unwrap(), (false, "web", "http"));
        assert_eq!(read("web").unwrap(), (false, "web", ""));
        for wrong in ["", ":80", "ftp:web:80", "a:b:c:d", "https::443"] {
            let refused = read(wrong).unwrap_err();
            assert_eq!((refused.code, refused.message), (400, format!("invalid pod request {wrong:?}")));
        }
        let at = |whole: &'static str| pod_target(&pod(), &named(whole).unwrap(), Reach::default());
        assert_eq!(at("web:http").unwrap(), Target { host: "10.1.0.5".into(), port: 8080 });
        assert_eq!(at("web").unwrap().port, 8080);
        assert!(at("web:nope").is_err());
        let bare =
            |whole| pod_target(&json!({"status": {"podIP": "10.1.0.5"}}), &named(whole).unwrap(), Reach::default());
        assert_eq!((bare("web").unwrap().port, bare("https:web:").unwrap().port), (80, 443));
    }

    #[test]
    fn a_node_is_its_kubelet_unless_another_port_is_named() {
        let node = NodeAddress { name: "n".into(), host: "10.0.0.1".into(), port: 10_250 };
        let of = |whole| Named::parse("node", whole).unwrap();
        assert!(["n", "n:10250", "https:n:10250", "http:n:"].into_iter().all(|whole| of(whole).is_kubelet(&node)));
        assert!(!of("n:1234").is_kubelet(&node));
        assert_eq!(of("https:n:1234").number().unwrap(), 1234);
        for wrong in ["n:x", "n:0", "n:65536", "n:-1"] {
            assert_eq!(of(wrong).number().unwrap_err().message, format!("invalid node request {wrong:?}"));
        }
    }

    #[test]
    fn pods_at_addresses_of_this_host_are_not_reached() {
        let at = |address: &str, reach| {
            let mut pod = pod();
            pod["status"]["podIP"] = address.into();
            pod_target(&pod, &named("web:80").unwrap(), reach).is_ok()
        };
        for address in [
            "",
            "localhost",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!at(address, Reach { loopback: true }), "{address}");
        }
        for address in ["127.0.0.1", "127.33.0.5", "::1", "::ffff:127.0.0.1"] {
            assert!(!at(address, Reach::default()), "{address}");
            assert!(at(address, Reach { loopback: true }), "{address}");
        }
        assert!(at("10.1.0.5", Reach::default()) && at("fd00::5", Reach::default()));
    }

    #[test]
    fn services_lead_to_ready_endpoints() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.1.0.5"], "targetRef": {"kind": "Pod", "namespace": "a", "name": "web"}},
                          {"addresses": ["10.1.0.7"], "conditions": {"ready": true}},
                          {"addresses": ["10.1.0.6"], "conditions": {"ready": false},
                           "targetRef": {"kind": "Pod", "namespace": "a", "name": "web"}}],
        });
        for port in ["", "http", "80"] {
            let found = service_targets(&service, std::slice::from_ref(&slice), &service_named(port)).unwrap();
            let [found] = &found[..] else { panic!("{found:?}") };
            assert_eq!(found.target, Target { host: "10.1.0.5".into(), port: 8080 });
            assert_eq!(found.pod, ("a".to_owned(), "web".to_owned()));
            assert!(found.is(&pod()));
            assert!(!found.is(&json!({"status": {"podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}]}})));
            assert!(
                found.is(&json!({"status": {"podIP": "fd00::5", "podIPs": [{"ip": "fd00::5"}, {"ip": "10.1.0.5"}]}}))
            );
        }
        assert!(service_targets(&service, std::slice::from_ref(&slice), &service_named("nope")).unwrap().is_empty());
        let refused = service_targets(&service, &[slice], &service_named("81")).unwrap_err();
        assert_eq!((refused.code, &*refused.message), (503, "no service port 81 found for service \"s\""));
    }

    #[test]
    fn what_is_proxied_keeps_its_path() {
        for (uri, expected) in [
            ("/api/v1/namespaces/a/pods/b/proxy/x/y?z=1", "/x/y?z=1"),
            ("/api/v1/namespaces/a/services/http:b:80/proxy", "/"),
            ("/api/v1/namespaces/a/services/b/proxy/", "/"),
            ("/api/v1/nodes/n/proxy/metrics%2Fx", "/metrics%2Fx"),
            ("/api/v1/namespaces/a%2Fpods/b/proxy/x", "/x"),
            ("/api%2fv1/nodes/n/proxy%2Fmetrics//y", "/metrics//y"),
            ("//api/v1/nodes/n/proxy/x", "/x"),
        ] {
            let request = Request::get(uri).body(()).unwrap();
            let info = RequestInfo::parse(&Method::GET, request.uri().path(), request.uri().query());
            assert_eq!(rest_of_path(&request, &info), expected, "{uri}");
        }
    }
}
