//! Devices that are given back because they help nobody.

use std::sync::Arc;

use super::extended::Extended;
use super::{DynamicResources, State, is_reachable};
use crate::cache::NodeInfo;
use crate::framework::{Action, CycleState, PostFilterContext, PostFilterOutcome, PostFilterPlugin, Status};
use crate::object::{DeviceClaim, PodInfo};

impl DynamicResources {
    /// Whether a claim's devices can be used on a node: reached from there, and ready or yet to become it.
    pub(super) fn is_usable(&self, claim: &DeviceClaim, node: &NodeInfo, devices: &crate::cache::Devices) -> bool {
        is_reachable(claim, &node.node) && devices.may_be_ready(claim, self.binding_timeout)
    }
}

fn told(why: &'static str, actions: Vec<Action>) -> PostFilterOutcome {
    PostFilterOutcome { status: Some(Status::unschedulable(why)), actions, ..PostFilterOutcome::default() }
}

impl PostFilterPlugin for DynamicResources {
    fn post_filter(&self, state: &CycleState, pod: &Arc<PodInfo>, context: PostFilterContext<'_>) -> PostFilterOutcome {
        let Some(own) = state.get::<State>() else { return told("no new claims to deallocate", Vec::new()) };
        let devices = &context.snapshot.objects().devices;
        let useless = |claim: &&Arc<DeviceClaim>| {
            let free = claim.reserved_for.is_empty() || matches!(&claim.reserved_for[..], [user] if *user == pod.uid);
            free && context.snapshot.nodes().any(|node| !self.is_usable(claim, node, devices))
        };
        if let Some(claim) = own.allocated.iter().find(useless) {
            let action = Action::FreeDevices { claim: claim.clone() };
            return told("deallocation of ResourceClaim completed", vec![action]);
        }
        if let Some(Extended::Stale(claim)) = &own.extended {
            let action = Action::RemoveDeviceClaim { claim: claim.clone() };
            return told("deletion of ResourceClaim completed", vec![action]);
        }
        told("still not schedulable", Vec::new())
    }
}
