//! What a daemon set needs done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::nodes::{HASH_LABEL, Placement, hash_of, pod_for};
use super::update::{bounds, step};
use crate::objects::{ControllerRevision, DaemonSet, DaemonSetStatus, Node, Pod, Time, kinds};
use crate::ownership::claim;
use crate::plan::{Note, Plan, Reference};
use crate::pods::{create_pod, delete_pod};
use crate::replicaset::next_availability;
use crate::revisions::{Subject, history, remove_old};

/// How many pods one pass creates or deletes at most.
const BURST: usize = 250;

/// A daemon set and what there is of it.
pub struct Observed<'a> {
    /// The set.
    pub set: &'a DaemonSet,
    /// Pods it manages, and pods of its namespace that nobody manages.
    pub pods: Vec<Arc<Pod>>,
    /// All nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Revisions it manages, and those of its namespace that nobody manages.
    pub revisions: Vec<Arc<ControllerRevision>>,
    /// Whether a revision of that name exists in the namespace, whoever manages it.
    pub name_taken: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Observed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("set", &self.set).field("pods", &self.pods).finish_non_exhaustive()
    }
}

/// Nodes that get a pod, and pods that go.
#[derive(Default)]
pub(super) struct PodChanges {
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// What must be done for a daemon set.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, now: Time) -> Plan {
    let set = observed.set;
    let mut plan = Plan::nothing();
    let Some(selector) = &set.spec.selector else { return plan };
    if selector.is_everything() {
        if set.status.observed_generation < set.metadata.generation {
            let note = "This daemon set is selecting all pods. A non-empty selector is required.";
            plan.event(Reference::to(set), Note::warning("SelectingAll", note));
            let status = DaemonSetStatus { observed_generation: set.metadata.generation, ..set.status.clone() };
            plan.status(set, &set.status, &status);
        }
        return plan;
    }
    if set.metadata.deleting() {
        return plan;
    }
    let subject = Subject {
        kind: kinds::DAEMON_SET,
        meta: &set.metadata,
        template: &set.spec.template,
        collisions: set.status.collision_count,
        hash_label: HASH_LABEL,
    };
    let mut history = history(set, &subject, selector, observed.revisions.clone(), observed.name_taken);
    plan.actions.append(&mut history.actions);
    if history.collided {
        let status = DaemonSetStatus {
            collision_count: Some(set.status.collision_count.unwrap_or(0) + 1),
            ..set.status.clone()
        };
        plan.status(set, &set.status, &status);
        return plan;
    }
    // Until the revision exists there is no hash to label pods with; its creation brings the next pass.
    let Some(newest) = history.newest.clone() else { return plan };
    let hash = newest.metadata.labels.get(HASH_LABEL).unwrap_or(&newest.metadata.name);
    let claimed = claim(set, selector, observed.pods.clone(), &[]);
    plan.actions.extend(claimed.actions);
    let by_node = by_node(&claimed.owned);
    let placement = Placement::of(&set.spec.template);
    let status = status(set, &placement, &observed.nodes, &by_node, hash, now);
    plan.status(set, &set.status, &status);
    if let Some(after) = next_availability(&claimed.owned, set.spec.min_ready_seconds, now) {
        plan.look_again(after);
    }
    let mut changes = place(observed, &placement, &by_node, hash, &mut plan, now);
    if changes.create.is_empty() && changes.delete.is_empty() && set.spec.update_strategy.kind != "OnDelete" {
        changes = step(set, &placement, &observed.nodes, &by_node, hash, now);
    }
    plan.actions.extend(changes.delete.iter().take(BURST).map(|pod| delete_pod(set, pod)));
    plan.actions.extend(changes.create.iter().take(BURST).map(|node| create_pod(set, pod_for(set, hash, node))));
    let used = |revision: &ControllerRevision| {
        let hash = revision.metadata.labels.get(HASH_LABEL);
        claimed.owned.iter().any(|pod| hash.is_some() && hash_of(pod) == hash)
    };
    remove_old(&mut plan, &history, set.spec.revision_history_limit, used);
    plan
}

/// The pods of each node: where they are, or where they are meant to be. The oldest come first.
fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        let bound = Some(&pod.spec.node_name).filter(|name| !name.is_empty());
        // A pod that ended and is being deleted only waits to vanish.
        if let Some(node) =
            bound.or(pod.spec.affinity_node.as_ref()).filter(|_| !(pod.finished() && pod.metadata.deleting()))
        {
            by_node.entry(node.clone()).or_default().push(pod.clone());
        }
    }
    for pods in by_node.values_mut() {
        pods.sort_by_key(|pod| {
            (pod.spec.node_name.is_empty(), pod.metadata.creation_timestamp, pod.metadata.name.clone())
        });
    }
    by_node
}

/// Brings each node to one pod, or to none.
fn place(
    observed: &Observed<'_>,
    placement: &Placement,
    by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
    hash: &str,
    plan: &mut Plan,
    now: Time,
) -> PodChanges {
    let set = observed.set;
    let surge = bounds(set, 1).0 > 0 && set.spec.update_strategy.kind != "OnDelete";
    let mut changes = PodChanges::default();
    let none = Vec::new();
    for node in &observed.nodes {
        let (should_run, may_stay) = placement.fits(node);
        let pods = by_node.get(&node.metadata.name).unwrap_or(&none);
        if !may_stay {
            changes.delete.extend(pods.iter().filter(|pod| !pod.metadata.deleting()).cloned());
            continue;
        }
        if should_run && pods.is_empty() {
            changes.create.push(node.metadata.name.clone());
            continue;
        }
        let mut live: Vec<&Arc<Pod>> = Vec::new();
        for pod in pods.iter().filter(|pod| !pod.metadata.deleting()) {
            if pod.finished() {
                let name = format!("{}/{} on node {}", pod.metadata.namespace, pod.metadata.name, node.metadata.name);
                let note = if pod.status.phase == "Failed" {
                    Note::warning("FailedDaemonPod", format!("Found failed daemon pod {name}, will try to kill it"))
                } else {
                    Note::normal(
                        "SucceededDaemonPod",
                        format!("Found succeeded daemon pod {name}, will try to delete it"),
                    )
                };
                match retry_after(pod, now) {
                    Some(wait) => plan.look_again(wait),
                    None => {
                        plan.event(Reference::to(set), note);
                        changes.delete.push(pod.clone());
                    }
                }
            } else {
                live.push(pod);
            }
        }
        if !surge {
            changes.delete.extend(live.into_iter().skip(1).cloned());
        } else if live.is_empty() && should_run && pods.iter().all(|pod| pod.metadata.deleting()) {
            changes.create.push(node.metadata.name.clone());
        } else {
            changes.delete.extend(surplus(&live, hash, set.spec.min_ready_seconds, now));
        }
    }
    let known = |name: &String| observed.nodes.iter().any(|node| node.metadata.name == *name);
    let lost = by_node.iter().filter(|(name, _)| !known(name)).flat_map(|(_, pods)| pods);
    changes.delete.extend(lost.filter(|pod| pod.spec.node_name.is_empty() && !pod.metadata.deleting()).cloned());
    changes
}

/// A pod that a node refuses again and again is replaced at most every few seconds.
fn retry_after(pod: &Pod, now: Time) -> Option<std::time::Duration> {
    let made = pod.metadata.creation_timestamp.filter(|_| pod.status.phase == "Failed")?;
    let left = made.plus_seconds(5).since(now);
    (!left.is_zero()).then_some(left)
}

/// Of several pods while surging: one old and one new may stay as long as the new one isn't available.
fn surplus(live: &[&Arc<Pod>], hash: &str, min_ready: i64, now: Time) -> Vec<Arc<Pod>> {
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = live.iter().copied().partition(|pod| hash_of(pod) == Some(hash));
    let mut surplus: Vec<Arc<Pod>> = new.iter().skip(1).chain(old.iter().skip(1)).map(|pod| (*pod).clone()).collect();
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.ready() || new.available(min_ready, now))
    {
        surplus.push((*old).clone());
    }
    surplus
}

fn status(
    set: &DaemonSet,
    placement: &Placement,
    nodes: &[Arc<Node>],
    by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
    hash: &str,
    now: Time,
) -> DaemonSetStatus {
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: set.status.collision_count,
        ..DaemonSetStatus::default()
    };
    for node in nodes {
        let pod = by_node.get(&node.metadata.name).and_then(|pods| pods.first());
        if !placement.fits(node).0 {
            status.number_misscheduled += i32::from(pod.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        if let Some(pod) = pod {
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(pod.ready());
            status.number_available += i32::from(pod.available(set.spec.min_ready_seconds, now));
            status.updated_number_scheduled += i32::from(hash_of(pod) == Some(hash));
        }
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    status
}
