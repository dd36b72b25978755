//! StatefulSets.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::{
    CONTAINERS, IMAGES, SCALE, amount_of, at_most_all, collisions_only_grow, count, count_or_percent, counters,
    selector, template_is_selected, template_runs_forever, template_warnings,
};
use crate::kinds::edit::{default_text, default_to, each, ensure, remove, restore, set};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::podspec;
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::kinds::validate::claims;
use crate::registry::Column;
use crate::table::{AGE, NAME, text};

/// StatefulSets.
pub(crate) static STATEFUL_SETS: Kind = Kind {
    default: defaults,
    status: Some(|| json!({"replicas": 0, "availableReplicas": 0})),
    validate: |object, errors| validate(object, true, errors),
    validate_update: Some(validate_update),
    warnings: template_warnings,
    subresources: &[("status", &STATUS)],
    columns: &COLUMNS,
    generation: true,
    scale: Some(SCALE),
    name: names::dns1123_label,
    ..Kind::PLAIN
};

static STATUS: Part = Part { validate: validate_status, ..Part::STATUS };

static COLUMNS: [Column; 5] = [
    NAME,
    text("Ready", "Ready pods of those wanted.", |object, _| {
        json!(format!("{}/{}", count(object, "status", "readyReplicas"), count(object, "spec", "replicas")))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
];

fn defaults(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    default_text(spec, "podManagementPolicy", "OrderedReady");
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "serviceName", "");
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        if strategy["type"].as_str().unwrap_or_default().is_empty() {
            set(strategy, "type", "RollingUpdate");
            default_to(strategy, "rollingUpdate", json!({}));
        }
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = strategy.get_mut("rollingUpdate")
        {
            default_to(rolling, "partition", 0);
        }
    }
    if let Some(retention) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        default_text(retention, "whenDeleted", "Retain");
        default_text(retention, "whenScaled", "Retain");
    }
    if let Some(template) = ensure(spec, "template") {
        podspec::template(template);
    }
    for claim in each(spec, "volumeClaimTemplates") {
        default_to(claim, "apiVersion", "v1");
        default_to(claim, "kind", "PersistentVolumeClaim");
        if let Some(spec) = ensure(claim, "spec") {
            default_to(spec, "volumeMode", "Filesystem");
        }
        if let Some(status) = ensure(claim, "status") {
            default_text(status, "phase", "Pending");
        }
    }
}

fn validate(object: &Value, new: bool, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let management = spec.field("podManagementPolicy");
    match management.text() {
        "" => management.required(errors, ""),
        "OrderedReady" | "Parallel" => {}
        _ => management.invalid(errors, "must be 'OrderedReady' or 'Parallel'"),
    }
    update_strategy(&spec.field("updateStrategy"), errors);
    let retention = spec.field("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for name in ["whenDeleted", "whenScaled"] {
            let field = retention.field(name);
            if !["Retain", "Delete"].contains(&field.text()) {
                errors.push(FieldError::not_supported_in_order(&field.path(), field.text(), &["Retain", "Delete"]));
            }
        }
    }
    if new {
        for claim in spec.field("volumeClaimTemplates").items() {
            claims::spec(&claim.field("spec"), errors);
        }
        spec.field("serviceName").check_if_set(errors, names::dns1123_label);
    }
    spec.field("replicas").not_negative(errors);
    spec.field("minReadySeconds").not_negative(errors);
    spec.at("ordinals.start").not_negative(errors);
    selector(&spec, "statefulset", true, errors);
    template(object, &spec, errors);
}

/// The template is checked as the pods will be: with the claims' volumes, without a host name of its own.
fn template(object: &Value, spec: &Field<'_>, errors: &mut FieldErrors) {
    let mut object = json!({ "spec": object["spec"] });
    let claims: Vec<String> =
        spec.field("volumeClaimTemplates").items().map(|claim| claim.at("metadata.name").text().to_owned()).collect();
    if let Some(pod) = ensure(&mut object, "spec.template.spec") {
        remove(pod, "subdomain");
        remove(pod, "hostname");
        if !claims.is_empty() {
            let own = pod["volumes"].as_array().cloned().unwrap_or_default();
            let claimed = claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
            let others = own.into_iter().filter(|volume| !claims.iter().any(|name| volume["name"] == *name));
            let all: Vec<Value> = claimed.chain(others).collect();
            set(pod, "volumes", all);
        }
    }
    let spec = Field::of(&object).field("spec");
    template_is_selected(&spec, errors);
    podspec::validate_template(&spec.field("template"), errors);
    template_runs_forever(&spec.field("template"), "StatefulSet", errors);
}

fn update_strategy(strategy: &Field<'_>, errors: &mut FieldErrors) {
    let rolling = strategy.field("rollingUpdate");
    match strategy.field("type").text() {
        "" => strategy.required(errors, ""),
        "OnDelete" if rolling.is_set() => {
            rolling.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            rolling.field("partition").not_negative(errors);
            let unavailable = rolling.field("maxUnavailable");
            if unavailable.is_set() {
                count_or_percent(&unavailable, errors);
                if amount_of(&unavailable) == 0 {
                    unavailable.invalid(errors, "cannot be 0");
                }
                at_most_all(&unavailable, errors);
            }
        }
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    validate(object, false, errors);
    let (mut now, before) = (object["spec"].clone(), &old["spec"]);
    for name in [
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
    ] {
        restore(&mut now, name, before);
    }
    if !same(Some(&now), Some(before)) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        Field::of(object).field("spec").forbidden(errors, why);
    }
}

fn validate_status(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (Field::of(object).field("status"), Field::of(old).field("status"));
    let names = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    let why = "cannot be greater than status.replicas";
    let parts = [
        ("readyReplicas", "replicas", why),
        ("currentReplicas", "replicas", why),
        ("updatedReplicas", "replicas", why),
        ("availableReplicas", "replicas", why),
        ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
    ];
    counters(&status, &names, &parts, errors);
    collisions_only_grow(&status, &before, errors);
}
