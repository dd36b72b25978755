//! One path to those who decide, another to those who answer.

use super::*;

#[tokio::test]
async fn tricks_to_read_what_is_not_granted() {
    let mut gate = Gate::open().await;
    bind(&gate.admin, "readers", "view", "alice").await;
    let alice = gate.as_user("alice");
    assert_eq!(get(&alice, PODS).await.code, 200);
    for (attack, path) in [
        ("path-dots", "/api/v1/namespaces/default/../kube-system/secrets"),
        ("path-dots-below-a-resource", "/api/v1/namespaces/default/pods/../../kube-system/secrets"),
        ("path-encoded-dots", "/api/v1/namespaces/default/%2e%2e/kube-system/secrets"),
        ("path-encoded-slashes", "/api/v1/namespaces/default/pods/..%2f..%2fkube-system%2fsecrets"),
        ("path-encoded-twice", "/api/v1/namespaces/default/pods/..%252f..%252fkube-system%252fsecrets"),
        ("path-slash-in-namespace", "/api/v1/namespaces/default%2f..%2fkube-system/secrets"),
        ("path-backslashes", "/api/v1/namespaces/default/..%5ckube-system/secrets"),
        ("path-double-slash", "/api/v1/namespaces//kube-system/secrets"),
        ("path-double-slash-first", "//api/v1/namespaces/kube-system/secrets"),
        ("path-double-slash-inside", "/api//v1/namespaces/kube-system/secrets"),
        ("path-slash-last", "/api/v1/namespaces/kube-system/secrets/"),
        ("path-upper-case", "/API/v1/namespaces/kube-system/secrets"),
        ("path-upper-case-resource", "/api/v1/namespaces/kube-system/Secrets"),
        ("path-encoded-letters", "/api/v1/namespaces/kube-system/%73ecrets"),
        ("path-null", "/api/v1/namespaces/kube-system/secrets%00"),
        ("path-namespace-in-query", "/api/v1/namespaces/kube-system/secrets?namespace=default"),
        ("path-dot", "/api/v1/./namespaces/kube-system/secrets"),
        ("path-parameter", "/api/v1/namespaces/kube-system/secrets;x=y"),
        ("path-health-first", "/livez/../api/v1/namespaces/kube-system/secrets"),
        ("path-old-watch", "/api/v1/watch/namespaces/kube-system/secrets"),
        ("path-watch-by-query", "/api/v1/namespaces/kube-system/secrets?watch=1"),
        ("path-field-of-another", "/api/v1/secrets?fieldSelector=metadata.namespace%3Ddefault"),
        ("path-proxy", "/api/v1/namespaces/kube-system/services/https:api:443/proxy/secrets"),
        ("path-proxy-of-a-node", "/api/v1/nodes/a/proxy/run/default/p/c"),
    ] {
        gate.refuses(attack, &[400, 401, 403, 404], &alice, Tried::get(path)).await;
    }
    gate.close().await;
}

#[tokio::test]
async fn who_may_watch_may_not_write_that_way() {
    let mut gate = Gate::open().await;
    bind(&gate.admin, "readers", "view", "alice").await;
    let alice = gate.as_user("alice");
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "b"}});
    made(&gate.admin, "/api/v1/namespaces/default/configmaps", map.clone()).await;
    for way in ["watch", "proxy"] {
        let all = format!("/api/v1/{way}/namespaces/default/configmaps");
        let one = format!("{all}/m");
        for (what, tried) in [
            ("create", Tried::post(&all, &json!({"metadata": {"name": "n"}}))),
            ("update", Tried::put(&one, &json!({"metadata": {"name": "m"}, "data": {"a": "c"}}))),
            ("patch", Tried::patch(&one, &json!({"data": {"a": "c"}}))),
            ("delete", Tried::delete(&one)),
            ("delete-all", Tried::delete(&all)),
        ] {
            gate.refuses(&format!("path-old-{way}-{what}"), &[403, 404, 405], &alice, tried).await;
        }
    }
    let kept = get(&gate.admin, "/api/v1/namespaces/default/configmaps").await.json();
    let named = |name: &str| kept["items"].as_array().unwrap().iter().find(|map| map["metadata"]["name"] == name);
    assert_eq!((named("m").map(|map| &map["data"]["a"]), named("n")), (Some(&json!("b")), None));
    gate.close().await;
}

#[tokio::test]
async fn who_may_see_one_may_not_list_all_by_asking_twice() {
    let mut gate = Gate::open().await;
    let role = json!({"metadata": {"name": "one"}, "rules": [{"apiGroups": [""], "resources": ["secrets"],
        "resourceNames": ["mine"], "verbs": ["list", "watch", "deletecollection"]}]});
    made(&gate.admin, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    bind(&gate.admin, "ones", "one", "alice").await;
    let alice = gate.as_user("alice");
    let secrets = "/api/v1/namespaces/default/secrets";
    assert_eq!(get(&alice, &format!("{secrets}?fieldSelector=metadata.name%3Dmine")).await.code, 200);
    let twice = format!("{secrets}?fieldSelector=&fieldSelector=metadata.name%3Dmine");
    gate.refuses("selector-twice", &[400, 403], &alice, Tried::get(&twice)).await;
    gate.refuses("selector-twice-delete", &[400, 403], &alice, Tried::delete(&twice)).await;
    gate.close().await;
}

#[tokio::test]
async fn who_rules_a_namespace_rules_nothing_outside_by_naming_it() {
    let mut gate = Gate::open().await;
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    made(&gate.admin, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding).await;
    made(&gate.admin, "/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    made(&gate.admin, "/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await;
    let alice = gate.as_user("alice");
    assert_eq!(get(&alice, PODS).await.code, 200);
    let review = json!({"spec": {"token": "x"}});
    let access = json!({"spec": {"user": "bob", "nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let reviews = "/apis/authorization.k8s.io/v1";
    let tried = [
        ("node-proxy", Tried::get("/api/v1/namespaces/default/nodes/n1/proxy/run/kube-system/p/c")),
        ("node-proxy-post", Tried::post("/api/v1/namespaces/default/nodes/n1/proxy/run/kube-system/p/c", &json!({}))),
        ("node", Tried::get("/api/v1/namespaces/default/nodes/n1")),
        ("nodes", Tried::get("/api/v1/namespaces/default/nodes")),
        ("other-namespace", Tried::get("/api/v1/namespaces/default/namespaces/other")),
        ("other-namespace-delete", Tried::delete("/api/v1/namespaces/default/namespaces/other")),
        ("namespaces", Tried::get("/api/v1/namespaces/default/namespaces")),
        ("namespaces-watch", Tried::get("/api/v1/watch/namespaces/default/namespaces")),
        ("namespace-made", Tried::post("/api/v1/namespaces/default/namespaces", &json!({"metadata": {"name": "x"}}))),
        ("token-review", Tried::post("/apis/authentication.k8s.io/v1/namespaces/default/tokenreviews", &review)),
        ("access-review", Tried::post(&format!("{reviews}/namespaces/default/subjectaccessreviews"), &access)),
        ("self-review", Tried::post(&format!("{reviews}/namespaces/default/selfsubjectaccessreviews"), &access)),
        ("local-review-nowhere", Tried::post(&format!("{reviews}/localsubjectaccessreviews"), &access)),
        ("version", Tried::post("/api/v9/namespaces/default/serviceaccounts/default/token", &json!({}))),
        ("beyond", Tried::post("/api/v1/namespaces/default/serviceaccounts/default/token/more", &json!({}))),
        ("component-status", Tried::get("/api/v1/namespaces/default/componentstatuses")),
    ];
    for (attack, tried) in tried {
        gate.refuses(&format!("scope-{attack}"), &[403, 404], &alice, tried).await;
    }
    assert_eq!(get(&gate.admin, "/api/v1/namespaces/other").await.json()["metadata"]["deletionTimestamp"], Value::Null);
    assert_eq!(get(&gate.admin, "/api/v1/namespaces/x").await.code, 404);
    gate.close().await;
}

#[tokio::test]
async fn nobody_gets_further_than_health() {
    let mut gate = Gate::open().await;
    let server = gate.server.clone();
    for (attack, path) in [
        ("nobody-dots", "/livez/../api/v1/pods"),
        ("nobody-double-slash", "//livez"),
        ("nobody-encoded-dots", "/livez/..%2fapi"),
        ("nobody-beside-health", "/healthz/../version"),
        ("nobody-metrics", "/metrics"),
        ("nobody-openapi", "/openapi/v3"),
        ("nobody-prefix", "/livezz"),
        ("nobody-upper-case", "/LIVEZ"),
    ] {
        gate.refuses(attack, &[401], &server, Tried::get(path)).await;
    }
    gate.close().await;
}
