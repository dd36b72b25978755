//! Taints and tolerations.

use std::sync::Arc;

use kubewright_api::taint::{Taint, TaintEffect, Toleration, untolerated};

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    ActionType, CycleState, EventResource, FilterPlugin, Flow, Interest, NodeScore, Object, Plugin, PreScorePlugin,
    SCORE_MAX, ScorePlugin, Status, normalize_to_max,
};
use crate::object::PodInfo;

/// Keeps pods off nodes whose taints they don't tolerate, and prefers nodes with fewer discouraging ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaintToleration;

const REPELLING: [TaintEffect; 2] = [TaintEffect::NoSchedule, TaintEffect::NoExecute];

impl TaintToleration {
    /// Why a node is refused.
    pub const REASON: &'static str = "node(s) had untolerated taint(s)";
}

/// Whether one of the taints keeps the pod away.
pub(super) fn repels(taints: &[Taint], pod: &PodInfo) -> bool {
    !taints.is_empty() && untolerated(taints, &pod.spec.tolerations, &REPELLING).is_some()
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events(&self) -> Vec<Interest> {
        let lifted = |pod: &PodInfo, object: &Object| {
            let Object::Node(old, Some(new)) = object else { return true.into() };
            let repelled = old.as_ref().is_none_or(|old| repels(&old.taints, pod));
            (repelled && !repels(&new.taints, pod)).into()
        };
        let own = |pod: &PodInfo, object: &Object| {
            matches!(object, Object::Pod(_, Some(changed)) if changed.uid == pod.uid).into()
        };
        vec![
            Interest::hinted(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_TAINT, lifted),
            Interest::hinted(EventResource::Pod, ActionType::UPDATE_POD_TOLERATION, own),
        ]
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }

    fn pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScorePlugin>> {
        Some(self)
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }
}

impl FilterPlugin for TaintToleration {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        if repels(&node.node.taints, pod) { Err(Status::unresolvable(Self::REASON)) } else { Ok(()) }
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

/// The pod's tolerations that apply to discouraging taints.
#[derive(Clone)]
struct Preferences(Vec<Toleration>);

impl PreScorePlugin for TaintToleration {
    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[&NodeInfo], _: &Snapshot) -> Result<Flow, Status> {
        let applies = |t: &&Toleration| t.effect.is_none_or(|effect| effect == TaintEffect::PreferNoSchedule);
        state.put(Preferences(pod.spec.tolerations.iter().filter(applies).cloned().collect()));
        Ok(Flow::Continue)
    }
}

impl ScorePlugin for TaintToleration {
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let taints = &node.node.taints;
        if taints.is_empty() {
            return Ok(0);
        }
        let Preferences(tolerations) =
            state.get().ok_or_else(|| Status::error("PreScore of TaintToleration has not run"))?;
        let intolerable = |taint: &&Taint| {
            taint.effect == TaintEffect::PreferNoSchedule && !tolerations.iter().any(|t| t.tolerates(taint))
        };
        Ok(i64::try_from(taints.iter().filter(intolerable).count()).unwrap_or(i64::MAX))
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [NodeScore]) -> Result<(), Status> {
        normalize_to_max(scores, true);
        Ok(())
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalizes_by_extremes(&self) -> bool {
        true
    }

    fn normalized_when_equal(&self, raw: i64) -> Option<i64> {
        Some(if raw == 0 { SCORE_MAX } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PodMaker, node, node_info, pod, scores};

    type Taints = &'static [(&'static str, &'static str, &'static str)];

    #[track_caller]
    fn filter(pod: PodMaker, taints: &[(&str, &str, &str)], fits: bool) {
        let info = node_info(node("n").taints(taints), []);
        let verdict = FilterPlugin::filter(&TaintToleration, &CycleState::new(), &pod.build(), &info);
        assert_eq!(verdict.is_ok(), fits, "{taints:?}");
        if let Err(status) = verdict {
            assert_eq!(status.message(), "node(s) had untolerated taint(s)");
        }
    }

    #[test]
    fn taints_repel_unless_tolerated() {
        let dedicated = [("dedicated", "user1", "NoSchedule")];
        filter(pod("p"), &dedicated, false);
        filter(pod("p").tolerates("dedicated", "user1", Some("NoSchedule")), &dedicated, true);
        filter(pod("p").tolerates("dedicated", "user2", Some("NoSchedule")), &dedicated, false);
        filter(pod("p").tolerates("foo", "", Some("NoSchedule")), &[("foo", "bar", "NoSchedule")], true);
        filter(pod("p").tolerates("foo", "bar", Some("PreferNoSchedule")), &[("foo", "bar", "NoSchedule")], false);
        filter(pod("p").tolerates("foo", "bar", None), &[("foo", "bar", "NoSchedule")], true);
        filter(pod("p"), &[("dedicated", "user1", "PreferNoSchedule")], true);
        filter(
            pod("p").tolerates("dedicated", "user1", Some("NoSchedule")),
            &[("dedicated", "user1", "NoExecute")],
            false,
        );
    }

    #[test]
    fn fewer_discouraging_taints_are_better() {
        let cases: [(PodMaker, [Taints; 3], [i64; 3]); 4] = [
            (
                pod("p").tolerates("foo", "bar", Some("PreferNoSchedule")),
                [&[("foo", "bar", "PreferNoSchedule")], &[("foo", "blah", "PreferNoSchedule")], &[]],
                [100, 0, 100],
            ),
            (
                pod("p").tolerates("cpu-type", "arm64", Some("PreferNoSchedule")).tolerates(
                    "disk-type",
                    "ssd",
                    Some("PreferNoSchedule"),
                ),
                [
                    &[],
                    &[("cpu-type", "arm64", "PreferNoSchedule")],
                    &[("cpu-type", "arm64", "PreferNoSchedule"), ("disk-type", "ssd", "PreferNoSchedule")],
                ],
                [100, 100, 100],
            ),
            (
                pod("p").tolerates("foo", "bar", Some("PreferNoSchedule")),
                [
                    &[],
                    &[("cpu-type", "arm64", "PreferNoSchedule")],
                    &[("cpu-type", "arm64", "PreferNoSchedule"), ("disk-type", "ssd", "PreferNoSchedule")],
                ],
                [100, 50, 0],
            ),
            (
                pod("p").tolerates("cpu-type", "arm64", Some("NoSchedule")),
                [&[], &[("cpu-type", "arm64", "NoSchedule")], &[("disk-type", "ssd", "PreferNoSchedule")]],
                [100, 100, 0],
            ),
        ];
        for (at, (pod, taints, expected)) in cases.into_iter().enumerate() {
            let nodes = taints.iter().enumerate().map(|(n, taints)| node(&format!("n{n}")).taints(taints));
            assert_eq!(scores(TaintToleration, pod, nodes, []), expected, "case {at}");
        }
    }
}
