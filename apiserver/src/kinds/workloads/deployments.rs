//! Deployments.

use kubewright_api::field::FieldErrors;
use serde_json::{Value, json};

use super::{
    CONTAINERS, IMAGES, SCALE, SELECTOR, amount_of, at_most_all, collisions_only_grow, count, count_or_percent,
    counters, selector, template_is_selected, template_runs_forever, template_warnings,
};
use crate::kinds::edit::{default_text, default_to, ensure};
use crate::kinds::kind::{Kind, Part, empty_status};
use crate::kinds::podspec;
use crate::kinds::read::Field;
use crate::registry::Column;
use crate::table::{AGE, NAME, text};

/// Deployments.
pub(crate) static DEPLOYMENTS: Kind = Kind {
    default: defaults,
    status: Some(empty_status),
    validate,
    validate_update: Some(validate_update),
    warnings: template_warnings,
    subresources: &[("status", &STATUS)],
    columns: &COLUMNS,
    generation: true,
    scale: Some(SCALE),
    ..Kind::PLAIN
};

static STATUS: Part = Part { keeps: &["labels"], validate: validate_status, ..Part::STATUS };

static COLUMNS: [Column; 8] = [
    NAME,
    text("Ready", "Ready pods of those wanted.", |object, _| {
        json!(format!("{}/{}", count(object, "status", "readyReplicas"), count(object, "spec", "replicas")))
    }),
    text("Up-to-date", "Pods of the newest template.", |object, _| count(object, "status", "updatedReplicas")),
    text("Available", "Pods that have been ready long enough.", |object, _| {
        count(object, "status", "availableReplicas")
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn defaults(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = ensure(spec, "strategy") {
        default_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
    }
    if let Some(template) = ensure(spec, "template") {
        podspec::template(template);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    spec.field("replicas").not_negative(errors);
    selector(&spec, "deployment", true, errors);
    let template = spec.field("template");
    template_is_selected(&spec, errors);
    podspec::validate_template(&template, errors);
    template_runs_forever(&template, "ReplicaSet", errors);
    strategy(&spec.field("strategy"), errors);
    spec.field("minReadySeconds").not_negative(errors);
    spec.field("revisionHistoryLimit").not_negative(errors);
    let deadline = spec.field("progressDeadlineSeconds");
    if deadline.is_set() {
        deadline.not_negative(errors);
        if deadline.int() <= spec.field("minReadySeconds").int() {
            deadline.invalid(errors, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(strategy: &Field<'_>, errors: &mut FieldErrors) {
    let rolling = strategy.field("rollingUpdate");
    match strategy.field("type").text() {
        "Recreate" if rolling.is_set() => {
            rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_set() => {
            rolling.required(errors, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
            count_or_percent(&unavailable, errors);
            count_or_percent(&surge, errors);
            if amount_of(&unavailable) == 0 && amount_of(&surge) == 0 {
                unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(&unavailable, errors);
        }
        _ => strategy.unsupported(errors, &["Recreate", "RollingUpdate"]),
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    validate(object, errors);
    let (selector, before) = (Field::of(object).at("spec.selector"), Field::of(old).at("spec.selector"));
    selector.unchanged(errors, &before);
}

fn validate_status(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (Field::of(object).field("status"), Field::of(old).field("status"));
    let names = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    let why = "cannot be greater than status.replicas";
    let parts = [
        ("updatedReplicas", "replicas", why),
        ("readyReplicas", "replicas", why),
        ("availableReplicas", "replicas", why),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    counters(&status, &names, &parts, errors);
    collisions_only_grow(&status, &before, errors);
}
