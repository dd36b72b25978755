//! Volumes that can be reached from some zones only.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::volumes::{claim_not_found, class_of, is_about_claim_of, named_claims};
use crate::cache::{NodeInfo, Objects, Snapshot};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterOutcome, PreFilterPlugin,
    Status,
};
use crate::object::{Labels, Name, PodInfo, Volume};

/// Keeps pods in the zones and regions that the labels of their volumes name.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeZone;

/// The labels of a volume, each with the label of a node that will do as well.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

type Topology = (&'static str, &'static str, BTreeSet<String>);

#[derive(Clone)]
struct State(Arc<[Topology]>);

impl VolumeZone {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) had no available volume zone";
}

/// The zones in a label: several are joined by `__`. Empty ones make the label void.
fn zones(text: &str) -> Option<BTreeSet<String>> {
    let zones = text.split("__").map(str::trim);
    zones.map(|zone| (!zone.is_empty()).then(|| zone.to_owned())).collect()
}

fn topologies(volume: &Volume) -> Vec<Topology> {
    let of = |(label, other): (&'static str, &'static str)| Some((label, other, zones(volume.labels.get(label)?)?));
    LABELS.into_iter().filter_map(of).collect()
}

fn topologies_of_pod(pod: &PodInfo, objects: &Objects) -> Result<Vec<Topology>, Status> {
    let mut all = Vec::new();
    for name in named_claims(pod) {
        if name.is_empty() {
            return Err(Status::unresolvable("PersistentVolumeClaim had no name"));
        }
        let claim = objects.storage.claim(&pod.namespace, name);
        let claim = claim.ok_or_else(|| Status::unresolvable(claim_not_found(name)))?;
        if !claim.volume_name.is_empty() {
            let volume = &claim.volume_name;
            let missing = || Status::unresolvable(format!("persistentvolume \"{volume}\" not found"));
            all.extend(topologies(objects.storage.volume(volume).ok_or_else(missing)?));
            continue;
        }
        if claim.class.is_empty() {
            return Err(Status::unresolvable("PersistentVolumeClaim had no pv name and storageClass name"));
        }
        match class_of(objects, &claim.class)?.waits_for_consumer {
            Some(true) => {}
            Some(false) => return Err(Status::unresolvable("PersistentVolume had no name")),
            None => {
                let message = format!("VolumeBindingMode not set for StorageClass \"{}\"", claim.class);
                return Err(Status::unresolvable(message));
            }
        }
    }
    Ok(all)
}

fn fits(topologies: &[Topology], labels: &Labels) -> bool {
    if !LABELS.iter().any(|(label, _)| labels.get(label).is_some()) {
        return true;
    }
    topologies.iter().all(|(label, other, zones)| {
        let own: Option<&Name> = labels.get(label).or_else(|| labels.get(other));
        own.is_some_and(|own| zones.contains(own.as_str()))
    })
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn events(&self) -> Vec<Interest> {
        let class = |_: &PodInfo, object: &Object| match object {
            Object::StorageClass(_, Some(class)) => (class.waits_for_consumer == Some(true)).into(),
            _ => true.into(),
        };
        let volume = |_: &PodInfo, object: &Object| match object {
            Object::Volume(Some(old), Some(new)) => (topologies(old) != topologies(new)).into(),
            _ => true.into(),
        };
        vec![
            Interest::hinted(EventResource::StorageClass, ActionType::ADD, class),
            Interest::any(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL),
            Interest::hinted(
                EventResource::PersistentVolumeClaim,
                ActionType::ADD | ActionType::UPDATE,
                |pod, object| is_about_claim_of(pod, object, false).into(),
            ),
            Interest::hinted(EventResource::PersistentVolume, ActionType::ADD | ActionType::UPDATE, volume),
        ]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl PreFilterPlugin for VolumeZone {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status> {
        let topologies = topologies_of_pod(pod, snapshot.objects())?;
        if topologies.is_empty() {
            return Ok(PreFilterOutcome::Skip);
        }
        state.put(State(topologies.into()));
        Ok(PreFilterOutcome::AllNodes)
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        named_claims(pod).next().is_none()
    }
}

impl FilterPlugin for VolumeZone {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let fits = state.get::<State>().is_none_or(|State(topologies)| fits(topologies, node.labels()));
        if fits { Ok(()) } else { Err(Status::unresolvable(Self::REASON)) }
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        named_claims(pod).next().is_none()
    }
}
