//! Host ports.

use std::sync::Arc;

use crate::cache::{NodeInfo, Snapshot, ports_conflict};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterOutcome, PreFilterPlugin,
    Status,
};
use crate::object::PodInfo;

/// Keeps pods off nodes whose host ports they want are taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodePorts;

impl NodePorts {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) didn't have free ports for the requested pod ports";
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events(&self) -> Vec<Interest> {
        let freed = |pod: &PodInfo, object: &Object| {
            let Object::Pod(Some(gone), None) = object else { return true.into() };
            let held = gone.is_assigned() || !gone.nominated_node_name.is_empty();
            (held && ports_conflict(&pod.spec.host_ports, &gone.spec.host_ports)).into()
        };
        vec![
            Interest::hinted(EventResource::Pod, ActionType::DELETE, freed),
            Interest::any(EventResource::Node, ActionType::ADD),
        ]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl PreFilterPlugin for NodePorts {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Result<PreFilterOutcome, Status> {
        let none = pod.spec.host_ports.is_empty();
        Ok(if none { PreFilterOutcome::Skip } else { PreFilterOutcome::AllNodes })
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl FilterPlugin for NodePorts {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        if node.conflicts_with(&pod.spec.host_ports) { Err(Status::unschedulable(Self::REASON)) } else { Ok(()) }
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, node_info, pod};

    #[track_caller]
    fn check(wanted: &[&str], used: &[&str], fits: bool) {
        let info = node_info(node("n"), [pod("other").host_ports(used)]);
        let verdict = FilterPlugin::filter(&NodePorts, &CycleState::new(), &pod("p").host_ports(wanted).build(), &info);
        assert_eq!(verdict.is_ok(), fits, "{wanted:?} where {used:?} are taken");
    }

    #[test]
    fn ports_conflict_by_protocol_address_and_number() {
        check(&[], &[], true);
        check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/9090"], true);
        check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/8080"], false);
        check(&["TCP/127.0.0.1/8080"], &["UDP/127.0.0.1/8080"], true);
        check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.2/8080"], true);
        check(&["TCP/127.0.0.1/8001", "UDP/127.0.0.1/8080"], &["TCP/127.0.0.1/8001", "UDP/127.0.0.1/8081"], false);
        check(&["TCP/0.0.0.0/8001"], &["TCP/127.0.0.1/8001"], false);
        check(&["TCP/127.0.0.1/8001"], &["TCP/0.0.0.0/8001"], false);
        check(&["TCP/10.0.10.10/8001", "TCP/0.0.0.0/8001"], &["TCP/127.0.0.1/8001"], false);
        check(&["TCP/0.0.0.0/8001"], &["UDP/127.0.0.1/8001"], true);
    }
}
