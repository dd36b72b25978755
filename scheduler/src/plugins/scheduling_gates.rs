//! Keeps pods out of the queue until their scheduling gates are lifted.

use std::sync::Arc;

use crate::framework::{ActionType, EventResource, Interest, Object, Plugin, PreEnqueuePlugin, Status};
use crate::object::{Name, PodInfo};
use crate::queue::Gangs;

/// Keeps pods with scheduling gates waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn events(&self) -> Vec<Interest> {
        let own = |pod: &PodInfo, object: &Object| {
            matches!(object, Object::Pod(_, Some(changed)) if changed.uid == pod.uid).into()
        };
        vec![Interest::hinted(EventResource::Pod, ActionType::UPDATE_POD_GATES_ELIMINATED, own)]
    }

    fn pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueuePlugin>> {
        Some(self)
    }
}

impl PreEnqueuePlugin for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo, _: &Gangs) -> Result<(), Status> {
        let gates = &pod.spec.scheduling_gates;
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = gates.iter().map(Name::as_str).collect();
        Err(Status::unresolvable(format!("waiting for scheduling gates: [{}]", names.join(" "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn gates_keep_a_pod_out() {
        let check = |gates: &[&str]| {
            let pod = pod("p").gates(gates).build();
            PreEnqueuePlugin::pre_enqueue(&SchedulingGates, &pod, &Gangs::default()).map_err(|status| status.message())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["foo", "bar"]), Err("waiting for scheduling gates: [foo bar]".into()));
    }
}
