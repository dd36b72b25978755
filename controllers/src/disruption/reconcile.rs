//! How many evictions a budget allows now.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::objects::{Condition, DisruptionStatus, IntOrPercent, Pod, PodDisruptionBudget, Time, condition};
use crate::plan::{Note, Plan, Reference};

/// How long after its eviction was granted a pod may stay before the grant lapses, in seconds.
const DELETION_TIMEOUT: i64 = 120;
const ALLOWED: &str = "DisruptionAllowed";

/// A budget and what there is of its pods.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The budget.
    pub budget: &'a PodDisruptionBudget,
    /// The pods it selects that have not ended.
    pub pods: Vec<Arc<Pod>>,
    /// By the UID of each pod's owner: the UID and size of what manages the pod in the end.
    pub scales: BTreeMap<String, (String, i32)>,
}

/// What must be done so that a budget's status tells how many evictions are allowed.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, now: Time) -> Plan {
    let Observed { budget, pods, .. } = observed;
    let mut plan = Plan::nothing();
    if budget.metadata.deleting() {
        return plan;
    }
    let old = &budget.status;
    let (expected, desired) = match expectation(observed) {
        Ok(counts) => counts,
        Err(message) => {
            let text = format!("Failed to calculate the number of expected pods: {message}");
            return fail_safe(observed, text, now);
        }
    };
    let mut disrupted = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.metadata.deleting()) {
        let Some(granted) = old.disrupted_pods.get(&pod.metadata.name) else { continue };
        let lapses = granted.plus_seconds(DELETION_TIMEOUT);
        if lapses < now {
            let name = format!("{}/{}", budget.metadata.namespace, budget.metadata.name);
            let text = format!("Pod was expected by PDB {name} to be deleted but it wasn't");
            plan.event(Reference::to(pod.as_ref()), Note::warning("NotDeleted", text));
        } else {
            plan.look_again(lapses.since(now) + std::time::Duration::from_secs(1));
            disrupted.insert(pod.metadata.name.clone(), *granted);
        }
    }
    let healthy =
        |pod: &&Arc<Pod>| !pod.metadata.deleting() && !disrupted.contains_key(&pod.metadata.name) && pod.ready();
    let current = i32::try_from(pods.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { (current - desired).max(0) };
    let mut status = DisruptionStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
        disruptions_allowed: allowed,
        current_healthy: current,
        desired_healthy: desired,
        expected_pods: expected,
        conditions: old.conditions.clone(),
    };
    let (holds, reason) = if allowed > 0 { (true, "SufficientPods") } else { (false, "InsufficientPods") };
    set(&mut status, holds, reason, String::new(), budget.metadata.generation, now);
    if pods.is_empty() && *old != status {
        plan.event(Reference::to(*budget), Note::normal("NoPods", "No matching pods found"));
    }
    plan.status(*budget, old, &status);
    plan
}

/// How many pods there should be, and how many of them healthy.
fn expectation(observed: &Observed<'_>) -> Result<(i32, i32), String> {
    let spec = &observed.budget.spec;
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let expected = total(observed)?;
            Ok((expected, (expected - most.scaled(expected, true)).max(0)))
        }
        (None, Some(IntOrPercent::Int(least))) => Ok((i32::try_from(observed.pods.len()).unwrap_or(i32::MAX), *least)),
        (None, Some(share)) => {
            let expected = total(observed)?;
            Ok((expected, share.scaled(expected, true)))
        }
        (None, None) => Ok((0, 0)),
    }
}

/// The sum of the sizes of all that manages the pods; pods without a manager don't count.
fn total(observed: &Observed<'_>) -> Result<i32, String> {
    let mut sizes: BTreeMap<&str, i32> = BTreeMap::new();
    for pod in &observed.pods {
        let Some(owner) = pod.metadata.controller() else { continue };
        let found = observed.scales.get(&owner.uid);
        let (uid, size) = found.ok_or_else(|| format!("found no controllers for pod {:?}", pod.metadata.name))?;
        sizes.insert(uid, *size);
    }
    Ok(sizes.values().sum())
}

/// Allows nothing while it isn't known how many pods there should be.
fn fail_safe(observed: &Observed<'_>, message: String, now: Time) -> Plan {
    let budget = observed.budget;
    let mut plan = Plan::nothing();
    let mut status = DisruptionStatus { disruptions_allowed: 0, ..budget.status.clone() };
    status.observed_generation = budget.metadata.generation;
    set(&mut status, false, "SyncFailed", message.clone(), budget.metadata.generation, now);
    if status != budget.status {
        plan.event(Reference::to(budget), Note::warning("CalculateExpectedPodCountFailed", message));
    }
    plan.status(budget, &budget.status, &status);
    plan
}

fn set(status: &mut DisruptionStatus, holds: bool, reason: &str, message: String, generation: i64, now: Time) {
    let mut new = Condition::new(ALLOWED, holds, reason, message);
    new.observed_generation = generation;
    let old = condition(&status.conditions, ALLOWED);
    let since = old.filter(|old| old.status == new.status).and_then(|old| old.last_transition_time);
    new.last_transition_time = since.or_else(|| Some(now.truncated()));
    match status.conditions.iter_mut().find(|held| held.kind == ALLOWED) {
        Some(held) => *held = new,
        None => status.conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::make;
    use super::*;
    use crate::objects::kinds;
    use crate::world::World;
    use crate::{deployment, replicaset};

    fn world(spec: Value) -> World {
        let mut world = World::new(&[make, deployment::make, replicaset::make]);
        world.add(kinds::DEPLOYMENT, json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}},
        }));
        let mut budget = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}});
        crate::plan::apply_merge_patch(&mut budget["spec"], &spec);
        world.add(kinds::POD_DISRUPTION_BUDGET, budget);
        world.live();
        world
    }

    fn counts(world: &World) -> [i32; 4] {
        let status = world.list::<PodDisruptionBudget>().remove(0).status;
        [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed]
    }

    #[test]
    fn budgets_count_what_is_and_what_should_be() {
        assert_eq!(counts(&world(json!({"minAvailable": 3}))), [4, 3, 4, 1]);
        assert_eq!(counts(&world(json!({"minAvailable": "60%"}))), [4, 3, 4, 1]);
        assert_eq!(counts(&world(json!({"maxUnavailable": 1}))), [4, 3, 4, 1]);
        assert_eq!(counts(&world(json!({"maxUnavailable": "30%"}))), [4, 2, 4, 2]);
        assert_eq!(counts(&world(json!({"maxUnavailable": 0}))), [4, 4, 4, 0]);
        assert_eq!(
            counts(&world(json!({"minAvailable": 3, "selector": {"matchLabels": {"app": "none"}}}))),
            [0, 3, 0, 0]
        );
    }

    #[test]
    fn granted_evictions_count_until_they_lapse() {
        let mut world = world(json!({"minAvailable": 2}));
        let pods = world.list::<Pod>();
        let granted = json!({pods[0].metadata.name.clone(): world.now});
        world.change(kinds::POD_DISRUPTION_BUDGET, "default", "web", json!({"status": {"disruptedPods": granted}}));
        world.settle();
        assert_eq!(counts(&world), [4, 2, 3, 1]);
        world.advance(122);
        assert_eq!(counts(&world), [4, 2, 4, 2]);
        assert!(world.events.iter().any(|event| event.starts_with("NotDeleted")));
        world.assert_settled();
    }

    #[test]
    fn pods_of_an_unknown_owner_allow_nothing() {
        let mut world = world(json!({"maxUnavailable": 1}));
        let owner = json!([{"apiVersion": "x/v1", "kind": "Other", "name": "o", "uid": "o", "controller": true}]);
        world.add(
            kinds::POD,
            json!({"metadata": {"name": "odd", "labels": {"app": "web"}, "ownerReferences": owner}, "spec": {}}),
        );
        world.settle();
        assert_eq!(counts(&world)[3], 0);
        let budget = world.list::<PodDisruptionBudget>().remove(0);
        assert_eq!(budget.status.conditions[0].reason, "SyncFailed");
        world.assert_settled();
    }
}
