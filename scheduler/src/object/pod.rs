//! Pods.

use std::sync::Arc;

use kubewright_api::selector::LabelSelector;
use kubewright_api::taint::Toleration;
use serde::Deserialize;

use super::{
    InTreePlugin, Labels, MadeClaims, Name, PodAffinityTerm, PodDevices, Preferred, RequiredNodeAffinity, Resources,
    Time, Weighted, wire,
};

/// A pod as scheduling sees it. Cloning shares the spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodInfo {
    /// Its name.
    pub name: Name,
    /// Its namespace.
    pub namespace: Name,
    /// Its identity.
    pub uid: Name,
    /// Which version of it this is.
    pub resource_version: Name,
    /// Which version of its spec this is.
    pub generation: i64,
    /// Its labels.
    pub labels: Labels,
    /// The node it is bound to, or assumed to be; empty while it waits.
    pub node_name: Name,
    /// The node that preemption has promised it; empty for none.
    pub nominated_node_name: Name,
    /// How far it has come: `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: Name,
    /// When it was asked to go.
    pub deletion_timestamp: Option<Time>,
    /// When its kubelet first saw it.
    pub start_time: Option<Time>,
    /// The owner that manages it: API version, kind and name.
    pub controller: Option<super::OwnerReference>,
    /// Its conditions.
    pub conditions: Arc<[Condition]>,
    /// The claims to devices that were made for it from templates.
    pub made_claims: MadeClaims,
    /// What its spec says; equal for all pods of a template.
    pub spec: Arc<PodSpec>,
}

/// What a pod's spec says about scheduling. Pods with equal specs are placed alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodSpec {
    /// Which scheduler profile is asked to place it.
    pub scheduler_name: Name,
    /// Its priority; higher goes first.
    pub priority: i32,
    /// Whether it may not preempt others.
    pub never_preempts: bool,
    /// What must be lifted before it may be scheduled.
    pub scheduling_gates: Vec<Name>,
    /// Which nodes it insists on.
    pub required_nodes: RequiredNodeAffinity,
    /// Which nodes it would rather have.
    pub preferred_nodes: Vec<Preferred>,
    /// Pods that must be near.
    pub affinity: Vec<PodAffinityTerm>,
    /// Pods that must be far.
    pub anti_affinity: Vec<PodAffinityTerm>,
    /// Pods that should be near.
    pub preferred_affinity: Vec<Weighted>,
    /// Pods that should be far.
    pub preferred_anti_affinity: Vec<Weighted>,
    /// Which taints it tolerates.
    pub tolerations: Vec<Toleration>,
    /// How its kind is spread.
    pub spread: Vec<SpreadConstraint>,
    /// Ports of the node that it takes.
    pub host_ports: Vec<HostPort>,
    /// Its containers' images, normalized; init containers first.
    pub images: Vec<Name>,
    /// How many containers and init containers it has.
    pub containers: usize,
    /// Images mounted as volumes, normalized.
    pub image_volumes: Vec<Name>,
    /// What it asks for.
    pub requests: Resources,
    /// What it is counted with where a container that asks for no cpu or memory still counts for something.
    pub requests_nonzero: Resources,
    /// What NodeResourcesFit scores it by, where that isn't [`requests`](Self::requests): upstream leaves what the pod
    /// asks for as a whole out of account there.
    pub requests_scored: Option<Box<Resources>>,
    /// Its volumes that matter.
    pub volumes: Vec<VolumeSource>,
    /// Its claims to devices.
    pub devices: Vec<PodDevices>,
    /// What its containers ask for that may be devices of a class; init containers first.
    pub device_asks: Vec<DeviceAsk>,
    /// The pod group it is scheduled with; empty for none.
    pub pod_group: Name,
    /// The features that its node must declare.
    pub features: Vec<Name>,
}

/// What a container asks for that may be devices of a class: extended resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceAsk {
    /// The container's place among all, init containers first.
    pub place: usize,
    /// The container's name.
    pub container: Name,
    /// Whether it is over before the pod's other containers begin.
    pub passes: bool,
    /// The resource.
    pub resource: Name,
    /// Its place among all that the container asks for, by name.
    pub number: usize,
    /// How many.
    pub amount: i64,
}

/// A port of the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The address; `0.0.0.0` stands for all.
    pub ip: Name,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Name,
    /// The port.
    pub port: i32,
}

/// A volume that constrains where a pod can run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VolumeSource {
    /// A claim in the pod's namespace.
    Claim(Name),
    /// A claim named after the pod and this volume.
    Ephemeral(Name),
    /// A volume given inline by a CSI driver.
    Csi(Name),
    /// A volume given inline of a plugin that a CSI driver serves, and the driver's handle.
    InTree(InTreePlugin, Name),
    /// A disk that only one node may write: kind, identity, and whether it is mounted read-only.
    Disk(&'static str, Name, bool),
    /// A Ceph block device that only one node may write.
    Rbd {
        /// Where its cluster is.
        monitors: Vec<Name>,
        /// Pool and image.
        image: Name,
        /// Whether it is mounted read-only.
        read_only: bool,
    },
}

/// A rule for spreading pods over a topology.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpreadConstraint {
    /// How unequal domains may be.
    pub max_skew: i32,
    /// The node label whose values are the domains.
    pub topology_key: Name,
    /// What happens when it cannot be met.
    pub when_unsatisfiable: Unsatisfiable,
    /// Which pods are counted; none when missing.
    #[serde(default = "LabelSelector::nothing")]
    pub label_selector: LabelSelector,
    /// How many domains there must be before an empty one stops counting as the emptiest.
    #[serde(default)]
    pub min_domains: Option<i32>,
    /// Whether nodes that the pod's node affinity excludes are counted.
    #[serde(default)]
    pub node_affinity_policy: Option<InclusionPolicy>,
    /// Whether nodes whose taints the pod doesn't tolerate are counted.
    #[serde(default)]
    pub node_taints_policy: Option<InclusionPolicy>,
    /// Labels of the pod whose values narrow the selector.
    #[serde(default, deserialize_with = "wire::null_is_default")]
    pub match_label_keys: Vec<Name>,
}

/// What happens when a spread constraint cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Unsatisfiable {
    /// The pod waits.
    DoNotSchedule,
    /// It is placed where it hurts least.
    ScheduleAnyway,
}

/// Whether a property of the pod decides which nodes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum InclusionPolicy {
    /// Only nodes that suit the pod are counted.
    Honor,
    /// All are.
    Ignore,
}

/// A condition of a pod or node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: Name,
    /// `True`, `False` or `Unknown`.
    pub status: Name,
    /// Why, in one word.
    pub reason: Name,
    /// Why, in a sentence.
    pub message: Name,
}

impl PodInfo {
    /// Whether it has a node.
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        !self.node_name.is_empty()
    }

    /// Whether it has come to an end.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }

    /// Whether it says anything about pods near or far.
    #[must_use]
    pub fn has_affinity(&self) -> bool {
        let spec = &*self.spec;
        !(spec.affinity.is_empty()
            && spec.anti_affinity.is_empty()
            && spec.preferred_affinity.is_empty()
            && spec.preferred_anti_affinity.is_empty())
    }

    /// The same pod, bound to a node.
    #[must_use]
    pub fn on_node(&self, node: &Name) -> Self {
        Self { node_name: node.clone(), ..self.clone() }
    }

    /// The name of the claim behind one of its volumes.
    #[must_use]
    pub fn claim_name(&self, volume: &VolumeSource) -> Option<Name> {
        match volume {
            VolumeSource::Claim(name) => Some(name.clone()),
            VolumeSource::Ephemeral(volume) => Some(format!("{}-{volume}", self.name).into()),
            _ => None,
        }
    }
}

/// Whether device classes may stand behind a resource.
pub(crate) fn may_be_devices(resource: &str) -> bool {
    super::is_extended(resource) || resource.starts_with(super::DeviceClass::RESOURCE_PREFIX)
}

/// An image's name with its tag written out.
#[must_use]
pub fn normalized_image(name: &str) -> Name {
    let tagged = match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), Some(slash)) => colon > slash,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if tagged { name.into() } else { format!("{name}:latest").into() }
}
