//! Jobs and CronJobs.

mod columns;
mod cron_jobs;
mod indexes;
mod policies;
mod schedule;
mod spec;
mod status;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

pub(crate) use cron_jobs::CRON_JOBS;

use super::edit::{default_text, default_to, each, ensure, find, remove, set};
use super::kind::{Kind, empty_status};
use super::podspec;
use super::read::Field;
use super::same::same;
use super::validate::labels::{as_selector, label_map, label_selector};
use crate::registry::{GarbageCollection, SelectableField, StrategyContext};

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Jobs.
pub(crate) static JOBS: Kind = Kind {
    default: |object| {
        let labels = find(object, "spec.template.metadata.labels").map(|labels| labels.clone());
        if let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
            && object["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty)
            && let Some(metadata) = ensure(object, "metadata")
        {
            set(metadata, "labels", labels);
        }
        if let Some(spec) = ensure(object, "spec") {
            default_spec(spec);
            let completions = spec["completions"].is_null() && spec["parallelism"].is_null();
            if completions {
                set(spec, "completions", 1);
            }
            default_to(spec, "parallelism", 1);
            let limit = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i64::from(i32::MAX) };
            default_to(spec, "backoffLimit", limit);
            default_to(spec, "completionMode", "NonIndexed");
            default_to(spec, "suspend", false);
            let policy = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
            default_to(spec, "podReplacementPolicy", policy);
            default_to(spec, "manualSelector", false);
        }
    },
    status: Some(empty_status),
    create: generate_selector,
    validate,
    validate_update: Some(validate_update),
    warnings: |object, old| {
        let mut warnings = Vec::new();
        if old.is_none() {
            name_warning(object, &mut warnings);
            podspec::warnings(&Field::of(object).at("spec.template"), &mut warnings);
        }
        warnings
    },
    subresources: &[("status", &status::STATUS)],
    selectable: &[SelectableField {
        path: "status.successful",
        value: |object| object["status"]["succeeded"].as_i64().unwrap_or_default().to_string().into(),
    }],
    columns: &columns::JOBS,
    generation: true,
    garbage: GarbageCollection::Orphan,
    ..Kind::PLAIN
};

/// Defaults of a job's spec, in jobs and in the templates of cron jobs.
fn default_spec(spec: &mut Value) {
    if let Some(template) = ensure(spec, "template") {
        podspec::template(template);
    }
    for rule in each(spec, "podFailurePolicy.rules") {
        each(rule, "onPodConditions").for_each(|pattern| default_text(pattern, "status", "True"));
    }
}

/// What to warn of in the name of a new job, or of what makes jobs.
fn name_warning(object: &Value, warnings: &mut Vec<String>) {
    let faults = names::dns1123_label(object["metadata"]["name"].as_str().unwrap_or_default());
    if !faults.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label \
             is recommended: [{}]",
            faults.join(" ")
        ));
    }
}

/// Unless the user takes care of it, a job's pods are told apart by labels with its UID.
fn generate_selector(_: &StrategyContext<'_>, object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    // Labels that the job has from its template get the new ones too.
    let shared = object["metadata"]["labels"] == object["spec"]["template"]["metadata"]["labels"];
    for path in ["spec.template.metadata.labels", "metadata.labels"].iter().take(if shared { 2 } else { 1 }) {
        let Some(labels) = ensure(object, path) else { continue };
        NAME_LABELS.iter().for_each(|label| default_to(labels, label, name.clone()));
        UID_LABELS.iter().for_each(|label| default_to(labels, label, uid.clone()));
    }
    if let Some(labels) = ensure(object, "spec.selector.matchLabels") {
        default_to(labels, UID_LABELS[1], uid);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let job = Field::of(object);
    let spec = job.field("spec");
    generated_selector(&job, errors);
    spec::validate(&spec, errors);
    let selector = spec.field("selector");
    if selector.is_set() {
        label_selector(&selector, errors);
    } else {
        selector.required(errors, "");
    }
    let labels = spec.at("template.metadata.labels");
    if !as_selector(&selector).matches(&label_map(&labels)) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    let completions = spec.field("completions").int();
    if spec.field("completionMode").text() == "Indexed" && completions > 0 {
        let name = job.at("metadata.name");
        let host = format!("{}-{}", name.text(), completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            name.invalid(errors, format!("will not able to create pod with invalid DNS label: {host}"));
        }
    }
}

fn generated_selector(job: &Field<'_>, errors: &mut FieldErrors) {
    let spec = job.field("spec");
    let selector = spec.field("selector");
    if spec.field("manualSelector").flag() || !selector.is_set() {
        return;
    }
    let (uid, name) = (job.at("metadata.uid"), job.at("metadata.name"));
    if uid.is_empty() {
        uid.required(errors, "");
    }
    let labels = spec.at("template.metadata.labels");
    let mut expected = Vec::new();
    for (keys, value) in [(UID_LABELS, uid.text()), (NAME_LABELS, name.text())] {
        for key in keys {
            expected.push((key.to_owned(), value.to_owned()));
            let label = labels.key(key);
            if !label.is_set() {
                label.required(errors, &format!("must be '{value}'"));
            } else if label.text() != value {
                label.invalid_value(errors, labels.raw(), format!("must be '{value}'"));
            }
        }
    }
    if !as_selector(&selector).matches(expected.as_slice()) {
        selector.invalid(errors, "`selector` not auto-generated");
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    validate(object, errors);
    let (spec, before) = (Field::of(object).field("spec"), Field::of(old).field("spec"));
    let completions = spec.field("completions");
    if spec.field("completionMode").text() != "Indexed" {
        completions.unchanged(errors, &before.field("completions"));
    } else if completions.is_set()
        && !completions.same_as(&before.field("completions"))
        && completions.int() != spec.field("parallelism").int()
    {
        completions.invalid(errors, "can only be modified in tandem with spec.parallelism");
    }
    spec.field("selector").unchanged(errors, &before.field("selector"));
    template_update(object, old, errors);
    for name in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        spec.field(name).unchanged(errors, &before.field(name));
    }
}

/// While a job is suspended and none of its pods run, where and with how much they will run may change.
fn template_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (mut now, mut before) = (object["spec"]["template"].clone(), old["spec"]["template"].clone());
    let status = &old["status"];
    let suspended = status["conditions"].as_array().into_iter().flatten();
    let stopped = status["startTime"].is_null()
        || suspended.into_iter().any(|condition| condition["type"] == "Suspended" && condition["status"] == "True");
    let active = status["active"].as_i64().unwrap_or_default();
    if old["spec"]["suspend"] == true && stopped && active == 0 {
        for template in [&mut now, &mut before] {
            if let Some(metadata) = template.get_mut("metadata") {
                remove(metadata, "annotations");
                remove(metadata, "labels");
            }
            let Some(spec) = template.get_mut("spec") else { continue };
            for name in ["nodeSelector", "tolerations", "schedulingGates"] {
                remove(spec, name);
            }
            if let Some(affinity) = spec.get_mut("affinity") {
                remove(affinity, "nodeAffinity");
            }
            for list in ["containers", "initContainers"] {
                each(spec, list).for_each(|container| drop(remove(container, "resources")));
            }
        }
    }
    if !same(Some(&now), Some(&before)) {
        Field::of(object).at("spec.template").invalid(errors, "field is immutable");
    }
}

/// A fault whose value isn't repeated.
fn invalid_without_value(field: &Field<'_>, why: impl Into<String>, errors: &mut FieldErrors) {
    let mut error = FieldError::invalid(&field.path(), json!(null), why);
    error.value = None;
    errors.push(error);
}
