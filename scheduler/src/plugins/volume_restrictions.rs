//! Volumes that cannot be shared.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::volumes::{claim_not_found, is_about_claim_of, named_claims};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterOutcome, PreFilterPlugin,
    Status,
};
use crate::object::{Name, PodInfo, VolumeSource};

/// Keeps pods off nodes where a disk that they mount is in use, and pods waiting whose claim only one pod may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeRestrictions;

impl VolumeRestrictions {
    /// Why a node is refused that has one of the disks in use.
    pub const REASON_DISK: &'static str = "node(s) had no available disk";
    /// Why all nodes are refused while another pod has the claim.
    pub const REASON_ONE_POD: &'static str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod \
                                              access mode already in-use by another pod";
}

/// The pod's claims that only one pod may use, and how many uses of them there are.
#[derive(Clone)]
struct State {
    claims: Arc<BTreeSet<Name>>,
    uses: i64,
}

impl State {
    fn shift(&mut self, pod: &PodInfo, other: &PodInfo, sign: i64) {
        if other.namespace == pod.namespace {
            let uses = named_claims(other).filter(|name| self.claims.contains(*name)).count();
            self.uses += sign * i64::try_from(uses).unwrap_or(0);
        }
    }
}

fn disks(pod: &PodInfo) -> impl Iterator<Item = &VolumeSource> {
    pod.spec.volumes.iter().filter(|volume| matches!(volume, VolumeSource::Disk(..) | VolumeSource::Rbd { .. }))
}

/// Whether two volumes are the same disk, and not both of them only read.
fn conflict(one: &VolumeSource, other: &VolumeSource) -> bool {
    match (one, other) {
        (VolumeSource::Disk(kind, id, reads), VolumeSource::Disk(other_kind, other_id, other_reads)) => {
            kind == other_kind && id == other_id && !(*reads && *other_reads)
        }
        (
            VolumeSource::Rbd { monitors, image, read_only },
            VolumeSource::Rbd { monitors: other_monitors, image: other_image, read_only: other_reads },
        ) => {
            image == other_image
                && monitors.iter().any(|monitor| other_monitors.contains(monitor))
                && !(*read_only && *other_reads)
        }
        _ => false,
    }
}

fn share_a_disk(pod: &PodInfo, other: &PodInfo) -> bool {
    disks(pod).any(|disk| disks(other).any(|theirs| conflict(disk, theirs)))
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn events(&self) -> Vec<Interest> {
        let gone = |pod: &PodInfo, object: &Object| {
            let Object::Pod(Some(gone), None) = object else { return true.into() };
            let same_claim = || named_claims(gone).any(|name| named_claims(pod).any(|own| own == name));
            (gone.namespace == pod.namespace && (share_a_disk(pod, gone) || same_claim())).into()
        };
        vec![
            Interest::hinted(EventResource::Pod, ActionType::DELETE, gone),
            Interest::any(EventResource::Node, ActionType::ADD),
            Interest::hinted(EventResource::PersistentVolumeClaim, ActionType::ADD, |pod, object| {
                is_about_claim_of(pod, object, false).into()
            }),
        ]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl PreFilterPlugin for VolumeRestrictions {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status> {
        let mut claims = BTreeSet::new();
        let mut uses = 0;
        for name in named_claims(pod) {
            let claim = snapshot.objects().storage.claim(&pod.namespace, name);
            let claim = claim.ok_or_else(|| Status::unresolvable(claim_not_found(name)))?;
            if claim.access_modes.iter().any(|mode| *mode == "ReadWriteOncePod") && claims.insert(name.clone()) {
                uses += i64::from(snapshot.claim_uses(&pod.namespace, name) > 0);
            }
        }
        if disks(pod).next().is_none() && uses == 0 {
            return Ok(PreFilterOutcome::Skip);
        }
        state.put(State { claims: Arc::new(claims), uses });
        Ok(PreFilterOutcome::AllNodes)
    }

    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, _: &NodeInfo) {
        if let Some(state) = state.get_mut::<State>() {
            state.shift(pod, added, 1);
        }
    }

    fn remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, _: &NodeInfo) {
        if let Some(state) = state.get_mut::<State>() {
            state.shift(pod, removed, -1);
        }
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        named_claims(pod).next().is_none()
    }
}

impl FilterPlugin for VolumeRestrictions {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        if disks(pod).next().is_some() && node.pods.iter().any(|other| share_a_disk(pod, other)) {
            return Err(Status::unschedulable(Self::REASON_DISK));
        }
        match state.get::<State>() {
            Some(state) if state.uses > 0 => Err(Status::unschedulable(Self::REASON_ONE_POD)),
            _ => Ok(()),
        }
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        named_claims(pod).next().is_none()
    }
}
