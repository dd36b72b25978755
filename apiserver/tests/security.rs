//! Who may do what, from without: policy that changes, tokens, impersonation, kubelets.

mod common;

#[path = "gate/attacks/mod.rs"]
mod attacks;
#[path = "gate/audit.rs"]
mod audit;
#[path = "gate/claims.rs"]
mod claims;
#[path = "gate/configured.rs"]
mod configured;
#[path = "gate/limited.rs"]
mod limited;
#[path = "gate/metrics.rs"]
mod metrics;
#[path = "gate/plugins.rs"]
mod plugins;
#[path = "gate/pod_security.rs"]
mod pod_security;
#[path = "gate/policies.rs"]
mod policies;
#[path = "gate/stale.rs"]
mod stale;
#[path = "gate/webhooks.rs"]
mod webhooks;

use std::sync::Arc;

use bytes::Bytes;
use common::{Answer, get, json as send_json};
use http::{Method, Request};
use http_body_util::Full;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// The server as the network sees it, and as its administrator does.
async fn servers() -> (ApiServer, ApiServer) {
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await.expect("an empty store can be read");
    let admin = server.as_user(User::admin());
    (server, admin)
}

async fn made(server: &ApiServer, uri: &str, object: Value) -> Value {
    let answer = send_json(server, Method::POST, uri, &object).await;
    assert_eq!(answer.code, 201, "{uri}: {:?}", answer.bytes);
    answer.json()
}

async fn with_headers(server: &ApiServer, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    common::exchange(server, request.body(Full::new(Bytes::new())).expect("a sound request")).await
}

async fn with_token(server: &ApiServer, uri: &str, token: &str) -> Answer {
    with_headers(server, uri, &[("authorization", &format!("Bearer {token}"))]).await
}

async fn token(admin: &ApiServer, account: &str, spec: Value) -> String {
    let uri = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
    let answer = made(admin, &uri, json!({ "spec": spec })).await;
    answer["status"]["token"].as_str().expect("a token").to_owned()
}

fn alice() -> User {
    User::new("alice", &["system:authenticated"])
}

async fn bind(admin: &ApiServer, name: &str, role: &str, user: &str) {
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    made(admin, &format!("{RBAC}/namespaces/default/rolebindings"), binding).await;
}

#[tokio::test]
async fn a_change_of_policy_that_was_acknowledged_is_in_force() {
    let (server, admin) = servers().await;
    let alice = server.as_user(alice());
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    for round in 0..20 {
        assert_eq!(get(&alice, PODS).await.code, 403, "round {round}");
        bind(&admin, "readers", "view", "alice").await;
        assert_eq!(get(&alice, PODS).await.code, 200, "round {round}");
        assert_eq!(get(&alice, "/api/v1/namespaces/kube-system/pods").await.code, 403);
        let deleted = common::send(&admin, Method::DELETE, &format!("{bindings}/readers"), "", "").await;
        assert_eq!(deleted.code, 200);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let (server, admin) = servers().await;
    bind(&admin, "admins", "admin", "alice").await;
    let alice = server.as_user(alice());
    let role = |name: &str, resource: &str| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    let roles = format!("{RBAC}/namespaces/default/roles");
    made(&alice, &roles, role("fine", "pods")).await;
    let refused = send_json(&alice, Method::POST, &roles, &role("much", "nodes")).await;
    let (code, reason, message) = refused.fault();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        "roles.rbac.authorization.k8s.io \"much\" is forbidden: user \"alice\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], \
         Verbs:[\"get\"]}"
    );
    let binding = json!({
        "metadata": {"name": "up"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    });
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    assert_eq!(send_json(&alice, Method::POST, &bindings, &binding).await.code, 403);
    assert_eq!(get(&alice, "/api/v1/nodes").await.code, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn a_token_is_good_for_as_long_as_what_it_is_bound_to() {
    let (server, admin) = servers().await;
    let whoami = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let account =
        made(&admin, "/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "bot"}})).await;
    let free = token(&admin, "bot", json!({})).await;
    // Known, and not allowed.
    let (code, _, message) = with_token(&server, PODS, &free).await.fault();
    assert_eq!(code, 403);
    assert!(message.contains("User \"system:serviceaccount:default:bot\" cannot list"), "{message}");

    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]}});
    let pod = made(&admin, PODS, pod).await;
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
    let bound = token(&admin, "bot", json!({"boundObjectRef": reference})).await;
    assert_eq!(with_token(&server, PODS, &bound).await.code, 403);
    let gone = common::send(&admin, Method::DELETE, &format!("{PODS}/p?gracePeriodSeconds=0"), "", "").await;
    assert_eq!(gone.code, 200, "{:?}", gone.bytes);
    assert_eq!(with_token(&server, PODS, &bound).await.code, 401);
    assert_eq!(with_token(&server, PODS, &free).await.code, 403);

    // Meant for someone else.
    let vault = token(&admin, "bot", json!({"audiences": ["vault"]})).await;
    assert_eq!(with_token(&server, PODS, &vault).await.code, 401);
    let review = |audience: &str| json!({"spec": {"token": vault, "audiences": [audience]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let known = made(&admin, reviews, review("vault")).await;
    assert_eq!(known["status"]["authenticated"], true);
    assert_eq!(known["status"]["user"]["uid"], account["metadata"]["uid"]);
    assert_eq!(made(&admin, reviews, review("other")).await["status"]["authenticated"], Value::Null);

    // An account of the same name is another account.
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    common::send(&admin, Method::DELETE, &format!("{accounts}/bot"), "", "").await;
    assert_eq!(with_token(&server, PODS, &free).await.code, 401);
    made(&admin, accounts, json!({"metadata": {"name": "bot"}})).await;
    assert_eq!(with_token(&server, PODS, &free).await.code, 401);
    assert_eq!(with_token(&server, whoami, "nonsense").await.code, 401);
    server.shutdown().await;
}

#[tokio::test]
async fn acting_as_others_takes_a_right_for_each_of_them() {
    let (server, admin) = servers().await;
    let as_bob = [("impersonate-user", "bob"), ("impersonate-group", "system:masters")];
    let (code, _, message) = with_headers(&server.as_user(alice()), PODS, &as_bob).await.fault();
    assert_eq!(code, 403);
    let why = "pods is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"pods\"";
    assert!(message.starts_with(why), "{message}");
    let (_, _, message) = with_headers(&admin, PODS, &as_bob[..1]).await.fault();
    assert!(message.contains("User \"bob\" cannot list"), "{message}");
    assert_eq!(with_headers(&admin, PODS, &as_bob).await.code, 200);
    // Groups alone make nobody.
    assert_ne!(with_headers(&server.as_user(alice()), PODS, &as_bob[1..]).await.code, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn kubelets_see_and_change_what_is_theirs() {
    let (server, admin) = servers().await;
    let kubelet = |node: &str| {
        server.as_user(User::new(&format!("system:node:{node}"), &["system:nodes", "system:authenticated"]))
    };
    let (a, b) = (kubelet("a"), kubelet("b"));
    made(&a, "/api/v1/nodes", json!({"metadata": {"name": "a"}})).await;
    let refused = send_json(&a, Method::POST, "/api/v1/nodes", &json!({"metadata": {"name": "c"}})).await;
    assert_eq!(refused.fault().2, "nodes \"c\" is forbidden: node \"a\" is not allowed to modify node \"c\"");
    assert_eq!(get(&b, "/api/v1/nodes/a").await.code, 403);

    let secrets = "/api/v1/namespaces/default/secrets";
    made(&admin, secrets, json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}})).await;
    assert_eq!(get(&a, &format!("{secrets}/s")).await.code, 403);
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "a", "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}],
    }});
    let pod = made(&admin, PODS, pod).await;
    assert_eq!(get(&a, &format!("{secrets}/s")).await.code, 200);
    assert_eq!(get(&b, &format!("{secrets}/s")).await.code, 403);
    assert_eq!(get(&a, secrets).await.code, 403);
    assert_eq!(get(&a, &format!("{PODS}?fieldSelector=spec.nodeName%3Da")).await.code, 200);
    assert_eq!(get(&a, PODS).await.code, 403);

    // A token for a pod of its own, and for no other.
    let uid = &pod["metadata"]["uid"];
    let request = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}}});
    let uri = "/api/v1/namespaces/default/serviceaccounts/default/token";
    made(&a, uri, request.clone()).await;
    assert_eq!(send_json(&b, Method::POST, uri, &request).await.code, 403);
    assert_eq!(send_json(&a, Method::POST, uri, &json!({"spec": {}})).await.code, 403);
    let mut vault = request.clone();
    vault["spec"]["audiences"] = json!(["vault"]);
    assert_eq!(send_json(&a, Method::POST, uri, &vault).await.code, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn reading_is_not_enough_to_run_commands() {
    let (server, admin) = servers().await;
    let role = json!({"metadata": {"name": "looker"}, "rules": [
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]},
    ]});
    made(&admin, &format!("{RBAC}/clusterroles"), role).await;
    bind(&admin, "lookers", "looker", "alice").await;
    let refused = get(&server.as_user(alice()), &format!("{PODS}/p/exec?command=sh&stdout=1")).await;
    let (code, _, message) = refused.fault();
    assert_eq!(code, 403);
    assert!(message.contains("User \"alice\" cannot create resource \"pods/exec\""), "{message}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_quota_is_never_exceeded() {
    let (server, admin) = servers().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let mut quota =
        made(&admin, quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "3"}}})).await;
    let map = |at: usize| json!({"metadata": {"name": format!("m{at}")}});
    let maps = "/api/v1/namespaces/default/configmaps";
    let unknown = send_json(&admin, Method::POST, maps, &map(0)).await;
    assert!(unknown.fault().2.ends_with("status unknown for quota: q, resources: configmaps"));
    quota["status"] = json!({"hard": {"configmaps": "3"}, "used": {"configmaps": "1"}});
    assert_eq!(send_json(&admin, Method::PUT, &format!("{quotas}/q/status"), &quota).await.code, 200);
    let bodies: Vec<Value> = (0..10).map(map).collect();
    let attempts = bodies.iter().map(|body| send_json(&admin, Method::POST, maps, body));
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.code == 201).count(), 2);
    let refused = answers.iter().find(|answer| answer.code != 201).expect("most are refused");
    let (code, _, message) = refused.fault();
    assert_eq!(code, 403);
    let expected = "exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3";
    assert!(message.ends_with(expected), "{message}");
    assert_eq!(get(&admin, &format!("{quotas}/q")).await.json()["status"]["used"]["configmaps"], "3");
    server.shutdown().await;
}

#[tokio::test]
async fn a_pod_does_not_grow_beyond_its_quota() {
    let (server, admin) = servers().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let spec = json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1"}}});
    let mut quota = made(&admin, quotas, spec).await;
    quota["status"] = json!({"hard": {"requests.cpu": "1"}, "used": {"requests.cpu": "0"}});
    assert_eq!(send_json(&admin, Method::PUT, &format!("{quotas}/q/status"), &quota).await.code, 200);
    let pod = |cpu: &str| {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
    };
    made(&admin, PODS, pod("500m")).await;
    let resize = async |cpu: &str| {
        let uri = format!("{PODS}/p/resize");
        let strategic = "application/strategic-merge-patch+json";
        let patch = json!({"spec": pod(cpu)["spec"]}).to_string();
        common::send(&admin, Method::PATCH, &uri, strategic, patch).await
    };
    let refused = resize("2").await;
    let (code, _, message) = refused.fault();
    let expected = "exceeded quota: q, requested: requests.cpu=1500m, used: requests.cpu=500m, limited: requests.cpu=1";
    assert_eq!(code, 403, "{message}");
    assert!(message.ends_with(expected), "{message}");
    let grown = resize("1").await;
    assert_eq!(grown.code, 200, "{:?}", grown.bytes);
    assert_eq!(get(&admin, &format!("{quotas}/q")).await.json()["status"]["used"]["requests.cpu"], "1");
    server.shutdown().await;
}

#[tokio::test]
async fn rules_can_be_asked_for() {
    let (server, admin) = servers().await;
    bind(&admin, "readers", "view", "alice").await;
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = made(&server.as_user(alice()), uri, json!({"spec": {"namespace": "default"}})).await;
    assert_eq!(review["status"]["incomplete"], false);
    let rules = review["status"]["resourceRules"].to_string();
    assert!(rules.contains("\"pods/log\"") && !rules.contains("\"secrets\""), "{rules}");
    let asked = json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = made(&server.as_user(alice()), uri, asked).await;
    assert_eq!(answer["status"]["allowed"], true);
    let reason = "RBAC: allowed by RoleBinding \"readers/default\" of ClusterRole \"view\" to User \"alice\"";
    assert_eq!(answer["status"]["reason"], reason);
    server.shutdown().await;
}
