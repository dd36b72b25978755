//! What a deployment needs done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::revision::{REVISION, annotate, find_new, name_and_hash, new_set, revision, with_replicas};
use super::scale::{DESIRED_REPLICAS, new_set_size, number};
use super::{rollout, status};
use crate::objects::{Deployment, Pod, ReplicaSet, Time, kinds};
use crate::ownership::claim;
use crate::plan::{Action, Announce, Failure, Note, Patch, Plan, Reference, merge_patch};

/// A deployment and what there is of it.
pub struct Observed<'a> {
    /// The deployment.
    pub deployment: &'a Deployment,
    /// Replica sets that it manages, and those of its namespace that nobody manages.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// The pods of each of them, by its UID. Only deployments that recreate need them.
    pub pods: BTreeMap<String, Vec<Arc<Pod>>>,
    /// Whether a replica set of that name exists in the namespace, whoever manages it.
    pub name_taken: &'a dyn Fn(&str) -> bool,
    /// What went wrong the last time.
    pub failure: Option<&'a Failure>,
}

impl std::fmt::Debug for Observed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed")
            .field("deployment", &self.deployment)
            .field("replica_sets", &self.replica_sets)
            .finish_non_exhaustive()
    }
}

/// What must be done for a deployment: adopt, create and scale replica sets, remove old ones, report.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, now: Time) -> Plan {
    let deployment = observed.deployment;
    let mut plan = Plan::nothing();
    let Some(selector) = &deployment.spec.selector else { return plan };
    if selector.is_everything() {
        let note = "This deployment is selecting all pods. A non-empty selector is required.";
        if deployment.status.observed_generation < deployment.metadata.generation {
            plan.event(Reference::to(deployment), Note::warning("SelectingAll", note));
            let mut status = deployment.status.clone();
            status.observed_generation = deployment.metadata.generation;
            plan.status(deployment, &deployment.status, &status);
        }
        return plan;
    }
    let claimed = claim(deployment, selector, observed.replica_sets.clone(), &[]);
    if !claimed.actions.is_empty() {
        // What was adopted or released is looked at again when that is done.
        plan.actions = claimed.actions;
        return plan;
    }
    let mut work = Work::new(observed, &claimed.owned, now);
    if deployment.metadata.deleting() {
        work.status = status::calculate(&work);
        return work.finish();
    }
    status::note_pause(&mut work);
    if deployment.spec.paused {
        work.find_new_set(false);
        rollout::scale(&mut work);
        rollout::remove_old_sets(&mut work);
        work.status = status::calculate(&work);
    } else if work.is_scaling() {
        work.find_new_set(false);
        rollout::scale(&mut work);
        work.status = status::calculate(&work);
    } else if super::scale::is_rolling(deployment) {
        rollout::rolling(&mut work);
    } else {
        rollout::recreate(&mut work, observed);
    }
    work.finish()
}

/// A deployment's replica sets while it is decided what to do with them.
pub(super) struct Work<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) now: Time,
    /// The sets as they were seen.
    seen: Vec<Arc<ReplicaSet>>,
    /// The sets as they shall be.
    pub(super) sets: Vec<ReplicaSet>,
    /// The place of the newest set, if it exists.
    pub(super) new: Option<usize>,
    /// The status as it shall be.
    pub(super) status: crate::objects::DeploymentStatus,
    /// The deployment's revision as it shall be.
    revision: Option<String>,
    create: Option<Action>,
    removals: Vec<Action>,
    notes: Vec<Option<Note>>,
    failure: Option<&'a Failure>,
    name_taken: &'a dyn Fn(&str) -> bool,
    collided: bool,
    pub(super) look_again: Option<Duration>,
}

impl<'a> Work<'a> {
    fn new(observed: &Observed<'a>, owned: &[Arc<ReplicaSet>], now: Time) -> Self {
        let sets: Vec<ReplicaSet> = owned.iter().map(|set| (**set).clone()).collect();
        Self {
            deployment: observed.deployment,
            now,
            seen: owned.to_vec(),
            new: find_new(&observed.deployment.spec.template, &sets),
            notes: vec![None; sets.len()],
            sets,
            status: observed.deployment.status.clone(),
            revision: None,
            create: None,
            removals: Vec::new(),
            failure: observed.failure,
            name_taken: observed.name_taken,
            collided: false,
            look_again: None,
        }
    }

    /// The newest set.
    pub(super) fn new_set(&self) -> Option<&ReplicaSet> {
        self.new.map(|at| &self.sets[at])
    }

    /// The places of all other sets.
    pub(super) fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|at| Some(*at) != self.new).collect()
    }

    /// How many pods the sets should have in all.
    pub(super) fn total(&self) -> i32 {
        self.sets.iter().map(|set| set.spec.replicas).sum()
    }

    /// Whether the deployment's size changed since its sets were last given theirs.
    fn is_scaling(&self) -> bool {
        let active = self.sets.iter().filter(|set| set.spec.replicas > 0);
        active.filter_map(|set| number(set, DESIRED_REPLICAS)).any(|desired| desired != self.deployment.spec.replicas)
    }

    /// Brings the newest set's annotations up to date; creates it if it's missing and `create` is set.
    ///
    /// False if there is no newest set yet: nothing more can be done in this pass.
    pub(super) fn find_new_set(&mut self, create: bool) -> bool {
        let old_revision = self.old().into_iter().map(|at| revision(&self.sets[at])).max().unwrap_or(0);
        let next = old_revision + 1;
        if let Some(at) = self.new {
            let set = &mut self.sets[at];
            set.metadata.annotations = annotate(self.deployment, &set.metadata.annotations, next);
            set.spec.min_ready_seconds = self.deployment.spec.min_ready_seconds;
            self.revision = set.metadata.annotations.get(REVISION).map(str::to_owned);
            let name = set.metadata.name.clone();
            status::note_found(self, &name);
            return true;
        }
        if !create {
            return false;
        }
        let (name, _) = name_and_hash(self.deployment);
        if (self.name_taken)(&name) {
            self.collided = true;
            return false;
        }
        let size = new_set_size(self.deployment, 0, self.total());
        let annotations = annotate(self.deployment, &Default::default(), next);
        let annotations = with_replicas(self.deployment, &annotations);
        let scaled = || Note::normal("ScalingReplicaSet", format!("Scaled up replica set {name} from 0 to {size}"));
        let failed = format!("Failed to create new replica set {name:?}: ");
        let announce = Announce {
            regarding: Reference::to(self.deployment),
            success: (size > 0).then(scaled),
            failure: Some(Note::warning("ReplicaSetCreateError", failed.clone())),
        };
        let set = new_set(self.deployment, size, &annotations);
        self.create =
            Some(Action::create(kinds::REPLICA_SET, &self.deployment.metadata.namespace, set, Some(announce)));
        self.revision = Some(next.to_string());
        match self.failure {
            Some(failure) => status::note_create_failed(self, format!("{failed}{}", failure.message)),
            None => status::note_created(self, &name),
        }
        false
    }

    /// Gives a set another size; with `force`, also corrects its annotations if the size stays.
    pub(super) fn scale_set(&mut self, at: usize, to: i32, force: bool) -> bool {
        let set = &mut self.sets[at];
        let from = set.spec.replicas;
        if from == to && !force {
            return false;
        }
        set.metadata.annotations = with_replicas(self.deployment, &set.metadata.annotations);
        set.spec.replicas = to;
        if from != to {
            let direction = if from < to { "up" } else { "down" };
            let was = self.seen[at].spec.replicas;
            let text = format!("Scaled {direction} replica set {} from {was} to {to}", set.metadata.name);
            self.notes[at] = Some(Note::normal("ScalingReplicaSet", text));
        }
        from != to
    }

    /// Removes a set.
    pub(super) fn remove_set(&mut self, at: usize) {
        self.removals.push(Action::delete(self.seen[at].as_ref(), None));
    }

    fn finish(mut self) -> Plan {
        let mut plan = Plan { requeue_after: self.look_again, ..Plan::default() };
        if self.collided {
            self.status = self.deployment.status.clone();
            self.status.collision_count = Some(self.status.collision_count.unwrap_or(0) + 1);
            plan.status(self.deployment, &self.deployment.status, &self.status);
            return plan;
        }
        let status = merge_patch(&json!(self.deployment.status), &json!(self.status));
        // What keeps a set from being created must be seen though the creation fails again.
        if self.failure.is_some() && self.create.is_some() {
            if let Some(status) = &status {
                plan.patch(self.deployment, "status", json!({"status": status}));
            }
            plan.actions.extend(self.create);
            return plan;
        }
        let sets = self.sets.iter().zip(&self.seen).zip(self.notes);
        plan.actions.extend(sets.filter_map(|((set, seen), note)| set_patch(self.deployment, set, seen, note)));
        plan.actions.extend(self.create);
        plan.actions.extend(self.removals);
        let annotations = &self.deployment.metadata.annotations;
        let revision = self.revision.filter(|revision| annotations.get(REVISION) != Some(revision.as_str()));
        if let Some(revision) = revision {
            plan.actions.push(by_uid(self.deployment, "", json!({"metadata": {"annotations": {REVISION: revision}}})));
            // The annotation has just changed the version, so that only the UID can be asked for.
            plan.actions.extend(status.map(|status| by_uid(self.deployment, "status", json!({"status": status}))));
        } else if let Some(status) = status {
            plan.patch(self.deployment, "status", json!({"status": status}));
        }
        plan
    }
}

/// A patch that holds for the deployment whatever its version.
fn by_uid(deployment: &Deployment, subresource: &'static str, mut body: Value) -> Action {
    body["metadata"]["uid"] = json!(deployment.metadata.uid);
    let key = deployment.metadata.key();
    Action::Patch(Patch { kind: kinds::DEPLOYMENT, key, subresource, body, announce: None })
}

fn set_patch(deployment: &Deployment, set: &ReplicaSet, seen: &ReplicaSet, note: Option<Note>) -> Option<Action> {
    let view = |set: &ReplicaSet| {
        json!({
            "metadata": {"annotations": set.metadata.annotations},
            "spec": {"replicas": set.spec.replicas, "minReadySeconds": set.spec.min_ready_seconds},
        })
    };
    let mut action = Action::patch(seen, "", merge_patch(&view(seen), &view(set))?);
    if let Action::Patch(patch) = &mut action {
        patch.announce =
            note.map(|note| Announce { regarding: Reference::to(deployment), success: Some(note), failure: None });
    }
    Some(action)
}
