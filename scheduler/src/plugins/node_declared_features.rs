//! Features that a kubelet must declare for some pods.

use std::sync::Arc;

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, PreFilterOutcome, PreFilterPlugin,
    Status,
};
use crate::object::PodInfo;

/// Keeps pods off nodes whose kubelets don't declare the features that they need.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeDeclaredFeatures;

impl NodeDeclaredFeatures {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) didn't match Pod's required features";
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn events(&self) -> Vec<Interest> {
        let node = |_: &PodInfo, object: &Object| match object {
            Object::Node(Some(old), Some(new)) => (old.declared_features != new.declared_features).into(),
            _ => true.into(),
        };
        let own = |pod: &PodInfo, object: &Object| {
            let Object::Pod(Some(old), Some(new)) = object else { return false.into() };
            (new.uid == pod.uid && old.spec.features != new.spec.features).into()
        };
        let node_actions = ActionType::ADD | ActionType::UPDATE_NODE_DECLARED_FEATURE;
        vec![
            Interest::hinted(EventResource::Node, node_actions, node),
            Interest::hinted(EventResource::Pod, ActionType::UPDATE, own),
        ]
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        Some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }
}

impl PreFilterPlugin for NodeDeclaredFeatures {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Result<PreFilterOutcome, Status> {
        Ok(if pod.spec.features.is_empty() { PreFilterOutcome::Skip } else { PreFilterOutcome::AllNodes })
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl FilterPlugin for NodeDeclaredFeatures {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let declared = &node.node.declared_features;
        let all = pod.spec.features.iter().all(|feature| declared.iter().any(|own| **own == **feature));
        if all { Ok(()) } else { Err(Status::unresolvable(Self::REASON)) }
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{PodMaker, node, node_info, pod};

    #[track_caller]
    fn check(asks: PodMaker, declared: &[&str], fits: bool) {
        let info = node_info(node("n").declares(declared), []);
        let verdict = FilterPlugin::filter(&NodeDeclaredFeatures, &CycleState::new(), &asks.build(), &info);
        assert_eq!(verdict, if fits { Ok(()) } else { Err(Status::unresolvable(NodeDeclaredFeatures::REASON)) });
    }

    #[test]
    fn needed_features_must_be_declared() {
        let user_namespaces = || pod("p").spec("hostNetwork", json!(true)).spec("hostUsers", json!(false));
        check(pod("plain"), &[], true);
        check(user_namespaces(), &["Other"], false);
        check(user_namespaces(), &["Other", "UserNamespacesHostNetworkSupport"], true);
        check(pod("p").spec("hostNetwork", json!(true)), &[], true);
        let rules = json!([{"name": "c", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]);
        check(pod("p").spec("containers", rules.clone()), &[], false);
        check(pod("p").spec("initContainers", rules), &["RestartAllContainersOnContainerExits"], true);
    }

    #[test]
    fn news_are_features_that_changed() {
        let events = NodeDeclaredFeatures.events();
        let hint = events[0].hint.as_ref().unwrap();
        let made = |declared: &[&str]| Some(Arc::new(node("n").declares(declared).build()));
        let (pod, old) = (pod("p").build(), made(&["A"]));
        assert_eq!(hint(&pod, &Object::Node(old.clone(), made(&["A"]))), false.into());
        assert_eq!(hint(&pod, &Object::Node(old, made(&["A", "B"]))), true.into());
        assert_eq!(hint(&pod, &Object::Node(None, made(&[]))), true.into());
    }
}
