//! Removes finished jobs when their time to live is over.

use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::job::finished_at;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Job, ObjectKey, Time};
use crate::plan::{Action, Plan, Propagation};

struct TtlAfterFinished {
    jobs: Arc<Cache<Job>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Job>();
    Ok(Some(Made::controller(TtlAfterFinished { jobs: setup.cache() })))
}

impl Controller for TtlAfterFinished {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        self.jobs.get(key).map_or_else(Plan::nothing, |job| reconcile(&job, context.now))
    }
}

/// Removes a job whose time to live is over, or tells when that will be.
#[must_use]
pub fn reconcile(job: &Job, now: Time) -> Plan {
    let mut plan = Plan::nothing();
    let finished = finished_at(job).and_then(|condition| condition.last_transition_time);
    let Some((seconds, finished)) = job.spec.ttl_seconds_after_finished.zip(finished) else { return plan };
    if job.metadata.deleting() {
        return plan;
    }
    let over = finished.plus_seconds(seconds);
    if over > now {
        plan.look_again(over.since(now));
        return plan;
    }
    let mut action = Action::delete(job, None);
    if let Action::Delete(delete) = &mut action {
        delete.propagation = Some(Propagation::Foreground);
        delete.resource_version.clone_from(&job.metadata.resource_version);
    }
    plan.push(action);
    plan
}
