//! The claims of a stateful set's pods: made before the pod, kept after it unless asked otherwise.

use std::sync::Arc;

use serde_json::{Value, json};

use super::identity::{claim_name, name};
use crate::objects::{OwnerReference, PersistentVolumeClaim, Pod, StatefulSet, kinds};
use crate::plan::{Action, Announce, Create, Note, Plan, Reference};

/// Creates the claims of a pod that aren't there.
pub(super) fn create_missing(
    plan: &mut Plan,
    set: &StatefulSet,
    ordinal: i32,
    held: &dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
) {
    for template in &set.spec.volume_claim_templates {
        let claim = claim_name(set, template, ordinal);
        if held(&claim).is_some() {
            continue;
        }
        let mut object = template.clone();
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("PersistentVolumeClaim");
        object["metadata"]["name"] = json!(claim);
        object["metadata"]["namespace"] = json!(set.metadata.namespace);
        let selector = json!(set.spec.selector);
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            object["metadata"]["labels"][key] = value.clone();
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let text = |end: &str| {
            format!("create Claim {claim} Pod {} in StatefulSet {} {end}", name(set, ordinal), set.metadata.name)
        };
        plan.push(Action::Create(Create {
            kind: kinds::PERSISTENT_VOLUME_CLAIM,
            namespace: set.metadata.namespace.clone(),
            object,
            or_exists: true,
            announce: Some(Announce {
                regarding: Reference::to(set),
                success: Some(Note::normal("SuccessfulCreate", text("success"))),
                failure: Some(Note::warning("FailedCreate", text("failed error: "))),
            }),
        }));
    }
}

/// Sees to it that claims go with the set or with their pod, if that is asked for.
pub(super) fn keep_retention(
    plan: &mut Plan,
    set: &StatefulSet,
    ordinal: i32,
    pod: Option<&Pod>,
    condemned: bool,
    held: &dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
) {
    let Some(retention) = &set.spec.persistent_volume_claim_retention_policy else { return };
    let with_set = retention.when_deleted == "Delete" && !condemned_keeps(retention.when_scaled.as_str(), condemned);
    let with_pod = retention.when_scaled == "Delete" && condemned;
    for template in &set.spec.volume_claim_templates {
        let Some(claim) = held(&claim_name(set, template, ordinal)) else { continue };
        let pod_name = name(set, ordinal);
        let is_ours =
            |owner: &OwnerReference| owner.uid == set.metadata.uid || (owner.kind == "Pod" && owner.name == pod_name);
        let mut owners: Vec<Value> = claim
            .metadata
            .owner_references
            .iter()
            .filter(|owner| !is_ours(owner))
            .map(OwnerReference::to_value)
            .collect();
        let reference = |api_version: &str, kind: &str, name: &str, uid: &str| json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
        if with_set {
            owners.push(reference("apps/v1", "StatefulSet", &set.metadata.name, &set.metadata.uid));
        }
        if let Some(pod) = pod.filter(|_| with_pod) {
            owners.push(reference("v1", "Pod", &pod.metadata.name, &pod.metadata.uid));
        }
        let now: Vec<Value> = claim.metadata.owner_references.iter().map(OwnerReference::to_value).collect();
        if now != owners {
            plan.patch(claim.as_ref(), "", json!({"metadata": {"ownerReferences": owners}}));
        }
    }
}

/// A claim that goes with its pod is no longer tied to the set.
fn condemned_keeps(when_scaled: &str, condemned: bool) -> bool {
    condemned && when_scaled == "Delete"
}
