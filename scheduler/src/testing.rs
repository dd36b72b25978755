//! Makers of pods, nodes and small clusters, for tests of plugins.
//!
//! ```
//! use kubewright_scheduler::plugins::ImageLocality;
//! use kubewright_scheduler::testing::{node, pod, scores};
//!
//! let nodes = [node("a").image("app:v1", 500 << 20), node("b")];
//! assert_eq!(scores(ImageLocality, pod("p").images(&["app:v1"]), nodes, []), [23, 0]);
//! ```

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{CycleState, Plugin, Profile};
use crate::object::{Node, PodInfo, Time};
use crate::plugins::{DefaultBinder, PrioritySort};

/// A pod to be made, as its JSON.
#[derive(Clone, Debug)]
#[must_use]
pub struct PodMaker(Value);

/// A pod of that name in the namespace `default`; its identity is its name.
pub fn pod(name: &str) -> PodMaker {
    PodMaker(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "default-scheduler", "containers": []},
        "status": {"phase": "Pending"},
    }))
}

fn map(pairs: &[(&str, &str)]) -> Value {
    Value::Object(pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<Map<_, _>>())
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

#[allow(missing_docs, reason = "each sets the field that it is named after")]
impl PodMaker {
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0["metadata"]["namespace"] = json!(namespace);
        self
    }

    pub fn uid(mut self, uid: &str) -> Self {
        self.0["metadata"]["uid"] = json!(uid);
        self
    }

    pub fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        self.0["metadata"]["labels"] = map(labels);
        self
    }

    pub fn owner(mut self, api_version: &str, kind: &str, name: &str) -> Self {
        self.0["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": name, "controller": true}]);
        self
    }

    pub fn deleted(mut self) -> Self {
        self.0["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self
    }

    pub fn scheduler(mut self, name: &str) -> Self {
        self.0["spec"]["schedulerName"] = json!(name);
        self
    }

    /// Sets the node that the pod is on.
    pub fn on(mut self, node: &str) -> Self {
        self.0["spec"]["nodeName"] = json!(node);
        self
    }

    pub fn nominated(mut self, node: &str) -> Self {
        self.0["status"]["nominatedNodeName"] = json!(node);
        self
    }

    /// Sets when it was started, in seconds since the epoch.
    pub fn started(mut self, second: i64) -> Self {
        self.0["status"]["startTime"] = json!(Time::from_second(second).unwrap_or_default().to_string());
        self
    }

    pub fn priority(mut self, priority: i32) -> Self {
        self.0["spec"]["priority"] = json!(priority);
        self
    }

    pub fn never_preempts(mut self) -> Self {
        self.0["spec"]["preemptionPolicy"] = json!("Never");
        self
    }

    pub fn gates(mut self, gates: &[&str]) -> Self {
        let gates: Vec<Value> = gates.iter().map(|name| json!({"name": name})).collect();
        self.0["spec"]["schedulingGates"] = gates.into();
        self
    }

    /// Adds a container with those requests.
    pub fn requests(mut self, requests: &[(&str, &str)]) -> Self {
        push(&mut self.0["spec"]["containers"], json!({"name": "c", "resources": {"requests": map(requests)}}));
        self
    }

    /// Adds an init container with those requests.
    pub fn init_requests(mut self, requests: &[(&str, &str)]) -> Self {
        push(&mut self.0["spec"]["initContainers"], json!({"name": "i", "resources": {"requests": map(requests)}}));
        self
    }

    pub fn overhead(mut self, overhead: &[(&str, &str)]) -> Self {
        self.0["spec"]["overhead"] = map(overhead);
        self
    }

    /// Adds a container with host ports, each written `TCP/127.0.0.1/8080`.
    pub fn host_ports(mut self, ports: &[&str]) -> Self {
        let port = |text: &&str| {
            let mut parts = text.split('/');
            let (protocol, ip) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let port: u16 = parts.next().and_then(|port| port.parse().ok()).unwrap_or_default();
            json!({"protocol": protocol, "hostIP": ip, "hostPort": port})
        };
        let ports: Vec<Value> = ports.iter().map(port).collect();
        push(&mut self.0["spec"]["containers"], json!({"name": "c", "ports": ports}));
        self
    }

    /// Adds a container for each image.
    pub fn images(mut self, images: &[&str]) -> Self {
        for image in images {
            push(&mut self.0["spec"]["containers"], json!({"name": "c", "image": image}));
        }
        self
    }

    pub fn node_selector(mut self, labels: &[(&str, &str)]) -> Self {
        self.0["spec"]["nodeSelector"] = map(labels);
        self
    }

    /// Adds volumes behind claims of those names.
    pub fn claims(mut self, names: &[&str]) -> Self {
        for name in names {
            push(&mut self.0["spec"]["volumes"], json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        }
        self
    }

    /// Adds a volume of that name behind a claim that is made for the pod.
    pub fn ephemeral_claim(mut self, name: &str) -> Self {
        push(&mut self.0["spec"]["volumes"], json!({"name": name, "ephemeral": {}}));
        self
    }

    /// Sets a field of the spec, as JSON.
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    /// Sets a field of the status, as JSON.
    pub fn status(mut self, field: &str, value: Value) -> Self {
        self.0["status"][field] = value;
        self
    }

    /// Makes it one of a pod group.
    pub fn group(self, name: &str) -> Self {
        self.spec("schedulingGroup", json!({"podGroupName": name}))
    }

    /// Adds a volume, as JSON.
    pub fn volume(mut self, volume: Value) -> Self {
        push(&mut self.0["spec"]["volumes"], volume);
        self
    }

    /// Sets `spec.affinity`, as JSON.
    pub fn affinity(mut self, affinity: Value) -> Self {
        self.0["spec"]["affinity"] = affinity;
        self
    }

    /// Adds a toleration: of any value when it is empty, of any effect when there is none.
    pub fn tolerates(mut self, key: &str, value: &str, effect: Option<&str>) -> Self {
        let operator = if value.is_empty() { "Exists" } else { "Equal" };
        let toleration = json!({"key": key, "operator": operator, "value": value, "effect": effect});
        push(&mut self.0["spec"]["tolerations"], toleration);
        self
    }

    /// Sets `spec.topologySpreadConstraints`, as JSON.
    pub fn spread(mut self, constraints: &[Value]) -> Self {
        self.0["spec"]["topologySpreadConstraints"] = constraints.into();
        self
    }

    /// Makes the pod.
    ///
    /// # Panics
    /// If a part given as JSON isn't what it should be.
    pub fn build(self) -> PodInfo {
        serde_json::from_value(self.0).expect("a pod")
    }

    /// The pod's JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// A node to be made, as its JSON.
#[derive(Clone, Debug)]
#[must_use]
pub struct NodeMaker(Value);

/// A node of that name with 32 cpus, 64 GiB and room for 110 pods, labelled with its name.
pub fn node(name: &str) -> NodeMaker {
    NodeMaker(json!({
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "32", "memory": "64Gi", "pods": "110"}},
    }))
}

#[allow(missing_docs, reason = "each sets the field that it is named after")]
impl NodeMaker {
    /// Sets what pods may have of it, instead of what it had.
    pub fn capacity(mut self, capacity: &[(&str, &str)]) -> Self {
        self.0["status"]["allocatable"] = map(capacity);
        self
    }

    /// Adds labels.
    pub fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        for (key, value) in labels {
            self.0["metadata"]["labels"][*key] = json!(value);
        }
        self
    }

    /// Sets taints: key, value and effect.
    pub fn taints(mut self, taints: &[(&str, &str, &str)]) -> Self {
        let taint = |(key, value, effect): &(&str, &str, &str)| json!({"key": key, "value": value, "effect": effect});
        self.0["spec"]["taints"] = taints.iter().map(taint).collect();
        self
    }

    pub fn cordoned(mut self, cordoned: bool) -> Self {
        self.0["spec"]["unschedulable"] = json!(cordoned);
        self
    }

    /// Sets the features that its kubelet declares.
    pub fn declares(mut self, features: &[&str]) -> Self {
        self.0["status"]["declaredFeatures"] = json!(features);
        self
    }

    /// Adds an image of so many bytes.
    pub fn image(mut self, name: &str, size: i64) -> Self {
        push(&mut self.0["status"]["images"], json!({"names": [name], "sizeBytes": size}));
        self
    }

    /// Makes the node.
    ///
    /// # Panics
    /// If it isn't one.
    pub fn build(self) -> Node {
        serde_json::from_value(self.0).expect("a node")
    }

    /// The node's JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// A node with pods on it, whatever node they name.
pub fn node_info(node: NodeMaker, pods: impl IntoIterator<Item = PodMaker>) -> NodeInfo {
    let mut info = NodeInfo::new(NodeSlot(0), Arc::new(node.build()));
    for pod in pods {
        info.add_pod(Arc::new(pod.build()));
    }
    info
}

/// A cluster.
pub fn snapshot(nodes: impl IntoIterator<Item = NodeMaker>, pods: impl IntoIterator<Item = PodMaker>) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for node in nodes {
        snapshot.put_node(Arc::new(node.build()));
    }
    for pod in pods {
        snapshot.add_pod(Arc::new(pod.build()));
    }
    snapshot
}

/// The normalized scores that one plugin gives nodes for a pod, in the order of the nodes.
///
/// # Panics
/// If the plugin fails, or gives a score that is out of range.
pub fn scores(
    plugin: impl Plugin,
    pod: PodMaker,
    nodes: impl IntoIterator<Item = NodeMaker>,
    pods: impl IntoIterator<Item = PodMaker>,
) -> Vec<i64> {
    let builder = Profile::builder("default-scheduler").with(Arc::new(PrioritySort), 0);
    let profile = builder.with(Arc::new(DefaultBinder), 0).with(Arc::new(plugin), 1).build().expect("a profile");
    let nodes: Vec<NodeMaker> = nodes.into_iter().collect();
    let names: Vec<String> =
        nodes.iter().map(|node| node.0["metadata"]["name"].as_str().unwrap_or("").into()).collect();
    let snapshot = snapshot(nodes, pods);
    let nodes: Vec<&NodeInfo> = names.iter().filter_map(|name| snapshot.node(name)).collect();
    let (pod, mut state) = (pod.build(), CycleState::new());
    profile.run_pre_score(&mut state, &pod, &nodes, &snapshot).expect("PreScore");
    profile.run_score(&state, &pod, &nodes, &snapshot, |_, _| {}).expect("Score")
}
