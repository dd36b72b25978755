//! How many volumes a driver can attach to a node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::volumes::{all_claims, check_owner, claim_not_found, has_claims, is_about_claim_of};
use crate::cache::{NodeInfo, Objects, Snapshot};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterOutcome, PreFilterPlugin,
    Status,
};
use crate::object::{Claim, CsiNode, InTreePlugin, Name, PodInfo, VolumeSource};

/// Keeps pods off nodes to which their volumes could not be attached any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeVolumeLimits {
    /// Whether nodes are refused that lack a driver which says that it must be there.
    pub needs_driver: bool,
}

/// A driver and its handle for a volume.
type Handle = (Name, String);

impl NodeVolumeLimits {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) exceed max volume count";
}

/// The driver behind a claim and its handle for the volume; a stand-in handle while there is no volume yet. Volumes of
/// plugins that were in the tree are their drivers' on a node that tells which drivers it has.
fn handle(claim: &Claim, tells_drivers: bool, objects: &Objects) -> Option<Handle> {
    if let Some(volume) = objects.storage.volume(&claim.volume_name).filter(|_| !claim.volume_name.is_empty()) {
        let (driver, handle) = match (&volume.csi, &volume.in_tree) {
            (Some((driver, handle)), _) => (driver.clone(), handle),
            (None, Some(own)) if tells_drivers => (own.plugin.driver.into(), &own.translated.as_ref().ok()?.handle),
            _ => return None,
        };
        return (!driver.is_empty() && !handle.is_empty()).then(|| (driver, handle.to_string()));
    }
    let class = objects.storage.class(&claim.class)?;
    let handle = format!("\0{}/{}", claim.namespace, claim.name);
    let driver = match InTreePlugin::of_provisioner(&class.provisioner) {
        Some(plugin) => plugin.filter(|_| tells_drivers)?.driver.into(),
        None => class.provisioner.clone(),
    };
    (!driver.is_empty()).then_some((driver, handle))
}

/// The volumes that a pod gives inline and that are CSI drivers' on such a node.
fn inline(pod: &PodInfo, tells_drivers: bool) -> impl Iterator<Item = Handle> + '_ {
    pod.spec.volumes.iter().filter(move |_| tells_drivers).filter_map(|volume| match volume {
        VolumeSource::InTree(plugin, handle) => Some((plugin.driver.into(), handle.to_string())),
        _ => None,
    })
}

/// Whether a pod has volumes that can be limited.
fn has_volumes(pod: &PodInfo) -> bool {
    has_claims(pod) || pod.spec.volumes.iter().any(|volume| matches!(volume, VolumeSource::InTree(..)))
}

/// The volumes of a pod that are to be placed.
fn volumes_of_new(pod: &PodInfo, tells_drivers: bool, objects: &Objects) -> Result<BTreeSet<Handle>, Status> {
    let mut handles: BTreeSet<Handle> = inline(pod, tells_drivers).collect();
    for (name, ephemeral) in all_claims(pod) {
        if name.is_empty() {
            return Err(Status::error("PersistentVolumeClaim had no name"));
        }
        let Some(claim) = objects.storage.claim(&pod.namespace, &name) else {
            let missing = claim_not_found(&name);
            return Err(Status::unresolvable(format!("looking up PVC {}/{name}: {missing}", pod.namespace)));
        };
        if ephemeral {
            check_owner(pod, claim).map_err(Status::error)?;
        }
        handles.extend(handle(claim, tells_drivers, objects));
    }
    Ok(handles)
}

/// The volumes of a pod that is there.
fn volumes_of_placed<'a>(
    pod: &'a PodInfo,
    tells_drivers: bool,
    objects: &'a Objects,
) -> Result<impl Iterator<Item = Handle> + 'a, Status> {
    let mut claims = Vec::new();
    for (name, ephemeral) in all_claims(pod) {
        let Some(claim) = objects.storage.claim(&pod.namespace, &name) else { continue };
        if ephemeral {
            check_owner(pod, claim).map_err(Status::error)?;
        }
        claims.push(claim);
    }
    let claimed = claims.into_iter().filter_map(move |claim| handle(claim, tells_drivers, objects));
    Ok(claimed.chain(inline(pod, tells_drivers)))
}

impl NodeVolumeLimits {
    fn check_driver(self, handles: &BTreeSet<Handle>, node: Option<&CsiNode>, objects: &Objects) -> Result<(), Status> {
        for (driver, _) in handles.iter().filter(|_| self.needs_driver) {
            let needed = objects.storage.csi_driver(driver).is_some_and(|driver| driver.must_be_installed);
            if needed && !node.is_some_and(|node| node.drivers.contains_key(driver)) {
                let message = format!("{driver} CSI driver is not installed on the node");
                return Err(Status::unschedulable(message));
            }
        }
        Ok(())
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn events(&self) -> Vec<Interest> {
        let raised = |_: &PodInfo, object: &Object| {
            let Object::CsiNode(Some(old), Some(new)) = object else { return true.into() };
            let limit = |node: &CsiNode, driver: &Name| node.drivers.get(driver).copied().flatten().unwrap_or(0);
            new.drivers.keys().any(|driver| limit(new, driver) > limit(old, driver)).into()
        };
        let gone = |_: &PodInfo, object: &Object| {
            let Object::Pod(Some(gone), None) = object else { return true.into() };
            let placed = gone.is_assigned() || !gone.nominated_node_name.is_empty();
            (placed && has_volumes(gone)).into()
        };
        let detached = |pod: &PodInfo, _: &Object| {
            let matters = |volume: &VolumeSource| matches!(volume, VolumeSource::Claim(_) | VolumeSource::InTree(..));
            pod.spec.volumes.iter().any(matters).into()
        };
        vec![
            Interest::any(EventResource::CsiNode, ActionType::ADD),
            Interest::hinted(EventResource::CsiNode, ActionType::UPDATE, raised),
            Interest::hinted(EventResource::Pod, ActionType::DELETE, gone),
            Interest::hinted(EventResource::PersistentVolumeClaim, ActionType::ADD, |pod, object| {
                is_about_claim_of(pod, object, true).into()
            }),
            Interest::hinted(EventResource::VolumeAttachment, ActionType::DELETE, detached),
        ]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl PreFilterPlugin for NodeVolumeLimits {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Result<PreFilterOutcome, Status> {
        Ok(if has_volumes(pod) { PreFilterOutcome::AllNodes } else { PreFilterOutcome::Skip })
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        !has_volumes(pod)
    }
}

impl FilterPlugin for NodeVolumeLimits {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let objects = state.objects()?;
        let storage = &objects.storage;
        let csi_node = storage.csi_node(node.name());
        let tells_drivers = csi_node.is_some();
        let mut wanted = volumes_of_new(pod, tells_drivers, objects)?;
        if wanted.is_empty() {
            return Ok(());
        }
        self.check_driver(&wanted, csi_node, objects)?;
        let limits = csi_node.into_iter().flat_map(|node| &node.drivers);
        let limits: BTreeMap<&Name, i64> = limits.filter_map(|(name, limit)| Some((name, (*limit)?))).collect();
        if limits.is_empty() {
            return Ok(());
        }
        let mut attached: BTreeSet<Handle> = BTreeSet::new();
        for other in &node.pods {
            attached.extend(volumes_of_placed(other, tells_drivers, objects)?);
        }
        wanted.retain(|handle| !attached.contains(handle));
        for attachment in storage.attachments_of(node.name()).filter(|attachment| !attachment.driver.is_empty()) {
            let csi = storage.volume(&attachment.volume).and_then(|volume| volume.csi.as_ref());
            attached.extend(csi.map(|(_, handle)| (attachment.driver.clone(), handle.to_string())));
        }
        let count = |handles: &BTreeSet<Handle>, driver: &Name| {
            i64::try_from(handles.iter().filter(|(own, _)| own == driver).count()).unwrap_or(i64::MAX)
        };
        let over = |(driver, _): &Handle| {
            limits.get(driver).is_some_and(|limit| count(&attached, driver) + count(&wanted, driver) > *limit)
        };
        if wanted.iter().any(over) { Err(Status::unschedulable(Self::REASON)) } else { Ok(()) }
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        !has_volumes(pod)
    }
}
