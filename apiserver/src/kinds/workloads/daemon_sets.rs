//! DaemonSets.

use kubewright_api::field::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::{
    CONTAINERS, IMAGES, SELECTOR, amount_of, at_most_all, collisions_only_grow, count, count_or_percent, counters,
    selector, template_runs_forever, template_warnings,
};
use crate::kinds::edit::{default_text, default_to, ensure, set};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::podspec;
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::kinds::validate::labels::{as_selector, label_map, labels_as_text};
use crate::registry::{Column, StrategyContext};
use crate::table::{AGE, NAME, integer, or_none, text};

/// Counts changes of the template, for clients of old.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// DaemonSets.
pub(crate) static DAEMON_SETS: Kind = Kind {
    default: defaults,
    status: Some(
        || json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}),
    ),
    create: |_, object| {
        let given = template_generation(object);
        set_template_generation(object, given.max(1));
    },
    update: count_template_changes,
    validate,
    validate_update: Some(validate_update),
    warnings: template_warnings,
    subresources: &[("status", &STATUS)],
    columns: &COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

static STATUS: Part = Part { validate: validate_status, ..Part::STATUS };

static COLUMNS: [Column; 11] = [
    NAME,
    integer("Desired", "Nodes that should run its pod.", |object, _| count(object, "status", "desiredNumberScheduled")),
    integer("Current", "Nodes that run its pod.", |object, _| count(object, "status", "currentNumberScheduled")),
    integer("Ready", "Nodes whose pod is ready.", |object, _| count(object, "status", "numberReady")),
    integer("Up-to-date", "Nodes with a pod of the newest template.", |object, _| {
        count(object, "status", "updatedNumberScheduled")
    }),
    integer("Available", "Nodes whose pod has been ready long enough.", |object, _| {
        count(object, "status", "numberAvailable")
    }),
    text("Node Selector", "Labels of the nodes that it runs on.", |object, _| {
        or_none(labels_as_text(&object["spec"]["template"]["spec"]["nodeSelector"]))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn template_generation(object: &Value) -> i64 {
    let annotation = object["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    annotation.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if let Some(annotations) = ensure(object, "metadata.annotations") {
        set(annotations, TEMPLATE_GENERATION, generation.to_string());
    }
}

fn count_template_changes(_: &StrategyContext<'_>, object: &mut Value, old: &Value) {
    let template = |object: &Value| object["spec"]["template"].clone();
    let changed = !same(Some(&template(object)), Some(&template(old)));
    set_template_generation(object, template_generation(old) + i64::from(changed));
}

fn defaults(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    default_to(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        default_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
    }
    if let Some(template) = ensure(spec, "template") {
        podspec::template(template);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    selector(&spec, "daemonset", false, errors);
    let labels = spec.at("template.metadata.labels");
    if !as_selector(&spec.field("selector")).matches(&label_map(&labels)) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    let template = spec.field("template");
    podspec::validate_template(&template, errors);
    template_runs_forever(&template, "DaemonSet", errors);
    spec.field("minReadySeconds").not_negative(errors);
    update_strategy(&spec.field("updateStrategy"), errors);
    spec.field("revisionHistoryLimit").not_negative(errors);
}

fn update_strategy(strategy: &Field<'_>, errors: &mut FieldErrors) {
    let rolling = strategy.field("rollingUpdate");
    match strategy.field("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => rolling.required(errors, ""),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
            for field in [&unavailable, &surge] {
                count_or_percent(field, errors);
            }
            for field in [&unavailable, &surge] {
                at_most_all(field, errors);
            }
            match (amount_of(&unavailable), amount_of(&surge)) {
                (0, 0) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
                (0, _) | (_, 0) => {}
                _ => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
            }
        }
        _ => errors.push(FieldError::not_supported_in_order(
            &strategy.path(),
            strategy.raw(),
            &["OnDelete", "RollingUpdate"],
        )),
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    Field::of(object).at("spec.selector").unchanged(errors, &Field::of(old).at("spec.selector"));
    validate(object, errors);
}

fn validate_status(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (Field::of(object).field("status"), Field::of(old).field("status"));
    let names = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counters(&status, &names, &[], errors);
    collisions_only_grow(&status, &before, errors);
}
