use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kubewright_api::requests::{self, ResourceList};
use kubewright_api::taint::{Taint, TaintEffect, untolerated};

use crate::objects::Pod;

/// What a pod needs of a node, as far as the node itself checks it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// The node's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// What pods may use in total, `pods` among it.
    pub allocatable: ResourceList,
}

/// Why a node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A word, as it stands in the pod's status: `OutOfcpu`, `NodeAffinity` …
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Rejection {
    fn predicate(name: &str, description: &str) -> Self {
        Self { reason: name.to_owned(), message: format!("Predicate {name} failed: {description}") }
    }
}

/// Whether the node takes a pod beside those that it has already.
///
/// # Errors
/// The first reason why not.
pub fn admit<'a>(pod: &Pod, node: &NodeView, others: impl Iterator<Item = &'a Pod> + Clone) -> Result<(), Rejection> {
    fits(pod, node, others.clone())?;
    if !selects(pod, node) {
        return Err(Rejection::predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if !pod.spec.node_name.is_empty() && pod.spec.node_name != node.name {
        return Err(Rejection::predicate("NodeName", "node(s) didn't match the requested node name"));
    }
    if others.clone().any(|other| ports_conflict(pod, other)) {
        return Err(Rejection::predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    if untolerated(&node.taints, &pod.spec.tolerations, &[TaintEffect::NoExecute]).is_some() {
        return Err(Rejection::predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"));
    }
    Ok(())
}

fn fits<'a>(pod: &Pod, node: &NodeView, others: impl Iterator<Item = &'a Pod>) -> Result<(), Rejection> {
    let (mut used, mut count) = (ResourceList::new(), 0_i64);
    for other in others {
        requests::add(&mut used, &other.resources().requests());
        count += 1;
    }
    let out_of = |name: &str, requested: i64, used: i64, capacity: i64| Rejection {
        reason: format!("OutOf{name}"),
        message: format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    if let Some(pods) = node.allocatable.get("pods")
        && count + 1 > pods.value()
    {
        return Err(out_of("pods", 1, count, pods.value()));
    }
    for (name, requested) in pod.resources().requests() {
        if requested.signum() <= 0 {
            continue;
        }
        // A resource that the node does not know cannot be had, except those that it does not count at all.
        let capacity = match node.allocatable.get(&name) {
            Some(capacity) => *capacity,
            None if name == "ephemeral-storage" => continue,
            None => kubewright_api::quantity::Quantity::ZERO,
        };
        let taken = used.get(&name).copied().unwrap_or_default();
        if requested + taken > capacity {
            let amount = |q: kubewright_api::quantity::Quantity| if name == "cpu" { q.millis() } else { q.value() };
            return Err(out_of(&name, amount(requested), amount(taken), amount(capacity)));
        }
    }
    Ok(())
}

fn selects(pod: &Pod, node: &NodeView) -> bool {
    if !pod.spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value)) {
        return false;
    }
    let affinity = pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &core::NodeSelectorTerm, node: &NodeView) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // A term without any requirement matches nothing.
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|e| requirement_holds(e, node.labels.get(&e.key).map(String::as_str)))
        && fields.iter().all(|e| e.key == "metadata.name" && requirement_holds(e, Some(&node.name)))
}

fn requirement_holds(requirement: &core::NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(have, than)| have > than),
        "Lt" => numbers().is_some_and(|(have, than)| have < than),
        _ => false,
    }
}

fn ports_conflict(pod: &Pod, other: &Pod) -> bool {
    let ports = |pod: &Pod| {
        let all = pod.spec.containers.iter().chain(pod.spec.init_containers.iter().filter(|c| c.is_sidecar()));
        let host: Vec<_> = all
            .flat_map(|container| &container.ports)
            .filter(|port| port.host_port > 0)
            .map(|port| {
                let any = port.host_ip.is_empty() || port.host_ip == "0.0.0.0" || port.host_ip == "::";
                let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
                ((!any).then(|| port.host_ip.clone()), protocol.to_owned(), port.host_port)
            })
            .collect();
        host
    };
    let taken = ports(other);
    ports(pod).iter().any(|(ip, protocol, port)| {
        let same_address = |other: &Option<String>| ip.is_none() || other.is_none() || ip == other;
        taken.iter().any(|(address, p, n)| p == protocol && n == port && same_address(address))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::pod;
    use super::*;

    fn node() -> NodeView {
        let amounts = [("cpu", "2"), ("memory", "1Gi"), ("pods", "3")];
        NodeView {
            name: "n1".into(),
            labels: BTreeMap::from([("disk".into(), "ssd".into()), ("cores".into(), "8".into())]),
            taints: vec![],
            allocatable: amounts.map(|(name, amount)| (name.to_owned(), amount.parse().unwrap())).into(),
        }
    }

    fn check(spec: serde_json::Value, others: &[Pod]) -> Result<(), (String, String)> {
        admit(&pod(spec), &node(), others.iter()).map_err(|r| (r.reason, r.message))
    }

    fn cpu(amount: &str) -> serde_json::Value {
        json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": amount}}}]})
    }

    #[test]
    fn resources_must_fit() {
        assert_eq!(check(cpu("2"), &[]), Ok(()));
        let (reason, message) = check(cpu("1500m"), &[pod(cpu("600m"))]).unwrap_err();
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(message, "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000");
        let full = [pod(json!({})), pod(json!({})), pod(json!({}))];
        assert_eq!(check(json!({}), &full).unwrap_err().0, "OutOfpods");
        let gpu = json!({"containers": [{"name": "a", "resources": {"requests": {"example.com/gpu": "1"}}}]});
        assert_eq!(check(gpu, &[]).unwrap_err().0, "OutOfexample.com/gpu");
    }

    #[test]
    fn selectors_must_match() {
        let terms = |terms: serde_json::Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": terms}}}})
        };
        let expression = |key: &str, operator: &str, values: &[&str]| {
            terms(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        assert_eq!(check(json!({"nodeSelector": {"disk": "ssd"}}), &[]), Ok(()));
        assert_eq!(check(json!({"nodeSelector": {"disk": "hdd"}}), &[]).unwrap_err().0, "NodeAffinity");
        for (spec, expected) in [
            (expression("disk", "In", &["ssd", "nvme"]), true),
            (expression("disk", "NotIn", &["ssd"]), false),
            (expression("gpu", "NotIn", &["a"]), true),
            (expression("gpu", "Exists", &[]), false),
            (expression("cores", "Gt", &["4"]), true),
            (expression("cores", "Lt", &["4"]), false),
            (terms(json!([{}])), false),
            (terms(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])), true),
        ] {
            assert_eq!(check(spec.clone(), &[]).is_ok(), expected, "{spec}");
        }
        assert_eq!(check(json!({"nodeName": "other"}), &[]).unwrap_err().0, "NodeName");
    }

    #[test]
    fn host_ports_must_be_free() {
        let port = |ip: &str, protocol: &str| {
            json!({"containers": [{"name": "a",
                "ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol}]}]})
        };
        let taken = [pod(port("127.0.0.1", "TCP"))];
        assert_eq!(check(port("127.0.0.2", "TCP"), &taken), Ok(()));
        assert_eq!(check(port("127.0.0.1", "UDP"), &taken), Ok(()));
        assert_eq!(check(port("", ""), &taken).unwrap_err().0, "NodePorts");
    }

    #[test]
    fn no_execute_taints_must_be_tolerated() {
        let taint = |effect| Taint { key: "k".into(), value: "v".into(), effect, time_added: None };
        let mut node = node();
        node.taints = vec![taint(TaintEffect::NoSchedule)];
        assert!(admit(&pod(json!({})), &node, std::iter::empty()).is_ok());
        node.taints = vec![taint(TaintEffect::NoExecute)];
        assert_eq!(admit(&pod(json!({})), &node, std::iter::empty()).unwrap_err().reason, "TaintToleration");
        let tolerant = pod(json!({"tolerations": [{"operator": "Exists"}]}));
        assert!(admit(&tolerant, &node, std::iter::empty()).is_ok());
    }
}
