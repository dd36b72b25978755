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

/// What is let in was authorized, counted and looked at in its namespace.
#[tokio::test]
async fn what_a_policy_changes_stays_where_it_is() {
    let (server, admin) = servers().await;
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression":
        "[JSONPatch{op: 'add', path: '/metadata/deletionTimestamp', value: '2026-01-01T00:00:00Z'}, \
          JSONPatch{op: 'add', path: '/metadata/uid', value: 'own'}] + (object.metadata.name == 'moved' ? \
         [JSONPatch{op: 'replace', path: '/metadata/namespace', value: 'kube-system'}] : [])"}});
    let policy = json!({"metadata": {"name": "moves"}, "spec": {
        "matchConstraints": rules("configmaps", ""), "reinvocationPolicy": "Never", "mutations": [mutation]}});
    let binding = json!({"metadata": {"name": "moves"}, "spec": {"policyName": "moves"}});
    for (resource, object) in [("mutatingadmissionpolicies", policy), ("mutatingadmissionpolicybindings", binding)] {
        made(&admin, &format!("{GROUP}/{resource}"), object).await;
    }
    let maps = "/api/v1/namespaces/default/configmaps";
    let refused = send_json(&admin, Method::POST, maps, &json!({"metadata": {"name": "moved"}})).await;
    assert_eq!(refused.code, 400, "{:?}", refused.bytes);
    assert!(refused.fault().2.contains("does not match the namespace sent on the request"), "{:?}", refused.fault());
    assert_eq!(get(&admin, "/api/v1/namespaces/kube-system/configmaps/moved").await.code, 404);
    let made_map = made(&admin, maps, json!({"metadata": {"name": "m"}})).await;
    assert_eq!(made_map["metadata"]["deletionTimestamp"], Value::Null);
    assert_ne!(made_map["metadata"]["uid"], "own");
    server.shutdown().await;
}

/// What an expression gives must be what the kind of mutation needs: where its type tells, the policy is refused, else the
/// request is, and a policy that may fail is passed over.
#[tokio::test]
async fn mutations_of_another_type_are_refused() {
    let (server, admin) = servers().await;
    let policies = format!("{GROUP}/mutatingadmissionpolicies");
    let policy = |kind: &str, expression: &str, failure: &str| {
        let field = if kind == "JSONPatch" { "jsonPatch" } else { "applyConfiguration" };
        let mutation = json!({"patchType": kind, field: {"expression": expression}});
        json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": rules("configmaps", ""), "failurePolicy": failure,
            "reinvocationPolicy": "Never", "mutations": [mutation]}})
    };
    for (kind, expression, says) in [
        ("JSONPatch", "'a'", "must evaluate to list(JSONPatch) but got string"),
        ("JSONPatch", "JSONPatch{op: 'remove', path: '/a'}", "must evaluate to list(JSONPatch) but got JSONPatch"),
        ("ApplyConfiguration", "1", "must evaluate to Object but got int"),
        ("ApplyConfiguration", "Object.spec{}", "must evaluate to Object but got Object.spec"),
    ] {
        let (code, _, message) =
            send_json(&admin, Method::POST, &policies, &policy(kind, expression, "Fail")).await.fault();
        assert!(code == 422 && message.contains(says), "{expression}: {code} {message}");
    }
    let binding = json!({"metadata": {"name": "p"}, "spec": {"policyName": "p"}});
    made(&admin, &format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await;
    for (kind, expression, says) in [
        (
            "JSONPatch",
            "[JSONPatch{op: 'add', path: '/metadata/labels', value: Object.metadata{labels: Object.a{}}}]",
            "unexpected type name",
        ),
        ("JSONPatch", "[JSONPatch{op: 'remove', path: '/metadata/absent'}]", "absent"),
        ("JSONPatch", "[JSONPatch{op: 'add', path: '/metadata/labels', value: object.absent}]", "no such key: absent"),
        ("ApplyConfiguration", "Object{metadata: Object.spec{name: 'x'}}", "unexpected type name \"Object.spec\""),
        ("ApplyConfiguration", "Object{data: Object.data{a: object.absent}}", "no such key: absent"),
    ] {
        for failure in ["Fail", "Ignore"] {
            made(&admin, &policies, policy(kind, expression, failure)).await;
            let maps = "/api/v1/namespaces/default/configmaps?dryRun=All";
            let answer = send_json(&admin, Method::POST, maps, &json!({"metadata": {"name": "m"}})).await;
            if failure == "Fail" {
                let (code, _, message) = answer.fault();
                assert!(code >= 400 && message.contains(says), "{expression}: {code} {message}");
            } else {
                assert_eq!(answer.code, 201, "{expression}: {:?}", answer.bytes);
            }
            assert_eq!(common::send(&admin, Method::DELETE, &format!("{policies}/p"), "", "").await.code, 200);
        }
    }
    server.shutdown().await;
}

/// Objects of a custom kind are parameters from the moment that they are there.
#[tokio::test]
async fn parameters_are_of_a_custom_kind() {
    let (server, admin) = servers().await;
    let definition = json!({"metadata": {"name": "limits.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "limits", "kind": "Limit", "singular": "limit", "listKind": "LimitList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
            {"type": "object", "properties": {"max": {"type": "integer"}}}}}]}});
    made(&admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": rules("configmaps", ""),
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Limit"},
        "validations": [{"expression": "!has(object.data) || size(object.data) <= params.max"}]}});
    made(&admin, &format!("{GROUP}/validatingadmissionpolicies"), policy).await;
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"],
        "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"}}});
    made(&admin, &format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "1", "b": "2"}});
    let tried =
        async || send_json(&admin, Method::POST, "/api/v1/namespaces/default/configmaps?dryRun=All", &map).await;
    let limits = "/apis/example.com/v1/namespaces/default/limits";
    let limit =
        |max: i64| json!({"apiVersion": "example.com/v1", "kind": "Limit", "metadata": {"name": "l"}, "max": max});
    assert_eq!(tried().await.code, 201);
    made(&admin, limits, limit(1)).await;
    assert_eq!(tried().await.code, 422);
    let grown = json!({"max": 2}).to_string();
    let kind = "application/merge-patch+json";
    assert_eq!(common::send(&admin, Method::PATCH, &format!("{limits}/l"), kind, grown).await.code, 200);
    assert_eq!(tried().await.code, 201);
    server.shutdown().await;
}
