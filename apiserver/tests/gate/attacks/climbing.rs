//! From few rights to many.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn all() -> Value {
    json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
}

#[tokio::test]
async fn through_roles_and_bindings() {
    let mut gate = Gate::open().await;
    bind(&gate.admin, "admins", "admin", "carol").await;
    let carol = gate.as_user("carol");
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let fine =
        json!({"metadata": {"name": "fine"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    made(&carol, &roles, fine).await;
    let refers = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let binding =
        |role: Value| json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": [refers("User", "carol")]});
    made(&carol, &bindings, json!({"metadata": {"name": "own"}, "roleRef": refers("Role", "fine"), "subjects": []}))
        .await;
    let role = json!({"metadata": {"name": "r"}, "rules": all()});
    let named = json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate", "bind"]}]});
    let aggregating = json!({"metadata": {"name": "r"}, "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {}}]}});
    for (attack, tried) in [
        ("role-with-everything", Tried::post(&roles, &role)),
        ("role-that-escalates", Tried::post(&roles, &named)),
        ("role-grown-by-patch", Tried::patch(&format!("{roles}/fine"), &json!({"rules": all()}))),
        (
            "role-grown-by-update",
            Tried::put(&format!("{roles}/fine"), &json!({"metadata": {"name": "fine"}, "rules": all()})),
        ),
        ("cluster-role", Tried::post(&format!("{RBAC}/clusterroles"), &role)),
        ("cluster-role-that-aggregates", Tried::post(&format!("{RBAC}/clusterroles"), &aggregating)),
        ("binding-to-cluster-admin", Tried::post(&bindings, &binding(refers("ClusterRole", "cluster-admin")))),
        ("binding-to-a-ghost", Tried::post(&bindings, &binding(refers("Role", "ghost")))),
        (
            "binding-elsewhere",
            Tried::post(&format!("{RBAC}/namespaces/kube-system/rolebindings"), &binding(refers("Role", "fine"))),
        ),
        (
            "cluster-binding",
            Tried::post(&format!("{RBAC}/clusterrolebindings"), &binding(refers("ClusterRole", "view"))),
        ),
        (
            "binding-turned",
            Tried::patch(&format!("{bindings}/own"), &json!({"roleRef": refers("ClusterRole", "cluster-admin")})),
        ),
    ] {
        gate.refuses(attack, &[403, 404, 422], &carol, tried).await;
    }
    gate.close().await;
}

/// Who may make one role larger may not make it anew.
#[tokio::test]
async fn through_a_name_that_is_free() {
    let mut gate = Gate::open().await;
    let rule = |verbs: &[&str], names: &[&str]| {
        json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "verbs": verbs, "resourceNames": names})
    };
    let rules = json!([rule(&["create", "update"], &[]), rule(&["escalate"], &["mine"])]);
    made(&gate.admin, &format!("{RBAC}/clusterroles"), json!({"metadata": {"name": "keeper"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "keepers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keeper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}]});
    made(&gate.admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    let carol = gate.as_user("carol");
    let (all_roles, mine) = (format!("{RBAC}/clusterroles"), json!({"metadata": {"name": "mine"}, "rules": all()}));
    gate.refuses("role-of-a-free-name", &[403], &carol, Tried::post(&all_roles, &mine)).await;
    made(&carol, &all_roles, json!({"metadata": {"name": "mine"}, "rules": []})).await;
    let one = format!("{all_roles}/mine");
    let grown = common::send(&carol, Method::PUT, &one, "application/json", mine.to_string()).await;
    assert_eq!(grown.code, 200, "that is what the right is for");
    gate.close().await;
}

/// A signing request for that name and group; who makes it needs no key that anybody else would trust.
fn signing(name: &str, common_name: &str, group: &str, signer: &str) -> Value {
    let attribute = |id: u8, text: &str| {
        let text = [&[0x0c, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
        let pair = [&[0x06, 3, 0x55, 4, id], text.as_slice()].concat();
        let pair = [&[0x30, u8::try_from(pair.len()).expect("short")], pair.as_slice()].concat();
        [&[0x31, u8::try_from(pair.len()).expect("short")], pair.as_slice()].concat()
    };
    let wrap = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    };
    let subject = wrap(0x30, &[attribute(10, group), attribute(3, common_name)].concat());
    let key = wrap(0x30, &[&[0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70][..], &[0x03, 33, 0], &[7; 32]].concat());
    let info = wrap(0x30, &[&[2, 1, 0][..], &subject, &key, &[0xa0, 0]].concat());
    let signed = [&[0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70][..], &[0x03, 65, 0], &[7; 64]].concat();
    let der = STANDARD.encode(wrap(0x30, &[info, signed].concat()));
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{der}\n-----END CERTIFICATE REQUEST-----\n");
    json!({"metadata": {"name": name}, "spec": {"request": STANDARD.encode(pem), "signerName": signer,
        "usages": ["client auth", "digital signature"]}})
}

#[tokio::test]
async fn through_signing_requests() {
    const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
    const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let may = |name: &str, rules: Value| {
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
        (role, binding)
    };
    let (role, binding) = may(
        "asks",
        json!([{"apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests", "certificatesigningrequests/approval",
            "certificatesigningrequests/status"], "verbs": ["create", "get", "update", "patch"]}]),
    );
    made(&admin, &format!("{RBAC}/clusterroles"), role).await;
    made(&admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    let (alice, node) = (gate.as_user("alice"), gate.as_node("a"));
    let masters = signing("masters", "alice", "system:masters", CLIENT);
    let why = gate.refuses("csr-for-masters", &[403], &alice, Tried::post(CSRS, &masters)).await;
    assert!(why.contains("system:masters group is not allowed"), "{why}");
    gate.refuses("csr-for-masters-by-an-admin", &[403], &admin, Tried::post(CSRS, &masters)).await;
    // A harmless request that only some readers see, before the one that others read.
    let pem_of = |object: &Value| {
        let bytes = STANDARD.decode(object["spec"]["request"].as_str().expect("text")).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    let harmless = pem_of(&signing("harmless", "alice", "staff", CLIENT)).replace('\n', "");
    for (attack, joined) in [
        ("csr-hidden-in-a-line", format!("x{harmless}\n{}", pem_of(&masters))),
        ("csr-after-another", format!("{harmless}\n{}", pem_of(&masters))),
    ] {
        let mut two = masters.clone();
        two["spec"]["request"] = STANDARD.encode(joined).into();
        gate.refuses(attack, &[403, 422], &alice, Tried::post(CSRS, &two)).await;
    }
    let other = signing("other", "system:node:b", "system:nodes", KUBELET);
    gate.refuses("csr-for-another-node", &[403], &node, Tried::post(CSRS, &other)).await;
    let legacy = signing("legacy", "alice", "system:masters", "kubernetes.io/legacy-unknown");
    gate.refuses("csr-for-the-old-signer", &[422], &alice, Tried::post(CSRS, &legacy)).await;

    let mut own = signing("own", "carol", "staff", CLIENT);
    own["spec"]["username"] = "carol".into();
    own["spec"]["groups"] = json!(["system:masters"]);
    let own = made(&alice, CSRS, own).await;
    assert_eq!((&own["spec"]["username"], &own["spec"]["groups"]), (&json!("alice"), &json!(["system:authenticated"])));
    let mut approved = own.clone();
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "x"}]);
    gate.refuses("csr-approve-without-right", &[403], &alice, Tried::put(&format!("{CSRS}/own/approval"), &approved))
        .await;
    gate.refuses("csr-approve-by-status", &[403, 422], &alice, Tried::put(&format!("{CSRS}/own/status"), &approved))
        .await;
    let mut signed = own.clone();
    signed["status"]["certificate"] =
        STANDARD.encode("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n").into();
    gate.refuses("csr-sign-without-right", &[403], &alice, Tried::put(&format!("{CSRS}/own/status"), &signed)).await;
    // Who may approve for one signer may not for another.
    let (role, binding) = may(
        "approves",
        json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": ["example.com/*"], "verbs": ["approve", "sign"]}]),
    );
    made(&admin, &format!("{RBAC}/clusterroles"), role).await;
    made(&admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    gate.refuses(
        "csr-approve-for-another-signer",
        &[403],
        &alice,
        Tried::put(&format!("{CSRS}/own/approval"), &approved),
    )
    .await;
    let moved = json!({"spec": {"signerName": "example.com/mine"}});
    common::send(&alice, Method::PATCH, &format!("{CSRS}/own"), "application/merge-patch+json", moved.to_string())
        .await;
    assert_eq!(get(&admin, &format!("{CSRS}/own")).await.json()["spec"]["signerName"], CLIENT, "a request is fixed");
    approved["spec"]["signerName"] = "example.com/mine".into();
    gate.refuses("csr-approve-by-renaming", &[403], &alice, Tried::put(&format!("{CSRS}/own/approval"), &approved))
        .await;
    gate.close().await;
}

#[tokio::test]
async fn through_tokens_and_webhooks() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    bind(&admin, "editors", "edit", "alice").await;
    let alice = gate.as_user("alice");
    for (namespace, expected) in [("default", 201), ("kube-system", 403)] {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        made(&admin, &accounts, json!({"metadata": {"name": "bot"}})).await;
        let uri = format!("{accounts}/bot/token");
        if expected == 201 {
            made(&alice, &uri, json!({"spec": {}})).await;
        } else {
            gate.refuses("token-of-another-namespace", &[403], &alice, Tried::post(&uri, &json!({"spec": {}}))).await;
        }
    }
    // A secret that would be filled with the token of somebody else's account.
    let secret = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "bot"}},
        "type": "kubernetes.io/service-account-token"});
    let elsewhere = "/api/v1/namespaces/kube-system/secrets";
    gate.refuses("token-by-secret", &[403], &alice, Tried::post(elsewhere, &secret)).await;
    let bootstrap = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token"});
    gate.refuses("token-by-bootstrap-secret", &[403], &alice, Tried::post(elsewhere, &bootstrap)).await;
    let hook = json!({"metadata": {"name": "h"}, "webhooks": []});
    let group = "/apis/admissionregistration.k8s.io/v1";
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies"] {
        gate.refuses(&format!("webhook-{kind}"), &[403], &alice, Tried::post(&format!("{group}/{kind}"), &hook)).await;
    }
    let service = json!({"metadata": {"name": "v1.evil.example"}, "spec": {"group": "evil.example", "version": "v1"}});
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    gate.refuses("api-service", &[403], &alice, Tried::post(services, &service)).await;
    gate.close().await;
}

#[tokio::test]
async fn through_pods() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    bind(&admin, "editors", "edit", "alice").await;
    let alice = gate.as_user("alice");
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let merge = "application/merge-patch+json";
    common::send(&admin, Method::PATCH, "/api/v1/namespaces/default", merge, labels.to_string()).await;
    made(&alice, PODS, json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})).await;
    let slipped = json!({"spec": {"ephemeralContainers": [
        {"name": "e", "image": "i", "securityContext": {"privileged": true}}]}});
    let ephemeral = Tried::sent(
        Method::PATCH,
        &format!("{PODS}/p/ephemeralcontainers"),
        "application/strategic-merge-patch+json",
        slipped.to_string(),
    );
    gate.refuses("ephemeral-container-as-editor", &[403], &alice, ephemeral).await;
    let ephemeral = Tried::sent(
        Method::PATCH,
        &format!("{PODS}/p/ephemeralcontainers"),
        "application/strategic-merge-patch+json",
        slipped.to_string(),
    );
    let why = gate.refuses("ephemeral-container-privileged", &[403], &admin, ephemeral).await;
    assert!(why.contains("violates PodSecurity"), "{why}");
    let pod = |spec: Value| json!({"metadata": {"name": "q"}, "spec": spec});
    let container = || json!([{"name": "c", "image": "i"}]);
    for (attack, spec) in [
        ("pod-host-network", json!({"hostNetwork": true, "containers": container()})),
        ("pod-host-path", json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": container()})),
        ("pod-unknown-account", json!({"serviceAccountName": "ghost", "containers": container()})),
        ("pod-unearned-priority", json!({"priority": 2_000_000_000, "containers": container()})),
        (
            "pod-critical-priority",
            json!({"priorityClassName": "system-node-critical", "priority": 1, "containers": container()}),
        ),
    ] {
        gate.refuses(attack, &[403], &alice, Tried::post(PODS, &pod(spec))).await;
    }
    let relaxed = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let namespace = "/api/v1/namespaces/default";
    gate.refuses("namespace-relaxed", &[403], &alice, Tried::patch(namespace, &relaxed)).await;
    gate.refuses(
        "pod-bound-by-hand",
        &[403],
        &alice,
        Tried::post(
            &format!("{PODS}/p/binding"),
            &json!({
        "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "a"}}),
        ),
    )
    .await;
    gate.close().await;
}

#[tokio::test]
async fn through_node_objects() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let (a, b) = (gate.as_node("a"), gate.as_node("b"));
    made(&a, "/api/v1/nodes", json!({"metadata": {"name": "a"}})).await;
    made(&b, "/api/v1/nodes", json!({"metadata": {"name": "b"}})).await;
    made(&admin, "/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "s"}})).await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "b", "containers": [{"name": "c", "image": "i"}]}});
    made(&admin, PODS, pod).await;
    let label = |key: &str| json!({"metadata": {"labels": {key: "1"}}});
    let mirror = json!({"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}});
    let evil = json!({"metadata": {"name": "c"}});
    for (attack, tried) in [
        ("node-another", Tried::post("/api/v1/nodes", &evil)),
        ("node-relabels-itself", Tried::patch("/api/v1/nodes/a", &label("node-restriction.kubernetes.io/team"))),
        ("node-takes-a-role", Tried::patch("/api/v1/nodes/a", &label("node-role.kubernetes.io/control-plane"))),
        (
            "node-untaints",
            Tried::patch("/api/v1/nodes/a", &json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})),
        ),
        ("node-changes-another", Tried::patch("/api/v1/nodes/b", &label("mine"))),
        ("node-changes-anothers-status", Tried::patch("/api/v1/nodes/b/status", &json!({"status": {"phase": "x"}}))),
        ("node-deletes-another", Tried::delete("/api/v1/nodes/b")),
        ("node-reads-secrets", Tried::get("/api/v1/namespaces/default/secrets")),
        ("node-reads-a-secret", Tried::get("/api/v1/namespaces/default/secrets/s")),
        ("node-mirrors-a-secret", Tried::post(PODS, &mirror)),
        ("node-reads-anothers-pod", Tried::get(&format!("{PODS}/p"))),
        ("node-lists-all-pods", Tried::get("/api/v1/pods")),
        ("node-deletes-anothers-pod", Tried::delete(&format!("{PODS}/p"))),
        (
            "node-tells-anothers-status",
            Tried::patch(&format!("{PODS}/p/status"), &json!({"status": {"phase": "Failed"}})),
        ),
        ("node-evicts-anothers-pod", Tried::post(&format!("{PODS}/p/eviction"), &json!({"metadata": {"name": "p"}}))),
        ("node-runs-in-a-pod", Tried::post(&format!("{PODS}/p/exec?command=sh"), &json!({}))),
        (
            "node-token-unbound",
            Tried::post("/api/v1/namespaces/default/serviceaccounts/default/token", &json!({"spec": {}})),
        ),
        ("node-takes-a-lease", Tried::post("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", &evil)),
        ("node-impersonates", Tried::get(PODS).header("impersonate-user", "system:node:b")),
    ] {
        gate.refuses(attack, &[403], &a, tried).await;
    }
    gate.close().await;
}
