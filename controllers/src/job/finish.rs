//! When a job is over, and how that is told.

use super::counting::{Counts, is_indexed};
use super::policy::enough;
use crate::objects::{Condition, Job, JobStatus, Pod, Time, condition};
use std::sync::Arc;

pub(super) const SUSPENDED: &str = "Suspended";
const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
const COMPLETE: &str = "Complete";
const FAILED: &str = "Failed";

/// Whether a job has completed or failed.
pub(crate) fn is_finished(job: &Job) -> bool {
    finished_at(job).is_some()
}

/// The condition by which a job has completed or failed.
pub(crate) fn finished_at(job: &Job) -> Option<&Condition> {
    let over = |condition: &&Condition| (condition.kind == COMPLETE || condition.kind == FAILED) && condition.is_true();
    job.status.conditions.iter().find(over)
}

/// How a job is to end: the condition that announces it, which the one that seals it repeats.
pub(super) fn ending(
    job: &Job,
    status: &JobStatus,
    counts: &Counts,
    pods: &[Arc<Pod>],
    now: Time,
) -> Option<Condition> {
    for announced in [SUCCESS_CRITERIA_MET, FAILURE_TARGET] {
        if let Some(held) = condition(&status.conditions, announced).filter(|held| held.is_true()) {
            return Some(held.clone());
        }
    }
    let target = |reason: &str, message: &str| Some(Condition::new(FAILURE_TARGET, true, reason, message));
    if let Some(why) = &counts.fail_job {
        return target("PodFailurePolicy", why);
    }
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if counts.all_failed() > limit || restarted_too_often(job, pods, limit) {
        return target("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if past_deadline(job, status, now) {
        return target("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if is_indexed(job) {
        let (failed, succeeded) = (counts.failed_indexes.len(), counts.succeeded_indexes.len());
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        if job.spec.max_failed_indexes.is_some_and(|most| number(failed) > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return target("MaxFailedIndexesExceeded", message);
        }
        if failed > 0 && number(failed + succeeded) >= job.spec.completions.unwrap_or(0) {
            return target("FailedIndexes", "Job has failed indexes");
        }
        if let Some(message) = enough(job, &counts.succeeded_indexes) {
            return Some(Condition::new(SUCCESS_CRITERIA_MET, true, "SuccessPolicy", message));
        }
    }
    let active = pods.iter().any(|pod| pod.active());
    let reached = match job.spec.completions {
        None => counts.all_succeeded() > 0,
        Some(wanted) => counts.all_succeeded() >= wanted,
    };
    (reached && !active).then(|| {
        let message = "Reached expected number of succeeded pods";
        Condition::new(SUCCESS_CRITERIA_MET, true, "CompletionsReached", message)
    })
}

/// Whether pods that restart their containers did so more often than the job may fail.
fn restarted_too_often(job: &Job, pods: &[Arc<Pod>], limit: i32) -> bool {
    if job.spec.template.spec_field("restartPolicy") != "OnFailure" {
        return false;
    }
    let live = pods.iter().filter(|pod| matches!(pod.status.phase.as_str(), "Running" | "Pending"));
    let statuses = live.flat_map(|pod| pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses));
    let restarts: i32 = statuses.map(|status| status.restart_count).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn past_deadline(job: &Job, status: &JobStatus, now: Time) -> bool {
    let deadline = job.spec.active_deadline_seconds.zip(status.start_time);
    !job.spec.suspend && deadline.is_some_and(|(seconds, start)| start.plus_seconds(seconds) <= now)
}

/// The condition that seals what another announced.
pub(super) fn seal(announced: &Condition) -> Condition {
    let kind = if announced.kind == SUCCESS_CRITERIA_MET { COMPLETE } else { FAILED };
    Condition { kind: kind.to_owned(), ..announced.clone() }
}

/// Sets a condition with its times; true if that changed anything.
pub(super) fn set(status: &mut JobStatus, mut new: Condition, now: Time) -> bool {
    if let Some(held) = condition(&status.conditions, &new.kind)
        && (&held.status, &held.reason, &held.message) == (&new.status, &new.reason, &new.message)
    {
        return false;
    }
    new.last_probe_time = Some(now.truncated());
    new.last_transition_time = Some(now.truncated());
    match status.conditions.iter_mut().find(|held| held.kind == new.kind) {
        Some(held) => *held = new,
        None => status.conditions.push(new),
    }
    true
}
