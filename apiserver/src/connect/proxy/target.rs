//! Which pod or endpoint a proxy request means, and which path there. Pure.

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

/// `name`, `name:port` or `scheme:name:port`, as proxy requests name a pod, service or node.
pub(in crate::connect) fn proxied(name: &str) -> (bool, &str, &str) {
    match name.split(':').collect::<Vec<_>>().as_slice() {
        [scheme, name, port] => (*scheme == "https", name, port),
        [name, port] => (false, name, port),
        _ => (false, name, ""),
    }
}

/// Where a pod's port is: a number, the name of one, or the first there is.
pub(in crate::connect) fn pod_target(pod: &Value, port: &str) -> Result<Target, Status> {
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
    // A pod on the host's network could otherwise be made to point at the control plane itself.
    let allowed = host.parse::<std::net::IpAddr>().is_ok_and(|ip| !ip.is_unspecified() && !is_link_local(ip));
    if !allowed {
        return Err(Status::bad_request(format!("address not allowed for pod {name:?}")));
    }
    Ok(Target { host: host.to_owned(), port: number })
}

fn is_link_local(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Every ready endpoint of a service's port.
pub(in crate::connect) fn service_targets(service: &Value, slices: &[Value], port: &str) -> Vec<Target> {
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
            targets.extend(addresses.map(|host| Target { host: host.to_owned(), port: number }));
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
        assert_eq!(pod_target(&pod(), "http").unwrap(), Target { host: "10.1.0.5".into(), port: 8080 });
        assert_eq!(pod_target(&pod(), "").unwrap().port, 8080);
        assert!(pod_target(&pod(), "nope").is_err());
        let mut local = pod();
        local["status"]["podIP"] = "169.254.169.254".into();
        assert!(pod_target(&local, "80").is_err());
    }

    #[test]
    fn services_lead_to_ready_endpoints() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": true}},
                          {"addresses": ["10.1.0.6"], "conditions": {"ready": false}}],
        });
        for port in ["", "http", "80"] {
            let found = service_targets(&service, std::slice::from_ref(&slice), port);
            assert_eq!(found, [Target { host: "10.1.0.5".into(), port: 8080 }]);
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
