//! What a deployment's status says.

use std::time::Duration;

use super::reconcile::Work;
use super::scale::max_unavailable;
use crate::objects::{Condition, Deployment, DeploymentStatus, ReplicaSet, Time, condition};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// For how many seconds a rollout may make no progress.
fn progress_deadline(deployment: &Deployment) -> Option<i64> {
    deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX).map(i64::from)
}

/// Whether all pods are new and available and no old ones are left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas;
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Sets a condition. If status and reason stay, nothing changes; if the status stays, it keeps its transition time.
fn set(status: &mut DeploymentStatus, mut new: Condition, now: Time) {
    if let Some(old) = condition(&status.conditions, &new.kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = new.last_transition_time.or(old.last_transition_time);
        }
    }
    new.last_update_time = new.last_update_time.or_else(|| Some(now.truncated()));
    new.last_transition_time = new.last_transition_time.or_else(|| Some(now.truncated()));
    remove(status, &new.kind);
    status.conditions.push(new);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    status.conditions.retain(|condition| condition.kind != kind);
}

/// The counts, and whether enough pods are available.
pub(super) fn calculate(work: &Work<'_>) -> DeploymentStatus {
    let deployment = work.deployment;
    let sum = |count: fn(&ReplicaSet) -> i32| work.sets.iter().map(count).sum::<i32>();
    let available = sum(|set| set.status.available_replicas);
    let unknown = |set: &ReplicaSet| set.status.observed_generation != 0 && set.status.terminating_replicas.is_none();
    let terminating = sum(|set| set.status.terminating_replicas.unwrap_or(0));
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|set| set.status.replicas),
        updated_replicas: work.new_set().map_or(0, |set| set.status.replicas),
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (work.total() - available).max(0),
        terminating_replicas: (!work.sets.iter().any(unknown)).then_some(terminating),
        conditions: work.status.conditions.clone(),
        collision_count: deployment.status.collision_count,
    };
    let enough = if available >= deployment.spec.replicas - max_unavailable(deployment) {
        Condition::new(AVAILABLE, true, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        Condition::new(AVAILABLE, false, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, enough, work.now);
    status
}

/// The counts, how the rollout goes, and what keeps pods from being made.
pub(super) fn report_rollout(work: &mut Work<'_>) {
    let mut status = calculate(work);
    report_progress(work, &mut status);
    let failure = |set: &ReplicaSet| condition(&set.status.conditions, REPLICA_FAILURE).cloned();
    match work.new_set().and_then(failure).or_else(|| work.sets.iter().find_map(failure)) {
        Some(failed) => {
            let same = Condition { last_update_time: failed.last_transition_time, ..failed };
            set(&mut status, same, work.now);
        }
        None => remove(&mut status, REPLICA_FAILURE),
    }
    if let Some(after) = next_check(work, &status) {
        work.look_again = Some(after);
    }
    work.status = status;
}

fn report_progress(work: &Work<'_>, status: &mut DeploymentStatus) {
    let deployment = work.deployment;
    let Some(deadline) = progress_deadline(deployment) else { return remove(status, PROGRESSING) };
    let current = condition(&work.status.conditions, PROGRESSING);
    let was_complete = current.is_some_and(|condition| condition.reason == NEW_SET_AVAILABLE);
    if status.replicas == status.updated_replicas && was_complete {
        return;
    }
    let what = match work.new_set() {
        Some(set) => format!("ReplicaSet {:?}", set.metadata.name),
        None => format!("Deployment {:?}", deployment.metadata.name),
    };
    if is_complete(deployment, status) {
        let message = format!("{what} has successfully progressed.");
        set(status, Condition::new(PROGRESSING, true, NEW_SET_AVAILABLE, message), work.now);
    } else if makes_progress(&deployment.status, status) {
        let message = format!("{what} is progressing.");
        let mut condition = Condition::new(PROGRESSING, true, "ReplicaSetUpdated", message);
        let since =
            current.filter(|condition| condition.is_true()).and_then(|condition| condition.last_transition_time);
        condition.last_transition_time = since;
        // Even if nothing else changes, the time of the last progress does.
        remove(status, PROGRESSING);
        set(status, condition, work.now);
    } else if timed_out(status, deadline, work.now) {
        let message = format!("{what} has timed out progressing.");
        set(status, Condition::new(PROGRESSING, false, TIMED_OUT, message), work.now);
    }
}

fn makes_progress(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn timed_out(status: &DeploymentStatus, deadline: i64, now: Time) -> bool {
    let Some(condition) = condition(&status.conditions, PROGRESSING) else { return false };
    match condition.reason.as_str() {
        NEW_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => condition.last_update_time.is_some_and(|since| since.plus_seconds(deadline) < now),
    }
}

/// When to look whether the rollout has stopped making progress.
fn next_check(work: &Work<'_>, status: &DeploymentStatus) -> Option<Duration> {
    let deadline = progress_deadline(work.deployment)?;
    let current = condition(&status.conditions, PROGRESSING)?;
    if is_complete(work.deployment, status) || matches!(current.reason.as_str(), TIMED_OUT | NEW_SET_AVAILABLE) {
        return None;
    }
    let at = current.last_update_time?.plus_seconds(deadline);
    Some(at.since(work.now) + Duration::from_secs(1))
}

/// Notes that rollouts were held or taken up again, so that the time between doesn't count.
pub(super) fn note_pause(work: &mut Work<'_>) {
    if progress_deadline(work.deployment).is_none() {
        return;
    }
    let current = condition(&work.status.conditions, PROGRESSING).map_or("", |condition| condition.reason.as_str());
    let (reason, message) = match (current, work.deployment.spec.paused) {
        (TIMED_OUT, _) | (PAUSED, true) => return,
        (_, true) => (PAUSED, "Deployment is paused"),
        (PAUSED, false) => (RESUMED, "Deployment is resumed"),
        (_, false) => return,
    };
    let mut condition = Condition::new(PROGRESSING, false, reason, message);
    condition.status = "Unknown".to_owned();
    let now = work.now;
    set(&mut work.status, condition, now);
}

/// Notes that the newest set was there already.
pub(super) fn note_found(work: &mut Work<'_>, name: &str) {
    if progress_deadline(work.deployment).is_some() && condition(&work.status.conditions, PROGRESSING).is_none() {
        let message = format!("Found new replica set {name:?}");
        let now = work.now;
        set(&mut work.status, Condition::new(PROGRESSING, true, "FoundNewReplicaSet", message), now);
    }
}

/// Notes that the newest set is being created.
pub(super) fn note_created(work: &mut Work<'_>, name: &str) {
    if progress_deadline(work.deployment).is_some() {
        let message = format!("Created new replica set {name:?}");
        let now = work.now;
        set(&mut work.status, Condition::new(PROGRESSING, true, "NewReplicaSetCreated", message), now);
    }
}

/// Notes that the newest set could not be created.
pub(super) fn note_create_failed(work: &mut Work<'_>, message: String) {
    if progress_deadline(work.deployment).is_some() {
        let now = work.now;
        set(&mut work.status, Condition::new(PROGRESSING, false, "ReplicaSetCreateError", message), now);
    }
}
