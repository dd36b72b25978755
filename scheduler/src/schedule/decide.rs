//! One decision: which node a pod goes to, or why to none.

use std::sync::Arc;

use super::Classes;
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{CycleState, Diagnosis, FitError, NodeSubset, PluginScore, Profile, Seen, Status};
use crate::object::{Name, PodInfo};
use crate::queue::Nominator;
use crate::random::Random;

/// Below this many nodes all are looked at.
const NODES_TO_FIND_MIN: usize = 100;
/// However many nodes there are, at least so many percent of them are looked for.
const PERCENTAGE_MIN: usize = 5;

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The node.
    pub node: Name,
    /// The node's place in the snapshot.
    pub slot: NodeSlot,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// How many of those could take the pod.
    pub feasible: usize,
}

/// Why a pod goes nowhere.
pub(crate) enum Refusal {
    NoNodes,
    DoesNotFit(Box<FitError>),
    Failed(Status),
}

/// What decisions carry on from one to the next.
pub(crate) struct Progress {
    pub(crate) next_start: usize,
    pub(crate) random: Random,
    pub(crate) percentage_of_nodes_to_score: i32,
    pub(crate) classes: Option<Classes>,
}

/// How many nodes that can take a pod are enough, out of so many. A percentage of 0 adapts to their number.
#[must_use]
pub fn nodes_to_find(nodes: usize, percentage: i32) -> usize {
    if nodes < NODES_TO_FIND_MIN {
        return nodes;
    }
    let adaptive = || 50_usize.saturating_sub(nodes / 125).max(PERCENTAGE_MIN);
    let percentage = usize::try_from(percentage).ok().filter(|p| *p > 0).unwrap_or_else(adaptive);
    (nodes * percentage / 100).max(NODES_TO_FIND_MIN)
}

impl Progress {
    pub(crate) fn percentage(&self, profile: &Profile) -> i32 {
        profile.percentage_of_nodes_to_score.unwrap_or(self.percentage_of_nodes_to_score)
    }
}

/// Everything a decision looks at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) nominator: &'a Nominator,
}

/// Decides, and leaves in `state` what later extension points want to know.
pub(crate) fn decide(
    view: View<'_>,
    pod: &Arc<PodInfo>,
    state: &mut CycleState,
    progress: &mut Progress,
) -> Result<Decision, Refusal> {
    if view.snapshot.is_empty() {
        return Err(Refusal::NoNodes);
    }
    if let Some(mut classes) = progress.classes.take() {
        let watch = &view.profile.watch;
        let since = watch.start();
        let decision = classes.decide(view, pod, state, progress);
        progress.classes = Some(classes);
        let (hinted, profile) = (decision.is_some(), view.profile.name());
        watch.took(since, |seconds| Seen::NodeHint { hinted, profile, seconds });
        if let Some(decision) = decision {
            return decision;
        }
    }
    let found = find_feasible(view, pod, state, progress).map_err(|refusal| match refusal {
        Refusal::DoesNotFit(mut error) => {
            error.nodes_total = view.snapshot.len();
            Refusal::DoesNotFit(error)
        }
        other => other,
    })?;
    let (best, feasible) = (select(view, pod, state, &found.nodes, &mut progress.random)?, found.nodes.len());
    Ok(Decision {
        node: best.name().clone(),
        slot: best.slot,
        evaluated: feasible + found.diagnosis.nodes.len(),
        feasible,
    })
}

struct Found<'a> {
    nodes: Vec<&'a NodeInfo>,
    diagnosis: Diagnosis,
}

/// The nodes that can take the pod; never none.
fn find_feasible<'a>(
    view: View<'a>,
    pod: &PodInfo,
    state: &mut CycleState,
    progress: &mut Progress,
) -> Result<Found<'a>, Refusal> {
    let (subset, mut diagnosis) = narrow(view, pod, state)?;
    if let Some(node) = promised(view, pod, state) {
        return Ok(Found { nodes: vec![node], diagnosis });
    }
    let wanted = |nodes: usize| match view.profile.score.is_empty() {
        true => 1,
        false => nodes_to_find(nodes, progress.percentage(view.profile)),
    };
    let start = progress.next_start;
    let (feasible, next_start) = look_at_all(view, pod, state, start, subset.as_ref(), wanted, &mut diagnosis)?;
    progress.next_start = next_start;
    if feasible.is_empty() {
        return Err(does_not_fit(diagnosis));
    }
    Ok(Found { nodes: feasible, diagnosis })
}

/// Runs PreFilter: the nodes that are left to be looked at, if not all.
pub(super) fn narrow(
    view: View<'_>,
    pod: &PodInfo,
    state: &mut CycleState,
) -> Result<(Option<NodeSubset>, Diagnosis), Refusal> {
    let mut diagnosis = Diagnosis::default();
    let (subset, narrowing) = match view.profile.run_pre_filter(state, pod, view.snapshot) {
        Ok(outcome) => outcome,
        Err(rejected) if rejected.status.is_rejection() => {
            diagnosis.unschedulable_plugins = rejected.plugins;
            diagnosis.pre_filter = rejected.status.message();
            diagnosis.blame(&rejected.status);
            diagnosis.nodes.set_absent(rejected.status);
            return Err(does_not_fit(diagnosis));
        }
        Err(rejected) => return Err(Refusal::Failed(rejected.status)),
    };
    if subset.is_some() {
        let plugins: Vec<&str> = narrowing.iter().map(Name::as_str).collect();
        let message = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
        diagnosis.nodes.set_absent(Status::unresolvable(message));
    }
    diagnosis.unschedulable_plugins = narrowing;
    Ok((subset, diagnosis))
}

/// The node that the pod was promised, if it can take it.
pub(super) fn promised<'a>(view: View<'a>, pod: &PodInfo, state: &CycleState) -> Option<&'a NodeInfo> {
    let promised = view.nominator.node_of(&pod.uid).unwrap_or(&pod.nominated_node_name);
    let node = view.snapshot.node(promised)?;
    view.profile.run_filter_with_nominated(state, pod, node, view.nominator).is_ok().then_some(node)
}

/// The nodes that pass all filters, as many as are wanted of so many; and where to begin next time.
pub(super) fn look_at_all<'a>(
    view: View<'a>,
    pod: &PodInfo,
    state: &CycleState,
    start: usize,
    subset: Option<&NodeSubset>,
    wanted: impl FnOnce(usize) -> usize,
    diagnosis: &mut Diagnosis,
) -> Result<(Vec<&'a NodeInfo>, usize), Refusal> {
    let snapshot = view.snapshot;
    let nodes: Vec<&NodeInfo> = match subset {
        Some(subset) => subset.iter().filter_map(|name| snapshot.node(name)).collect(),
        None => snapshot.nodes().collect(),
    };
    let wanted = wanted(nodes.len());
    let word = |found: &Result<Vec<_>, Refusal>| match found {
        Ok(nodes) if nodes.is_empty() => "Unschedulable",
        Ok(_) => "Success",
        Err(_) => "Error",
    };
    let run = || pass_filters(view, pod, state, start, wanted, &nodes, diagnosis);
    let feasible = view.profile.watch.point("Filter", view.profile.name(), word, run)?;
    let processed = feasible.len() + diagnosis.nodes.len();
    Ok((feasible, (start + processed) % snapshot.len()))
}

pub(super) fn does_not_fit(diagnosis: Diagnosis) -> Refusal {
    Refusal::DoesNotFit(Box::new(FitError { nodes_total: 0, diagnosis }))
}

/// Looks at nodes in turn, beginning where the last decision ended, until enough can take the pod.
fn pass_filters<'a>(
    view: View<'a>,
    pod: &PodInfo,
    state: &CycleState,
    start: usize,
    wanted: usize,
    nodes: &[&'a NodeInfo],
    diagnosis: &mut Diagnosis,
) -> Result<Vec<&'a NodeInfo>, Refusal> {
    let mut feasible = Vec::with_capacity(wanted.min(nodes.len()));
    if nodes.is_empty() {
        return Ok(feasible);
    }
    let start = start % nodes.len();
    let plain = view.nominator.is_empty();
    for node in nodes[start..].iter().chain(&nodes[..start]) {
        if feasible.len() == wanted {
            break;
        }
        let verdict = if plain {
            view.profile.run_filter(state, pod, node)
        } else {
            view.profile.run_filter_with_nominated(state, pod, node, view.nominator)
        };
        match verdict {
            Ok(()) => feasible.push(*node),
            Err(status) if status.is_rejection() => {
                diagnosis.blame(&status);
                diagnosis.nodes.set(node.slot, status);
            }
            Err(status) => return Err(Refusal::Failed(status)),
        }
    }
    Ok(feasible)
}

/// The node with the best score; among equals one is drawn.
fn select<'a>(
    view: View<'_>,
    pod: &PodInfo,
    state: &mut CycleState,
    nodes: &[&'a NodeInfo],
    random: &mut Random,
) -> Result<&'a NodeInfo, Refusal> {
    let [first, _, ..] = nodes else { return Ok(nodes[0]) };
    if view.profile.score.is_empty() {
        return Ok(first);
    }
    let totals = score_all(view, pod, state, nodes, |_, _| {}).map_err(Refusal::Failed)?;
    Ok(nodes[draw_best(&totals, random)])
}

/// Runs PreScore and Score.
pub(crate) fn score_all(
    view: View<'_>,
    pod: &PodInfo,
    state: &mut CycleState,
    nodes: &[&NodeInfo],
    each: impl FnMut(usize, PluginScore),
) -> Result<Vec<i64>, Status> {
    view.profile.run_pre_score(state, pod, nodes, view.snapshot)?;
    view.profile.run_score(state, pod, nodes, view.snapshot, each)
}

/// Where the largest is; of several, one drawn.
pub(crate) fn draw_best(totals: &[i64], random: &mut Random) -> usize {
    let best = totals.iter().max().copied().unwrap_or(0);
    let ties = totals.iter().filter(|total| **total == best).count();
    let drawn = random.below(ties);
    totals.iter().enumerate().filter(|(_, total)| **total == best).nth(drawn).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_nodes_are_enough() {
        for (nodes, percentage, expected) in [
            (10, 0, 10),
            (99, 5, 99),
            (100, 0, 100),
            (1000, 40, 400),
            (1000, 0, 420),
            (6000, 40, 2400),
            (6000, 0, 300),
            (20, 40, 20),
            (150, 30, 100),
            (5000, 100, 5000),
        ] {
            assert_eq!(nodes_to_find(nodes, percentage), expected, "{nodes} nodes at {percentage} %");
        }
    }
}
