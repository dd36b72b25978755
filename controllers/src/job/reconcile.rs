//! What a job needs done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kubewright_api::selector::LabelSelector;
use serde_json::{Value, json};

use super::counting::{self, Counts, index_of, is_indexed, only_failed_count, untrack};
use super::finish::{self, SUSPENDED};
use super::{COMPLETION_INDEX, TRACKING, indexes, tracked};
use crate::objects::{Condition, Job, JobStatus, Pod, Time, condition, kinds};
use crate::ownership::claim;
use crate::plan::{Note, Plan, Reference};
use crate::pods::{create_pod, delete_pod, pod_from};

/// How many pods one pass creates or deletes at most.
const BURST: usize = 500;
/// How long the first failure holds back new pods; each further one doubles it.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
const COMPLETION_INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

/// A job and what there is of its pods.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The job.
    pub job: &'a Job,
    /// Pods it manages, and pods of its namespace that nobody manages.
    pub pods: Vec<Arc<Pod>>,
}

/// What must be done for a job: create and delete pods, count those that finished, tell how it goes.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, now: Time) -> Plan {
    let job = observed.job;
    let mut plan = Plan::nothing();
    if !matches!(job.spec.managed_by.as_str(), "" | "kubernetes.io/job-controller") {
        return plan;
    }
    let selector = job.spec.selector.clone().unwrap_or_else(LabelSelector::nothing);
    let claimed = claim(job, &selector, observed.pods.clone(), &[TRACKING]);
    if finish::is_finished(job) {
        // Pods that were created or failed to be untracked while it ended.
        plan.actions.extend(claimed.owned.iter().filter(|pod| tracked(pod)).map(|pod| untrack(pod)));
        return plan;
    }
    plan.actions.extend(claimed.actions);
    let pods = claimed.owned;
    let mut status = job.status.clone();
    note_suspension(job, &mut status, &mut plan, now);
    if status.start_time.is_none() && !job.spec.suspend {
        status.start_time = Some(now.truncated());
    }
    let counts = counting::count(job, &status, &pods);
    let ending = finish::ending(job, &status, &counts, &pods, now);
    let changes = match &ending {
        Some(_) => Changes { delete: pods.iter().filter(|pod| pod.active()).cloned().collect(), ..Changes::default() },
        None if job.metadata.deleting() => Changes::default(),
        None => changes(job, &counts, &pods, now),
    };
    if let Some(after) = changes.wait {
        plan.look_again(after);
    }
    if let Some((seconds, start)) = job.spec.active_deadline_seconds.zip(status.start_time).filter(|_| ending.is_none())
    {
        plan.look_again(start.plus_seconds(seconds).since(now));
    }
    report(job, &mut status, &pods, &counts);
    if let Some(ending) = ending {
        finish::set(&mut status, ending.clone(), now);
        let quiet = !pods.iter().any(|pod| pod.active() || (pod.metadata.deleting() && !pod.finished()));
        if quiet
            && counts.complete()
            && job.status.conditions.iter().any(|held| held.kind == ending.kind && held.is_true())
        {
            seal(job, &mut status, &ending, &mut plan, now);
        }
    }
    plan.status(job, &job.status, &status);
    let may_go = |pod: &&Arc<Pod>| tracked(pod);
    plan.actions.extend(counts.settled.iter().filter(may_go).map(|pod| untrack(pod)));
    // Pods that we end ourselves don't count as failed.
    let running = changes.delete.iter().filter(may_go);
    plan.actions.extend(running.map(|pod| untrack(pod)));
    plan.actions.extend(changes.delete.iter().map(|pod| delete_pod(job, pod)));
    plan.actions.extend(changes.create.into_iter().map(|pod| create_pod(job, pod)));
    plan
}

fn note_suspension(job: &Job, status: &mut JobStatus, plan: &mut Plan, now: Time) {
    let known = condition(&status.conditions, SUSPENDED).cloned();
    let (reason, note) = if job.spec.suspend {
        ("JobSuspended", Note::normal("Suspended", "Job suspended"))
    } else if known.is_some() {
        ("JobResumed", Note::normal("Resumed", "Job resumed"))
    } else {
        return;
    };
    let new = Condition::new(SUSPENDED, job.spec.suspend, reason, note.message.clone());
    let same = known.is_some_and(|known| known.status == new.status);
    if !same && finish::set(status, new, now) {
        plan.event(Reference::to(job), note);
        status.start_time = (!job.spec.suspend).then(|| now.truncated());
    }
}

fn report(job: &Job, status: &mut JobStatus, pods: &[Arc<Pod>], counts: &Counts) {
    let number =
        |test: &dyn Fn(&Pod) -> bool| i32::try_from(pods.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX);
    status.active = number(&Pod::active);
    status.ready = Some(number(&|pod| pod.active() && pod.ready()));
    status.terminating = Some(number(&|pod| pod.metadata.deleting() && !pod.finished()));
    status.succeeded = counts.succeeded;
    status.failed = counts.failed;
    status.uncounted_terminated_pods = Some(counts.uncounted.clone());
    if is_indexed(job) {
        status.completed_indexes = indexes::format(&counts.succeeded_indexes);
        status.failed_indexes = job.spec.backoff_limit_per_index.map(|_| indexes::format(&counts.failed_indexes));
    }
}

fn seal(job: &Job, status: &mut JobStatus, ending: &Condition, plan: &mut Plan, now: Time) {
    let sealed = finish::seal(ending);
    let note = if sealed.kind == "Complete" {
        status.completion_time = Some(now.truncated());
        Note::normal("Completed", "Job completed")
    } else {
        // The reasons are the ones that `ending` gives.
        let reason = ["BackoffLimitExceeded", "DeadlineExceeded", "MaxFailedIndexesExceeded", "FailedIndexes"]
            .into_iter()
            .find(|reason| *reason == sealed.reason)
            .unwrap_or("PodFailurePolicy");
        Note::warning(reason, sealed.message.clone())
    };
    finish::set(status, sealed, now);
    plan.event(Reference::to(job), note);
}

/// Pods to create and delete, and how long failures hold back new ones.
#[derive(Default)]
struct Changes {
    create: Vec<Value>,
    delete: Vec<Arc<Pod>>,
    wait: Option<Duration>,
}

fn changes(job: &Job, counts: &Counts, pods: &[Arc<Pod>], now: Time) -> Changes {
    let mut active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pod.active()).cloned().collect();
    let mut changes = Changes::default();
    let parallelism = job.spec.parallelism.unwrap_or(1);
    let running = i32::try_from(active.len()).unwrap_or(i32::MAX);
    let wanted = match job.spec.completions {
        _ if job.spec.suspend => 0,
        None if counts.all_succeeded() > 0 => running,
        None => parallelism,
        Some(completions) => (completions - counts.all_succeeded()).clamp(0, parallelism.max(0)),
    };
    let surplus = usize::try_from(running - wanted).unwrap_or(0);
    let doubled = if is_indexed(job) { useless(job, counts, &active) } else { BTreeSet::new() };
    if surplus > 0 || !doubled.is_empty() {
        // Pods of no use go first, then those that have come least far.
        active.sort_by_key(|pod| (!doubled.contains(&pod.metadata.uid), pod.ready(), pod.metadata.creation_timestamp));
        changes.delete = active.into_iter().take(surplus.max(doubled.len()).min(BURST)).collect();
        return changes;
    }
    let ending = pods.iter().filter(|pod| pod.metadata.deleting() && !pod.finished()).count();
    let held_back = if only_failed_count(job) { i32::try_from(ending).unwrap_or(i32::MAX) } else { 0 };
    let missing = usize::try_from(wanted - running - held_back).unwrap_or(0).min(BURST);
    if missing == 0 {
        return changes;
    }
    if let Some(wait) = backoff(job, pods, now) {
        changes.wait = Some(wait);
        return changes;
    }
    let base = base_pod(job);
    if is_indexed(job) {
        let free = free_indexes(job, counts, pods).into_iter().take(missing);
        changes.create = free.map(|index| indexed_pod(job, &base, index)).collect();
    } else {
        changes.create = vec![base; missing];
    }
    changes
}

/// Active pods without an index that is still wanted, or with the same index as another.
fn useless(job: &Job, counts: &Counts, active: &[Arc<Pod>]) -> BTreeSet<String> {
    let completions = job.spec.completions.unwrap_or(0);
    let mut seen = BTreeSet::new();
    let mut useless = BTreeSet::new();
    let mut oldest_first: Vec<_> = active.iter().collect();
    oldest_first.sort_by_key(|pod| (!pod.ready(), pod.metadata.creation_timestamp));
    for pod in oldest_first {
        let index = index_of(pod).filter(|index| *index < completions);
        let wanted = index.is_some_and(|index| {
            !counts.succeeded_indexes.contains(&index) && !counts.failed_indexes.contains(&index) && seen.insert(index)
        });
        if !wanted {
            useless.insert(pod.metadata.uid.clone());
        }
    }
    useless
}

fn free_indexes(job: &Job, counts: &Counts, pods: &[Arc<Pod>]) -> Vec<i32> {
    let busy = |pod: &&Arc<Pod>| pod.active() || (only_failed_count(job) && pod.metadata.deleting() && !pod.finished());
    let taken: BTreeSet<i32> = pods.iter().filter(busy).filter_map(|pod| index_of(pod)).collect();
    let done = |index: &i32| counts.succeeded_indexes.contains(index) || counts.failed_indexes.contains(index);
    (0..job.spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index) && !done(index)).collect()
}

/// How long failures since the last success hold back new pods.
fn backoff(job: &Job, pods: &[Arc<Pod>], now: Time) -> Option<Duration> {
    let ended = |pod: &Pod| {
        let statuses = pod.status.container_statuses.iter();
        let last = statuses.filter_map(|status| status.state.terminated.as_ref()?.finished_at).max();
        last.or(pod.metadata.deletion_timestamp).or(pod.metadata.creation_timestamp).unwrap_or(now)
    };
    let last_success = pods.iter().filter(|pod| pod.status.phase == "Succeeded").map(|pod| ended(pod)).max();
    let since = |pod: &&Arc<Pod>| last_success.is_none_or(|success| ended(pod) > success);
    let failures: Vec<Time> =
        pods.iter().filter(|pod| counting::is_failed(job, pod)).filter(since).map(|pod| ended(pod)).collect();
    let latest = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let delay = FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF);
    let left = (*latest + delay).since(now);
    (!left.is_zero()).then_some(left)
}

fn base_pod(job: &Job) -> Value {
    let mut pod = pod_from(&job.spec.template, kinds::JOB, &job.metadata);
    let mut finalizers: Vec<String> = serde_json::from_value(pod["metadata"]["finalizers"].take()).unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    pod["metadata"]["finalizers"] = json!(finalizers);
    pod
}

fn indexed_pod(job: &Job, base: &Value, index: i32) -> Value {
    let mut pod = base.clone();
    let text = index.to_string();
    pod["metadata"]["annotations"][COMPLETION_INDEX] = json!(text);
    pod["metadata"]["labels"][COMPLETION_INDEX] = json!(text);
    pod["spec"]["hostname"] = json!(format!("{}-{index}", job.metadata.name));
    let mut prefix = job.metadata.name.clone();
    prefix.truncate(58_usize.saturating_sub(text.len() + 2));
    pod["metadata"]["generateName"] = json!(format!("{prefix}-{index}-"));
    let source = json!({"fieldRef": {"fieldPath": format!("metadata.labels['{COMPLETION_INDEX}']")}});
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let named = |env: &Value| env["name"] == COMPLETION_INDEX_ENV;
            if container["env"].as_array().is_some_and(|env| env.iter().any(named)) {
                continue;
            }
            let entry = json!({"name": COMPLETION_INDEX_ENV, "valueFrom": source});
            match container["env"].as_array_mut() {
                Some(env) => env.push(entry),
                None => container["env"] = json!([entry]),
            }
        }
    }
    pod
}
