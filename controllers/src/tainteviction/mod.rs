//! Deletes pods that don't bear a `NoExecute` taint of their node, or no longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kubewright_api::taint::{Taint, TaintEffect};
use serde_json::json;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Condition, Node, ObjectKey, Pod, Time};
use crate::plan::{Note, Plan, Reference};

struct TaintEviction {
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    /// Since when each pod's time has been running, by UID.
    since: Mutex<BTreeMap<ObjectKey, (String, Time)>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.on::<Pod>(|change, queue| {
        let bound = |pod: &Arc<Pod>| (pod.spec.node_name.clone(), pod.spec.tolerations.clone());
        if change.new.is_none() || change.old.as_ref().map(bound) != change.new.as_ref().map(bound) {
            change.latest().into_iter().for_each(|pod| queue.add(pod.metadata.key()));
        }
    });
    let pods = setup.cache::<Pod>();
    setup.on::<Node>(move |change, queue| {
        let taints =
            |node: &Option<Arc<Node>>| node.as_ref().map(|node| evicting(&node.spec.taints)).unwrap_or_default();
        if taints(&change.old) != taints(&change.new)
            && let Some(node) = change.latest()
        {
            pods.indexed(&node.metadata.name).iter().for_each(|pod| queue.add(pod.metadata.key()));
        }
    });
    let (pods, nodes) = (setup.cache(), setup.cache());
    Ok(Some(Made::controller(TaintEviction { pods, nodes, since: Mutex::default() })))
}

fn evicting(taints: &[Taint]) -> Vec<Taint> {
    taints.iter().filter(|taint| taint.effect == TaintEffect::NoExecute).cloned().collect()
}

impl Controller for TaintEviction {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = self.pods.get(key) else {
            since.remove(key);
            return Plan::nothing();
        };
        let node = self.nodes.named("", &pod.spec.node_name);
        let taints = node.map(|node| evicting(&node.spec.taints)).unwrap_or_default();
        let start = since.get(key).filter(|(uid, _)| *uid == pod.metadata.uid).map(|(_, start)| *start);
        let (plan, start) = reconcile(&pod, &taints, start, context.now);
        match start {
            Some(start) => _ = since.insert(key.clone(), (pod.metadata.uid.clone(), start)),
            None => _ = since.remove(key),
        }
        plan
    }
}

/// How long a pod bears taints: `None` for ever, zero not at all.
#[must_use]
pub fn patience(pod: &Pod, taints: &[Taint]) -> Option<i64> {
    let mut least: Option<i64> = None;
    for taint in taints {
        // As upstream, the first toleration that matches a taint is the one that counts.
        let Some(toleration) = pod.spec.tolerations.iter().find(|toleration| toleration.tolerates(taint)) else {
            return Some(0);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            least = Some(least.map_or(seconds, |least| least.min(seconds)).max(0));
        }
    }
    least
}

/// What must be done about a pod whose node has these taints, and since when its time has been running.
///
/// The time runs from when the taints were first seen on its node, or from when they were added if they say so.
#[must_use]
pub fn reconcile(pod: &Pod, taints: &[Taint], since: Option<Time>, now: Time) -> (Plan, Option<Time>) {
    let mut plan = Plan::nothing();
    let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    let patience = if taints.is_empty() { None } else { patience(pod, taints) };
    let Some(patience) = patience.filter(|_| !pod.finished() && !pod.metadata.deleting()) else {
        if since.is_some() && !pod.metadata.deleting() {
            let note = Note::normal("TaintManagerEviction", format!("Cancelling deletion of Pod {name}"));
            plan.event(Reference::to(pod), note);
        }
        return (plan, None);
    };
    let added = taints.iter().filter_map(|taint| taint.time_added.as_deref()?.parse::<Time>().ok()).max();
    let start = since.or(added).unwrap_or(now).min(now);
    let due = start.plus_seconds(patience);
    if due > now {
        plan.look_again(due.since(now));
        return (plan, Some(start));
    }
    plan.event(Reference::to(pod), Note::normal("TaintManagerEviction", format!("Marking for deletion Pod {name}")));
    let mut conditions = pod.status.conditions.clone();
    if !conditions.iter().any(|held| held.kind == "DisruptionTarget" && held.is_true()) {
        conditions.retain(|held| held.kind != "DisruptionTarget");
        let message = "Taint manager: deleting due to NoExecute taint";
        let mut target = Condition::new("DisruptionTarget", true, "DeletionByTaintManager", message);
        target.last_transition_time = Some(now.truncated());
        conditions.push(target);
        plan.patch(pod, "status", json!({"status": {"conditions": conditions}}));
    }
    plan.delete(pod, None);
    (plan, Some(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubewright_api::taint::{Toleration, TolerationOperator};

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), value: String::new(), effect: TaintEffect::NoExecute, time_added: None }
    }

    fn pod(tolerations: &[(&str, Option<i64>)]) -> Pod {
        let toleration = |(key, seconds): &(&str, Option<i64>)| Toleration {
            key: (*key).into(),
            operator: TolerationOperator::Exists,
            toleration_seconds: *seconds,
            ..Toleration::default()
        };
        let mut pod = Pod::default();
        pod.spec.tolerations = tolerations.iter().map(toleration).collect();
        pod
    }

    #[test]
    fn the_least_patient_toleration_counts() {
        for (tolerations, taints, expected) in [
            (&[][..], &["a"][..], Some(0)),
            (&[("a", None)], &["a"], None),
            (&[("a", Some(5))], &["a"], Some(5)),
            (&[("a", Some(5)), ("b", Some(3))], &["a", "b"], Some(3)),
            (&[("a", Some(5))], &["a", "b"], Some(0)),
            (&[("", Some(-1))], &["a"], Some(0)),
        ] {
            let taints: Vec<_> = taints.iter().map(|key| taint(key)).collect();
            assert_eq!(patience(&pod(tolerations), &taints), expected, "{tolerations:?} {taints:?}");
        }
    }

    #[test]
    fn time_runs_from_the_first_sight_and_stops_with_the_taint() {
        let pod = pod(&[("a", Some(10))]);
        let now = Time::from_seconds(100);
        let (plan, since) = reconcile(&pod, &[taint("a")], None, now);
        assert_eq!((plan.requeue_after.unwrap().as_secs(), since), (10, Some(now)));
        let (plan, since) = reconcile(&pod, &[taint("a")], since, now.plus_seconds(9));
        assert_eq!(plan.requeue_after.unwrap().as_secs(), 1);
        let (plan, _) = reconcile(&pod, &[taint("a")], since, now.plus_seconds(10));
        assert_eq!(plan.actions.len(), 3);
        let (plan, since) = reconcile(&pod, &[], since, now.plus_seconds(9));
        assert!(since.is_none() && plan.actions.len() == 1, "it is told that the pod may stay");
        let dated = Taint { time_added: Some(now.to_string()), ..taint("a") };
        let (_, since) = reconcile(&pod, &[dated], None, now.plus_seconds(4));
        assert_eq!(since, Some(now), "a restart gives no new time");
    }
}
