//! What a stateful set needs done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{create_missing, keep_retention};
use super::identity::{REVISION, missing_labels, ordinal, pod, revision_of};
use crate::objects::{ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet, StatefulSetStatus, Time, kinds};
use crate::ownership::claim;
use crate::plan::{Action, Announce, Note, Plan, Reference};
use crate::replicaset::next_availability;
use crate::revisions::{History, Subject, history, remove_old};

/// A stateful set and what there is of it.
pub struct Observed<'a> {
    /// The set.
    pub set: &'a StatefulSet,
    /// Pods it manages, and pods of its namespace that nobody manages.
    pub pods: Vec<Arc<Pod>>,
    /// Revisions it manages, and those of its namespace that nobody manages.
    pub revisions: Vec<Arc<ControllerRevision>>,
    /// The claim of that name in its namespace.
    pub claim: &'a dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
    /// Whether a revision of that name exists in the namespace, whoever manages it.
    pub name_taken: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Observed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("set", &self.set).field("pods", &self.pods).finish_non_exhaustive()
    }
}

/// What must be done for a stateful set.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, now: Time) -> Plan {
    let set = observed.set;
    let mut plan = Plan::nothing();
    let Some(selector) = set.spec.selector.as_ref().filter(|selector| !selector.is_everything()) else { return plan };
    let subject = Subject {
        kind: kinds::STATEFUL_SET,
        meta: &set.metadata,
        template: &set.spec.template,
        collisions: set.status.collision_count,
        hash_label: "controller.kubernetes.io/hash",
    };
    let mut history = history(set, &subject, selector, observed.revisions.clone(), observed.name_taken);
    plan.actions.append(&mut history.actions);
    if history.collided {
        let collisions = Some(set.status.collision_count.unwrap_or(0) + 1);
        let status = StatefulSetStatus { collision_count: collisions, ..set.status.clone() };
        plan.status(set, &set.status, &status);
        return plan;
    }
    // Until the revision exists no pod can be labelled with it; its creation brings the next pass.
    let Some(update) = history.newest.clone() else { return plan };
    let named = |revision: &&Arc<ControllerRevision>| revision.metadata.name == set.status.current_revision;
    let current = history.all.iter().find(named).cloned().unwrap_or_else(|| update.clone());
    let claimed = claim(set, selector, observed.pods.clone(), &[]);
    let ours = |pod: &Arc<Pod>| ordinal(set, pod).is_some();
    // A pod of another name can't be one of ours, whatever its labels say.
    let foreign = |action: &Action| match action {
        Action::Patch(patch) => claimed.owned.iter().any(|pod| pod.metadata.key() == patch.key && !ours(pod)),
        _ => false,
    };
    plan.actions.extend(claimed.actions.iter().filter(|action| !foreign(action)).cloned());
    let pods: Vec<Arc<Pod>> = claimed.owned.iter().filter(|pod| ours(pod)).cloned().collect();
    let status = status(set, &pods, &current, &update, now);
    plan.status(set, &set.status, &status);
    if let Some(after) = next_availability(&pods, set.spec.min_ready_seconds, now) {
        plan.look_again(after);
    }
    if !set.metadata.deleting() {
        Step { observed, current: &current, update: &update, now, plan: &mut plan }.run(&pods);
    }
    remove_unused(&mut plan, set, &history, &pods);
    plan
}

fn remove_unused(plan: &mut Plan, set: &StatefulSet, history: &History, pods: &[Arc<Pod>]) {
    let used = |revision: &ControllerRevision| {
        let name = &revision.metadata.name;
        *name == set.status.current_revision || pods.iter().any(|pod| revision_of(pod) == name)
    };
    remove_old(plan, history, set.spec.revision_history_limit, used);
}

fn running_and_ready(pod: &Pod) -> bool {
    pod.status.phase == "Running" && pod.ready()
}

fn status(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    current: &ControllerRevision,
    update: &ControllerRevision,
    now: Time,
) -> StatefulSetStatus {
    let count =
        |test: &dyn Fn(&Pod) -> bool| i32::try_from(pods.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX);
    let at = |revision: &ControllerRevision| {
        count(&|pod| !pod.metadata.deleting() && revision_of(pod) == revision.metadata.name)
    };
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: count(&running_and_ready),
        available_replicas: count(&|pod| running_and_ready(pod) && pod.available(set.spec.min_ready_seconds, now)),
        current_replicas: at(current),
        updated_replicas: at(update),
        current_revision: current.metadata.name.clone(),
        update_revision: update.metadata.name.clone(),
        collision_count: Some(set.status.collision_count.unwrap_or(0)),
    };
    let all = |number: i32| number == set.spec.replicas;
    let updated = all(status.updated_replicas) && all(status.ready_replicas) && all(status.replicas);
    if updated && set.spec.update_strategy.kind != "OnDelete" {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

/// One pass over a set's pods.
struct Step<'a, 'b> {
    observed: &'b Observed<'a>,
    current: &'b ControllerRevision,
    update: &'b ControllerRevision,
    now: Time,
    plan: &'b mut Plan,
}

impl Step<'_, '_> {
    fn run(mut self, pods: &[Arc<Pod>]) {
        let set = self.observed.set;
        let first = set.spec.ordinals.start;
        let wanted = first..first + set.spec.replicas;
        let mut held: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in pods {
            if let Some(ordinal) = ordinal(set, pod) {
                held.insert(ordinal, pod.clone());
            }
        }
        let condemned: Vec<(i32, Arc<Pod>)> =
            held.iter().rev().filter(|(at, _)| !wanted.contains(at)).map(|(at, pod)| (*at, pod.clone())).collect();
        let ordered = set.spec.pod_management_policy != "Parallel";
        for at in wanted.clone() {
            if self.replica(at, held.get(&at)) && ordered {
                return;
            }
        }
        let healthy = |pod: &Pod| self.is_healthy(pod);
        let living = wanted.clone().filter_map(|at| held.get(&at));
        let first_unhealthy = living
            .chain(condemned.iter().rev().map(|(_, pod)| pod))
            .find(|pod| !healthy(pod))
            .map(|pod| pod.metadata.uid.clone());
        for (at, pod) in &condemned {
            keep_retention(self.plan, set, *at, Some(pod), true, self.observed.claim);
        }
        for (_, pod) in &condemned {
            if pod.metadata.deleting() {
                if ordered {
                    return;
                }
            } else if ordered && !self.is_healthy(pod) && first_unhealthy.as_ref() != Some(&pod.metadata.uid) {
                // Others must be well before one more goes, unless it is this one that ails.
                return;
            } else {
                self.delete(pod);
                if ordered {
                    return;
                }
            }
        }
        if set.spec.update_strategy.kind != "OnDelete" {
            self.update_one(wanted, &held);
        }
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        let min_ready = self.observed.set.spec.min_ready_seconds;
        running_and_ready(pod) && !pod.metadata.deleting() && pod.available(min_ready, self.now)
    }

    /// Sees to the pod of one number; true if those after it must wait for it.
    fn replica(&mut self, at: i32, pod: Option<&Arc<Pod>>) -> bool {
        let set = self.observed.set;
        let Some(pod) = pod else {
            create_missing(self.plan, set, at, self.observed.claim);
            self.create(at);
            return true;
        };
        if pod.finished() {
            if !pod.metadata.deleting() {
                self.delete(pod);
            }
            return true;
        }
        if pod.status.phase == "Pending" {
            create_missing(self.plan, set, at, self.observed.claim);
        }
        keep_retention(self.plan, set, at, Some(pod), false, self.observed.claim);
        if let Some(labels) = missing_labels(set, pod, at) {
            self.plan.patch(pod.as_ref(), "", labels);
        }
        !self.is_healthy(pod)
    }

    /// Replaces the pod of the highest number that is of an old revision, once those above it are well.
    fn update_one(&mut self, wanted: std::ops::Range<i32>, held: &BTreeMap<i32, Arc<Pod>>) {
        let set = self.observed.set;
        let rolling = set.spec.update_strategy.rolling_update.as_ref();
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
        for at in wanted.rev().filter(|at| *at >= set.spec.ordinals.start + partition) {
            let Some(pod) = held.get(&at) else { return };
            if revision_of(pod) != self.update.metadata.name && !pod.metadata.deleting() {
                return self.delete(pod);
            }
            if !self.is_healthy(pod) {
                return;
            }
        }
    }

    /// The revision of a new pod: below the partition (or among those not yet updated) the current one.
    fn revision_for(&self, at: i32) -> &ControllerRevision {
        let set = self.observed.set;
        let first = set.spec.ordinals.start;
        let old = match &set.spec.update_strategy.rolling_update {
            _ if set.spec.update_strategy.kind == "OnDelete" => false,
            Some(rolling) => at < first + rolling.partition.unwrap_or(0),
            None => at < first + set.status.current_replicas,
        };
        if old { self.current } else { self.update }
    }

    fn create(&mut self, at: i32) {
        let object = pod(self.observed.set, self.revision_for(at), at);
        debug_assert!(object["metadata"]["labels"][REVISION].is_string(), "its revision can be told");
        let announce = self.announce("create", &super::identity::name(self.observed.set, at));
        let namespace = &self.observed.set.metadata.namespace;
        self.plan.push(Action::create(kinds::POD, namespace, object, Some(announce)));
    }

    fn delete(&mut self, pod: &Pod) {
        let announce = self.announce("delete", &pod.metadata.name);
        self.plan.delete(pod, Some(announce));
    }

    fn announce(&self, verb: &'static str, pod: &str) -> Announce {
        let set = self.observed.set;
        let (done, failed) = match verb {
            "create" => ("SuccessfulCreate", "FailedCreate"),
            _ => ("SuccessfulDelete", "FailedDelete"),
        };
        let text = |end: &str| format!("{verb} Pod {pod} in StatefulSet {} {end}", set.metadata.name);
        Announce {
            regarding: Reference::to(set),
            success: Some(Note::normal(done, text("successful"))),
            failure: Some(Note::warning(failed, text("failed error: "))),
        }
    }
}
