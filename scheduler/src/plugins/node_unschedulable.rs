//! Cordoned nodes.

use std::sync::Arc;

use kubewright_api::taint::{Taint, TaintEffect};

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, Status};
use crate::object::PodInfo;

/// Keeps pods off cordoned nodes, unless they tolerate the taint that such nodes get.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeUnschedulable;

impl NodeUnschedulable {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) were unschedulable";

    fn tolerates(pod: &PodInfo) -> bool {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            value: String::new(),
            effect: TaintEffect::NoSchedule,
            time_added: None,
        };
        pod.spec.tolerations.iter().any(|toleration| toleration.tolerates(&taint))
    }
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events(&self) -> Vec<Interest> {
        let freed = |_: &PodInfo, object: &Object| {
            let freed = match object {
                Object::Node(None, Some(new)) => !new.unschedulable,
                Object::Node(Some(old), Some(new)) => old.unschedulable && !new.unschedulable,
                _ => true,
            };
            freed.into()
        };
        let tolerated = |pod: &PodInfo, object: &Object| {
            matches!(object, Object::Pod(_, Some(new)) if new.uid == pod.uid && Self::tolerates(new)).into()
        };
        vec![
            Interest::hinted(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_TAINT, freed),
            Interest::hinted(EventResource::Pod, ActionType::UPDATE_POD_TOLERATION, tolerated),
        ]
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl FilterPlugin for NodeUnschedulable {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        if !node.node.unschedulable || Self::tolerates(pod) {
            return Ok(());
        }
        Err(Status::unresolvable(Self::REASON))
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, node_info, pod};

    #[test]
    fn cordoned_nodes_take_only_those_who_tolerate_it() {
        let key = "node.kubernetes.io/unschedulable";
        for (cordoned, tolerates, expected) in
            [(true, false, false), (false, false, true), (true, true, true), (false, true, true)]
        {
            let mut pod = pod("p");
            if tolerates {
                pod = pod.tolerates(key, "", Some("NoSchedule"));
            }
            let info = node_info(node("n").cordoned(cordoned), []);
            let verdict = FilterPlugin::filter(&NodeUnschedulable, &CycleState::new(), &pod.build(), &info);
            assert_eq!(verdict.is_ok(), expected, "cordoned {cordoned}, tolerated {tolerates}");
        }
    }
}
