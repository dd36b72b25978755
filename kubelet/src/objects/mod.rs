//! What the kubelet decodes of the objects it follows: the fields it acts on, and no others.

mod pod;
mod service;
mod status;
mod volume;

pub use pod::{
    Container, ContainerPort, ContainerRestartRule, EphemeralContainer, ExitCodes, HostAlias, LocalReference, Pod,
    PodDnsConfig, PodDnsOption, PodSpec, ReadinessGate,
};
pub use service::{Service, ServicePort, ServiceSpec};
pub use status::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIp,
    PodCondition, PodIp, PodStatus, api_time,
};
pub use volume::{SecretVolumeSource, Volume};

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default, as Kubernetes does.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
