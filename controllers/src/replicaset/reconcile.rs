//! What a replica set or replication controller needs done.

use std::sync::Arc;
use std::time::Duration;

use kubewright_api::selector::LabelSelector;

use super::fully_labeled;
use crate::objects::{Condition, Object, Pod, ReplicaSetStatus, Template, Time, condition};
use crate::ownership::claim;
use crate::plan::{Failure, Plan};
use crate::pods::{create_pod, delete_pod, pod_from, rank_for_deletion};

/// How many pods one pass creates or deletes at most.
const BURST: usize = 500;
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// A replica set or replication controller and what there is of its pods.
#[derive(Debug)]
pub struct Observed<'a, O> {
    /// The set itself.
    pub owner: &'a O,
    /// What it asks for.
    pub replicas: Replicas<'a>,
    /// Pods it manages, and pods of its namespace that nobody manages.
    pub pods: Vec<Arc<Pod>>,
    /// Pods of all sets with the same owner.
    pub related: Vec<Arc<Pod>>,
    /// What went wrong the last time.
    pub failure: Option<&'a Failure>,
}

/// What a set asks for.
#[derive(Debug)]
pub struct Replicas<'a> {
    /// How many pods.
    pub wanted: i32,
    /// Which pods are its.
    pub selector: LabelSelector,
    /// What its pods look like.
    pub template: &'a Template,
    /// How long a pod must be ready to be available, in seconds.
    pub min_ready_seconds: i64,
    /// Its status so far.
    pub status: &'a ReplicaSetStatus,
    /// Whether its status tells how many pods are being deleted.
    pub counts_terminating: bool,
}

/// What must be done for a set: adopt, release, create, delete, report.
#[must_use]
pub fn reconcile<O: Object>(observed: &Observed<'_, O>, now: Time) -> Plan {
    let Observed { owner, replicas, .. } = observed;
    let meta = owner.meta();
    let mut plan = Plan::nothing();
    let (active, others): (Vec<_>, Vec<_>) = observed.pods.iter().cloned().partition(|pod| pod.active());
    let claimed = claim(*owner, &replicas.selector, active, &[]);
    plan.actions.extend(claimed.actions);
    let mut pods = claimed.owned;
    let ours =
        |pod: &&Arc<Pod>| pod.metadata.controlled_by(&meta.uid) && replicas.selector.matches(&pod.metadata.labels);
    let terminating = others.iter().filter(|pod| pod.metadata.deleting() && !pod.finished()).filter(ours).count();

    let status = status(observed, meta.generation, &pods, terminating, now);
    plan.status(*owner, replicas.status, &status);
    if status.ready_replicas != status.available_replicas
        && let Some(after) = next_availability(&pods, replicas.min_ready_seconds, now)
    {
        plan.look_again(after);
    }
    if !meta.deleting() {
        let wanted = usize::try_from(replicas.wanted).unwrap_or(0);
        if pods.len() < wanted {
            let pod = pod_from(replicas.template, O::KIND, meta);
            let missing = (wanted - pods.len()).min(BURST);
            plan.actions.extend((0..missing).map(|_| create_pod(*owner, pod.clone())));
        } else if pods.len() > wanted {
            rank_for_deletion(&mut pods, &observed.related, now);
            let surplus = (pods.len() - wanted).min(BURST);
            plan.actions.extend(pods[..surplus].iter().map(|pod| delete_pod(*owner, pod)));
        }
    }
    plan
}

fn status<O: Object>(
    observed: &Observed<'_, O>,
    generation: i64,
    pods: &[Arc<Pod>],
    terminating: usize,
    now: Time,
) -> ReplicaSetStatus {
    let Replicas { template, min_ready_seconds, status: old, wanted, counts_terminating, .. } = &observed.replicas;
    let labels = template.labels();
    let count =
        |test: &dyn Fn(&Pod) -> bool| i32::try_from(pods.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX);
    let mut conditions = old.conditions.clone();
    match observed.failure {
        Some(failure) if condition(&conditions, REPLICA_FAILURE).is_none() => {
            let reason = if count(&|_| true) < *wanted { "FailedCreate" } else { "FailedDelete" };
            let mut failed = Condition::new(REPLICA_FAILURE, true, reason, failure.message.clone());
            failed.last_transition_time = Some(now.truncated());
            conditions.push(failed);
        }
        Some(_) => {}
        None => conditions.retain(|condition| condition.kind != REPLICA_FAILURE),
    }
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&|pod| fully_labeled(pod, &labels)),
        ready_replicas: count(&Pod::ready),
        available_replicas: count(&|pod| pod.available(*min_ready_seconds, now)),
        terminating_replicas: counts_terminating.then(|| i32::try_from(terminating).unwrap_or(i32::MAX)),
        observed_generation: generation,
        conditions,
    }
}

/// How long until the next ready pod becomes available.
pub(crate) fn next_availability(pods: &[Arc<Pod>], min_ready_seconds: i64, now: Time) -> Option<Duration> {
    let waiting = pods.iter().filter_map(|pod| pod.available_at(min_ready_seconds)).filter(|at| *at > now);
    waiting.min().map(|at| at.since(now))
}
