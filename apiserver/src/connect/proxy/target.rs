//! Which pod or endpoint a proxy request means, and which path there. Pure.

use std::net::IpAddr;

use http::Request;
use kubewright_api::status::Status;
use serde_json::Value;

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
    pub(in crate::connect) fn allows(self, host: &str) -> bool {
        let Ok(ip) = host.parse::<IpAddr>() else { return false };
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

/// `name`, `name:port` or `scheme:name:port`, as proxy requests name a pod, service or node.
pub(in crate::connect) fn proxied(name: &str) -> (bool, &str, &str) {
    match name.split(':').collect::<Vec<_>>().as_slice() {
        [scheme, name, port] => (*scheme == "https", name, port),
        [name, port] => (false, name, port),
        _ => (false, name, ""),
    }
}

/// Where a pod's port is: a number, the name of one, or the first there is.
pub(in crate::connect) fn pod_target(pod: &Value, port: &str, reach: Reach) -> Result<Target, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let ports = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = ports.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let number = match port.parse::<u16>() {
        Ok(number) => Some(number),
        Err(_) => ports
            .find(|entry| port.is_empty() || entry["name"] == port)
            .and_then(|entry| u16::try_from(entry["containerPort"].as_u64()?).ok()),
    };
    let number = number.or_else(|| port.is_empty().then_some(80));
    let number = number.ok_or_else(|| Status::bad_request(format!("no port {port:?} found for pod {name:?}")))?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default();
    if !reach.allows(host) {
        return Err(Status::bad_request(format!("address not allowed for pod {name:?}")));
    }
    Ok(Target { host: host.to_owned(), port: number })
}

/// Every ready endpoint of a service's port that says which pod it is.
pub(in crate::connect) fn service_targets(service: &Value, slices: &[Value], port: &str) -> Vec<Candidate> {
    let entries: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let entry = match port {
        "" => entries.first().filter(|_| entries.len() == 1),
        _ => entries.iter().find(|entry| entry["name"] == port || entry["port"].as_u64() == port.parse().ok()),
    };
    let Some(entry) = entry else { return Vec::new() };
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
    targets
}

/// The path below `…/proxy`, with its query, as it was written.
pub(in crate::connect) fn rest_of_path<B>(request: &Request<B>, info: &RequestInfo) -> String {
    // `/api/v1[/namespaces/NS]/RESOURCE/NAME/proxy` are so many segments.
    let segments = if info.namespace.is_empty() { 5 } else { 7 };
    let rest = request.uri().path().splitn(segments + 2, '/').nth(segments + 1).unwrap_or_default();
    match request.uri().query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    }
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

    #[test]
    fn proxied_names_and_ports() {
        assert_eq!(proxied("https:web:443"), (true, "web", "443"));
        assert_eq!(proxied("web:http"), (false, "web", "http"));
        assert_eq!(proxied("web"), (false, "web", ""));
        assert_eq!(
            pod_target(&pod(), "http", Reach::default()).unwrap(),
            Target { host: "10.1.0.5".into(), port: 8080 }
        );
        assert_eq!(pod_target(&pod(), "", Reach::default()).unwrap().port, 8080);
        assert!(pod_target(&pod(), "nope", Reach::default()).is_err());
    }

    #[test]
    fn pods_at_addresses_of_this_host_are_not_reached() {
        let at = |address: &str, reach| {
            let mut pod = pod();
            pod["status"]["podIP"] = address.into();
            pod_target(&pod, "80", reach).is_ok()
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
            let found = service_targets(&service, std::slice::from_ref(&slice), port);
            let [found] = &found[..] else { panic!("{found:?}") };
            assert_eq!(found.target, Target { host: "10.1.0.5".into(), port: 8080 });
            assert_eq!(found.pod, ("a".to_owned(), "web".to_owned()));
            assert!(found.is(&pod()));
            assert!(!found.is(&json!({"status": {"podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}]}})));
            assert!(
                found.is(&json!({"status": {"podIP": "fd00::5", "podIPs": [{"ip": "fd00::5"}, {"ip": "10.1.0.5"}]}}))
            );
        }
        assert!(service_targets(&service, &[slice], "81").is_empty());
    }

    #[test]
    fn what_is_proxied_keeps_its_path() {
        for (uri, expected) in [
            ("/api/v1/namespaces/a/pods/b/proxy/x/y?z=1", "/x/y?z=1"),
            ("/api/v1/namespaces/a/services/http:b:80/proxy", "/"),
            ("/api/v1/namespaces/a/services/b/proxy/", "/"),
            ("/api/v1/nodes/n/proxy/metrics%2Fx", "/metrics%2Fx"),
        ] {
            let request = Request::get(uri).body(()).unwrap();
            let info = RequestInfo::parse(&Method::GET, request.uri().path(), request.uri().query());
            assert_eq!(rest_of_path(&request, &info), expected, "{uri}");
        }
    }
}
