//! Removes pods that nobody else will: ended ones beyond a limit, and those whose node is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Condition, Node, ObjectKey, Pod, Time, condition};
use crate::plan::{Action, Plan};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

struct PodGarbageCollector {
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    threshold: usize,
    missing: Mutex<BTreeMap<String, Time>>,
}

pub(crate) fn make(setup: &Setup<'_>, config: &Config) -> Result<Option<Made>, Error> {
    setup.queue().add(ObjectKey::default());
    Ok(Some(Made::controller(PodGarbageCollector {
        pods: setup.cache(),
        nodes: setup.cache(),
        threshold: config.terminated_pod_threshold,
        missing: Mutex::default(),
    })))
}

impl Controller for PodGarbageCollector {
    fn reconcile(&self, _: &ObjectKey, context: &Context) -> Plan {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let (pods, nodes) = (self.pods.all(), self.nodes.all());
        let mut plan = reconcile(&pods, &nodes, self.threshold, &mut missing, context.now);
        plan.look_again(PERIOD);
        plan
    }
}

/// Which pods must be removed. `missing` remembers since when each node that pods are bound to has not been there.
#[must_use]
pub fn reconcile(
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    threshold: usize,
    missing: &mut BTreeMap<String, Time>,
    now: Time,
) -> Plan {
    let mut plan = Plan::nothing();
    let known: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.metadata.name.as_str(), node.as_ref())).collect();
    let bound: BTreeSet<&str> =
        pods.iter().map(|pod| pod.spec.node_name.as_str()).filter(|name| !name.is_empty()).collect();
    missing.retain(|name, _| bound.contains(name.as_str()) && !known.contains_key(name.as_str()));
    for name in bound.iter().filter(|name| !known.contains_key(*name)) {
        missing.entry((*name).to_owned()).or_insert(now);
    }
    let gone = |name: &str| missing.get(name).is_some_and(|since| now.since(*since) >= QUARANTINE);
    let mut removed = BTreeSet::new();
    for pod in pods {
        let node = pod.spec.node_name.as_str();
        let reason = if node.is_empty() {
            pod.metadata.deleting().then_some(None)
        } else if gone(node) {
            Some(Some("PodGC: node no longer exists"))
        } else {
            (pod.metadata.deleting() && known.get(node).is_some_and(|node| out_of_service(node))).then_some(None)
        };
        if let Some(message) = reason {
            removed.insert(pod.metadata.uid.as_str());
            remove(&mut plan, pod, message, now);
        }
    }
    let mut ended: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| pod.finished() && !removed.contains(pod.metadata.uid.as_str())).collect();
    ended.sort_by_key(|pod| (pod.status.reason != "Evicted", pod.metadata.creation_timestamp, &pod.metadata.name));
    let surplus = if threshold == 0 { 0 } else { ended.len().saturating_sub(threshold) };
    for pod in ended.into_iter().take(surplus) {
        remove(&mut plan, pod, None, now);
    }
    plan
}

fn out_of_service(node: &Node) -> bool {
    let ready = condition(&node.status.conditions, "Ready").is_some_and(Condition::is_true);
    !ready && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Removes a pod at once; one that has not ended is marked as failed first.
fn remove(plan: &mut Plan, pod: &Pod, message: Option<&str>, now: Time) {
    if !pod.finished() {
        let mut conditions = pod.status.conditions.clone();
        if let Some(message) = message {
            conditions.retain(|condition| condition.kind != "DisruptionTarget");
            let mut target = Condition::new("DisruptionTarget", true, "DeletionByPodGC", message);
            target.last_transition_time = Some(now.truncated());
            conditions.push(target);
        }
        plan.patch(pod, "status", json!({"status": {"phase": "Failed", "conditions": conditions}}));
    }
    let mut action = Action::delete(pod, None);
    if let Action::Delete(delete) = &mut action {
        delete.grace_seconds = Some(0);
    }
    plan.push(action);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, created: i64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.metadata.uid = name.into();
        pod.metadata.creation_timestamp = Some(Time::from_seconds(created));
        pod.spec.node_name = node.into();
        pod.status.phase = phase.into();
        pod
    }

    fn deleted(plan: &Plan) -> Vec<&str> {
        plan.actions
            .iter()
            .filter_map(|action| match action {
                Action::Delete(delete) => Some(&*delete.key.name),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn ended_pods_beyond_the_limit_go_oldest_first_evicted_ones_before_all() {
        let mut evicted = pod("evicted", "n", "Failed", 9);
        evicted.status.reason = "Evicted".into();
        let pods = [pod("a", "n", "Succeeded", 2), pod("b", "n", "Failed", 1), evicted, pod("c", "n", "Running", 0)];
        let pods: Vec<_> = pods.into_iter().map(Arc::new).collect();
        let mut node = Node::default();
        node.metadata.name = "n".into();
        let check = |threshold, expected: &[&str]| {
            let plan = reconcile(&pods, &[Arc::new(node.clone())], threshold, &mut BTreeMap::new(), Time::default());
            assert_eq!(deleted(&plan), expected);
        };
        check(0, &[]);
        check(3, &[]);
        check(2, &["evicted"]);
        check(1, &["evicted", "b"]);
    }

    #[test]
    fn pods_of_a_node_that_stays_away_are_failed_and_removed() {
        let pods = [Arc::new(pod("a", "gone", "Running", 0))];
        let mut missing = BTreeMap::new();
        let start = Time::from_seconds(100);
        assert!(reconcile(&pods, &[], 10, &mut missing, start).is_settled());
        assert!(reconcile(&pods, &[], 10, &mut missing, start.plus_seconds(39)).is_settled());
        let plan = reconcile(&pods, &[], 10, &mut missing, start.plus_seconds(40));
        assert_eq!((plan.actions.len(), deleted(&plan)), (2, vec!["a"]));
        assert!(reconcile(&[], &[], 10, &mut missing, start).is_settled() && missing.is_empty());
    }

    #[test]
    fn a_deleted_pod_that_never_got_a_node_is_removed() {
        let mut waiting = pod("a", "", "Pending", 0);
        waiting.metadata.deletion_timestamp = Some(Time::default());
        let plan = reconcile(&[Arc::new(waiting)], &[], 10, &mut BTreeMap::new(), Time::default());
        assert_eq!(deleted(&plan), ["a"]);
    }
}
