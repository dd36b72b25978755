//! ResourceClaims.

use serde_json::{Value, json};

use super::claim::{claim, default_requests};
use super::status::{drop_status_of_deallocated, status};
use crate::kinds::kind::{Kind, Part, empty_status};
use crate::kinds::read::Field;
use crate::registry::Column;
use crate::table::{AGE, NAME, text};

/// ResourceClaims.
pub(crate) static RESOURCE_CLAIMS: Kind = Kind {
    default: |object| default_requests(object, "spec.devices.requests"),
    status: Some(empty_status),
    validate: |object, errors| claim(&Field::of(object).field("spec"), errors),
    // What can't change need not be looked at again.
    validate_update: Some(|object, old, errors| {
        Field::of(object).field("spec").unchanged(errors, &Field::of(old).field("spec"));
    }),
    subresources: &[("status", &CLAIM_STATUS)],
    columns: &CLAIM_COLUMNS,
    ..Kind::PLAIN
};

static CLAIM_STATUS: Part =
    Part { update: |_, object, old| drop_status_of_deallocated(object, old), validate: status, ..Part::STATUS_ONLY };

static CLAIM_COLUMNS: [Column; 3] =
    [NAME, text("State", "Whether it has devices, and is in use.", |object, _| json!(state(object))), AGE];

fn state(claim: &Value) -> String {
    let deleted = claim["metadata"]["deletionTimestamp"].is_string();
    let allocated = !claim["status"]["allocation"].is_null();
    let reserved = claim["status"]["reservedFor"].as_array().is_some_and(|list| !list.is_empty());
    let states = [
        (deleted, "deleted"),
        (!deleted && !allocated, "pending"),
        (allocated, "allocated"),
        (allocated && reserved, "reserved"),
    ];
    let states: Vec<&str> = states.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
    states.join(",")
}
