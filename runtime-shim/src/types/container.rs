use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{ContainerId, ImageRef, ImageSpec, PodSandboxConfig, SandboxId, SecurityContext, sandbox::has_labels};

/// The words of [`ContainerStatus::reason`] that every runtime uses alike.
pub mod reason {
    /// The container exited with 0.
    pub const COMPLETED: &str = "Completed";
    /// The container exited with anything else.
    pub const ERROR: &str = "Error";
    /// The kernel killed it at its memory limit.
    pub const OOM_KILLED: &str = "OOMKilled";
    /// It never ran: the program could not be started.
    pub const START_ERROR: &str = "StartError";
    /// What became of it is not known (the host process died while it ran, say).
    pub const UNKNOWN: &str = "ContainerStatusUnknown";
}

/// A container's name in its pod, and the how-many-eth run of it this is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContainerMetadata {
    /// The container's name in the pod's spec.
    pub name: String,
    /// Counts the runs, from 0 (the pod's restart count).
    pub attempt: u32,
}

impl ContainerMetadata {
    /// A name and an attempt.
    #[must_use]
    pub fn new(name: impl Into<String>, attempt: u32) -> Self {
        Self { name: name.into(), attempt }
    }
}

/// An environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct KeyValue {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl KeyValue {
    /// A variable.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// How mounts made later travel between the host and the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MountPropagation {
    /// They do not.
    #[default]
    Private,
    /// From the host into the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A file or directory of the host that the container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Mount {
    /// Where the container sees it; absolute.
    pub container_path: String,
    /// What it sees; absolute, on the host. A directory that does not exist is made.
    pub host_path: PathBuf,
    /// Whether it cannot be written.
    pub readonly: bool,
    /// How later mounts travel.
    pub propagation: MountPropagation,
}

impl Mount {
    /// A writable, private mount.
    #[must_use]
    pub fn new(container_path: impl Into<String>, host_path: impl Into<PathBuf>) -> Self {
        Self {
            container_path: container_path.into(),
            host_path: host_path.into(),
            readonly: false,
            propagation: MountPropagation::Private,
        }
    }
}

/// A device of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Device {
    /// Where the container sees it.
    pub container_path: String,
    /// Where it is on the host.
    pub host_path: PathBuf,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits. `None` means: not limited, or the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContainerResources {
    /// The length of a CFS period, in microseconds.
    pub cpu_period: Option<i64>,
    /// CPU time in each period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// Relative weight, 1024 to a core.
    pub cpu_shares: Option<i64>,
    /// Memory, in bytes.
    pub memory_limit_in_bytes: Option<i64>,
    /// Memory and swap together, in bytes.
    pub memory_swap_limit_in_bytes: Option<i64>,
    /// The kernel's preference for killing it, -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// CPUs, such as `0-2,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Huge pages: page size (`2MB`) to bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// cgroup v2 files to write besides.
    pub unified: BTreeMap<String, String>,
}

impl ContainerResources {
    /// Takes over every limit that `other` sets; the rest stays.
    pub fn merge(&mut self, other: &Self) {
        fn take<T: Clone>(into: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                into.clone_from(from);
            }
        }
        take(&mut self.cpu_period, &other.cpu_period);
        take(&mut self.cpu_quota, &other.cpu_quota);
        take(&mut self.cpu_shares, &other.cpu_shares);
        take(&mut self.memory_limit_in_bytes, &other.memory_limit_in_bytes);
        take(&mut self.memory_swap_limit_in_bytes, &other.memory_swap_limit_in_bytes);
        take(&mut self.oom_score_adj, &other.oom_score_adj);
        take(&mut self.cpuset_cpus, &other.cpuset_cpus);
        take(&mut self.cpuset_mems, &other.cpuset_mems);
        self.hugepage_limits.extend(other.hugepage_limits.clone());
        self.unified.extend(other.unified.clone());
    }
}

/// Everything needed to make a container.
///
/// ```
/// use kubewright_runtime_shim::{ContainerConfig, ContainerMetadata, ImageSpec};
///
/// let mut config = ContainerConfig::new(ContainerMetadata::new("web", 0), ImageSpec::new("kubewright.dev/hello"));
/// config.log_path = Some("web/0.log".into());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContainerConfig {
    /// Name and attempt.
    pub metadata: ContainerMetadata,
    /// The image; pull it first.
    pub image: ImageSpec,
    /// The program and its first arguments, in place of the image's entry point; empty for the image's own.
    pub command: Vec<String>,
    /// More arguments, in place of the image's.
    pub args: Vec<String>,
    /// The working directory; `None` for the image's own.
    pub working_dir: Option<String>,
    /// The environment, in order; a later one of the same name wins.
    pub envs: Vec<KeyValue>,
    /// Volumes.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Labels, by which filters find the container.
    pub labels: BTreeMap<String, String>,
    /// Annotations: kept, returned, never looked at.
    pub annotations: BTreeMap<String, String>,
    /// The log file, relative to the sandbox's [`log_directory`](PodSandboxConfig::log_directory). `None`: no log.
    pub log_path: Option<PathBuf>,
    /// Keep standard input open, for `attach`.
    pub stdin: bool,
    /// Close standard input when the first `attach` that has it ends.
    pub stdin_once: bool,
    /// Give it a terminal; output and error are then one stream.
    pub tty: bool,
    /// Limits.
    pub resources: ContainerResources,
    /// User, capabilities and profiles.
    pub security: SecurityContext,
    /// The signal that asks it to stop, such as `SIGUSR1`; `None` for the image's, or `SIGTERM`.
    pub stop_signal: Option<String>,
}

impl ContainerConfig {
    /// A container that runs the image as the image says.
    #[must_use]
    pub fn new(metadata: ContainerMetadata, image: ImageSpec) -> Self {
        Self { metadata, image, ..Self::default() }
    }

    /// Where its log lies on the host: `None` when either half of the path is missing.
    #[must_use]
    pub fn log_file(&self, sandbox: &PodSandboxConfig) -> Option<PathBuf> {
        Some(sandbox.log_directory.as_deref()?.join(non_empty(self.log_path.as_deref()?)?))
    }
}

fn non_empty(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

/// Where a container is in its life. It only ever moves down this list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Started; its first process lives.
    Running,
    /// Its first process ended, and everything it started is gone.
    Exited,
    /// The runtime cannot tell.
    #[default]
    Unknown,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub sandbox_id: SandboxId,
    /// Name and attempt.
    pub metadata: ContainerMetadata,
    /// The image as its config named it.
    pub image: ImageSpec,
    /// The image as the runtime resolved it.
    pub image_ref: ImageRef,
    /// Its state.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its config's labels.
    pub labels: BTreeMap<String, String>,
    /// Its config's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Container {
    /// A container just made, without labels.
    #[must_use]
    pub fn new(id: ContainerId, sandbox_id: SandboxId, metadata: ContainerMetadata, created_at: SystemTime) -> Self {
        Self {
            id,
            sandbox_id,
            metadata,
            image: ImageSpec::default(),
            image_ref: ImageRef::default(),
            state: ContainerState::Created,
            created_at,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// A container with its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContainerStatus {
    /// What a list shows of it. Its `sandbox_id` is empty when the runtime does not tell (CRI's own status does not).
    pub container: Container,
    /// When it was started; `None` before that.
    pub started_at: Option<SystemTime>,
    /// When it ended; `None` before that.
    pub finished_at: Option<SystemTime>,
    /// Its exit code once it [`Exited`](ContainerState::Exited); 128 + n when signal n ended it.
    pub exit_code: i32,
    /// One word on why it is in its state (see [`reason`]); empty while it runs.
    pub reason: String,
    /// A sentence on why it is in its state; mostly empty.
    pub message: String,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Its log on the host; `None` when it has none.
    pub log_path: Option<PathBuf>,
    /// The limits in force, where the runtime tells.
    pub resources: Option<ContainerResources>,
}

impl ContainerStatus {
    /// The status of a container that was not started.
    #[must_use]
    pub const fn new(container: Container) -> Self {
        Self {
            container,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            mounts: Vec::new(),
            log_path: None,
            resources: None,
        }
    }
}

/// Which containers to list: those that meet every condition set here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContainerFilter {
    /// Only this one.
    pub id: Option<ContainerId>,
    /// Only those in this state.
    pub state: Option<ContainerState>,
    /// Only those of this sandbox.
    pub sandbox_id: Option<SandboxId>,
    /// Only those with all of these labels.
    pub label_selector: BTreeMap<String, String>,
}

impl ContainerFilter {
    /// Every container.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The containers of a sandbox.
    #[must_use]
    pub fn sandbox(id: SandboxId) -> Self {
        Self { sandbox_id: Some(id), ..Self::default() }
    }

    /// The containers of the pod with this UID, by the kubelet's label.
    #[must_use]
    pub fn pod_uid(uid: impl Into<String>) -> Self {
        let label_selector = BTreeMap::from([(super::labels::POD_UID.to_owned(), uid.into())]);
        Self { label_selector, ..Self::default() }
    }

    /// Whether a container meets every condition.
    #[must_use]
    pub fn matches(&self, container: &Container) -> bool {
        self.id.as_ref().is_none_or(|id| *id == container.id)
            && self.state.is_none_or(|state| state == container.state)
            && self.sandbox_id.as_ref().is_none_or(|id| *id == container.sandbox_id)
            && has_labels(&container.labels, &self.label_selector)
    }
}
