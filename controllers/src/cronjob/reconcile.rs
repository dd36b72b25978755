//! What a cron job needs done.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Schedule;
use crate::job::finished_at;
use crate::objects::{CronJob, CronJobStatus, Job, JobReference, Object, OwnerReference, Time, kinds};
use crate::plan::{Action, Announce, Create, Note, Plan, Propagation, Reference};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// How many missed times are told as a fault.
const MANY_MISSED: usize = 100;

/// A cron job and its jobs.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The cron job.
    pub cron_job: &'a CronJob,
    /// The jobs it manages.
    pub jobs: Vec<Arc<Job>>,
    /// The zone it names; `None` if it is unknown.
    pub zone: Option<&'a TimeZone>,
}

/// What must be done for a cron job: start the job that is due, remove old ones, tell which run.
#[must_use]
pub fn reconcile(observed: &Observed<'_>, now: Time) -> Plan {
    let cron_job = observed.cron_job;
    let mut plan = Plan::nothing();
    let mut status = cron_job.status.clone();
    track_active(observed, &mut status, &mut plan);
    remove_old(observed, &mut plan);
    if !cron_job.metadata.deleting() && !cron_job.spec.suspend {
        start_due(observed, &mut status, &mut plan, now);
    }
    plan.status(cron_job, &cron_job.status, &status);
    plan
}

fn track_active(observed: &Observed<'_>, status: &mut CronJobStatus, plan: &mut Plan) {
    let about = || Reference::to(observed.cron_job);
    let job_of = |uid: &str| observed.jobs.iter().find(|job| job.metadata.uid == uid);
    status.active.retain(|reference| match job_of(&reference.uid) {
        None => {
            let text = format!("Active job went missing: {}", reference.name);
            plan.event(about(), Note::normal("MissingJob", text));
            false
        }
        Some(job) => match finished_at(job) {
            None => true,
            Some(end) => {
                let text = format!("Saw completed job: {}, condition: {}", job.metadata.name, end.kind);
                plan.event(about(), Note::normal("SawCompletedJob", text));
                false
            }
        },
    });
    for job in &observed.jobs {
        match finished_at(job) {
            Some(end) if end.kind == "Complete" => {
                let at = job.status.completion_time.or(end.last_transition_time);
                status.last_successful_time = status.last_successful_time.max(at);
            }
            Some(_) => {}
            None if status.active.iter().any(|reference| reference.uid == job.metadata.uid) => {}
            None => {
                if !job.metadata.annotations.contains(SCHEDULED) {
                    let text = format!("Saw a job that the controller did not create or forgot: {}", job.metadata.name);
                    plan.event(about(), Note::warning("UnexpectedJob", text));
                }
                status.active.push(JobReference {
                    kind: "Job".to_owned(),
                    namespace: job.metadata.namespace.clone(),
                    name: job.metadata.name.clone(),
                    uid: job.metadata.uid.clone(),
                    api_version: "batch/v1".to_owned(),
                    resource_version: job.metadata.resource_version.clone(),
                });
            }
        }
    }
}

fn remove_old(observed: &Observed<'_>, plan: &mut Plan) {
    let spec = &observed.cron_job.spec;
    for (end, limit) in [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ] {
        let ended =
            |job: &&Arc<Job>| finished_at(job).is_some_and(|found| found.kind == end) && !job.metadata.deleting();
        let mut jobs: Vec<&Arc<Job>> = observed.jobs.iter().filter(ended).collect();
        jobs.sort_by_key(|job| (job.status.start_time, job.metadata.name.clone()));
        let surplus = jobs.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        jobs.into_iter().take(surplus).for_each(|job| plan.push(delete(observed.cron_job, job)));
    }
}

fn delete(cron_job: &CronJob, job: &Job) -> Action {
    let announce = Announce {
        regarding: Reference::to(cron_job),
        success: Some(Note::normal("SuccessfulDelete", format!("Deleted job {}", job.metadata.name))),
        failure: Some(Note::warning("FailedDelete", "Deleted job: ")),
    };
    let mut action = Action::delete(job, Some(announce));
    if let Action::Delete(delete) = &mut action {
        delete.propagation = Some(Propagation::Background);
    }
    action
}

/// The latest time up to now that was due and not yet served, how many were missed before it, and the next one.
fn due(schedule: &Schedule, zone: &TimeZone, from: Time, now: Time) -> (Option<Time>, usize, Option<Time>) {
    let (mut latest, mut missed) = (None, 0);
    let mut next = schedule.next(from, zone);
    // After that many a clock that is far off is likelier than as many missed jobs: look from shortly before now.
    while let Some(at) = next.filter(|at| *at <= now) {
        if latest.replace(at).is_some() {
            missed += 1;
        }
        next = schedule.next(at, zone);
        if missed == MANY_MISSED {
            let step = next.map_or(1, |next| next.seconds() - at.seconds()).max(1);
            let near = now.plus_seconds(-step).max(at);
            if let Some(near) = schedule.next(near, zone).filter(|near| *near <= now) {
                next = Some(near);
            }
        }
    }
    (latest, missed, next)
}

fn start_due(observed: &Observed<'_>, status: &mut CronJobStatus, plan: &mut Plan, now: Time) {
    let cron_job = observed.cron_job;
    let about = || Reference::to(cron_job);
    let Some(zone) = observed.zone else {
        let name = cron_job.spec.time_zone.as_deref().unwrap_or("");
        return plan.event(about(), Note::warning("UnknownTimeZone", format!("invalid timeZone: {name:?}")));
    };
    let schedule = match Schedule::parse(&cron_job.spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            let text = format!("unparseable schedule: {:?} : {error}", cron_job.spec.schedule);
            return plan.event(about(), Note::warning("UnparseableSchedule", text));
        }
    };
    let deadline = cron_job.spec.starting_deadline_seconds;
    let mut from = status.last_schedule_time.or(cron_job.metadata.creation_timestamp).unwrap_or(now);
    if let Some(seconds) = deadline {
        from = from.max(now.plus_seconds(-seconds));
    }
    let (latest, missed, next) = due(&schedule, zone, from, now);
    if latest.is_none() && next.is_none() {
        // Such as the 31st of February. Upstream, which asks for two times and subtracts them, says it so.
        let why = "time difference between two schedules is less than 1 second";
        let text = format!("invalid schedule: {} : {why}", cron_job.spec.schedule);
        return plan.event(about(), Note::warning("InvalidSchedule", text));
    }
    if let Some(next) = next {
        plan.look_again(next.since(now) + std::time::Duration::from_millis(100));
    }
    if missed >= MANY_MISSED {
        let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.event(about(), Note::warning("TooManyMissedTimes", text));
    }
    let Some(at) = latest else { return };
    match cron_job.spec.concurrency_policy.as_str() {
        "Forbid" if !status.active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.event(about(), Note::normal("JobAlreadyActive", text));
        }
        "Replace" => {
            let active = |job: &&Arc<Job>| status.active.iter().any(|reference| reference.uid == job.metadata.uid);
            observed.jobs.iter().filter(active).for_each(|job| plan.push(delete(cron_job, job)));
            status.active.clear();
        }
        _ => {}
    }
    plan.push(create(cron_job, at, zone));
    status.last_schedule_time = Some(at);
}

fn create(cron_job: &CronJob, at: Time, zone: &TimeZone) -> Action {
    let mut template = cron_job.spec.job_template.clone();
    // Minutes since 1970: two attempts at one time make the same name, and so one job.
    let name = format!("{}-{}", cron_job.metadata.name, at.seconds() / 60);
    let local = jiff::Timestamp::from_second(at.seconds()).map(|at| at.to_zoned(zone.clone()));
    let scheduled = local.map_or_else(|_| at.to_string(), |local| local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    let mut metadata = match template["metadata"].take() {
        Value::Object(fields) => json!({"labels": fields.get("labels"), "annotations": fields.get("annotations")}),
        _ => json!({}),
    };
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(cron_job.metadata.namespace);
    metadata["ownerReferences"] = json!([OwnerReference::to_controller(CronJob::KIND, &cron_job.metadata)]);
    metadata["annotations"][SCHEDULED] = json!(scheduled.replace("+00:00", "Z"));
    Action::Create(Create {
        kind: kinds::JOB,
        namespace: cron_job.metadata.namespace.clone(),
        object: json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"].take()}),
        or_exists: true,
        announce: Some(Announce {
            regarding: Reference::to(cron_job),
            success: Some(Note::normal("SuccessfulCreate", "Created job {name}")),
            failure: Some(Note::warning("FailedCreate", "Error creating job: ")),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::make;
    use super::*;
    use crate::world::World;

    fn world(change: Value) -> World {
        let mut world = World::new(&[make]);
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": []}}}});
        let mut object = json!({
            "metadata": {"name": "tick", "namespace": "default"},
            "spec": {"schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": template},
        });
        crate::plan::apply_merge_patch(&mut object, &change);
        world.add(kinds::CRON_JOB, object);
        world.settle();
        world
    }

    fn end(world: &mut World, kind: &str) {
        for job in world.list::<Job>().iter().filter(|job| finished_at(job).is_none()) {
            let end = json!([{"type": kind, "status": "True", "lastTransitionTime": world.now}]);
            let status = json!({"status": {"conditions": end, "startTime": world.now, "completionTime": world.now}});
            world.change(kinds::JOB, "default", &job.metadata.name, status);
        }
        world.settle();
    }

    fn status(world: &World) -> CronJobStatus {
        world.list::<CronJob>().remove(0).status
    }

    #[test]
    fn jobs_start_when_they_are_due_and_are_tracked() {
        let mut world = world(json!({}));
        assert!(world.list::<Job>().is_empty());
        world.advance(301);
        let jobs = world.list::<Job>();
        assert_eq!((jobs.len(), status(&world).active.len()), (1, 1));
        assert_eq!(jobs[0].metadata.name, format!("tick-{}", world.now.seconds() / 60));
        assert_eq!(jobs[0].metadata.annotations.get(SCHEDULED), Some("2027-01-15T08:05:00Z"));
        end(&mut world, "Complete");
        assert_eq!((status(&world).active.len(), status(&world).last_successful_time), (0, Some(world.now)));
        world.assert_settled();
    }

    #[test]
    fn concurrency_policies_decide_about_overlap() {
        for (policy, jobs, active) in [("Allow", 2, 2), ("Forbid", 1, 1), ("Replace", 1, 1)] {
            let mut world = world(json!({"spec": {"concurrencyPolicy": policy}}));
            world.advance(301);
            world.advance(300);
            assert_eq!((world.list::<Job>().len(), status(&world).active.len()), (jobs, active), "{policy}");
        }
    }

    #[test]
    fn late_jobs_start_unless_it_is_too_late() {
        let mut world = world(json!({"spec": {"suspend": true}}));
        world.advance(400);
        assert!(world.list::<Job>().is_empty());
        world.change(
            kinds::CRON_JOB,
            "default",
            "tick",
            json!({"spec": {"suspend": false, "startingDeadlineSeconds": 50}}),
        );
        world.settle();
        assert!(world.list::<Job>().is_empty(), "100 seconds are too late");
        world.change(kinds::CRON_JOB, "default", "tick", json!({"spec": {"startingDeadlineSeconds": null}}));
        world.settle();
        assert_eq!(world.list::<Job>().len(), 1);
    }

    #[test]
    fn old_jobs_are_removed_and_wrong_schedules_told() {
        let mut world = world(json!({"spec": {"successfulJobsHistoryLimit": 2}}));
        for _ in 0..5 {
            world.advance(300);
            end(&mut world, "Complete");
        }
        assert_eq!(world.list::<Job>().len(), 2);
        world.change(kinds::CRON_JOB, "default", "tick", json!({"spec": {"schedule": "x"}}));
        world.settle();
        assert!(world.events.iter().any(|event| event.starts_with("UnparseableSchedule")));
        world.change(kinds::CRON_JOB, "default", "tick", json!({"spec": {"schedule": "59 23 31 2 *"}}));
        world.settle();
        assert!(world.events.iter().any(|event| event.starts_with("InvalidSchedule")), "the 31st of February");
    }

    #[test]
    fn a_long_pause_makes_one_job() {
        let mut world = world(json!({"spec": {"schedule": "* * * * *", "suspend": true}}));
        world.advance(1_000_000);
        world.change(kinds::CRON_JOB, "default", "tick", json!({"spec": {"suspend": false}}));
        world.settle();
        assert_eq!(world.list::<Job>().len(), 1);
        assert!(world.events.iter().any(|event| event.starts_with("TooManyMissedTimes")));
    }
}
