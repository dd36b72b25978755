//! Which nodes a daemon set's pods run on, and what those pods look like.

use kubewright_api::taint::{TaintEffect, Toleration, TolerationOperator, untolerated};
use serde_json::{Value, json};

use crate::objects::{DaemonSet, Node, NodeSelector, Template, kinds};
use crate::pods::pod_from;

const HASH: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";

/// What a template says about nodes.
pub(super) struct Placement {
    node_name: String,
    node_selector: Vec<(String, String)>,
    affinity: Option<NodeSelector>,
    tolerations: Vec<Toleration>,
}

/// Taints that every daemon's pod bears.
fn borne(host_network: bool) -> Vec<Toleration> {
    let exists = |key: &str, effect| Toleration {
        key: format!("node.kubernetes.io/{key}"),
        operator: TolerationOperator::Exists,
        effect: Some(effect),
        ..Toleration::default()
    };
    let (stay, come) = (TaintEffect::NoExecute, TaintEffect::NoSchedule);
    let mut all = vec![exists("not-ready", stay), exists("unreachable", stay)];
    all.extend(["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"].map(|key| exists(key, come)));
    if host_network {
        all.push(exists("network-unavailable", come));
    }
    all
}

impl Placement {
    pub(super) fn of(template: &Template) -> Self {
        let value = template.to_value();
        let spec = &value["spec"];
        let read = |value: &Value| serde_json::from_value(value.clone()).unwrap_or_default();
        let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let mut tolerations: Vec<Toleration> = serde_json::from_value(spec["tolerations"].clone()).unwrap_or_default();
        tolerations.extend(borne(spec["hostNetwork"] == true));
        let pairs = spec["nodeSelector"].as_object().into_iter().flatten();
        Self {
            node_name: read(&spec["nodeName"]),
            node_selector: pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned())).collect(),
            affinity: serde_json::from_value(required.clone()).ok(),
            tolerations,
        }
    }

    /// Whether a pod should be started on that node, and whether one that is there may stay.
    pub(super) fn fits(&self, node: &Node) -> (bool, bool) {
        let labels = &node.metadata.labels;
        let named = self.node_name.is_empty() || self.node_name == node.metadata.name;
        let selected = self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.affinity.as_ref().is_none_or(|selector| selector.matches(&node.metadata.name, labels));
        if !named || !selected {
            return (false, false);
        }
        let refused = |effects: &[TaintEffect]| untolerated(&node.spec.taints, &self.tolerations, effects).is_some();
        if refused(&[TaintEffect::NoSchedule, TaintEffect::NoExecute]) {
            return (false, !refused(&[TaintEffect::NoExecute]));
        }
        (true, true)
    }
}

/// A pod for that node.
pub(super) fn pod_for(set: &DaemonSet, hash: &str, node: &str) -> Value {
    let mut pod = pod_from(&set.spec.template, kinds::DAEMON_SET, &set.metadata);
    pod["metadata"]["labels"][HASH] = json!(hash);
    if let Some(generation) = set.metadata.annotations.get("deprecated.daemonset.template.generation") {
        pod["metadata"]["labels"][GENERATION] = json!(generation);
    }
    let mut tolerations: Vec<Value> = serde_json::from_value(pod["spec"]["tolerations"].take()).unwrap_or_default();
    for toleration in borne(pod["spec"]["hostNetwork"] == true) {
        let toleration = json!(toleration);
        let same = |held: &&mut Value| held["key"] == toleration["key"] && held["effect"] == toleration["effect"];
        match tolerations.iter_mut().find(same) {
            Some(held) => *held = toleration,
            None => tolerations.push(toleration),
        }
    }
    pod["spec"]["tolerations"] = json!(tolerations);
    let by_name = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let terms = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    match terms.as_array_mut().filter(|terms| !terms.is_empty()) {
        Some(terms) => terms.iter_mut().for_each(|term| term["matchFields"] = by_name.clone()),
        None => *terms = json!([{"matchFields": by_name}]),
    }
    pod
}

/// The hash of the template that a pod was made from.
pub(super) fn hash_of(pod: &crate::objects::Pod) -> Option<&str> {
    pod.metadata.labels.get(HASH)
}

pub(super) const HASH_LABEL: &str = HASH;
