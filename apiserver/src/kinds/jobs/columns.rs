//! What `kubectl get jobs` and `kubectl get cronjobs` show.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::Column;
use crate::table::{
    AGE, NAME, boolean, container_images, container_names, containers, human_duration, images, integer, selector,
    selector_cell, since, text, text_of,
};

pub(super) static JOBS: [Column; 8] = [
    NAME,
    text("Status", "How far it has come.", |job, _| json!(status(job))),
    text("Completions", "Pods that succeeded of those that must.", |job, _| json!(completions(job))),
    text("Duration", "How long it has run, or ran.", |job, now| json!(duration(job, now))),
    AGE,
    containers(|job, _| container_names(&job["spec"]["template"]["spec"])),
    images(|job, _| container_images(&job["spec"]["template"]["spec"])),
    selector(|job, _| selector_cell(&job["spec"]["selector"])),
];

pub(super) static CRON_JOBS: [Column; 10] = [
    NAME,
    text("Schedule", "When it makes jobs.", |object, _| json!(text_of(&object["spec"]["schedule"]))),
    text("Timezone", "The time zone of the schedule.", |object, _| match &object["spec"]["timeZone"] {
        Value::Null => json!("<none>"),
        zone => zone.clone(),
    }),
    boolean("Suspend", "Whether it makes no jobs for now.", |object, _| match object["spec"]["suspend"].as_bool() {
        Some(true) => json!("True"),
        Some(false) => json!("False"),
        None => json!("<unset>"),
    }),
    integer("Active", "Its jobs that run.", |object, _| {
        json!(object["status"]["active"].as_array().map_or(0, Vec::len))
    }),
    text(
        "Last Schedule",
        "How long ago it last made a job.",
        |object, now| match &object["status"]["lastScheduleTime"] {
            Value::Null => json!("<none>"),
            time => json!(since(time, now)),
        },
    ),
    AGE,
    containers(|object, _| container_names(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"])),
    images(|object, _| container_images(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"])),
    selector(|object, _| selector_cell(&object["spec"]["jobTemplate"]["spec"]["selector"])),
];

fn status(job: &Value) -> &'static str {
    let conditions = job["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let has =
        |kind: &str| conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True");
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if job["metadata"]["deletionTimestamp"].is_string() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job["status"]["succeeded"].as_i64().unwrap_or_default();
    match (job["spec"]["completions"].as_i64(), job["spec"]["parallelism"].as_i64().unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: Timestamp) -> String {
    let time = |name: &str| job["status"][name].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now).as_second() - start.as_second()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_cells() {
        let job = json!({
            "spec": {"completions": 3, "parallelism": 1},
            "status": {
                "succeeded": 3, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:02:05Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        });
        assert_eq!((status(&job), completions(&job).as_str()), ("Complete", "3/3"));
        assert_eq!(duration(&job, Timestamp::UNIX_EPOCH), "2m5s");
        assert_eq!(completions(&json!({"spec": {"parallelism": 4}})), "0/1 of 4");
    }
}
