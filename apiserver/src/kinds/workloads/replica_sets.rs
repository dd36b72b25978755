//! ReplicaSets.

use kubewright_api::field::FieldErrors;
use serde_json::{Value, json};

use super::{
    CONTAINERS, IMAGES, SCALE, SELECTOR, count, counters, selector, template_is_selected, template_runs_forever,
    template_warnings,
};
use crate::kinds::edit::{default_to, ensure};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::podspec;
use crate::kinds::read::Field;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, integer};

/// ReplicaSets.
pub(crate) static REPLICA_SETS: Kind = Kind {
    default: defaults,
    status: Some(|| json!({"replicas": 0})),
    validate,
    validate_update: Some(validate_update),
    warnings: template_warnings,
    subresources: &[("status", &STATUS)],
    selectable: SELECTABLE,
    columns: &COLUMNS,
    generation: true,
    scale: Some(SCALE),
    ..Kind::PLAIN
};

static STATUS: Part = Part { validate: validate_status, ..Part::STATUS };

/// The number of pods, as field selectors see it.
pub(super) static SELECTABLE: &[SelectableField] = &[SelectableField {
    path: "status.replicas",
    value: |object| object["status"]["replicas"].as_i64().unwrap_or_default().to_string().into(),
}];

static COLUMNS: [Column; 8] = [NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR];

/// How many pods are wanted.
pub(super) const DESIRED: Column =
    integer("Desired", "Pods that are wanted.", |object, _| count(object, "spec", "replicas"));
/// How many pods there are.
pub(super) const CURRENT: Column =
    integer("Current", "Pods that there are.", |object, _| count(object, "status", "replicas"));
/// How many pods are ready.
pub(super) const READY: Column =
    integer("Ready", "Pods that are ready.", |object, _| count(object, "status", "readyReplicas"));

fn defaults(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    default_to(spec, "replicas", 1);
    if let Some(template) = ensure(spec, "template") {
        podspec::template(template);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    spec.field("replicas").not_negative(errors);
    spec.field("minReadySeconds").not_negative(errors);
    selector(&spec, "deployment", true, errors);
    template_is_selected(&spec, errors);
    podspec::validate_template(&spec.field("template"), errors);
    template_runs_forever(&spec.field("template"), "ReplicaSet", errors);
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    validate(object, errors);
    Field::of(object).at("spec.selector").unchanged(errors, &Field::of(old).at("spec.selector"));
}

/// The rules for the status of replica sets and replication controllers.
pub(super) fn validate_status(object: &Value, _: &Value, errors: &mut FieldErrors) {
    let names = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    let why = "cannot be greater than status.replicas";
    let parts = [
        ("fullyLabeledReplicas", "replicas", why),
        ("readyReplicas", "replicas", why),
        ("availableReplicas", "replicas", why),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    counters(&Field::of(object).field("status"), &names, &parts, errors);
}
