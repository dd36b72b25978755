/// With whom a namespace is shared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum NamespaceMode {
    /// With the pod.
    #[default]
    Pod,
    /// With nobody: the container has its own.
    Container,
    /// With the node.
    Node,
    /// With another container, named by its id (`shareProcessNamespace` of an ephemeral container).
    Target(super::ContainerId),
}

/// The namespaces of a sandbox or a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NamespaceOptions {
    /// Network: [`NamespaceMode::Node`] is `hostNetwork`.
    pub network: NamespaceMode,
    /// Processes: [`NamespaceMode::Pod`] is `shareProcessNamespace`, [`NamespaceMode::Node`] is `hostPID`.
    pub pid: NamespaceMode,
    /// System V IPC: [`NamespaceMode::Node`] is `hostIPC`.
    pub ipc: NamespaceMode,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self { network: NamespaceMode::Pod, pid: NamespaceMode::Container, ipc: NamespaceMode::Pod }
    }
}

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SecurityProfile {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    #[default]
    Unconfined,
    /// One that the node has, by file or name.
    Localhost(String),
}

/// Capabilities to add to and take from the runtime's default set, without `CAP_`; `ALL` is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Capabilities {
    /// To add.
    pub add: Vec<String>,
    /// To take away.
    pub drop: Vec<String>,
}

/// Who a sandbox or container runs as and what it may do. The default masks what containers should not see of the
/// kernel, as `procMount: Default` does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SecurityContext {
    /// The user id; `None` is the image's.
    pub run_as_user: Option<i64>,
    /// The group id; `None` is the image's.
    pub run_as_group: Option<i64>,
    /// The user by name, where the image names its user so; never with `run_as_user`.
    pub run_as_username: Option<String>,
    /// Groups besides the primary one (`fsGroup` among them).
    pub supplemental_groups: Vec<i64>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// The root file system cannot be written.
    pub readonly_rootfs: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privs: bool,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// The seccomp profile.
    pub seccomp: SecurityProfile,
    /// The AppArmor profile.
    pub apparmor: SecurityProfile,
    /// Paths hidden from the container; a privileged one sees them all the same.
    pub masked_paths: Vec<String>,
    /// Paths the container can only read.
    pub readonly_paths: Vec<String>,
    /// Namespaces.
    pub namespaces: NamespaceOptions,
}

/// What the kernel tells and containers should not know.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What containers should not change in the kernel.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl Default for SecurityContext {
    fn default() -> Self {
        Self {
            run_as_user: None,
            run_as_group: None,
            run_as_username: None,
            supplemental_groups: Vec::new(),
            privileged: false,
            readonly_rootfs: false,
            no_new_privs: false,
            capabilities: Capabilities::default(),
            seccomp: SecurityProfile::default(),
            apparmor: SecurityProfile::default(),
            masked_paths: MASKED_PATHS.map(str::to_owned).to_vec(),
            readonly_paths: READONLY_PATHS.map(str::to_owned).to_vec(),
            namespaces: NamespaceOptions::default(),
        }
    }
}

impl SecurityContext {
    /// Whether the host's network is shared.
    #[must_use]
    pub fn host_network(&self) -> bool {
        self.namespaces.network == NamespaceMode::Node
    }
}
