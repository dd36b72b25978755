//! The words the [`Runtime`](crate::Runtime) trait speaks: the CRI's own messages, as plain Rust types.
//!
//! Fields keep the CRI's names. Durations are [`Duration`](std::time::Duration), instants are
//! [`SystemTime`](std::time::SystemTime), and what the CRI leaves as zero or as an empty string is an `Option` here.
//! Everything is `#[non_exhaustive]`: make a value with `new` or `default` and set its public fields.

mod container;
mod event;
mod id;
mod image;
mod sandbox;
mod security;
mod stats;
mod status;
mod stream;

pub use container::{
    Container, ContainerConfig, ContainerFilter, ContainerMetadata, ContainerResources, ContainerState,
    ContainerStatus, Device, KeyValue, Mount, MountPropagation, reason,
};
pub use event::{ContainerEvent, ContainerEventType, EventStream, RuntimeEvent};
pub use id::{ContainerId, SandboxId};
pub use image::{AuthConfig, FilesystemUsage, Image, ImageRef, ImageSpec};
pub use sandbox::{
    DnsConfig, PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxMetadata, PodSandboxState, PodSandboxStatus,
    PortMapping, Protocol, labels,
};
pub use security::{Capabilities, NamespaceMode, NamespaceOptions, SecurityContext, SecurityProfile};
pub use stats::{ContainerStats, CpuUsage, MemoryUsage, NetworkUsage, PodSandboxStats};
pub use status::{PodAddressing, RuntimeCondition, RuntimeStatus, RuntimeVersion};
pub use stream::{
    AttachOptions, BoxRead, BoxWrite, Duplex, DuplexStream, ExecOptions, ExecOutput, ExitFuture, StreamSession,
    TerminalSize,
};
