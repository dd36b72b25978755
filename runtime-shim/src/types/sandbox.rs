use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::SystemTime};

use super::{ContainerResources, SandboxId, SecurityContext};

/// Label keys that the kubelet puts on every sandbox and container, and finds them by again.
pub mod labels {
    /// The pod's name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// The pod's namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// The pod's UID.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// The container's name in the pod's spec.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// Which pod a sandbox is for, and the how-many-eth sandbox of that pod it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PodSandboxMetadata {
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's UID.
    pub uid: String,
    /// Counts the sandboxes made for this pod, from 0.
    pub attempt: u32,
}

impl PodSandboxMetadata {
    /// The first sandbox (attempt 0) of a pod.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, uid: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: namespace.into(), uid: uid.into(), attempt: 0 }
    }
}

/// What the pod's containers find in `/etc/resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DnsConfig {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options such as `ndots:5`.
    pub options: Vec<String>,
}

/// A transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the host that leads to a port of the pod (`hostPort`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PortMapping {
    /// The transport.
    pub protocol: Protocol,
    /// The pod's port.
    pub container_port: u16,
    /// The host's port; `None` maps nothing and only declares the container's port.
    pub host_port: Option<u16>,
    /// The host's address to listen on; `None` is all of them.
    pub host_ip: Option<IpAddr>,
}

/// Everything needed to make a pod's sandbox.
///
/// ```
/// use kubewright_runtime_shim::{PodSandboxConfig, PodSandboxMetadata};
///
/// let mut config = PodSandboxConfig::new(PodSandboxMetadata::new("default", "web", "5f1c"));
/// config.hostname = "web".into();
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PodSandboxConfig {
    /// Which pod, and which attempt.
    pub metadata: PodSandboxMetadata,
    /// The pod's host name; empty for the host's own.
    pub hostname: String,
    /// The directory on the host under which the containers' [`log_path`](super::ContainerConfig::log_path)s lie.
    /// `None` turns the pod's logs off.
    pub log_directory: Option<PathBuf>,
    /// The pod's resolver; `None` leaves the runtime's default.
    pub dns_config: Option<DnsConfig>,
    /// Host ports.
    pub port_mappings: Vec<PortMapping>,
    /// Labels, by which filters find the sandbox.
    pub labels: BTreeMap<String, String>,
    /// Annotations: kept, returned, never looked at.
    pub annotations: BTreeMap<String, String>,
    /// The pod's cgroup; `None` leaves the runtime's default.
    pub cgroup_parent: Option<String>,
    /// User, namespaces (`hostNetwork`, `hostPID` …) and profiles of the sandbox itself.
    pub security: SecurityContext,
    /// Kernel parameters, `net.ipv4.ip_unprivileged_port_start` for one.
    pub sysctls: BTreeMap<String, String>,
    /// The sum of the pod's containers' resources; `None` when nothing is limited.
    pub resources: Option<ContainerResources>,
    /// Which runtime handler (`RuntimeClass`) to use; empty is the default one.
    pub runtime_handler: String,
    /// The pod's address, where the runtime's [`PodAddressing`](super::PodAddressing) says that the caller brings it.
    /// A runtime that assigns addresses itself ignores it.
    pub ip: Option<IpAddr>,
}

impl PodSandboxConfig {
    /// A config with nothing but its metadata.
    #[must_use]
    pub fn new(metadata: PodSandboxMetadata) -> Self {
        Self { metadata, ..Self::default() }
    }
}

/// Whether a sandbox can take containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PodSandboxState {
    /// Ready for containers.
    Ready,
    /// Stopped, or lost: its containers are dead or dying, and a new attempt is needed.
    #[default]
    NotReady,
}

/// A sandbox in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PodSandbox {
    /// Its id.
    pub id: SandboxId,
    /// Which pod, and which attempt.
    pub metadata: PodSandboxMetadata,
    /// Its state.
    pub state: PodSandboxState,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its config's labels.
    pub labels: BTreeMap<String, String>,
    /// Its config's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its config's runtime handler.
    pub runtime_handler: String,
}

impl PodSandbox {
    /// A sandbox without labels, not ready.
    #[must_use]
    pub fn new(id: SandboxId, metadata: PodSandboxMetadata, created_at: SystemTime) -> Self {
        Self {
            id,
            metadata,
            state: PodSandboxState::NotReady,
            created_at,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            runtime_handler: String::new(),
        }
    }
}

/// A sandbox with its network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PodSandboxStatus {
    /// What a list shows of it.
    pub sandbox: PodSandbox,
    /// The pod's addresses, the primary one first. Empty with the host's network and for a stopped sandbox.
    pub ips: Vec<IpAddr>,
    /// Whether it shares the host's network.
    pub host_network: bool,
}

impl PodSandboxStatus {
    /// A status without addresses.
    #[must_use]
    pub const fn new(sandbox: PodSandbox) -> Self {
        Self { sandbox, ips: Vec::new(), host_network: false }
    }
}

/// Which sandboxes to list: those that meet every condition set here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PodSandboxFilter {
    /// Only this one.
    pub id: Option<SandboxId>,
    /// Only those in this state.
    pub state: Option<PodSandboxState>,
    /// Only those with all of these labels.
    pub label_selector: BTreeMap<String, String>,
}

impl PodSandboxFilter {
    /// Every sandbox.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The sandboxes of the pod with this UID, by the kubelet's label.
    #[must_use]
    pub fn pod_uid(uid: impl Into<String>) -> Self {
        let label_selector = BTreeMap::from([(labels::POD_UID.to_owned(), uid.into())]);
        Self { label_selector, ..Self::default() }
    }

    /// Whether a sandbox meets every condition.
    #[must_use]
    pub fn matches(&self, sandbox: &PodSandbox) -> bool {
        self.id.as_ref().is_none_or(|id| *id == sandbox.id)
            && self.state.is_none_or(|state| state == sandbox.state)
            && has_labels(&sandbox.labels, &self.label_selector)
    }
}

pub(super) fn has_labels(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
