//! Runs pods to completion.

mod counting;
mod finish;
mod indexes;
mod policy;
mod reconcile;
#[cfg(test)]
mod tests;

pub(crate) use finish::finished_at;
pub use reconcile::{Observed, reconcile};

use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Job, ObjectKey, Pod};
use crate::ownership::selects;
use crate::plan::Plan;
use crate::pods;

/// The finalizer by which no finished pod goes uncounted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
pub(crate) const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

struct JobController {
    jobs: Arc<Cache<Job>>,
    pods: Arc<Cache<Pod>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Job>();
    setup.reconcile_owner::<Pod, Job>();
    setup.wake_adopters::<Pod, Job>(|job, labels| selects(job.spec.selector.as_ref(), labels));
    // A pod that lost its job keeps the tracking finalizer, and would for ever.
    setup.on::<Pod>(|change, queue| {
        if let Some(pod) = change.new.as_ref().filter(|pod| tracked(pod)) {
            match pod.metadata.controller().filter(|owner| owner.kind == "Job") {
                Some(_) => {}
                None => queue.add(orphan_key(&pod.metadata.key())),
            }
        }
    });
    Ok(Some(Made::controller(JobController { jobs: setup.cache(), pods: setup.cache() })))
}

/// The key by which a tracked pod without a job is looked at; no job's name holds a slash.
fn orphan_key(pod: &ObjectKey) -> ObjectKey {
    ObjectKey::new(&pod.namespace, &format!("pod/{}", pod.name))
}

pub(crate) fn tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| finalizer == TRACKING)
}

impl Controller for JobController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        if let Some(name) = key.name.strip_prefix("pod/") {
            let pod = self.pods.named(&key.namespace, name);
            return pod.map_or_else(Plan::nothing, |pod| release_orphan(&pod));
        }
        let Some(job) = self.jobs.get(key) else { return self.release_pods_of_gone_job(key) };
        let observed = Observed { job: &job, pods: pods::candidates(&self.pods, &job.metadata) };
        reconcile(&observed, context.now)
    }
}

impl JobController {
    fn release_pods_of_gone_job(&self, key: &ObjectKey) -> Plan {
        let mut plan = Plan::nothing();
        for pod in self.pods.in_namespace(&key.namespace) {
            let owner = pod.metadata.controller().filter(|owner| owner.kind == "Job" && *owner.name == *key.name);
            if owner.is_some() && tracked(&pod) {
                plan.push(counting::untrack(&pod));
            }
        }
        plan
    }
}

fn release_orphan(pod: &Pod) -> Plan {
    let mut plan = Plan::nothing();
    if tracked(pod) && pod.metadata.controller().is_none() {
        plan.push(counting::untrack(pod));
    }
    plan
}
