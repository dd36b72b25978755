//! The better the alternatives that claims get on a node, the better the node.

use super::allocate::allocate;
use super::{DynamicResources, State};
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, Flow, NodeScore, PreScorePlugin, SCORE_MAX, ScorePlugin, Status, normalize_to_max};
use crate::object::{DeviceAllocation, DeviceClaim, DeviceRequest, PodInfo};

impl State {
    /// Whether any request has alternatives, of which some are better.
    fn has_alternatives(&self) -> bool {
        let named = |request: &DeviceRequest| request.name.contains('/');
        self.claims().any(|claim| claim.requests.iter().flatten().any(named))
    }
}

/// How many alternatives a request can have.
const ALTERNATIVES_MAX: usize = 8;

/// The better the alternatives that a claim got, the more.
fn score(claim: &DeviceClaim, allocation: &DeviceAllocation) -> i64 {
    let got = |request: &DeviceRequest| allocation.devices.iter().any(|given| given.request == request.name);
    let places = claim.requests.iter().flat_map(|alternatives| alternatives.iter().enumerate());
    let wanted = places.filter(|(_, request)| request.name.contains('/') && got(request));
    wanted.map(|(place, _)| i64::try_from(ALTERNATIVES_MAX.saturating_sub(place)).unwrap_or(0)).sum()
}

impl PreScorePlugin for DynamicResources {
    fn pre_score(&self, state: &mut CycleState, _: &PodInfo, _: &[&NodeInfo], _: &Snapshot) -> Result<Flow, Status> {
        let differs = state.get::<State>().is_some_and(State::has_alternatives);
        Ok(if differs { Flow::Continue } else { Flow::Skip })
    }
}

impl ScorePlugin for DynamicResources {
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let Some(own) = state.get::<State>() else { return Ok(0) };
        let had = own.allocated.iter().filter_map(|claim| Some(score(claim, claim.allocation.as_ref()?)));
        let objects = state.objects()?;
        let (open, _) = self.open_on(own, pod, node, objects)?;
        let given = allocate(&open, &node.node, &objects.devices)?.unwrap_or_default();
        let got = own.open.iter().zip(&given).map(|(prepared, allocation)| score(&prepared.claim, allocation));
        Ok(had.chain(got).sum())
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [NodeScore]) -> Result<(), Status> {
        normalize_to_max(scores, false);
        Ok(())
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalizes_by_extremes(&self) -> bool {
        true
    }

    fn normalized_when_equal(&self, raw: i64) -> Option<i64> {
        Some(if raw > 0 { SCORE_MAX } else { 0 })
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        super::is_none_of_its_business(pod, snapshot)
    }
}
