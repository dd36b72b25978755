use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::null_is_default;

/// A time as the API keeps it: whole seconds.
#[must_use]
pub fn api_time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// What a kubelet reports of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`; empty before the first report.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Conditions, not the kubelet's alone.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PodCondition>,
    /// A sentence on the phase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A word on the phase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The node's address.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// The node's addresses.
    #[serde(rename = "hostIPs", deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<HostIp>,
    /// The pod's address.
    #[serde(rename = "podIP", skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    /// The pod's addresses.
    #[serde(rename = "podIPs", deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// When the kubelet first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// The init containers.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// The containers.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// The containers added for debugging.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub qos_class: String,
}

impl PodStatus {
    /// The status of the container of that name, of whichever sort.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        let all = self.container_statuses.iter().chain(&self.init_container_statuses);
        all.chain(&self.ephemeral_container_statuses).find(|status| status.name == name)
    }

    /// The condition of that type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&PodCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// One of a pod's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// One of a node's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HostIp {
    /// The address.
    pub ip: String,
}

/// A condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When it was last looked at; the kubelet leaves it empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// When the status last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// A word on why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence on why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What a kubelet reports of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name in the pod.
    pub name: String,
    /// Where it is now.
    #[serde(deserialize_with = "null_is_default")]
    pub state: ContainerState,
    /// Where it was before its last restart.
    #[serde(deserialize_with = "null_is_default")]
    pub last_state: ContainerState,
    /// Whether it can serve.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: i32,
    /// The image as the runtime names it.
    pub image: String,
    /// The image as the runtime resolved it.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// The runtime's id, after the runtime's name and `://`.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Whether it has started, as its startup probe sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
}

/// Where a container is in its life: at most one of the three, and waiting when none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ContainerState {
    /// Not yet, or not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<ContainerStateWaiting>,
    /// Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<ContainerStateRunning>,
    /// Over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<ContainerStateTerminated>,
}

impl ContainerState {
    /// Waiting, with a word and a sentence on why.
    #[must_use]
    pub fn waiting(reason: impl Into<String>, message: impl Into<String>) -> Self {
        let waiting = ContainerStateWaiting { reason: reason.into(), message: message.into() };
        Self { waiting: Some(waiting), ..Self::default() }
    }

    /// Running since then.
    #[must_use]
    pub fn running(since: Option<Time>) -> Self {
        Self { running: Some(ContainerStateRunning { started_at: since }), ..Self::default() }
    }

    /// Over.
    #[must_use]
    pub fn terminated(how: ContainerStateTerminated) -> Self {
        Self { terminated: Some(how), ..Self::default() }
    }
}

/// Why a container does not run yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ContainerStateWaiting {
    /// A sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateRunning {
    /// Since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateTerminated {
    /// The exit code; 128 + n when signal n ended it.
    pub exit_code: i32,
    /// A word on why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it left behind as explanation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// The runtime's id, after the runtime's name and `://`.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
}
