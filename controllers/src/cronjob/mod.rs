//! Starts jobs by a schedule.

mod reconcile;
mod schedule;

pub use reconcile::{Observed, reconcile};
pub use schedule::Schedule;

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{CronJob, Job, ObjectKey};
use crate::plan::Plan;

struct CronJobController {
    cron_jobs: Arc<Cache<CronJob>>,
    jobs: Arc<Cache<Job>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<CronJob>();
    setup.reconcile_owner::<Job, CronJob>();
    Ok(Some(Made::controller(CronJobController { cron_jobs: setup.cache(), jobs: setup.cache() })))
}

impl Controller for CronJobController {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        let Some(cron_job) = self.cron_jobs.get(key) else { return Plan::nothing() };
        let zone = match &cron_job.spec.time_zone {
            None => Some(TimeZone::UTC),
            Some(name) => TimeZone::get(name).ok(),
        };
        let jobs = self.jobs.controlled_by(&cron_job.metadata.uid);
        reconcile(&Observed { cron_job: &cron_job, jobs, zone: zone.as_ref() }, context.now)
    }
}
