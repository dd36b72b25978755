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
async fn a_policy_that_does_not_compile_is_refused() {
    let (server, admin) = servers().await;
    let policy = json!({"metadata": {"name": "odd"}, "spec": {"matchConstraints": rules("pods", ""),
        "validations": [{"expression": "object.x + nobody"}]}});
    let refused = send_json(&admin, Method::POST, &format!("{GROUP}/validatingadmissionpolicies"), &policy).await;
    let (code, _, message) = refused.fault();
    assert_eq!(code, 422);
    let expected = "spec.validations[0].expression: Invalid value: \"object.x + nobody\": compilation failed: ERROR: \
                    <input>:1:12: undeclared reference to 'nobody' (in container '')";
    assert!(message.contains(expected), "{message}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_policy_that_does_not_fit_its_kinds_says_so_in_its_status() {
    let (server, admin) = servers().await;
    let policy = json!({"metadata": {"name": "odd"}, "spec": {"matchConstraints": rules("deployments", "apps"),
        "validations": [{"expression": "object.spec.replicas > 1"}, {"expression": "object.spec.replicas > '1'"},
            {"expression": "true", "messageExpression": "'at most ' + object.spec.most"}]}});
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
    let warning = |at: usize| {
        let text = |field: &str| warnings[at][field].as_str().unwrap_or_default().to_owned();
        (text("fieldRef"), text("warning"))
    };
    let (field, why) = warning(0);
    assert_eq!(field, "spec.validations[1].expression");
    let expected = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to";
    assert!(why.starts_with(expected), "{why}");
    let (field, why) = warning(1);
    assert_eq!(field, "spec.validations[2].messageExpression");
    assert!(why.contains("undefined field 'most'"), "{why}");
    assert_eq!(warnings[2], Value::Null);
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
