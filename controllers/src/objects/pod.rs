//! Pods, as controllers see them.

use kubewright_api::taint::Toleration;
use serde::Deserialize;

use super::{Condition, Kind, Meta, Object, Time, condition, kinds, null_default};

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, from = "Wire")]
pub struct Pod {
    /// Metadata; of its annotations only those that controllers read.
    pub metadata: Meta,
    /// What it should be.
    pub spec: PodSpec,
    /// What it is.
    pub status: PodStatus,
}

impl Object for Pod {
    const KIND: Kind = kinds::POD;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self) -> Option<&str> {
        Some(&self.spec.node_name).filter(|name| !name.is_empty()).map(String::as_str)
    }
}

/// What a pod should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSpec {
    /// The node it is bound to; empty before.
    pub node_name: String,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// Its host name, if it asks for one.
    pub hostname: String,
    /// The service under whose domain its host name is.
    pub subdomain: String,
    /// Whether it shares its node's network.
    pub host_network: bool,
    /// The taints it bears.
    pub tolerations: Vec<Toleration>,
    /// The ports its containers name.
    pub ports: Vec<ContainerPort>,
    /// The node that a daemon's pod is meant for, by its node affinity.
    pub affinity_node: Option<String>,
}

/// A port that a container names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Its name; empty if it has none.
    pub name: String,
    /// The port's number.
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`; empty means `TCP`.
    pub protocol: String,
}

/// What a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Why it is in that phase, such as `Evicted`.
    pub reason: String,
    /// Conditions.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
    /// When the kubelet first saw it.
    pub start_time: Option<Time>,
    /// Its main address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// All its addresses.
    #[serde(rename = "podIPs", deserialize_with = "null_default")]
    pub pod_ips: Vec<PodIp>,
    /// Its containers' states.
    #[serde(deserialize_with = "null_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Its init containers' states.
    #[serde(deserialize_with = "null_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// An address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// A container's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// How often it was restarted.
    pub restart_count: i32,
    /// How it ended, if it did.
    pub state: ContainerState,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Set once it has ended.
    pub terminated: Option<Terminated>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// When.
    pub finished_at: Option<Time>,
}

impl Pod {
    /// Whether its containers have ended for good.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether it counts as a replica: neither finished nor being deleted.
    #[must_use]
    pub fn active(&self) -> bool {
        !self.finished() && !self.metadata.deleting()
    }

    /// The condition `Ready`, if it is `True`.
    #[must_use]
    pub fn ready_condition(&self) -> Option<&Condition> {
        condition(&self.status.conditions, "Ready").filter(|condition| condition.is_true())
    }

    /// Whether it is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready_condition().is_some()
    }

    /// Whether it has been ready for that many seconds.
    #[must_use]
    pub fn available(&self, min_ready_seconds: i64, now: Time) -> bool {
        self.available_at(min_ready_seconds).is_some_and(|at| at <= now)
    }

    /// From when on it is available if it stays ready; `None` if it isn't ready.
    #[must_use]
    pub fn available_at(&self, min_ready_seconds: i64) -> Option<Time> {
        let ready = self.ready_condition()?;
        if min_ready_seconds == 0 {
            return Some(Time::default());
        }
        ready.last_transition_time.map(|at| at.plus_seconds(min_ready_seconds))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    metadata: Meta,
    spec: WireSpec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireSpec {
    node_name: String,
    restart_policy: String,
    hostname: String,
    subdomain: String,
    host_network: bool,
    #[serde(deserialize_with = "null_default")]
    tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "null_default")]
    containers: Vec<WireContainer>,
    #[serde(deserialize_with = "null_default")]
    init_containers: Vec<WireContainer>,
    affinity: Option<Affinity>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireContainer {
    #[serde(deserialize_with = "null_default")]
    ports: Vec<ContainerPort>,
    restart_policy: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Affinity {
    node_affinity: NodeAffinity,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<super::NodeSelector>,
}

impl From<Wire> for Pod {
    fn from(Wire { mut metadata, spec: wire, status }: Wire) -> Self {
        metadata.annotations = (metadata.annotations.iter())
            .filter(|(key, _)| key.starts_with("controller.kubernetes.io/") || key.starts_with("batch.kubernetes.io/"))
            .collect();
        let sidecars = wire.init_containers.into_iter().filter(|container| container.restart_policy == "Always");
        let spec = PodSpec {
            node_name: wire.node_name,
            restart_policy: wire.restart_policy,
            hostname: wire.hostname,
            subdomain: wire.subdomain,
            host_network: wire.host_network,
            tolerations: wire.tolerations,
            ports: wire.containers.into_iter().chain(sidecars).flat_map(|container| container.ports).collect(),
            affinity_node: (wire.affinity)
                .and_then(|affinity| affinity.node_affinity.required_during_scheduling_ignored_during_execution)
                .and_then(|selector| selector.single_node()),
        };
        Self { metadata, spec, status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decodes_what_controllers_need() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": {"x": "y", "controller.kubernetes.io/pod-deletion-cost": "5"}},
            "spec": {
                "nodeName": "n", "hostNetwork": true,
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}}},
            },
            "status": {"phase": "Running", "podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap();
        assert_eq!(pod.metadata.annotations.len(), 1);
        assert_eq!((pod.spec.ports[0].container_port, pod.spec.affinity_node.as_deref()), (80, Some("n1")));
        let ready = pod.ready_condition().unwrap().last_transition_time.unwrap();
        assert!(pod.available(0, ready) && !pod.available(10, ready.plus_seconds(9)));
        assert!(pod.available(10, ready.plus_seconds(10)));
        assert_eq!(pod.index(), Some("n"));
    }
}
