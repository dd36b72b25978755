//! Pods that controllers make, and which of them go first.

mod rank;

pub(crate) use rank::rank_for_deletion;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cache::Cache;
use crate::objects::{Kind, Meta, Object, OwnerReference, Pod, Template, kinds};
use crate::plan::{Action, Announce, Note, Reference};

/// The pods that an owner manages or might adopt.
pub(crate) fn candidates(pods: &Cache<Pod>, owner: &Meta) -> Vec<Arc<Pod>> {
    let mut all = pods.controlled_by(&owner.uid);
    all.extend(pods.uncontrolled_in(&owner.namespace));
    all
}

/// A pod made from a template for an owner; the server completes its name.
pub(crate) fn pod_from(template: &Template, owner_kind: Kind, owner: &Meta) -> Value {
    let mut pod = template.to_pod();
    pod["metadata"]["generateName"] = json!(name_prefix(&owner.name));
    pod["metadata"]["namespace"] = json!(owner.namespace);
    pod["metadata"]["ownerReferences"] = json!([OwnerReference::to_controller(owner_kind, owner)]);
    pod
}

/// The start of the names of an owner's pods.
fn name_prefix(owner: &str) -> String {
    let prefix = format!("{owner}-");
    if prefix.len() <= 253 { prefix } else { owner.to_owned() }
}

/// Creates a pod and tells about it.
pub(crate) fn create_pod<O: Object>(owner: &O, pod: Value) -> Action {
    let announce = Announce {
        regarding: Reference::to(owner),
        success: Some(Note::normal("SuccessfulCreate", "Created pod: {name}")),
        failure: Some(Note::warning("FailedCreate", "Error creating: ")),
    };
    Action::create(kinds::POD, &owner.meta().namespace, pod, Some(announce))
}

/// Deletes a pod and tells about it.
pub(crate) fn delete_pod<O: Object>(owner: &O, pod: &Pod) -> Action {
    let announce = Announce {
        regarding: Reference::to(owner),
        success: Some(Note::normal("SuccessfulDelete", "Deleted pod: {name}")),
        failure: Some(Note::warning("FailedDelete", "Error deleting: ")),
    };
    Action::delete(pod, Some(announce))
}
