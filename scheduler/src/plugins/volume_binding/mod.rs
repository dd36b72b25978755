//! Claims and the volumes behind them: which nodes can have them, and which volume each gets.

mod find;

use std::sync::Arc;
use std::time::Duration;

use super::volumes::{all_claims, check_owner, claim_not_found, has_claims, is_about_claim_of};
use crate::cache::{NodeInfo, Objects, Snapshot};
use crate::framework::{
    Action, ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PreBindPlugin,
    PreFilterOutcome, PreFilterPlugin, ReservePlugin, Status,
};
use crate::object::{Claim, Name, Node, PodInfo, VolumeSource};
use find::Found;

/// Lets pods go only where their volumes are or can be, and has waiting claims bound to volumes there.
#[derive(Clone, Debug)]
pub struct VolumeBinding {
    bind_timeout: Duration,
}

impl Default for VolumeBinding {
    /// Upstream's: claims may take 600 s to be bound.
    fn default() -> Self {
        Self::new(Duration::from_secs(600))
    }
}

impl VolumeBinding {
    /// Why a node is refused from which a bound volume cannot be reached.
    pub const REASON_NODE: &'static str = "node(s) didn't match PersistentVolume's node affinity";
    /// Why a node is refused where a claim finds no volume.
    pub const REASON_BIND: &'static str = "node(s) didn't find available persistent volumes to bind";
    /// Why a node is refused where there is no room for a new volume.
    pub const REASON_SPACE: &'static str = "node(s) did not have enough free storage";
    /// Why a node is refused when a claim's volume doesn't exist.
    pub const REASON_GONE: &'static str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    /// Why a pod waits for its claims.
    pub const REASON_IMMEDIATE: &'static str = "pod has unbound immediate PersistentVolumeClaims";

    /// A plugin that gives claims so long to be bound.
    #[must_use]
    pub const fn new(bind_timeout: Duration) -> Self {
        Self { bind_timeout }
    }
}

/// A pod's claims.
#[derive(Clone, Default)]
struct State {
    bound: Arc<[Arc<Claim>]>,
    waiting: Arc<[Arc<Claim>]>,
}

/// What was decided for the node that the pod goes to.
#[derive(Clone)]
struct Decided(Found);

/// The pod's claims, all of which must be there and fit to use.
fn claims_of(pod: &PodInfo, objects: &Objects) -> Result<Vec<Arc<Claim>>, String> {
    let mut claims = Vec::new();
    for (name, ephemeral) in all_claims(pod) {
        let Some(claim) = objects.storage.claim(&pod.namespace, &name) else {
            return Err(if ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {:?}", &*name)
            } else {
                claim_not_found(&name)
            });
        };
        if claim.lost {
            let volume = &claim.volume_name;
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        if claim.deleting {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if ephemeral {
            check_owner(pod, claim)?;
        }
        claims.push(claim.clone());
    }
    Ok(claims)
}

/// Whether a claim waits for a pod before it is bound.
fn waits(claim: &Claim, objects: &Objects) -> Result<bool, Status> {
    let Some(class) = objects.storage.class(&claim.class).filter(|_| !claim.class.is_empty()) else { return Ok(false) };
    class
        .waits_for_consumer
        .map(|waits| waits && claim.volume_name.is_empty())
        .ok_or_else(|| Status::error(format!("VolumeBindingMode not set for StorageClass \"{}\"", claim.class)))
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events(&self) -> Vec<Interest> {
        let changed = ActionType::ADD | ActionType::UPDATE;
        vec![
            Interest::hinted(EventResource::StorageClass, changed, |_, object| match object {
                Object::StorageClass(Some(old), Some(new)) => (old.topologies != new.topologies).into(),
                _ => true.into(),
            }),
            Interest::hinted(EventResource::PersistentVolumeClaim, changed, |pod, object| {
                is_about_claim_of(pod, object, true).into()
            }),
            Interest::any(EventResource::PersistentVolume, changed),
            Interest::any(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL),
            Interest::hinted(EventResource::CsiNode, changed, |_, object| match object {
                Object::CsiNode(Some(old), Some(new)) => (old.migrated != new.migrated).into(),
                _ => true.into(),
            }),
            Interest::hinted(EventResource::CsiDriver, ActionType::UPDATE, |pod, object| {
                let Object::CsiDriver(Some(old), Some(new)) = object else { return true.into() };
                let uses = pod.spec.volumes.iter().any(|v| matches!(v, VolumeSource::Csi(own) if *own == new.name));
                (uses && old.storage_capacity && !new.storage_capacity).into()
            }),
            Interest::hinted(EventResource::CsiStorageCapacity, changed, |_, object| match object {
                Object::StorageCapacity(Some(old), Some(new)) => (new.volume_size_max > old.volume_size_max).into(),
                _ => true.into(),
            }),
        ]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }

    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        Some(self)
    }

    fn pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBindPlugin>> {
        Some(self)
    }
}

impl PreFilterPlugin for VolumeBinding {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status> {
        if !has_claims(pod) {
            return Ok(PreFilterOutcome::Skip);
        }
        let objects = snapshot.objects();
        let claims = claims_of(pod, objects).map_err(Status::unresolvable)?;
        let (bound, open): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.is_bound());
        for claim in &open {
            if !waits(claim, objects)? {
                return Err(Status::unresolvable(Self::REASON_IMMEDIATE));
            }
        }
        state.put(State { bound: bound.into(), waiting: open.into() });
        Ok(PreFilterOutcome::AllNodes)
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        !has_claims(pod)
    }
}

impl FilterPlugin for VolumeBinding {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let Some(own) = state.get::<State>() else { return Ok(()) };
        find::find(&own.bound, &own.waiting, &node.node, state.objects()?).map(drop)
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        !has_claims(pod)
    }
}

impl ReservePlugin for VolumeBinding {
    fn reserve(&self, _: &mut CycleState, _: &PodInfo, _: &Name) -> Result<(), Status> {
        Ok(())
    }

    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, _: &Name) {}

    fn enter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Arc<Node>,
        objects: &mut Objects,
    ) -> Result<(), Status> {
        let Some(own) = state.get::<State>().filter(|own| !own.waiting.is_empty() && has_claims(pod)) else {
            return Ok(());
        };
        let found = find::find(&own.bound, &own.waiting, node, objects)?;
        for (volume, claim) in &found.bindings {
            objects.storage.keep_for(&volume.name, claim);
        }
        for claim in &found.provisions {
            objects.storage.select_node(claim, &node.name);
        }
        state.put(Decided(found));
        Ok(())
    }

    fn strike(&self, state: &mut CycleState, _: &PodInfo, _: &Name, objects: &mut Objects) {
        let Some(Decided(found)) = state.get() else { return };
        for (volume, _) in &found.bindings {
            objects.storage.release(&volume.name);
        }
        for claim in &found.provisions {
            objects.storage.unselect_node(claim);
        }
    }
}

impl PreBindPlugin for VolumeBinding {
    fn pre_bind(&self, state: &CycleState, _: &Arc<PodInfo>, node: &Name) -> Result<Vec<Action>, Status> {
        let Some(Decided(found)) = state.get() else { return Ok(Vec::new()) };
        let mut actions = Vec::new();
        for (volume, claim) in &found.bindings {
            actions.push(Action::KeepVolume { volume: volume.clone(), claim: claim.clone() });
        }
        for claim in &found.provisions {
            actions.push(Action::SelectNode { claim: claim.clone(), node: node.clone() });
        }
        let selected = |claim: &Arc<Claim>| Arc::new(Claim { selected_node: node.clone(), ..(**claim).clone() });
        let claims: Vec<Arc<Claim>> = found
            .bindings
            .iter()
            .map(|(_, claim)| claim.clone())
            .chain(found.provisions.iter().map(selected))
            .collect();
        if !claims.is_empty() {
            actions.push(Action::AwaitClaims { claims, node: node.clone(), timeout: self.bind_timeout });
        }
        Ok(actions)
    }
}

#[cfg(test)]
mod tests;
