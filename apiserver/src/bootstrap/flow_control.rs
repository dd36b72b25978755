//! The flow schemas and priority levels that no server may be without.

use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}})
}

fn level(name: &str, spec: Value) -> (&'static str, &'static str, Value) {
    (
        GROUP,
        "prioritylevelconfigurations",
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
            "metadata": metadata(name), "spec": spec,
        }),
    )
}

/// Everything that these groups ask for goes to the level of the same name.
fn schema(name: &str, precedence: i64, groups: &[&str], by_user: bool) -> (&'static str, &'static str, Value) {
    let subjects: Vec<Value> = groups.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect();
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": precedence,
        "rules": [{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    });
    if by_user {
        spec["distinguisherMethod"] = json!({"type": "ByUser"});
    }
    (
        GROUP,
        "flowschemas",
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
            "metadata": metadata(name), "spec": spec,
        }),
    )
}

pub(super) fn wanted() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        level("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
        level(
            "catch-all",
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
            }}),
        ),
        schema("exempt", 1, &["system:masters"], false),
        schema("catch-all", 10_000, &["system:unauthenticated", "system:authenticated"], true),
    ]
}
