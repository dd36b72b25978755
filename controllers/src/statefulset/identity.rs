//! What a stateful set's pods are called and look like.

use serde_json::{Value, json};

use crate::objects::{ControllerRevision, OwnerReference, Pod, StatefulSet, kinds};
use crate::revisions::template_of;

pub(super) const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number at the end of a pod's name, if the rest of the name is the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = pod.metadata.name.rsplit_once('-')?;
    ordinal.parse().ok().filter(|_| parent == set.metadata.name)
}

/// The name of the set's pod of that number.
pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name)
}

/// The name of a claim of that number.
pub(super) fn claim_name(set: &StatefulSet, template: &Value, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template["metadata"]["name"].as_str().unwrap_or(""), set.metadata.name)
}

/// A new pod of that number and revision.
pub(super) fn pod(set: &StatefulSet, revision: &ControllerRevision, ordinal: i32) -> Value {
    let mut pod = template_of(revision).to_pod();
    let name = name(set, ordinal);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!(set.metadata.namespace);
    pod["metadata"]["ownerReferences"] = json!([OwnerReference::to_controller(kinds::STATEFUL_SET, &set.metadata)]);
    pod["metadata"]["labels"][POD_NAME] = json!(name);
    pod["metadata"]["labels"][POD_INDEX] = json!(ordinal.to_string());
    pod["metadata"]["labels"][REVISION] = json!(revision.metadata.name);
    pod["spec"]["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        pod["spec"]["subdomain"] = json!(set.spec.service_name);
    }
    let templates = &set.spec.volume_claim_templates;
    if !templates.is_empty() {
        let claimed = |volume: &Value| templates.iter().any(|template| template["metadata"]["name"] == volume["name"]);
        let held: Vec<Value> = serde_json::from_value(pod["spec"]["volumes"].take()).unwrap_or_default();
        let claims = templates.iter().map(|template| {
            let claim = claim_name(set, template, ordinal);
            json!({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}})
        });
        let volumes: Vec<Value> = claims.chain(held.into_iter().filter(|volume| !claimed(volume))).collect();
        pod["spec"]["volumes"] = json!(volumes);
    }
    pod
}

/// The name of the revision that a pod was made from.
pub(super) fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(REVISION).unwrap_or("")
}

/// The labels that tell a pod's identity, if it lacks them.
pub(super) fn missing_labels(set: &StatefulSet, pod: &Pod, ordinal: i32) -> Option<Value> {
    let (name, index) = (name(set, ordinal), ordinal.to_string());
    let labels = &pod.metadata.labels;
    let right = labels.get(POD_NAME) == Some(&*name) && labels.get(POD_INDEX) == Some(&*index);
    (!right).then(|| json!({"metadata": {"labels": {POD_NAME: name, POD_INDEX: index}}}))
}
