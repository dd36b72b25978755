//! Workloads: objects that keep pods of a template running. What they share.

mod controller_revisions;
mod daemon_sets;
mod deployments;
mod pod_templates;
mod replica_sets;
mod replication_controllers;
mod stateful_sets;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

pub(crate) use controller_revisions::CONTROLLER_REVISIONS;
pub(crate) use daemon_sets::DAEMON_SETS;
pub(crate) use deployments::DEPLOYMENTS;
pub(crate) use pod_templates::POD_TEMPLATES;
pub(crate) use replica_sets::REPLICA_SETS;
pub(crate) use replication_controllers::REPLICATION_CONTROLLERS;
pub(crate) use stateful_sets::STATEFUL_SETS;

use super::podspec;
use super::read::Field;
use super::validate::labels::{as_selector, label_map, label_selector, selects_everything};
use crate::registry::{Column, Scale};
use crate::table;

/// A selector of pods: it must be given, be good, and select something less than everything.
fn selector(spec: &Field<'_>, what: &str, required: bool, errors: &mut FieldErrors) {
    let selector = spec.field("selector");
    if !selector.is_set() {
        if required {
            selector.required(errors, "");
        }
        return;
    }
    label_selector(&selector, errors);
    if selects_everything(&selector) {
        selector.invalid(errors, format!("empty selector is invalid for {what}"));
    }
}

/// The template's labels must be what is selected.
pub(crate) fn template_is_selected(spec: &Field<'_>, errors: &mut FieldErrors) {
    let selector = spec.field("selector");
    let labels = spec.at("template.metadata.labels");
    let empty = !selector.is_set() || selects_everything(&selector);
    if !empty && !as_selector(&selector).matches(&label_map(&labels)) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
}

/// The template's pods must run on and on.
fn template_runs_forever(template: &Field<'_>, kind: &str, errors: &mut FieldErrors) {
    let policy = template.at("spec.restartPolicy");
    if policy.text() != "Always" {
        errors.push(FieldError::not_supported_in_order(&policy.path(), policy.text(), &["Always"]));
    }
    let deadline = template.at("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(errors, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// A number, not negative, or a percentage.
pub(crate) fn count_or_percent(field: &Field<'_>, errors: &mut FieldErrors) {
    match field.opt_text() {
        Some(text) if percent(text).is_none() => {
            let rule = "a valid percent string must be a numeric string followed by an ending '%'";
            field.invalid(errors, names::pattern_fault(rule, "[0-9]+%", &["1%", "93%"]));
        }
        Some(_) => {}
        None => field.not_negative(errors),
    }
}

/// At most all, if it is a percentage.
pub(crate) fn at_most_all(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.opt_text().and_then(percent).is_some_and(|value| value > 100) {
        field.invalid(errors, "must not be greater than 100%");
    }
}

fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The number of a count or of a percentage.
fn amount_of(field: &Field<'_>) -> i64 {
    match field.opt_text() {
        Some(text) => percent(text).and_then(|value| i64::try_from(value).ok()).unwrap_or_default(),
        None => field.int(),
    }
}

/// Counters of a status: none negative, none above those that they are part of.
pub(crate) fn counters(
    status: &Field<'_>,
    names: &[&'static str],
    parts: &[(&'static str, &'static str, &str)],
    errors: &mut FieldErrors,
) {
    names.iter().for_each(|name| status.field(name).not_negative(errors));
    for (part, whole, why) in parts {
        let field = status.field(part);
        if field.int() > status.field(whole).int() {
            field.invalid(errors, *why);
        }
    }
}

/// The collision count never goes down.
fn collisions_only_grow(status: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let (now, before) = (status.field("collisionCount"), old.field("collisionCount"));
    if before.is_set() && (!now.is_set() || now.int() < before.int()) {
        now.invalid_value(errors, now.int(), "cannot be decremented");
    }
}

/// Warnings for the pods of a template under `spec`.
fn template_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    template_warnings_at(object, old, "spec.template")
}

/// What to warn of in the template at a path, of a new object and of one whose generation changes.
pub(super) fn template_warnings_at(object: &Value, old: Option<&Value>, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    if old.is_none_or(|old| generation(old) != generation(object)) {
        podspec::warnings(&Field::of(object).at(path), &mut warnings);
    }
    warnings
}

fn count(object: &Value, part: &str, name: &str) -> Value {
    json!(object[part][name].as_i64().unwrap_or_default())
}

const CONTAINERS: Column = table::containers(|object, _| table::container_names(&object["spec"]["template"]["spec"]));
const IMAGES: Column = table::images(|object, _| table::container_images(&object["spec"]["template"]["spec"]));
const SELECTOR: Column = table::selector(|object, _| table::selector_cell(&object["spec"]["selector"]));

/// The scale of kinds with `spec.replicas`, `status.replicas` and a label selector.
const SCALE: Scale = Scale {
    spec_replicas: |object| object["spec"]["replicas"].as_i64().unwrap_or_default(),
    set_replicas: |object, replicas| {
        if let Some(spec) = super::edit::ensure(object, "spec") {
            super::edit::set(spec, "replicas", replicas);
        }
    },
    status_replicas: |object| object["status"]["replicas"].as_i64().unwrap_or_default(),
    selector: |object| super::label_selector_text(&object["spec"]["selector"]),
};
