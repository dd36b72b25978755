//! Pod groups that are placed together or not at all.

use std::sync::Arc;
use std::time::Duration;

use crate::framework::{
    ActionType, CycleState, EventResource, Interest, Object, PermitOutcome, PermitPlugin, Plugin, PreEnqueuePlugin,
    Status,
};
use crate::object::{Name, PodInfo};
use crate::queue::Gangs;

/// Keeps the pods of a gang out until enough of them are there, and unbound until enough of them have a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct GangScheduling {
    makes_room: bool,
}

/// How long pods wait for the rest of their gang to find nodes.
const PATIENCE: Duration = Duration::from_mins(5);

impl GangScheduling {
    /// The plugin as upstream has it by default: room is made for one pod of a group at a time.
    #[must_use]
    pub const fn new() -> Self {
        Self { makes_room: false }
    }

    /// The plugin with upstream's WorkloadAwarePreemption: room is made for a whole group at once, or not at all.
    #[must_use]
    pub const fn making_room() -> Self {
        Self { makes_room: true }
    }

    pub(crate) const NAME: &'static str = "GangScheduling";

    /// Why a pod waits for others to be made.
    pub const REASON_FEW: &'static str = "waiting for minCount pods from a gang to appear in scheduling queue";
    /// Why a pod waits for others to find nodes.
    pub const REASON_WAIT: &'static str = "waiting for minCount pods from a gang to be scheduled";
}

impl Plugin for GangScheduling {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn events(&self) -> Vec<Interest> {
        let added = |pod: &PodInfo, object: &Object| {
            let Object::Pod(_, Some(added)) = object else { return true.into() };
            let same = !pod.spec.pod_group.is_empty() && added.spec.pod_group == pod.spec.pod_group;
            (same && added.namespace == pod.namespace).into()
        };
        let group = |pod: &PodInfo, object: &Object| {
            let Object::PodGroup(group) = object else { return true.into() };
            (group.namespace == pod.namespace && group.name == pod.spec.pod_group).into()
        };
        vec![
            Interest::hinted(EventResource::Pod, ActionType::ADD, added),
            Interest::hinted(EventResource::PodGroup, ActionType::ADD, group),
        ]
    }

    fn pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueuePlugin>> {
        Some(self)
    }

    fn permit(self: Arc<Self>) -> Option<Arc<dyn PermitPlugin>> {
        Some(self)
    }

    fn places_gangs(&self) -> bool {
        true
    }

    fn makes_room_for_gangs(&self) -> bool {
        self.makes_room
    }
}

impl PreEnqueuePlugin for GangScheduling {
    fn pre_enqueue(&self, pod: &PodInfo, gangs: &Gangs) -> Result<(), Status> {
        let name = &pod.spec.pod_group;
        if name.is_empty() {
            return Ok(());
        }
        let gang = gangs.of(pod).and_then(|gang| Some((gang, gang.group()?)));
        let Some((gang, group)) = gang else {
            let message = format!("waiting for pods's pod group {:?} to appear in scheduling queue", &**name);
            return Err(Status::unresolvable(message));
        };
        match group.min_count {
            Some(least) if gang.pods() < least => Err(Status::unresolvable(Self::REASON_FEW)),
            _ => Ok(()),
        }
    }
}

impl PermitPlugin for GangScheduling {
    fn permit(&self, _: &mut CycleState, pod: &PodInfo, _: &Name, gangs: &Gangs) -> Result<PermitOutcome, Status> {
        let name = &pod.spec.pod_group;
        if name.is_empty() {
            return Ok(PermitOutcome::Allow);
        }
        let gang = gangs.of(pod).and_then(|gang| Some((gang, gang.group()?)));
        let Some((gang, group)) = gang else {
            let missing = format!("podgroup.scheduling.k8s.io {:?} not found", &**name);
            return Err(Status::error(format!("failed to get podGroup {}/{name}: {missing}", pod.namespace)));
        };
        match group.min_count {
            Some(least) if gang.placed() < least => {
                Ok(PermitOutcome::WaitFor { others: gang.waiting().iter().cloned().collect(), most: PATIENCE })
            }
            Some(_) => Ok(PermitOutcome::AllowWith(gang.assumed().iter().cloned().collect())),
            None => Ok(PermitOutcome::Allow),
        }
    }
}
