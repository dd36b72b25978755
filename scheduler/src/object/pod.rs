//! Pods.

use std::sync::Arc;

use kubewright_api::quantity::{Format, Quantity};
use kubewright_api::requests::{PodResources, ResourceList};
use kubewright_api::selector::LabelSelector;
use kubewright_api::taint::Toleration;
use serde::{Deserialize, Deserializer};

use super::{
    InTreePlugin, Labels, MadeClaims, Meta, Name, PodAffinityTerm, PodDevices, Preferred, RequiredNodeAffinity,
    Resources, Time, Weighted, wire,
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

/// What a container that asks for no cpu counts for when nodes are scored, in millicores.
const CPU_UNASKED: i64 = 100;
/// The same for memory, in bytes.
const MEMORY_UNASKED: i64 = 200 * 1024 * 1024;

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

    fn from_wire(wire: wire::Pod) -> Self {
        let wire::Pod { metadata, spec, status } = wire;
        let resources = spec.pod_resources(&status);
        let controller = metadata.controller().cloned();
        let Meta { name, namespace, uid, resource_version, generation, labels, deletion_timestamp, .. } = metadata;
        Self {
            node_name: spec.node_name.clone(),
            spec: Arc::new(PodSpec::from_wire(spec, &resources, &namespace)),
            name,
            namespace,
            uid,
            resource_version,
            generation: generation.unwrap_or(0),
            labels,
            nominated_node_name: status.nominated_node_name,
            phase: status.phase,
            deletion_timestamp,
            start_time: status.start_time,
            controller,
            conditions: status.conditions.into(),
            made_claims: status.resource_claim_statuses.into_iter().map(|made| (made.name, made.claim)).collect(),
        }
    }
}

impl PodSpec {
    fn from_wire(spec: wire::Spec, resources: &PodResources, namespace: &Name) -> Self {
        let features = features(&spec);
        let images: Vec<Name> = spec.init_containers.iter().chain(&spec.containers).map(image_of).collect();
        let affinity = spec.affinity.unwrap_or_default();
        let nodes = affinity.node_affinity.unwrap_or_default();
        let (near, far) = (affinity.pod_affinity.unwrap_or_default(), affinity.pod_anti_affinity.unwrap_or_default());
        let settled = |mut terms: Vec<PodAffinityTerm>| {
            terms.iter_mut().for_each(|term| term.settle(namespace));
            terms
        };
        let settled_weighted = |mut terms: Vec<Weighted>| {
            terms.iter_mut().for_each(|term| term.pod_affinity_term.settle(namespace));
            terms
        };
        Self {
            scheduler_name: if spec.scheduler_name.is_empty() {
                "default-scheduler".into()
            } else {
                spec.scheduler_name
            },
            priority: spec.priority.unwrap_or(0),
            never_preempts: spec.preemption_policy == "Never",
            scheduling_gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
            required_nodes: RequiredNodeAffinity { node_selector: spec.node_selector, affinity: nodes.required },
            preferred_nodes: nodes.preferred,
            affinity: settled(near.required),
            anti_affinity: settled(far.required),
            preferred_affinity: settled_weighted(near.preferred),
            preferred_anti_affinity: settled_weighted(far.preferred),
            tolerations: spec.tolerations,
            spread: spec.topology_spread_constraints,
            host_ports: host_ports(&spec.init_containers, &spec.containers),
            containers: images.len(),
            images,
            image_volumes: spec
                .volumes
                .iter()
                .filter_map(|v| v.image.as_ref())
                .map(|image| normalized_image(&image.reference))
                .collect(),
            requests: Resources::from_map(&resources.requests()),
            requests_nonzero: Resources::from_map(&with_unasked(resources).requests()),
            requests_scored: resources.resources.is_some().then(|| Box::new(by_containers(resources))),
            volumes: spec.volumes.iter().flat_map(volume_sources).collect(),
            device_asks: device_asks(&spec.init_containers, &spec.containers),
            devices: spec.resource_claims,
            pod_group: spec.scheduling_group.unwrap_or_default().pod_group_name,
            features,
        }
    }
}

/// The features that a node must declare to run such a pod.
fn features(spec: &wire::Spec) -> Vec<Name> {
    let restarts_all = |container: &wire::Container| {
        container.restart_policy_rules.iter().any(|rule| rule.action == "RestartAllContainers")
    };
    let mut features = Vec::new();
    if spec.init_containers.iter().chain(&spec.containers).any(restarts_all) {
        features.push("RestartAllContainersOnContainerExits".into());
    }
    if spec.host_network && spec.host_users == Some(false) {
        features.push("UserNamespacesHostNetworkSupport".into());
    }
    features
}

/// Every container's requests of resources that device classes may stand behind.
fn device_asks(init: &[wire::Container], containers: &[wire::Container]) -> Vec<DeviceAsk> {
    let of = |(place, container): (usize, &wire::Container)| {
        let passes = place < init.len() && !container.is_sidecar();
        let asks = container.resources.requests.iter().enumerate();
        let asks = asks.filter(|(_, (name, amount))| may_be_devices(name) && amount.value() > 0);
        asks.map(|(number, (resource, amount))| DeviceAsk {
            place,
            container: container.name.as_str().into(),
            passes,
            resource: resource.as_str().into(),
            number,
            amount: amount.value(),
        })
        .collect::<Vec<_>>()
    };
    init.iter().chain(containers).enumerate().flat_map(of).collect()
}

/// Whether device classes may stand behind a resource.
pub(crate) fn may_be_devices(resource: &str) -> bool {
    super::is_extended(resource) || resource.starts_with(super::DeviceClass::RESOURCE_PREFIX)
}

fn image_of(container: &wire::Container) -> Name {
    normalized_image(&container.image)
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

/// Ports of sidecars and containers; an init container's are free again before the others start.
fn host_ports(init: &[wire::Container], containers: &[wire::Container]) -> Vec<HostPort> {
    let or = |text: &Name, default: &str| if text.is_empty() { default.into() } else { text.clone() };
    init.iter()
        .filter(|c| c.is_sidecar())
        .chain(containers)
        .flat_map(|c| &c.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: or(&port.host_ip, "0.0.0.0"),
            protocol: or(&port.protocol, "TCP"),
            port: port.host_port,
        })
        .collect()
}

/// The same resources, with something filled in where a container asks for no cpu or memory; a pod with requests of its
/// own is only filled where nobody asks at all.
fn with_unasked(resources: &PodResources) -> PodResources {
    let mut filled = resources.clone();
    let supported = |name: &String| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-");
    let pod_level = resources.resources.as_ref().is_some_and(|own| own.requests.keys().any(supported));
    let effective = if pod_level { resources.requests() } else { ResourceList::new() };
    let defaults =
        [("cpu", Quantity::from_millis(CPU_UNASKED)), ("memory", Quantity::new(MEMORY_UNASKED, Format::BinarySi))];
    for container in filled.containers.iter_mut().chain(&mut filled.init_containers) {
        for (name, amount) in defaults.iter().filter(|(name, _)| !effective.contains_key(*name)) {
            container.resources.requests.entry((*name).to_owned()).or_insert(*amount);
        }
    }
    filled
}

/// What the containers ask for, with something filled in where one asks for no cpu or memory.
fn by_containers(resources: &PodResources) -> Resources {
    let containers = PodResources { resources: None, ..resources.clone() };
    Resources::from_map(&with_unasked(&containers).requests())
}

/// A volume may matter in two ways.
fn volume_sources(volume: &wire::Volume) -> impl Iterator<Item = VolumeSource> {
    let in_tree = InTreePlugin::inline(&volume.source()).map(|(plugin, handle)| VolumeSource::InTree(plugin, handle));
    volume_source(volume).into_iter().chain(in_tree)
}

fn volume_source(volume: &wire::Volume) -> Option<VolumeSource> {
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let read_only = |value: &serde_json::Value| value["readOnly"].as_bool().unwrap_or(false);
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(VolumeSource::Claim(claim.claim_name.clone()));
    }
    if volume.ephemeral.is_some() {
        return Some(VolumeSource::Ephemeral(volume.name.clone()));
    }
    if let Some(csi) = &volume.csi {
        return Some(VolumeSource::Csi(csi.driver.clone()));
    }
    if let Some(disk) = &volume.gce_persistent_disk {
        return Some(VolumeSource::Disk("gce", text(disk, "pdName").into(), read_only(disk)));
    }
    if let Some(disk) = &volume.aws_elastic_block_store {
        return Some(VolumeSource::Disk("aws", text(disk, "volumeID").into(), false));
    }
    if let Some(disk) = &volume.iscsi {
        return Some(VolumeSource::Disk("iscsi", text(disk, "iqn").into(), read_only(disk)));
    }
    let disk = volume.rbd.as_ref()?;
    let monitors = disk["monitors"].as_array().into_iter().flatten().filter_map(|monitor| monitor.as_str());
    Some(VolumeSource::Rbd {
        monitors: monitors.map(Name::from).collect(),
        image: format!("{}/{}", text(disk, "pool"), text(disk, "image")).into(),
        read_only: read_only(disk),
    })
}

impl<'de> Deserialize<'de> for PodInfo {
    /// Reads a `Pod`, skipping what scheduling does not look at.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::Pod::deserialize(deserializer).map(Self::from_wire)
    }
}
