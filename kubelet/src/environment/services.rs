use crate::objects::Service;

/// The variables that tell a container about services, sorted by service.
///
/// With `links`, all of the pod's namespace; in any case `kubernetes` of `default`. Services without an address are left
/// out.
#[must_use]
pub fn service_variables(services: &[Service], namespace: &str, links: bool) -> Vec<(String, String)> {
    let of = |service: &Service| {
        let (own, name) = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
        (links && own == Some(namespace), own == Some("default") && name == Some("kubernetes"))
    };
    let has_address = |service: &&Service| !matches!(service.spec.cluster_ip.as_str(), "" | "None");
    let name = |service: &Service| service.metadata.name.clone().unwrap_or_default();
    let mut chosen: Vec<&Service> = services.iter().filter(has_address).filter(|s| of(s).0).collect();
    if let Some(api) = services.iter().filter(has_address).find(|s| of(s).1)
        && !chosen.iter().any(|service| name(service) == "kubernetes")
    {
        chosen.push(api);
    }
    chosen.sort_by_key(|service| name(service));
    chosen.into_iter().flat_map(variables).collect()
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn variables(service: &Service) -> Vec<(String, String)> {
    let Some(first) = service.spec.ports.first() else {
        return vec![];
    };
    let name = upper(service.metadata.name.as_deref().unwrap_or_default());
    let address = &service.spec.cluster_ip;
    let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let mut out = vec![
        (format!("{name}_SERVICE_HOST"), address.clone()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in service.spec.ports.iter().filter(|port| !port.name.is_empty()) {
        out.push((format!("{name}_SERVICE_PORT_{}", upper(&port.name)), port.port.to_string()));
    }
    for (at, port) in service.spec.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let lower = protocol.to_ascii_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if at == 0 {
            out.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        out.push((prefix.clone(), url));
        out.push((format!("{prefix}_PROTO"), lower));
        out.push((format!("{prefix}_PORT"), port.port.to_string()));
        out.push((format!("{prefix}_ADDR"), address.clone()));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, ip: &str, ports: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": ip, "ports": ports}}))
        .unwrap()
    }

    #[test]
    fn variables_are_upstreams() {
        let services = [
            service("ns", "my-web", "10.0.0.9", json!([{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}])),
            service("other", "db", "10.0.0.8", json!([{"port": 5432}])),
            service("ns", "headless", "None", json!([{"port": 1}])),
            service("default", "kubernetes", "10.0.0.1", json!([{"name": "https", "port": 443}])),
        ];
        let all = service_variables(&services, "ns", true);
        let text: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text[0], "KUBERNETES_SERVICE_HOST=10.0.0.1");
        for expected in [
            "KUBERNETES_SERVICE_PORT_HTTPS=443",
            "MY_WEB_SERVICE_HOST=10.0.0.9",
            "MY_WEB_SERVICE_PORT=80",
            "MY_WEB_SERVICE_PORT_HTTP=80",
            "MY_WEB_PORT=tcp://10.0.0.9:80",
            "MY_WEB_PORT_53_UDP=udp://10.0.0.9:53",
            "MY_WEB_PORT_53_UDP_PROTO=udp",
            "MY_WEB_PORT_80_TCP_ADDR=10.0.0.9",
        ] {
            assert!(text.iter().any(|line| line == expected), "{expected}: {text:#?}");
        }
        assert!(!text.iter().any(|line| line.starts_with("DB_") || line.starts_with("HEADLESS_")));
        assert_eq!(service_variables(&services, "ns", false).len(), 8, "only the API's");
    }
}
