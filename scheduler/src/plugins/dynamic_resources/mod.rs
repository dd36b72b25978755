//! Claims to devices: which nodes have the devices, and which of them each claim gets.

mod allocate;
mod claims;
mod extended;
mod fit;
mod post_filter;
mod result;
mod scoring;
mod sharing;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::device_selector::Selectors;
use crate::cache::{NodeInfo, NodeSlot, Objects, Snapshot, extended_uid};
use crate::framework::{
    Action, ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PostFilterPlugin,
    PreBindPlugin, PreEnqueuePlugin, PreFilterOutcome, PreFilterPlugin, PreScorePlugin, ReservePlugin, ScorePlugin,
    Status,
};
use crate::object::{DeviceAllocation, DeviceClaim, ExtendedDevices, Name, Node, PodInfo};
use crate::queue::Gangs;
use allocate::{AllocationError, Prepared, allocate};
use claims::{claim_name, claims_of, prepare};
use extended::Extended;

/// How many pods can share a claim, as upstream.
const RESERVED_MAX: usize = 256;

/// Lets pods go only where the devices are that they claim, and chooses those devices.
#[derive(Clone, Debug)]
pub struct DynamicResources {
    selectors: Arc<Selectors>,
    binding_timeout: Duration,
}

impl Default for DynamicResources {
    /// Upstream's: devices have ten minutes to become ready.
    fn default() -> Self {
        Self::new(Duration::from_mins(10))
    }
}

impl DynamicResources {
    /// A plugin that lets devices take so long to become ready.
    #[must_use]
    pub fn new(binding_timeout: Duration) -> Self {
        Self { selectors: Arc::default(), binding_timeout }
    }

    /// Why a node is refused that cannot reach the devices of a claim.
    pub const REASON_UNREACHABLE: &'static str = "resourceclaim not available on the node";
    /// Why a node is refused that lacks devices.
    pub const REASON_NO_DEVICES: &'static str = "cannot allocate all claims";
    /// Why a pod waits for another that has its claim.
    pub const REASON_IN_USE: &'static str = "resourceclaim in use";
}

/// A pod's claims: those that have their devices, and those that have none yet.
#[derive(Clone)]
struct State {
    allocated: Arc<[Arc<DeviceClaim>]>,
    open: Arc<[Prepared]>,
    /// What is asked for by extended resources.
    extended: Option<Extended>,
}

/// What was decided for the node that the pod goes to.
#[derive(Clone)]
struct Decided {
    claims: Vec<(Arc<DeviceClaim>, Option<Arc<DeviceAllocation>>)>,
    /// The claim to be made for extended resources.
    extended: Option<(Arc<ExtendedDevices>, Arc<DeviceAllocation>)>,
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn events(&self) -> Vec<Interest> {
        let changed = ActionType::ADD | ActionType::UPDATE;
        let claim = |pod: &PodInfo, object: &Object| {
            let Object::DeviceClaim(old, Some(new)) = object else { return true.into() };
            // A claim that gives devices back may help anybody.
            let freed = old.as_ref().is_some_and(|old| old.allocation.is_some()) && new.allocation.is_none();
            let own = new.namespace == pod.namespace
                && pod.spec.devices.iter().any(|devices| {
                    claim_name(pod, devices).is_ok_and(|name| name.is_some_and(|(name, _)| name == new.name))
                });
            let differs = old.as_ref().is_none_or(|old| {
                old.allocation != new.allocation
                    || old.reserved_for != new.reserved_for
                    || old.conditions != new.conditions
            });
            (freed || (own && differs)).into()
        };
        let own = |pod: &PodInfo, object: &Object| {
            let Object::Pod(_, Some(changed)) = object else { return true.into() };
            let ready = || changed.spec.devices.iter().all(|devices| claim_name(changed, devices).is_ok());
            (changed.uid == pod.uid && ready()).into()
        };
        vec![
            Interest::any(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_LABEL),
            Interest::hinted(EventResource::ResourceClaim, changed | ActionType::DELETE, claim),
            Interest::hinted(EventResource::UnscheduledPod, ActionType::UPDATE, own),
            Interest::any(EventResource::DeviceClass, changed),
            Interest::any(EventResource::ResourceSlice, changed),
        ]
    }

    fn pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueuePlugin>> {
        Some(self)
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }

    fn post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilterPlugin>> {
        Some(self)
    }

    fn pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScorePlugin>> {
        Some(self)
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }

    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        Some(self)
    }

    fn pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBindPlugin>> {
        Some(self)
    }
}

/// A pod whose claims are still to be made from templates need not be tried.
impl PreEnqueuePlugin for DynamicResources {
    fn pre_enqueue(&self, pod: &PodInfo, _: &Gangs) -> Result<(), Status> {
        pod.spec.devices.iter().try_for_each(|devices| claim_name(pod, devices).map(drop))
    }
}

impl PreFilterPlugin for DynamicResources {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<PreFilterOutcome, Status> {
        let objects = snapshot.objects();
        let claims = claims_of(pod, objects)?;
        let extended = extended::extended(pod, &objects.devices);
        if claims.is_empty() && extended.is_none() {
            return Ok(PreFilterOutcome::Skip);
        }
        let (allocated, open): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.allocation.is_some());
        let full = |claim: &Arc<DeviceClaim>| {
            claim.reserved_for.len() >= RESERVED_MAX && !claim.reserved_for.contains(&pod.uid)
        };
        if allocated.iter().any(full) {
            return Err(Status::unresolvable(Self::REASON_IN_USE));
        }
        if let Some(claim) = open.iter().find(|claim| objects.devices.is_pending(&claim.uid)) {
            let (space, name) = (&claim.namespace, &claim.name);
            let message = format!("resource claim {space}/{name} is in the process of being allocated");
            return Err(Status::unresolvable(message));
        }
        let open: Vec<Prepared> =
            open.iter().map(|claim| prepare(claim, objects, &self.selectors)).collect::<Result<_, _>>()?;
        state.put(State { allocated: allocated.into(), open: open.into(), extended });
        Ok(PreFilterOutcome::AllNodes)
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        is_none_of_its_business(pod, snapshot)
    }
}

fn is_none_of_its_business(pod: &PodInfo, snapshot: &Snapshot) -> bool {
    let spec = &*pod.spec;
    spec.devices.is_empty()
        && (spec.device_asks.is_empty() || !extended::asks_for_devices(pod, &snapshot.objects().devices))
}

fn is_reachable(claim: &DeviceClaim, node: &Node) -> bool {
    let nodes = claim.allocation.as_ref().and_then(|allocation| allocation.nodes.as_ref());
    nodes.is_none_or(|nodes| nodes.matches(node))
}

impl FilterPlugin for DynamicResources {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let Some(own) = state.get::<State>() else { return Ok(()) };
        let objects = state.objects()?;
        if matches!(own.extended, Some(Extended::Stale(_))) {
            return Err(Status::unresolvable("cannot schedule extended resource claim"));
        }
        let (open, _) = self.open_on(own, pod, node, objects)?;
        if !open.is_empty() {
            match allocate(&open, &node.node, &objects.devices) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(Status::unresolvable(Self::REASON_NO_DEVICES)),
                Err(AllocationError::OnNode(error)) => {
                    return Err(Status::unresolvable(format!("filter node {}: {error}", node.name())));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if own.allocated.iter().any(|claim| !self.is_usable(claim, node, &objects.devices)) {
            return Err(Status::unresolvable(Self::REASON_UNREACHABLE));
        }
        Ok(())
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        is_none_of_its_business(pod, snapshot)
    }
}

impl DynamicResources {
    /// The claims that have no devices yet, with the one for extended resources as the node needs it, if any.
    fn open_on<'a>(
        &self,
        own: &'a State,
        pod: &PodInfo,
        node: &NodeInfo,
        objects: &Objects,
    ) -> Result<(Cow<'a, [Prepared]>, Option<ExtendedDevices>), Status> {
        let open = Cow::Borrowed(&*own.open);
        if own.extended != Some(Extended::Open) {
            return Ok((open, None));
        }
        let Some((claim, devices)) = extended::claim_on(pod, node, objects, &self.selectors)? else {
            return Ok((open, None));
        };
        let mut open = open.into_owned();
        open.push(claim);
        Ok((Cow::Owned(open), Some(devices)))
    }
}

impl State {
    fn claims(&self) -> impl Iterator<Item = &Arc<DeviceClaim>> {
        self.allocated.iter().chain(self.open.iter().map(|prepared| &prepared.claim))
    }
}

impl ReservePlugin for DynamicResources {
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
        let Some(own) = state.get::<State>().cloned() else { return Ok(()) };
        let info = NodeInfo::new(NodeSlot(0), node.clone());
        let (open, wanted) = self.open_on(&own, pod, &info, objects)?;
        let found = allocate(&open, node, &objects.devices)?;
        let mut found = found.ok_or_else(|| Status::unschedulable(Self::REASON_NO_DEVICES))?;
        let extended = wanted.and_then(|wanted| Some((Arc::new(wanted), Arc::new(found.pop()?))));
        if let Some((_, allocation)) = &extended {
            objects.devices.pend(&extended_uid(&pod.uid), allocation.clone());
        }
        let mut claims: Vec<_> = own.allocated.iter().map(|claim| (claim.clone(), None)).collect();
        for (prepared, allocation) in own.open.iter().zip(found) {
            let allocation = Arc::new(allocation);
            objects.devices.pend(&prepared.claim.uid, allocation.clone());
            claims.push((prepared.claim.clone(), Some(allocation)));
        }
        state.put(Decided { claims, extended });
        Ok(())
    }

    fn strike(&self, state: &mut CycleState, pod: &PodInfo, _: &Name, objects: &mut Objects) {
        let Some(Decided { claims, extended }) = state.get() else { return };
        if extended.is_some() {
            objects.devices.unpend(&extended_uid(&pod.uid));
        }
        for (claim, _) in claims.iter().filter(|(_, allocation)| allocation.is_some()) {
            objects.devices.unpend(&claim.uid);
        }
    }
}

impl PreBindPlugin for DynamicResources {
    fn pre_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &Name) -> Result<Vec<Action>, Status> {
        let Some(Decided { claims, extended }) = state.get() else { return Ok(Vec::new()) };
        let action = |(claim, allocation): &(Arc<DeviceClaim>, Option<Arc<DeviceAllocation>>)| Action::ReserveDevices {
            claim: claim.clone(),
            allocation: allocation.clone(),
            pod: pod.clone(),
        };
        let needed = |(claim, _): &&(Arc<DeviceClaim>, _)| !claim.reserved_for.contains(&pod.uid);
        let mut actions: Vec<Action> = claims.iter().filter(needed).map(action).collect();
        if let Some((devices, allocation)) = extended {
            let (devices, allocation, pod) = (devices.clone(), allocation.clone(), pod.clone());
            actions.push(Action::MakeDeviceClaim { devices, allocation, pod });
        }
        let got = |(claim, allocation): &(Arc<DeviceClaim>, Option<Arc<DeviceAllocation>>)| {
            allocation.as_deref().or(claim.allocation.as_ref()).is_some_and(DeviceAllocation::needs_readying)
        };
        let waits = claims.iter().any(got) || extended.iter().any(|(_, allocation)| allocation.needs_readying());
        if waits {
            let claims = claims.iter().map(|(claim, _)| claim.clone()).collect();
            let (pod, node, timeout) = (pod.clone(), node.clone(), self.binding_timeout);
            actions.push(Action::AwaitDevices { claims, extended: extended.is_some(), pod, node, timeout });
        }
        Ok(actions)
    }
}

#[cfg(test)]
mod readying_tests;
#[cfg(test)]
mod tests;
