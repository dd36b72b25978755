//! Counts finished pods, each exactly once.
//!
//! A finished pod's UID is first written into the job's status, then the pod loses its finalizer, then the UID becomes
//! part of the count. At whatever point this is interrupted, the next pass goes on from what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::policy::{Meaning, meaning};
use super::{COMPLETION_INDEX, TRACKING, indexes, tracked};
use crate::objects::{Job, JobStatus, Pod, UncountedPods};
use crate::plan::Action;

/// How many finished pods one status lists at most.
const MOST_UNCOUNTED: usize = 500;

/// The counts of a job, and the pods whose finalizer may go.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Pods counted so far.
    pub(super) succeeded: i32,
    /// Pods counted so far.
    pub(super) failed: i32,
    /// Pods listed in the status, not yet counted.
    pub(super) uncounted: UncountedPods,
    /// Indexes that succeeded.
    pub(super) succeeded_indexes: BTreeSet<i32>,
    /// Indexes that failed.
    pub(super) failed_indexes: BTreeSet<i32>,
    /// Why a pod's failure fails the job.
    pub(super) fail_job: Option<String>,
    /// Finished pods whose finalizer may go.
    pub(super) settled: Vec<Arc<Pod>>,
    /// Whether more pods finished than one status lists.
    pub(super) unfinished: bool,
}

impl Counts {
    /// All that succeeded, listed or counted.
    pub(super) fn all_succeeded(&self) -> i32 {
        self.succeeded + length(&self.uncounted.succeeded)
    }

    /// All that failed, listed or counted.
    pub(super) fn all_failed(&self) -> i32 {
        self.failed + length(&self.uncounted.failed)
    }

    /// Whether everything is counted.
    pub(super) fn complete(&self) -> bool {
        self.uncounted == UncountedPods::default() && !self.unfinished
    }
}

fn length(list: &[String]) -> i32 {
    i32::try_from(list.len()).unwrap_or(i32::MAX)
}

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode == "Indexed"
}

/// The completion index of a pod.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.get(COMPLETION_INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Whether only pods that have ended count as failed, not those that are being deleted.
pub(super) fn only_failed_count(job: &Job) -> bool {
    job.spec.pod_replacement_policy == "Failed" || job.spec.pod_failure_policy.is_some()
}

pub(super) fn is_failed(job: &Job, pod: &Pod) -> bool {
    let deleted = pod.metadata.deleting() && pod.status.phase != "Succeeded";
    pod.status.phase == "Failed" || (deleted && !only_failed_count(job))
}

/// Counts what has finished.
pub(super) fn count(job: &Job, status: &JobStatus, pods: &[Arc<Pod>]) -> Counts {
    let held: BTreeMap<&str, &Arc<Pod>> =
        pods.iter().filter(|pod| tracked(pod)).map(|pod| (pod.metadata.uid.as_str(), pod)).collect();
    let completions = job.spec.completions.unwrap_or(0);
    let mut counts = Counts {
        succeeded: status.succeeded,
        failed: status.failed,
        succeeded_indexes: indexes::parse(&status.completed_indexes, completions),
        failed_indexes: indexes::parse(status.failed_indexes.as_deref().unwrap_or(""), completions),
        ..Counts::default()
    };
    for uid in status.uncounted_terminated_pods.iter().flat_map(|listed| &listed.succeeded) {
        if held.contains_key(uid.as_str()) {
            counts.uncounted.succeeded.push(uid.clone())
        } else {
            counts.succeeded += 1
        }
    }
    for uid in status.uncounted_terminated_pods.iter().flat_map(|listed| &listed.failed) {
        if held.contains_key(uid.as_str()) { counts.uncounted.failed.push(uid.clone()) } else { counts.failed += 1 }
    }
    for pod in held.values() {
        let listed = counts.uncounted.succeeded.len() + counts.uncounted.failed.len();
        let uid = &pod.metadata.uid;
        if counts.uncounted.succeeded.contains(uid) || counts.uncounted.failed.contains(uid) {
            counts.settled.push((*pod).clone());
        } else if pod.status.phase == "Succeeded" {
            if let Some(index) = index_of(pod).filter(|_| is_indexed(job)) {
                if index < completions {
                    counts.succeeded_indexes.insert(index);
                }
                counts.settled.push((*pod).clone());
            } else if listed < MOST_UNCOUNTED {
                counts.uncounted.succeeded.push(uid.clone());
                counts.settled.push((*pod).clone());
            } else {
                counts.unfinished = true;
            }
        } else if is_failed(job, pod) {
            match meaning(job, pod) {
                Meaning::Ignore => {}
                _ if listed >= MOST_UNCOUNTED => {
                    counts.unfinished = true;
                    continue;
                }
                other => {
                    if let Meaning::FailJob(why) = other {
                        counts.fail_job.get_or_insert(why);
                    }
                    counts.uncounted.failed.push(uid.clone());
                }
            }
            counts.settled.push((*pod).clone());
        }
    }
    if is_indexed(job) {
        counts.succeeded = i32::try_from(counts.succeeded_indexes.len()).unwrap_or(i32::MAX);
        counts.uncounted.succeeded.clear();
        note_failed_indexes(job, pods, &mut counts);
    }
    counts
}

/// Indexes whose pods failed more often than allowed, or in a way that fails the index at once.
fn note_failed_indexes(job: &Job, pods: &[Arc<Pod>], counts: &mut Counts) {
    let Some(limit) = job.spec.backoff_limit_per_index else { return };
    let mut failures: BTreeMap<i32, i32> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.status.phase == "Failed") {
        let Some(index) = index_of(pod) else { continue };
        match meaning(job, pod) {
            Meaning::Ignore => {}
            Meaning::FailIndex => _ = counts.failed_indexes.insert(index),
            _ => *failures.entry(index).or_default() += 1,
        }
    }
    counts.failed_indexes.extend(failures.into_iter().filter(|(_, count)| *count > limit).map(|(index, _)| index));
    let succeeded = &counts.succeeded_indexes;
    counts.failed_indexes.retain(|index| !succeeded.contains(index));
}

/// Takes the tracking finalizer off a pod.
pub(super) fn untrack(pod: &Pod) -> Action {
    let left: Vec<_> = pod.metadata.finalizers.iter().filter(|finalizer| *finalizer != TRACKING).collect();
    Action::patch(pod, "", json!({"metadata": {"finalizers": left}}))
}
