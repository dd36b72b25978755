use std::{collections::BTreeMap, time::SystemTime};

use super::{ContainerId, ContainerMetadata, FilesystemUsage, PodSandboxMetadata, SandboxId};

/// CPU use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuUsage {
    /// When this was measured.
    pub timestamp: SystemTime,
    /// CPU time since the start, over all cores, in nanoseconds. Never goes down while the container runs.
    pub usage_core_nano_seconds: u64,
    /// The rate now, in nanoseconds of CPU time a second; `None` when the runtime does not sample.
    pub usage_nano_cores: Option<u64>,
}

impl CpuUsage {
    /// A measurement without a rate.
    #[must_use]
    pub const fn new(timestamp: SystemTime, usage_core_nano_seconds: u64) -> Self {
        Self { timestamp, usage_core_nano_seconds, usage_nano_cores: None }
    }
}

/// Memory use, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUsage {
    /// When this was measured.
    pub timestamp: SystemTime,
    /// What cannot be reclaimed quickly: the figure for eviction and `kubectl top`.
    pub working_set_bytes: u64,
    /// What is left below the limit; `None` without a limit.
    pub available_bytes: Option<u64>,
    /// All of it, caches too.
    pub usage_bytes: Option<u64>,
    /// Anonymous memory.
    pub rss_bytes: Option<u64>,
    /// Page faults since the start.
    pub page_faults: Option<u64>,
    /// Page faults that read a disk, since the start.
    pub major_page_faults: Option<u64>,
}

impl MemoryUsage {
    /// A measurement of the working set alone.
    #[must_use]
    pub const fn new(timestamp: SystemTime, working_set_bytes: u64) -> Self {
        Self {
            timestamp,
            working_set_bytes,
            available_bytes: None,
            usage_bytes: None,
            rss_bytes: None,
            page_faults: None,
            major_page_faults: None,
        }
    }
}

/// Use of a pod's network interface since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkUsage {
    /// When this was measured.
    pub timestamp: SystemTime,
    /// The interface.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Errors receiving.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Errors sending.
    pub tx_errors: u64,
}

impl NetworkUsage {
    /// An interface that carried nothing.
    #[must_use]
    pub fn new(timestamp: SystemTime, name: impl Into<String>) -> Self {
        Self { timestamp, name: name.into(), rx_bytes: 0, rx_errors: 0, tx_bytes: 0, tx_errors: 0 }
    }
}

/// What a container uses. A figure the runtime does not measure is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerStats {
    /// Which container.
    pub id: ContainerId,
    /// Name and attempt.
    pub metadata: ContainerMetadata,
    /// Its config's labels.
    pub labels: BTreeMap<String, String>,
    /// CPU.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// What it wrote outside its volumes.
    pub writable_layer: Option<FilesystemUsage>,
}

impl ContainerStats {
    /// No figures.
    #[must_use]
    pub const fn new(id: ContainerId, metadata: ContainerMetadata) -> Self {
        Self { id, metadata, labels: BTreeMap::new(), cpu: None, memory: None, writable_layer: None }
    }
}

/// What a pod uses: the sum of its containers and of the sandbox itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodSandboxStats {
    /// Which sandbox.
    pub id: SandboxId,
    /// Which pod.
    pub metadata: PodSandboxMetadata,
    /// Its config's labels.
    pub labels: BTreeMap<String, String>,
    /// CPU.
    pub cpu: Option<CpuUsage>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// The pod's main interface.
    pub network: Option<NetworkUsage>,
    /// Processes in the pod.
    pub process_count: Option<u64>,
    /// Its running containers.
    pub containers: Vec<ContainerStats>,
}

impl PodSandboxStats {
    /// No figures.
    #[must_use]
    pub const fn new(id: SandboxId, metadata: PodSandboxMetadata) -> Self {
        Self {
            id,
            metadata,
            labels: BTreeMap::new(),
            cpu: None,
            memory: None,
            network: None,
            process_count: None,
            containers: Vec::new(),
        }
    }
}
