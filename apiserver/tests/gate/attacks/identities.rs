//! Claims of being someone else.

use super::*;

#[tokio::test]
async fn by_the_front_proxys_headers() {
    let mut gate = Gate::open().await;
    let (server, alice) = (gate.server.clone(), gate.as_user("alice"));
    let masters = |tried: Tried| tried.header("x-remote-user", "admin").header("x-remote-group", "system:masters");
    gate.refuses("spoof-request-headers", &[401], &server, masters(Tried::get(PODS))).await;
    gate.refuses("spoof-request-headers-as-a-user", &[403], &alice, masters(Tried::get(PODS))).await;
    let underscores = Tried::get(PODS).header("x_remote_user", "admin").header("x_remote_group", "system:masters");
    gate.refuses("spoof-with-underscores", &[401], &server, underscores).await;
    let extra = Tried::get(PODS).header("x-remote-extra-scopes", "all").header("x-remote-uid", "0");
    gate.refuses("spoof-extra", &[401], &server, extra).await;
    gate.close().await;
}

#[tokio::test]
async fn by_credentials_twice() {
    let mut gate = Gate::open().await;
    let server = gate.server.clone();
    let twice = Tried::get(PODS).bearer("a").bearer("b");
    gate.refuses("credentials-twice", &[401], &server, twice).await;
    let list = Tried::get(PODS).header("authorization", "Bearer a, Bearer b");
    gate.refuses("credentials-as-a-list", &[401], &server, list).await;
    let basic = Tried::get(PODS).header("authorization", "Basic YWRtaW46YWRtaW4=");
    gate.refuses("credentials-basic", &[401], &server, basic).await;
    gate.close().await;
}

#[tokio::test]
async fn by_impersonation_without_right() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let may_bob = json!({"metadata": {"name": "bobs"}, "rules": [
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}]});
    made(&admin, &format!("{RBAC}/clusterroles"), may_bob).await;
    let binding = json!({"metadata": {"name": "bobs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bobs"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    made(&admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    let alice = gate.as_user("alice");
    for (attack, headers) in [
        ("impersonate-admin", &[("impersonate-user", "kubernetes-admin"), ("impersonate-group", "system:masters")][..]),
        ("impersonate-node", &[("impersonate-user", "system:node:a"), ("impersonate-group", "system:nodes")]),
        ("impersonate-account", &[("impersonate-user", "system:serviceaccount:kube-system:default")]),
        ("impersonate-uid", &[("impersonate-user", "bob"), ("impersonate-uid", "1")]),
        ("impersonate-extra", &[("impersonate-user", "bob"), ("impersonate-extra-scopes", "all")]),
        ("impersonate-group-of-bob", &[("impersonate-user", "bob"), ("impersonate-group", "system:masters")]),
        ("impersonate-bob-for-more", &[("impersonate-user", "bob")]),
    ] {
        let mut tried = Tried::get("/api/v1/namespaces/kube-system/secrets");
        for (name, value) in headers {
            tried = tried.header(name, value);
        }
        gate.refuses(attack, &[403], &alice, tried).await;
    }
    for (attack, name) in
        [("impersonate-group-alone", "impersonate-group"), ("impersonate-extra-alone", "impersonate-extra-a")]
    {
        gate.refuses(attack, &[400, 403, 500], &alice, Tried::get(PODS).header(name, "system:masters")).await;
    }
    gate.close().await;
}
