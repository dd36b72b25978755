//! Which replica set is a deployment's newest, and the annotations by which revisions are told apart.

use kubewright_api::selector::{LabelSelector, Operator, Requirement};
use serde_json::{Value, json};

use super::scale::{DESIRED_REPLICAS, MAX_REPLICAS, max_surge};
use crate::objects::{Deployment, Labels, OwnerReference, ReplicaSet, Template, kinds, template_hash};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";
/// How long the annotation of former revisions may get, in bytes.
const HISTORY_LENGTH: usize = 2000;
/// Annotations that are not copied from a deployment to its replica sets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// The place of the set with the deployment's template; of several the oldest.
pub(super) fn find_new(template: &Template, sets: &[ReplicaSet]) -> Option<usize> {
    let template = template.without_label(TEMPLATE_HASH);
    let same = |set: &ReplicaSet| set.spec.template.without_label(TEMPLATE_HASH) == template;
    let new = sets.iter().enumerate().filter(|(_, set)| same(set));
    new.min_by(|(_, a), (_, b)| by_age(a, b)).map(|(at, _)| at)
}

/// Older sets first, then by name.
pub(super) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let age = |set: &ReplicaSet| set.metadata.creation_timestamp;
    age(a).cmp(&age(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// The revision written on a set; zero if there is none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The newest set's annotations: the deployment's, its revision, and the revisions it had before.
pub(super) fn annotate(deployment: &Deployment, annotations: &Labels, new_revision: i64) -> Labels {
    let mut result = annotations.clone();
    for (key, value) in deployment.metadata.annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(key)) {
        if annotations.get(key) != Some(value) {
            result = result.with(key, value);
        }
    }
    let old = annotations.get(REVISION);
    let Ok(old_revision) = old.map_or(Ok(0), str::parse::<i64>) else { return result };
    if old_revision >= new_revision {
        return result;
    }
    result = result.with(REVISION, &new_revision.to_string());
    if let Some(old) = old
        && let Some(history) = history(annotations.get(REVISION_HISTORY).unwrap_or(""), old)
    {
        result = result.with(REVISION_HISTORY, &history);
    }
    result
}

/// Former revisions with one more; the oldest are dropped if the list gets too long.
fn history(former: &str, revision: &str) -> Option<String> {
    let mut revisions: Vec<&str> = former.split(',').filter(|text| !text.is_empty()).collect();
    revisions.push(revision);
    let length = |revisions: &[&str]| revisions.iter().map(|text| text.len() + 1).sum::<usize>() - 1;
    let mut start = 0;
    while start < revisions.len() && length(&revisions[start..]) > HISTORY_LENGTH {
        start += 1;
    }
    (start < revisions.len()).then(|| revisions[start..].join(","))
}

/// The annotations that tell a set how large its deployment is.
pub(super) fn with_replicas(deployment: &Deployment, annotations: &Labels) -> Labels {
    let wanted = deployment.spec.replicas;
    let most = wanted + max_surge(deployment);
    annotations.with(DESIRED_REPLICAS, &wanted.to_string()).with(MAX_REPLICAS, &most.to_string())
}

/// The hash of a deployment's template and the name of the set that gets it.
pub(super) fn name_and_hash(deployment: &Deployment) -> (String, String) {
    let hash = template_hash(deployment.spec.template.as_str(), deployment.status.collision_count);
    let mut name = deployment.metadata.name.clone();
    name.truncate(253 - 1 - hash.len());
    (format!("{name}-{hash}"), hash)
}

/// A new replica set with the deployment's template.
pub(super) fn new_set(deployment: &Deployment, replicas: i32, annotations: &Labels) -> Value {
    let (name, hash) = name_and_hash(deployment);
    let template = deployment.spec.template.with_label(TEMPLATE_HASH, &hash);
    let selector = deployment.spec.selector.clone().unwrap_or_else(LabelSelector::nothing);
    let mut requirements = selector.requirements().to_vec();
    let by_hash = Requirement { key: TEMPLATE_HASH.to_owned(), operator: Operator::In, values: vec![hash] };
    requirements.push(by_hash);
    let mut set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": deployment.metadata.namespace,
            "labels": template.labels(),
            "annotations": annotations,
            "ownerReferences": [OwnerReference::to_controller(kinds::DEPLOYMENT, &deployment.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "selector": LabelSelector::new(requirements),
            "template": template,
        },
    });
    if deployment.spec.min_ready_seconds > 0 {
        set["spec"]["minReadySeconds"] = json!(deployment.spec.min_ready_seconds);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_follow_the_deployment_and_remember_revisions() {
        let mut deployment = Deployment::default();
        deployment.metadata.annotations = Labels::from_iter([("cause", "x"), (REVISION, "7")]);
        let first = annotate(&deployment, &Labels::default(), 1);
        assert_eq!(first.iter().collect::<Vec<_>>(), [("cause", "x"), (REVISION, "1")]);
        assert_eq!(annotate(&deployment, &first, 1), first);
        let third = annotate(&deployment, &annotate(&deployment, &first, 2), 3);
        assert_eq!((third.get(REVISION), third.get(REVISION_HISTORY)), (Some("3"), Some("1,2")));
        // A revision never goes back, though older sets may have been removed.
        assert_eq!(annotate(&deployment, &third, 2), third);
    }

    #[test]
    fn a_long_history_loses_its_oldest() {
        let former = vec!["1000"; 500].join(",");
        let kept = history(&former, "2000").unwrap();
        assert!(kept.len() <= HISTORY_LENGTH && kept.ends_with(",2000"));
    }
}
