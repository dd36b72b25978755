//! What was allocated to a claim, and what is said of its devices, is written by those alone who may.

use super::*;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

/// A driver's account, as its token of a pod on that node tells.
fn driver_on(server: &ApiServer, node: &str) -> ApiServer {
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
    let mut user = User::new("system:serviceaccount:kube-system:driver", &groups);
    user.extra.insert("authentication.kubernetes.io/node-name".into(), vec![node.into()]);
    server.as_user(user)
}

async fn may(admin: &ApiServer, name: &str, user: Value, rules: Value) {
    let roles = format!("{RBAC}/clusterroles");
    made(admin, &roles, json!({"metadata": {"name": name}, "rules": rules})).await;
    let refers = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let binding = json!({"metadata": {"name": name}, "roleRef": refers, "subjects": [user]});
    made(admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
}

async fn patched(server: &ApiServer, patch: &Value) -> Answer {
    let uri = format!("{CLAIMS}/c/status");
    common::send(server, Method::PATCH, &uri, "application/merge-patch+json", patch.to_string()).await
}

#[tokio::test]
async fn the_status_of_a_claim_is_written_by_who_may() {
    let (server, admin) = servers().await;
    let group = "resource.k8s.io";
    let status = json!({"apiGroups": [group], "resources": ["resourceclaims/status"], "verbs": ["update", "patch"]});
    let driver = json!({"apiGroups": [group], "resources": ["resourceclaims/driver"], "resourceNames": ["a.example.com"],
        "verbs": ["associated-node:patch"]});
    may(&admin, "status", json!({"kind": "User", "name": "alice"}), json!([status])).await;
    let account = json!({"kind": "ServiceAccount", "namespace": "kube-system", "name": "driver"});
    may(&admin, "driver", account, json!([status, driver])).await;
    let request = json!({"name": "r", "exactly": {"deviceClassName": "class"}});
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}});
    made(&admin, CLAIMS, claim).await;

    let result = json!({"request": "r", "driver": "a.example.com", "pool": "p", "device": "d"});
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
    let allocation = json!({"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms":
        [{"matchFields": [field]}]}});
    let allocate = json!({"status": {"allocation": allocation}});
    let alice = server.as_user(User::new("alice", &["system:authenticated"]));
    let (code, reason, message) = patched(&alice, &allocate).await.fault();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    let why = "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires \
               resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is \
               forbidden: User \"alice\" cannot patch resource \"resourceclaims/binding\" in API group \
               \"resource.k8s.io\" at the cluster scope";
    assert!(message.contains(why), "{message}");
    // The roles of those who bind claims carry that right.
    let scheduler = server.as_user(User::new("system:kube-scheduler", &["system:authenticated"]));
    let answer = patched(&scheduler, &allocate).await;
    assert_eq!(answer.code, 200, "{:?}", answer.bytes);

    let said =
        json!({"status": {"devices": [{"driver": "a.example.com", "pool": "p", "device": "d", "data": {"a": 1}}]}});
    for other in [&alice, &scheduler, &driver_on(&server, "n2")] {
        let (code, _, message) = patched(other, &said).await.fault();
        assert!(code == 422 && message.contains("requires resource=\"resourceclaims/driver\""), "{code} {message}");
    }
    let answer = patched(&driver_on(&server, "n1"), &said).await;
    assert_eq!(answer.code, 200, "{:?}", answer.bytes);
    assert_eq!(answer.json()["status"]["devices"][0]["data"]["a"], 1);
    server.shutdown().await;
}
