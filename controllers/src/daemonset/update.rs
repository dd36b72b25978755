//! Replaces a daemon set's pods by ones of the newest template.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nodes::{Placement, hash_of};
use super::reconcile::PodChanges;
use crate::objects::{DaemonSet, Node, Pod, Time};

/// How many nodes may have a pod too many or lack one during an update.
pub(super) fn bounds(set: &DaemonSet, desired: i32) -> (i32, i32) {
    let rolling = set.spec.update_strategy.rolling_update.clone().unwrap_or_default();
    let surge = rolling.max_surge.map_or(0, |value| value.scaled(desired, true));
    let unavailable = rolling.max_unavailable.map_or(1, |value| value.scaled(desired, true));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// One step of a rolling update over nodes with their pods.
pub(super) fn step(
    set: &DaemonSet,
    placement: &Placement,
    nodes: &[Arc<Node>],
    by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
    hash: &str,
    now: Time,
) -> PodChanges {
    let should_run =
        |name: &str| nodes.iter().find(|node| node.metadata.name == name).is_some_and(|node| placement.fits(node).0);
    let wanted: Vec<&str> =
        nodes.iter().filter(|node| placement.fits(node).0).map(|node| node.metadata.name.as_str()).collect();
    let (surge, unavailable) = bounds(set, i32::try_from(wanted.len()).unwrap_or(i32::MAX));
    let mut states: BTreeMap<&str, State> = wanted.iter().map(|name| (*name, State::default())).collect();
    for (name, pods) in by_node {
        states.insert(name, State::of(pods, hash));
    }
    let available =
        |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|pod| pod.available(set.spec.min_ready_seconds, now));
    let mut changes = PodChanges::default();
    if surge == 0 {
        let (mut missing, mut candidates) = (0, Vec::new());
        for state in states.values() {
            match (&state.old, &state.new) {
                _ if state.unclear => missing += 1,
                (None, None) | (Some(_), Some(_)) => missing += 1,
                (None, new) => missing += i32::from(!available(new)),
                (Some(old), None) if available(&state.old) => candidates.push(old.clone()),
                (Some(old), None) => {
                    changes.delete.push(old.clone());
                    missing += 1;
                }
            }
        }
        let room = usize::try_from(unavailable - missing).unwrap_or(0);
        changes.delete.extend(candidates.into_iter().take(room));
        return changes;
    }
    let (mut surging, mut candidates, mut misplaced, mut serving) = (0, Vec::new(), Vec::new(), 0);
    for (name, state) in states.iter().filter(|(_, state)| !state.unclear) {
        serving += usize::from(available(&state.old) || available(&state.new));
        match (&state.old, &state.new) {
            (None, _) => {}
            (Some(old), None) if !should_run(name) => {
                if available(&state.old) {
                    misplaced.push(old.clone())
                } else {
                    changes.delete.push(old.clone())
                }
            }
            (Some(_), None) if !available(&state.old) => changes.create.push((*name).to_owned()),
            (Some(_), None) => candidates.push((*name).to_owned()),
            (Some(_), new) if !available(new) => surging += 1,
            (Some(old), _) => changes.delete.push(old.clone()),
        }
    }
    let spare = serving.saturating_sub(wanted.len());
    changes.delete.extend(misplaced.into_iter().take(spare));
    let room = usize::try_from(surge - surging).unwrap_or(0);
    changes.create.extend(candidates.into_iter().take(room));
    changes
}

/// The pods of a node, by template.
#[derive(Default)]
struct State {
    old: Option<Arc<Pod>>,
    new: Option<Arc<Pod>>,
    /// There are several of one sort; they are sorted out first.
    unclear: bool,
}

impl State {
    fn of(pods: &[Arc<Pod>], hash: &str) -> Self {
        let mut state = Self::default();
        for pod in pods.iter().filter(|pod| !pod.metadata.deleting()) {
            let place = if hash_of(pod) == Some(hash) { &mut state.new } else { &mut state.old };
            state.unclear |= place.replace(pod.clone()).is_some();
        }
        state
    }
}
