//! The node that the pod names.

use std::sync::Arc;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{ActionType, CycleState, EventResource, FilterPlugin, Interest, Plugin, Status};
use crate::object::PodInfo;

/// Lets a pod go only to the node that its spec names, if it names one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeName;

impl NodeName {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) didn't match the requested node name";
}

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn events(&self) -> Vec<Interest> {
        vec![Interest::any(EventResource::Node, ActionType::ADD)]
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl FilterPlugin for NodeName {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        if pod.node_name.is_empty() || pod.node_name == *node.name() {
            Ok(())
        } else {
            Err(Status::unresolvable(Self::REASON))
        }
    }

    fn is_node_local(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        pod.node_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, node_info, pod};

    #[test]
    fn only_the_named_node() {
        for (wanted, expected) in [("", true), ("foo", true), ("bar", false)] {
            let verdict = FilterPlugin::filter(
                &NodeName,
                &CycleState::new(),
                &pod("p").on(wanted).build(),
                &node_info(node("foo"), []),
            );
            assert_eq!(verdict.is_ok(), expected, "a pod that wants {wanted:?}");
        }
    }
}
