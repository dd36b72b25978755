//! Nodes on which the resources are used up evenly.

use std::sync::Arc;

use smallvec::SmallVec;

use super::devices::DeviceCounter;
use super::{Resource, ResourceWeight};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, Flow, Plugin, PreScorePlugin, SCORE_MAX, ScorePlugin, Status};
use crate::object::PodInfo;

/// Prefers nodes whose resources the pod would make more evenly used.
#[derive(Clone, Debug)]
pub struct BalancedAllocation {
    resources: Vec<Resource>,
    counter: DeviceCounter,
}

pub(super) fn cpu_and_memory() -> Vec<ResourceWeight> {
    ["cpu", "memory"].map(|name| ResourceWeight { name: name.to_owned(), weight: 1 }).into()
}

impl Default for BalancedAllocation {
    fn default() -> Self {
        Self::new(&cpu_and_memory())
    }
}

impl BalancedAllocation {
    /// A plugin that looks at those resources; weights don't matter.
    #[must_use]
    pub fn new(resources: &[ResourceWeight]) -> Self {
        let resources = resources.iter().map(|r| Resource::of(&r.name)).collect();
        Self { resources, counter: DeviceCounter::default() }
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScorePlugin>> {
        Some(self)
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }
}

impl PreScorePlugin for BalancedAllocation {
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[&NodeInfo], _: &Snapshot) -> Result<Flow, Status> {
        let asks = self.resources.iter().any(|resource| resource.amount(&pod.spec.requests) != 0);
        Ok(if asks { Flow::Continue } else { Flow::Skip })
    }
}

impl ScorePlugin for BalancedAllocation {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Result<i64, Status> {
        let devices = (&self.counter, &snapshot.objects().devices);
        let mut with = SmallVec::<[f64; 4]>::new();
        let mut without = SmallVec::<[f64; 4]>::new();
        for share in self.resources.iter().filter_map(|resource| resource.share(pod, node, false, devices)) {
            with.push(fraction(share.allocated + share.asked, share.allocatable));
            without.push(fraction(share.allocated, share.allocatable));
        }
        Ok(SCORE_MAX / 2 + (SCORE_MAX / 2 + evenness(&with) - evenness(&without)) / 2)
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        !DeviceCounter::concerns(self.resources.iter(), pod, &snapshot.objects().devices)
    }

    fn stamp(&self, pod: &PodInfo, snapshot: &Snapshot) -> u64 {
        super::classes_stamp(pod, snapshot)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share of a node needs no more than 53 bits")]
fn fraction(used: i64, of: i64) -> f64 {
    (used as f64 / of as f64).min(1.0)
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "upstream computes this in floating point and truncates, and so must we to agree with it"
)]
fn evenness(fractions: &[f64]) -> i64 {
    let deviation = match fractions {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        several => {
            let mean = several.iter().sum::<f64>() / several.len() as f64;
            let squares: f64 = several.iter().map(|f| (f - mean) * (f - mean)).sum();
            (squares / several.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, scores};

    #[test]
    fn evening_out_is_better() {
        let nodes =
            || ["a", "b"].map(|name| node(name).capacity(&[("cpu", "10"), ("memory", "10000"), ("pods", "110")]));
        let beside = || [pod("x").on("a").requests(&[("cpu", "6"), ("memory", "2000")])];
        // On a: from |0.6-0.2|/2 = 0.2 to |0.7-0.8|/2 = 0.05, so 50 + (50 + 95 - 80) / 2 = 82.
        // On b: from 0 to |0.1-0.6|/2 = 0.25, so 50 + (50 + 75 - 100) / 2 = 62.
        let asked = pod("p").requests(&[("cpu", "1"), ("memory", "6000")]);
        assert_eq!(scores(BalancedAllocation::default(), asked, nodes(), beside()), [82, 62]);
    }

    #[test]
    fn a_pod_that_asks_for_nothing_is_not_scored() {
        let pre = BalancedAllocation::default();
        let flow = PreScorePlugin::pre_score(&pre, &mut CycleState::new(), &pod("p").build(), &[], &Snapshot::new());
        assert_eq!(flow, Ok(Flow::Skip));
    }
}
