//! Rules of kinds that run nothing, as kube-apiserver has them.

use serde_json::{Value, json};

use super::faults;

#[track_caller]
fn check(group: &str, resource: &str, object: Value, expected: &[&str]) {
    assert_eq!(faults(group, resource, &object), expected, "{object}");
}

#[test]
fn autoscalers_scale_what_has_a_group() {
    let scaler =
        |target: Value| json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target}});
    let bare = |kind: &str| scaler(json!({"apiVersion": "v1", "kind": kind, "name": "a"}));
    let fault = "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group";
    check("autoscaling", "horizontalpodautoscalers", bare("Deployment"), &[fault]);
    check("autoscaling", "horizontalpodautoscalers", bare("ReplicationController"), &[]);
}

#[test]
fn flow_schemas_name_pages_by_their_paths() {
    let schema = |url: &str| {
        json!({"metadata": {"name": "a"}, "spec": {"matchingPrecedence": 10, "priorityLevelConfiguration": {"name": "a"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": [url]}]}]}})
    };
    let place = "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value:";
    for (url, why) in [
        ("/", ""),
        ("/healthz/*", ""),
        ("*", ""),
        ("healthz", "must start with slash"),
        ("/a b", "must not contain white-space"),
        ("/a//b", "must not contain double slash"),
        ("/a*", "wildcard can only do suffix matching"),
    ] {
        let fault = format!("{place} {url:?}: {why}");
        let expected: &[&str] = if why.is_empty() { &[] } else { &[fault.as_str()] };
        check("flowcontrol.apiserver.k8s.io", "flowschemas", schema(url), expected);
    }
}

#[test]
fn templates_of_claims_have_labels_and_annotations_alone() {
    let template = json!({"metadata": {"name": "a"}, "spec": {"metadata": {"labels": {"a": "b"}, "name": "x"},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}}});
    check("resource.k8s.io", "resourceclaimtemplates", template, &["spec.metadata.name: Forbidden: cannot be set"]);
}
