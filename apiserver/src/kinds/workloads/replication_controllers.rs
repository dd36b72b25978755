//! ReplicationControllers.

use kubewright_api::field::FieldErrors;
use serde_json::{Value, json};

use super::replica_sets::{CURRENT, DESIRED, READY, SELECTABLE, validate_status};
use super::{CONTAINERS, IMAGES, SCALE, template_runs_forever, template_warnings};
use crate::kinds::edit::{default_to, ensure, find, set};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::podspec;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::labels_as_text;
use crate::registry::{Column, GarbageCollection, Scale};
use crate::table::{AGE, NAME, or_none, selector};

/// ReplicationControllers.
pub(crate) static REPLICATION_CONTROLLERS: Kind = Kind {
    default: defaults,
    status: Some(|| json!({"replicas": 0})),
    validate,
    warnings: template_warnings,
    subresources: &[("status", &STATUS)],
    selectable: SELECTABLE,
    columns: &COLUMNS,
    generation: true,
    garbage: GarbageCollection::Orphan,
    scale: Some(Scale { selector: |object| labels_as_text(&object["spec"]["selector"]), ..SCALE }),
    ..Kind::PLAIN
};

static STATUS: Part = Part { validate: validate_status, ..Part::STATUS };

static COLUMNS: [Column; 8] = [
    NAME,
    DESIRED,
    CURRENT,
    READY,
    AGE,
    CONTAINERS,
    IMAGES,
    selector(|object, _| or_none(labels_as_text(&object["spec"]["selector"]))),
];

fn defaults(object: &mut Value) {
    let labels = find(object, "spec.template.metadata.labels").map(|labels| labels.clone());
    if let Some(labels) = labels {
        let is_empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        if is_empty(&object["metadata"]["labels"])
            && let Some(metadata) = ensure(object, "metadata")
        {
            set(metadata, "labels", labels.clone());
        }
        if is_empty(&object["spec"]["selector"])
            && let Some(spec) = ensure(object, "spec")
        {
            set(spec, "selector", labels);
        }
    }
    let Some(spec) = ensure(object, "spec") else { return };
    default_to(spec, "replicas", 1);
    if let Some(template) = find(spec, "template") {
        podspec::template(template);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    spec.field("minReadySeconds").not_negative(errors);
    spec.field("selector").require(errors);
    spec.field("replicas").not_negative(errors);
    let template = spec.field("template");
    if !template.is_set() {
        template.required(errors, "");
        return;
    }
    let labels = template.at("metadata.labels");
    if spec.field("selector").entries().any(|(key, value)| labels.key(key).opt_text() != Some(value.text())) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    podspec::validate_template(&template, errors);
    template_runs_forever(&template, "ReplicationController", errors);
}
