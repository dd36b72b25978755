//! Shapes of the JSON that are turned into something better after decoding.

use kubewright_api::requests::{ContainerResources, PodResources, ResourceList, ResourceRequirements, raise};
use kubewright_api::taint::{Taint, Toleration};
use serde::{Deserialize, Deserializer};

use super::affinity::{NodeSelector, PodAffinityTerm, Preferred, Weighted};
use super::pod::{Condition, SpreadConstraint};
use super::{Labels, Meta, Name, Time};

/// Reads a value, null being the default.
pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
pub(super) struct Pod {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) node_name: Name,
    pub(super) scheduler_name: Name,
    pub(super) priority: Option<i32>,
    pub(super) preemption_policy: Name,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) scheduling_gates: Vec<Named>,
    pub(super) node_selector: Labels,
    pub(super) affinity: Option<Affinity>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) topology_spread_constraints: Vec<SpreadConstraint>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) overhead: ResourceList,
    pub(super) resources: Option<ResourceRequirements>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) volumes: Vec<Volume>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) resource_claims: Vec<super::PodDevices>,
    pub(super) scheduling_group: Option<SchedulingGroup>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) host_network: bool,
    pub(super) host_users: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SchedulingGroup {
    pub(super) pod_group_name: Name,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) name: Name,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: Name,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) ports: Vec<Port>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) resources: ResourceRequirements,
    pub(super) restart_policy: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) restart_policy_rules: Vec<RestartRule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RestartRule {
    pub(super) action: Name,
}

impl Container {
    pub(super) fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Port {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) host_port: i32,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Name,
    pub(super) protocol: Name,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Volume {
    pub(super) name: Name,
    pub(super) persistent_volume_claim: Option<ClaimSource>,
    pub(super) ephemeral: Option<serde::de::IgnoredAny>,
    pub(super) image: Option<ImageSource>,
    pub(super) gce_persistent_disk: Option<serde_json::Value>,
    pub(super) aws_elastic_block_store: Option<serde_json::Value>,
    pub(super) rbd: Option<serde_json::Value>,
    pub(super) iscsi: Option<serde_json::Value>,
    pub(super) azure_disk: Option<serde_json::Value>,
    pub(super) cinder: Option<serde_json::Value>,
    pub(super) portworx_volume: Option<serde_json::Value>,
    pub(super) csi: Option<Driver>,
}

impl Volume {
    /// What is given by plugins that CSI drivers serve.
    pub(super) fn source(&self) -> serde_json::Value {
        let sources = [
            ("awsElasticBlockStore", &self.aws_elastic_block_store),
            ("gcePersistentDisk", &self.gce_persistent_disk),
            ("azureDisk", &self.azure_disk),
            ("cinder", &self.cinder),
            ("portworxVolume", &self.portworx_volume),
        ];
        let given = sources.into_iter().filter_map(|(name, source)| Some((name.to_owned(), source.clone()?)));
        serde_json::Value::Object(given.collect())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClaimSource {
    pub(super) claim_name: Name,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageSource {
    pub(super) reference: Name,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Driver {
    pub(super) driver: Name,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Affinity {
    pub(super) node_affinity: Option<NodeAffinity>,
    pub(super) pod_affinity: Option<PodAffinity>,
    pub(super) pod_anti_affinity: Option<PodAffinity>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_is_default")]
    pub(super) preferred: Vec<Preferred>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_is_default")]
    pub(super) required: Vec<PodAffinityTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_is_default")]
    pub(super) preferred: Vec<Weighted>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) phase: Name,
    pub(super) nominated_node_name: Name,
    #[serde(deserialize_with = "super::meta::time")]
    pub(super) start_time: Option<Time>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) resource_claim_statuses: Vec<MadeClaim>,
    pub(super) resources: Option<ResourceRequirements>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) allocated_resources: ResourceList,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MadeClaim {
    pub(super) name: Name,
    #[serde(rename = "resourceClaimName")]
    pub(super) claim: Name,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) allocated_resources: ResourceList,
    pub(super) resources: Option<ResourceRequirements>,
}

#[derive(Deserialize)]
pub(super) struct Node {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) spec: NodeSpec,
    #[serde(default)]
    pub(super) status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeSpec {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) unschedulable: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeStatus {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) allocatable: ResourceList,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) images: Vec<Image>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) declared_features: Vec<Name>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Image {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) names: Vec<Name>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) size_bytes: i64,
}

impl Spec {
    /// What the resource arithmetic works on. While a pod is being resized it counts with the most of what it asks for,
    /// was granted and still holds; if the resize can't be done, with what it was granted and holds.
    pub(super) fn pod_resources(&self, status: &Status) -> PodResources {
        let infeasible = status.conditions.iter().find(|condition| condition.kind == "PodResizePending");
        let infeasible = infeasible.is_some_and(|condition| condition.reason == "Infeasible");
        let statuses = || status.container_statuses.iter().chain(&status.init_container_statuses);
        let container = |c: &Container, follows: bool| {
            let mut resources = c.resources.clone();
            if let Some(own) = statuses().find(|own| own.name == c.name).filter(|_| follows)
                && let Some(actual) = &own.resources
            {
                settle(&mut resources.requests, &actual.requests, &own.allocated_resources, infeasible);
            }
            ContainerResources { name: String::new(), resources, restart_policy: c.restart_policy.clone() }
        };
        let mut whole = self.resources.clone();
        if let (Some(asked), Some(actual)) = (&mut whole, &status.resources) {
            let given: Vec<String> = asked.requests.keys().cloned().collect();
            settle(&mut asked.requests, &actual.requests, &status.allocated_resources, infeasible);
            asked.requests.retain(|name, _| given.contains(name));
        }
        PodResources {
            containers: self.containers.iter().map(|c| container(c, true)).collect(),
            init_containers: self.init_containers.iter().map(|c| container(c, c.is_sidecar())).collect(),
            overhead: self.overhead.clone(),
            resources: whole,
        }
    }
}

fn settle(asked: &mut ResourceList, actual: &ResourceList, allocated: &ResourceList, infeasible: bool) {
    if infeasible {
        asked.clear();
    }
    raise(asked, actual);
    raise(asked, allocated);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::object::PodInfo;

    /// What a pod counts with whose container asks for `spec` cpus, was granted 2 and holds 1.
    #[track_caller]
    fn check(spec: &str, conditions: Value, millis: i64) {
        let pod = json!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": spec}}}]},
            "status": {"conditions": conditions, "containerStatuses": [{"name": "c",
                "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "1"}}}]},
        });
        let pod: PodInfo = serde_json::from_value(pod).unwrap();
        assert_eq!(pod.spec.requests.cpu, millis);
    }

    #[test]
    fn resizing_pods_count_with_the_most_until_it_is_known_to_fail() {
        let pending = |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
        check("3", json!([]), 3000);
        check("1", json!([]), 2000);
        check("3", pending("Deferred"), 3000);
        check("3", pending("Infeasible"), 2000);
    }

    #[test]
    fn pods_with_resources_of_their_own_are_resized_as_a_whole() {
        let mut pod = json!({
            "spec": {"resources": {"requests": {"cpu": "4"}}, "overhead": {"cpu": "100m"},
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
            "status": {},
        });
        let read = |pod: &Value| serde_json::from_value::<PodInfo>(pod.clone()).unwrap().spec.requests.clone();
        assert_eq!((read(&pod).cpu, read(&pod).memory), (4100, 1 << 30));
        pod["status"] = json!({"resources": {"requests": {"cpu": "6", "memory": "9Gi"}}});
        assert_eq!((read(&pod).cpu, read(&pod).memory), (6100, 1 << 30));
    }
}
