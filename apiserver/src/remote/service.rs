//! Where the endpoints of a Service are.

use serde_json::Value;

use crate::objects::{GroupResource, Objects};

/// A ready endpoint of that Service's port, as host and port; its cluster IP where there is no endpoint.
///
/// `turn` spreads calls: each number picks the next endpoint.
///
/// # Errors
/// There is no such Service or port.
pub fn of_service(
    objects: &dyn Objects,
    namespace: &str,
    name: &str,
    port: u16,
    turn: usize,
) -> Result<(String, u16), String> {
    let service = objects.cached(GroupResource::core("services"), namespace, name);
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
    if service["spec"]["type"] == "ExternalName" {
        return Ok((service["spec"]["externalName"].as_str().unwrap_or_default().to_owned(), port));
    }
    let ports = || service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(entry) = ports().find(|entry| entry["port"] == port) else {
        return Err(format!("no service port {port} found for service {name:?}"));
    };
    let wanted = entry["name"].as_str().unwrap_or_default();
    let slices = objects.cached_list(GroupResource::new("discovery.k8s.io", "endpointslices"), Some(namespace));
    let mut endpoints = Vec::new();
    for slice in slices.iter().filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name) {
        let number = slice["ports"].as_array().into_iter().flatten();
        let mut number = number.filter(|port| port["name"].as_str().unwrap_or_default() == wanted);
        let number = number.next().and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
        for endpoint in slice["endpoints"].as_array().into_iter().flatten().filter(ready) {
            let address = endpoint["addresses"][0].as_str();
            endpoints.extend(address.zip(number).map(|(address, number)| (address.to_owned(), number)));
        }
    }
    if let Some(chosen) = (!endpoints.is_empty()).then(|| turn % endpoints.len()) {
        return Ok(endpoints.swap_remove(chosen));
    }
    match service["spec"]["clusterIP"].as_str() {
        Some(ip) if !ip.is_empty() && ip != "None" => Ok((ip.to_owned(), port)),
        _ => Err(format!("no endpoints available for service {name:?}")),
    }
}
