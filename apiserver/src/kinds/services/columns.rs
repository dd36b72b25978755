//! What `kubectl get services` shows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::validate::labels::labels_as_text;
use crate::registry::Column;
use crate::table::{AGE, NAME, or_none, selector, text, text_of};

pub(super) static COLUMNS: [Column; 7] = [
    NAME,
    text("Type", "How it is reached.", |service, _| json!(text_of(&service["spec"]["type"]))),
    text("Cluster-IP", "Its address in the cluster.", |service, _| or_none(text_of(&service["spec"]["clusterIPs"][0]))),
    text("External-IP", "Its addresses outside of the cluster.", |service, _| json!(external(service))),
    text("Port(s)", "Its ports and, after a colon, those on the nodes.", |service, _| or_none(ports(service))),
    AGE,
    selector(|service, _| or_none(labels_as_text(&service["spec"]["selector"]))),
];

fn ports(service: &Value) -> String {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let texts: Vec<String> = ports
        .map(|port| {
            let number = |name: &str| port[name].as_i64().unwrap_or_default();
            let node = if number("nodePort") > 0 { format!(":{}", number("nodePort")) } else { String::new() };
            format!("{}{node}/{}", number("port"), text_of(&port["protocol"]))
        })
        .collect();
    texts.join(",")
}

fn external(service: &Value) -> String {
    let list = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text_of).collect() };
    let own = list(&service["spec"]["externalIPs"]);
    match service["spec"]["type"].as_str().unwrap_or_default() {
        "ClusterIP" | "NodePort" if own.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => own.join(","),
        "LoadBalancer" => {
            let mut all = balanced(&service["status"]["loadBalancer"]);
            all.extend(own);
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        "ExternalName" => text_of(&service["spec"]["externalName"]),
        _ => "<unknown>".into(),
    }
}

/// The addresses that a load balancer gave, sorted.
pub(crate) fn balanced(status: &Value) -> Vec<String> {
    let ingress = status["ingress"].as_array().into_iter().flatten();
    let address = |item: &Value| match text_of(&item["ip"]) {
        ip if ip.is_empty() => text_of(&item["hostname"]),
        ip => ip,
    };
    let sorted: BTreeSet<String> = ingress.map(address).filter(|text| !text.is_empty()).collect();
    sorted.into_iter().collect()
}
