//! The status of jobs: what has ended stays ended, and counts only grow.

use kubewright_api::field::FieldErrors;
use serde_json::Value;

use super::{indexes, invalid_without_value};
use crate::kinds::kind::Part;
use crate::kinds::read::Field;

/// `jobs/status`.
pub(super) static STATUS: Part = Part { validate, ..Part::STATUS };

fn has(status: &Field<'_>, kind: &str) -> bool {
    status
        .field("conditions")
        .items()
        .any(|condition| condition.field("type").text() == kind && condition.field("status").text() == "True")
}

fn validate(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (job, before) = (Field::of(object), Field::of(old).field("status"));
    let status = job.field("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.field(name).not_negative(errors);
    }
    let conditions = status.field("conditions");
    if has(&status, "Complete") && has(&status, "Failed") {
        invalid_without_value(&conditions, "cannot set Complete=True and Failed=true conditions", errors);
    }
    for (condition, other) in
        [("Complete", "FailureTarget"), ("SuccessCriteriaMet", "Failed"), ("SuccessCriteriaMet", "FailureTarget")]
    {
        if has(&status, condition) && has(&status, other) {
            let why = format!("cannot set {condition}=True and {other}=true conditions");
            invalid_without_value(&conditions, why, errors);
        }
    }
    times(&status, &before, &job, errors);
    finished(&status, errors);
    index_lists(&job, &status, errors);
    for name in ["failed", "succeeded"] {
        if status.field(name).int() < before.field(name).int() {
            let field = status.field(name);
            field.invalid_value(errors, field.int(), format!("cannot decrease the {name} counter"));
        }
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if has(&before, kind) && !has(&status, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            invalid_without_value(&conditions, why, errors);
        }
    }
    if has(&before, "SuccessCriteriaMet") && !has(&status, "SuccessCriteriaMet") {
        invalid_without_value(&conditions, "cannot disable the SuccessCriteriaMet=True condition", errors);
    }
}

fn times(status: &Field<'_>, before: &Field<'_>, job: &Field<'_>, errors: &mut FieldErrors) {
    let (start, end) = (status.field("startTime"), status.field("completionTime"));
    let complete = has(status, "Complete");
    if end.is_set() && !complete {
        end.invalid(errors, "cannot set completionTime when there is no Complete=True condition");
    }
    if !end.is_set() && complete {
        end.required(errors, "completionTime is required for Complete jobs");
    }
    if start.is_set() && end.is_set() && end.text() < start.text() {
        end.invalid(errors, "must be equal to or after `startTime`");
    }
    let ended = before.field("completionTime");
    if end.is_set() && ended.is_set() && !end.same_as(&ended) {
        end.invalid(errors, "field is immutable");
    }
    let started = before.field("startTime");
    if started.is_set() && !started.same_as(&start) && !job.at("spec.suspend").flag() {
        start.invalid(errors, "field is immutable for unsuspended job once set");
    }
}

fn finished(status: &Field<'_>, errors: &mut FieldErrors) {
    if !has(status, "Complete") && !has(status, "Failed") {
        return;
    }
    let conditions = status.field("conditions");
    if has(status, "Failed") && !has(status, "FailureTarget") {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        invalid_without_value(&conditions, why, errors);
    }
    if has(status, "Complete") && !has(status, "SuccessCriteriaMet") {
        let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        invalid_without_value(&conditions, why, errors);
    }
    for name in ["active", "terminating"] {
        if status.field(name).int() > 0 {
            status.field(name).invalid(errors, format!("{name}>0 is invalid for finished job"));
        }
    }
    if !status.field("startTime").is_set() {
        status.field("startTime").required(errors, "startTime is required for finished job");
    }
    let uncounted = status.field("uncountedTerminatedPods");
    if !uncounted.field("failed").is_empty() || !uncounted.field("succeeded").is_empty() {
        uncounted.invalid(errors, "must be empty for finished job");
    }
}

fn index_lists(job: &Field<'_>, status: &Field<'_>, errors: &mut FieldErrors) {
    let spec = job.field("spec");
    let completions = spec.field("completions");
    let (completed, failed) = (status.field("completedIndexes"), status.field("failedIndexes"));
    if status.field("ready").int() > status.field("active").int() {
        status.field("ready").invalid(errors, "cannot set more ready pods than active");
    }
    if completions.is_set() {
        for (field, name) in [(&completed, "completedIndexes"), (&failed, "failedIndexes")] {
            if let Err(why) = indexes::parse(field.text(), completions.int()) {
                field.invalid(errors, format!("error parsing {name}: {why}"));
            }
        }
    }
    if !completed.is_empty() && spec.field("completionMode").text() != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        completed.invalid(errors, why);
    }
    if failed.is_set() && !spec.field("backoffLimitPerIndex").is_set() {
        failed.invalid(errors, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
}
