//! Pods as they come over the wire.

use std::sync::Arc;

use kubewright_api::quantity::{Format, Quantity};
use kubewright_api::requests::{PodResources, ResourceList};
use serde::{Deserialize, Deserializer};

use super::pod::{DeviceAsk, HostPort, PodInfo, PodSpec, VolumeSource, may_be_devices, normalized_image};
use super::{InTreePlugin, Meta, Name, PodAffinityTerm, RequiredNodeAffinity, Resources, Weighted, wire};

/// What a container that asks for no cpu counts for when nodes are scored, in millicores.
const CPU_UNASKED: i64 = 100;
/// The same for memory, in bytes.
const MEMORY_UNASKED: i64 = 200 * 1024 * 1024;

impl PodInfo {
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

fn image_of(container: &wire::Container) -> Name {
    normalized_image(&container.image)
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
