use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubewright_api::requests::{PodResources, ResourceRequirements};
use kubewright_api::taint::Toleration;
use serde::{Deserialize, Serialize};

use super::{PodStatus, Volume, null_is_default};

/// A pod, as much of it as a node needs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Pod {
    /// Name, namespace, uid and so on.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    #[serde(default)]
    pub spec: PodSpec,
    /// What was last reported.
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: PodStatus,
}

impl k8s_openapi::Resource for Pod {
    const API_VERSION: &'static str = "v1";
    const GROUP: &'static str = "";
    const KIND: &'static str = "Pod";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "pods";
    type Scope = NamespaceResourceScope;
}

impl k8s_openapi::Metadata for Pod {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Pod {
    /// Its name; empty without one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace; empty without one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its uid; empty without one.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// `name_namespace(uid)`, as upstream writes pods in its messages.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    /// Whether it was asked to go away.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether its last reported phase is `Succeeded` or `Failed`.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The seconds it has to end in, once it is to end.
    #[must_use]
    pub fn grace_seconds(&self) -> i64 {
        if self.is_deleted()
            && let Some(seconds) = self.metadata.deletion_grace_period_seconds
        {
            return seconds;
        }
        self.spec.termination_grace_period_seconds.unwrap_or(30)
    }

    /// What it asks for.
    #[must_use]
    pub fn resources(&self) -> PodResources {
        let of = |containers: &[Container]| {
            let each = containers.iter().map(|container| kubewright_api::requests::ContainerResources {
                name: container.name.clone(),
                resources: container.resources.clone(),
                restart_policy: container.restart_policy.clone(),
            });
            each.collect()
        };
        PodResources {
            containers: of(&self.spec.containers),
            init_containers: of(&self.spec.init_containers),
            overhead: self.spec.overhead.clone(),
            resources: self.spec.resources.clone(),
        }
    }
}

/// What is to run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// What runs side by side.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// What runs before, one after the other.
    #[serde(deserialize_with = "null_is_default")]
    pub init_containers: Vec<Container>,
    /// What was added for debugging.
    #[serde(deserialize_with = "null_is_default")]
    pub ephemeral_containers: Vec<EphemeralContainer>,
    /// Directories that containers may mount.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: Vec<Volume>,
    /// `Always` (also when empty), `OnFailure` or `Never`.
    pub restart_policy: String,
    /// Seconds to end in.
    pub termination_grace_period_seconds: Option<i64>,
    /// Seconds after which the pod fails.
    pub active_deadline_seconds: Option<i64>,
    /// `ClusterFirst` (also when empty), `ClusterFirstWithHostNet`, `Default` or `None`.
    pub dns_policy: String,
    /// Additions to the resolver's configuration.
    pub dns_config: Option<Box<PodDnsConfig>>,
    /// Labels that the node must have.
    #[serde(deserialize_with = "null_is_default")]
    pub node_selector: BTreeMap<String, String>,
    /// Where it prefers to run; only the node's part is looked at.
    pub affinity: Option<Box<core::Affinity>>,
    /// Taints it puts up with.
    #[serde(deserialize_with = "null_is_default")]
    pub tolerations: Vec<Toleration>,
    /// Whose account it runs under.
    pub service_account_name: String,
    /// Its node.
    pub node_name: String,
    /// Shares the node's network.
    pub host_network: bool,
    /// Shares the node's processes.
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    /// Shares the node's IPC.
    #[serde(rename = "hostIPC")]
    pub host_ipc: bool,
    /// Containers see each other's processes.
    pub share_process_namespace: Option<bool>,
    /// For the whole pod.
    pub security_context: Option<Box<core::PodSecurityContext>>,
    /// Secrets with credentials for registries.
    #[serde(deserialize_with = "null_is_default")]
    pub image_pull_secrets: Vec<LocalReference>,
    /// The host name; the pod's own without.
    pub hostname: String,
    /// The domain below the namespace's.
    pub subdomain: String,
    /// Whether the fully qualified name is the host name.
    #[serde(rename = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: Option<bool>,
    /// Lines of `/etc/hosts`.
    #[serde(deserialize_with = "null_is_default")]
    pub host_aliases: Vec<HostAlias>,
    /// The pod's priority.
    pub priority: Option<i32>,
    /// The name of its priority class.
    pub priority_class_name: String,
    /// Conditions besides the containers' that must hold for it to be ready.
    #[serde(deserialize_with = "null_is_default")]
    pub readiness_gates: Vec<ReadinessGate>,
    /// Tells containers about services by environment; so it is without a word.
    pub enable_service_links: Option<bool>,
    /// What running it costs beside its containers.
    #[serde(deserialize_with = "null_is_default")]
    pub overhead: kubewright_api::requests::ResourceList,
    /// Requests and limits of the whole pod.
    pub resources: Option<ResourceRequirements>,
    /// The runtime class.
    pub runtime_class_name: Option<String>,
}

impl PodSpec {
    /// The restart policy, `Always` when nothing is said.
    #[must_use]
    pub fn restart_policy(&self) -> &str {
        if self.restart_policy.is_empty() { "Always" } else { &self.restart_policy }
    }

    /// The container of that name, of whichever sort.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        let ephemeral = self.ephemeral_containers.iter().map(|ephemeral| &ephemeral.container);
        self.containers.iter().chain(&self.init_containers).chain(ephemeral).find(|container| container.name == name)
    }
}

/// A container's spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The program, in place of the image's.
    #[serde(deserialize_with = "null_is_default")]
    pub command: Vec<String>,
    /// Its arguments, in place of the image's.
    #[serde(deserialize_with = "null_is_default")]
    pub args: Vec<String>,
    /// Where it starts.
    pub working_dir: String,
    /// Environment, one by one.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<core::EnvVar>,
    /// Environment, from whole objects.
    #[serde(deserialize_with = "null_is_default")]
    pub env_from: Vec<core::EnvFromSource>,
    /// Ports it listens on.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<ContainerPort>,
    /// Requests and limits.
    #[serde(deserialize_with = "null_is_default")]
    pub resources: ResourceRequirements,
    /// Where volumes appear.
    #[serde(deserialize_with = "null_is_default")]
    pub volume_mounts: Vec<core::VolumeMount>,
    /// Is it alive?
    pub liveness_probe: Option<Box<core::Probe>>,
    /// Can it serve?
    pub readiness_probe: Option<Box<core::Probe>>,
    /// Has it started?
    pub startup_probe: Option<Box<core::Probe>>,
    /// Hooks and the stop signal.
    pub lifecycle: Option<Box<core::Lifecycle>>,
    /// The file whose content explains the end.
    pub termination_message_path: String,
    /// `File` (also when empty) or `FallbackToLogsOnError`.
    pub termination_message_policy: String,
    /// `Always`, `IfNotPresent` or `Never`; empty means as the tag says.
    pub image_pull_policy: String,
    /// User, capabilities and so on.
    pub security_context: Option<Box<core::SecurityContext>>,
    /// Keeps standard input open.
    pub stdin: bool,
    /// Closes standard input after the first attach.
    pub stdin_once: bool,
    /// Gives it a terminal.
    pub tty: bool,
    /// In place of the pod's; `Always` on an init container makes it a sidecar.
    pub restart_policy: Option<String>,
    /// Exceptions by exit code.
    #[serde(deserialize_with = "null_is_default")]
    pub restart_policy_rules: Vec<ContainerRestartRule>,
}

impl Container {
    /// Whether an init container runs on beside the others. Ask this of init containers only.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// Whether it is to be run again after that exit code, under that policy of its pod.
    #[must_use]
    pub fn restarts_after(&self, pod_policy: &str, exit_code: i32) -> bool {
        let rule = self.restart_policy_rules.iter().find(|rule| rule.matches(exit_code));
        if let Some(rule) = rule {
            return rule.action != "Terminate";
        }
        match self.restart_policy.as_deref().unwrap_or(pod_policy) {
            "Never" => false,
            "OnFailure" => exit_code != 0,
            _ => true,
        }
    }

    /// Whether it is to be run again after the kubelet had to kill it, under that policy of its pod.
    #[must_use]
    pub fn restarts_after_failure(&self, pod_policy: &str) -> bool {
        self.restart_policy.as_deref().unwrap_or(pod_policy) != "Never"
    }
}

/// A container that was added for debugging.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EphemeralContainer {
    /// What it is.
    #[serde(flatten)]
    pub container: Container,
    /// Whose processes it sees.
    pub target_container_name: String,
}

/// An exception to a restart policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerRestartRule {
    /// What to do: `Restart`.
    pub action: String,
    /// After which exit codes.
    pub exit_codes: Option<ExitCodes>,
}

impl ContainerRestartRule {
    fn matches(&self, exit_code: i32) -> bool {
        self.exit_codes.as_ref().is_some_and(|codes| match codes.operator.as_str() {
            "In" => codes.values.contains(&exit_code),
            "NotIn" => !codes.values.contains(&exit_code),
            _ => false,
        })
    }
}

/// A set of exit codes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ExitCodes {
    /// `In` or `NotIn`.
    pub operator: String,
    /// The codes.
    #[serde(deserialize_with = "null_is_default")]
    pub values: Vec<i32>,
}

/// A port a container listens on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Its name, for probes and services.
    pub name: String,
    /// Its number.
    pub container_port: i32,
    /// The node's port that leads to it; 0 is none.
    pub host_port: i32,
    /// The node's address that leads to it; empty is every one.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
}

/// Another object of the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct LocalReference {
    /// Its name.
    pub name: String,
}

/// Lines of `/etc/hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    #[serde(deserialize_with = "null_is_default")]
    pub hostnames: Vec<String>,
}

/// A condition that must hold for a pod to be ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadinessGate {
    /// The condition's type.
    pub condition_type: String,
}

/// Additions to a resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodDnsConfig {
    /// Addresses of name servers.
    #[serde(deserialize_with = "null_is_default")]
    pub nameservers: Vec<String>,
    /// Search domains.
    #[serde(deserialize_with = "null_is_default")]
    pub searches: Vec<String>,
    /// Options.
    #[serde(deserialize_with = "null_is_default")]
    pub options: Vec<PodDnsOption>,
}

/// An option of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodDnsOption {
    /// Its name.
    pub name: String,
    /// Its value, if it has one.
    pub value: Option<String>,
}
