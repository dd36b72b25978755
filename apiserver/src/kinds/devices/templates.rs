//! ResourceClaimTemplates.

use super::claim::{claim, default_requests};
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::{annotations, labels};
use crate::table::{AGE, NAME};
use kubewright_api::field::FieldErrors;
use serde_json::Value;

/// ResourceClaimTemplates.
pub(crate) static RESOURCE_CLAIM_TEMPLATES: Kind = Kind {
    default: |object| default_requests(object, "spec.spec.devices.requests"),
    validate: template,
    validate_update: Some(|object, old, errors| {
        template(object, errors);
        Field::of(object).field("spec").unchanged(errors, &Field::of(old).field("spec"));
    }),
    columns: &[NAME, AGE],
    ..Kind::PLAIN
};

fn template(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    labels(&spec.at("metadata.labels"), errors);
    annotations(&spec.at("metadata.annotations"), errors);
    let metadata = spec.field("metadata");
    for (name, value) in metadata.entries() {
        if !["labels", "annotations"].contains(&name) && !value.is_empty() {
            metadata.field(name).forbidden(errors, "cannot be set");
        }
    }
    claim(&spec.field("spec"), errors);
}
