//! Admission policies over the API.

use super::*;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn rules(resource: &str, group: &str) -> Value {
    json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": ["v1"],
        "resources": [resource]}]})
}

#[tokio::test]
async fn what_a_policy_forbids_is_refused_with_its_message() {
    let (server, admin) = servers().await;
    let policy = json!({"metadata": {"name": "sizes"}, "spec": {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rules("deployments", "apps"),
        "matchConditions": [{"name": "not-free", "expression": "object.metadata.name != 'free'"}],
        "variables": [{"name": "wanted", "expression": "object.spec.replicas"}],
        "validations": [{"expression": "variables.wanted <= int(params.data.max)", "reason": "Forbidden",
            "messageExpression": "'at most ' + params.data.max + ', not ' + string(variables.wanted)"}],
        "auditAnnotations": [{"key": "wanted", "valueExpression": "string(variables.wanted)"}],
    }});
    made(&admin, &format!("{GROUP}/validatingadmissionpolicies"), policy).await;
    let binding = json!({"metadata": {"name": "here"}, "spec": {"policyName": "sizes", "validationActions": ["Deny"],
        "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}}});
    made(&admin, &format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = |name: &str, replicas: i64| {
        json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    let missing = send_json(&admin, Method::POST, deployments, &deployment("d", 1)).await.fault();
    assert!(missing.2.contains("failed to configure binding: no params found"), "{missing:?}");
    made(
        &admin,
        "/api/v1/namespaces/default/configmaps",
        json!({"metadata": {"name": "limits"}, "data": {"max": "3"}}),
    )
    .await;
    made(&admin, deployments, deployment("d", 3)).await;
    made(&admin, deployments, deployment("free", 9)).await;
    let (code, reason, message) = send_json(&admin, Method::POST, deployments, &deployment("e", 4)).await.fault();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        "deployments.apps \"e\" is forbidden: ValidatingAdmissionPolicy 'sizes' with binding 'here' denied request: at \
         most 3, not 4"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_says_so_in_its_status() {
    let (server, admin) = servers().await;
    let policy = json!({"metadata": {"name": "odd"}, "spec": {"matchConstraints": rules("pods", ""),
        "validations": [{"expression": "object.x + nobody"}]}});
    made(&admin, &format!("{GROUP}/validatingadmissionpolicies"), policy).await;
    let mut events = common::Events::open(
        &admin,
        &format!("{GROUP}/validatingadmissionpolicies?watch=1&resourceVersion=0"),
        "application/json",
    )
    .await;
    let warnings = loop {
        let event = events.next().await.expect("the watch goes on");
        if event["object"]["status"]["observedGeneration"] == 1 {
            break event["object"]["status"]["typeChecking"]["expressionWarnings"].clone();
        }
    };
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[0].expression");
    assert!(warnings[0]["warning"].as_str().is_some_and(|why| why.contains("nobody")), "{warnings}");
    drop(events);
    server.shutdown().await;
}

#[tokio::test]
async fn policies_change_objects_both_ways() {
    let (server, admin) = servers().await;
    let policy = json!({"metadata": {"name": "marks"}, "spec": {
        "matchConstraints": rules("configmaps", ""), "reinvocationPolicy": "Never",
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{labels: {'marked': object.metadata.name}}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"}},
        ],
    }});
    let bindings = json!({"metadata": {"name": "marks"}, "spec": {"policyName": "marks"}});
    for (resource, object) in [("mutatingadmissionpolicies", policy), ("mutatingadmissionpolicybindings", bindings)] {
        made(&admin, &format!("{GROUP}/{resource}"), object).await;
    }
    let map = json!({"metadata": {"name": "m", "labels": {"own": "1"}}, "data": {"x": "y"}});
    let made_map = made(&admin, "/api/v1/namespaces/default/configmaps", map).await;
    assert_eq!(made_map["metadata"]["labels"], json!({"own": "1", "marked": "m", "a/b": "c"}));
    assert_eq!(made_map["data"], json!({"x": "y"}));
    server.shutdown().await;
}
