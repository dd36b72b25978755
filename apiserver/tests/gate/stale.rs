//! No decision is made on stale policy: once a change is acknowledged, the very next request goes by it.

use super::*;

const NAMESPACE: &str = "/api/v1/namespaces/default";
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

async fn delete(admin: &ApiServer, uri: &str) {
    let answer = common::send(admin, Method::DELETE, uri, "", "").await;
    assert_eq!(answer.code, 200, "{uri}: {:?}", answer.bytes);
}

async fn merge(admin: &ApiServer, uri: &str, patch: Value) {
    let answer = common::send(admin, Method::PATCH, uri, "application/merge-patch+json", patch.to_string()).await;
    assert_eq!(answer.code, 200, "{uri}: {:?}", answer.bytes);
}

/// Whether a ConfigMap of that name could be made.
async fn makes(who: &ApiServer, name: &str) -> bool {
    let map = json!({"metadata": {"name": name}});
    let answer = send_json(who, Method::POST, &format!("{NAMESPACE}/configmaps?dryRun=All"), &map).await;
    assert!(matches!(answer.code.as_u16(), 201 | 403 | 422), "{:?}", answer.bytes);
    answer.code == 201
}

/// Every change is followed at once by a request; many rounds, for a race does not always show.
const ROUNDS: usize = 20;

#[tokio::test]
async fn of_roles_and_bindings() {
    let (server, admin) = servers().await;
    let ann = server.as_user(User::new("ann", &["staff", "system:authenticated"]));
    let bind = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "Group", "name": "staff"}],
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}});
    let rules = |verbs: Value| json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
    let space = format!("{RBAC}/namespaces/default");
    made(&admin, &format!("{space}/roles"), rules(json!(["create"]))).await;
    for _ in 0..ROUNDS {
        assert!(!makes(&ann, "a").await);
        made(&admin, &format!("{space}/rolebindings"), bind.clone()).await;
        assert!(makes(&ann, "a").await);
        merge(&admin, &format!("{space}/roles/r"), rules(json!(["get"]))).await;
        assert!(!makes(&ann, "a").await);
        merge(&admin, &format!("{space}/roles/r"), rules(json!(["create"]))).await;
        assert!(makes(&ann, "a").await);
        delete(&admin, &format!("{space}/rolebindings/b")).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn of_what_nodes_run() {
    let (server, admin) = servers().await;
    let node = server.as_user(User::new("system:node:n1", &["system:nodes", "system:authenticated"]));
    made(&admin, &format!("{NAMESPACE}/secrets"), json!({"metadata": {"name": "s"}, "data": {}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]}});
    let secret = format!("{NAMESPACE}/secrets/s");
    for _ in 0..ROUNDS {
        assert_eq!(get(&node, &secret).await.code, 403);
        made(&admin, PODS, pod.clone()).await;
        assert_eq!(get(&node, &secret).await.code, 200);
        delete(&admin, &format!("{PODS}/p?gracePeriodSeconds=0")).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn of_validating_policies_and_their_parameters() {
    let (server, admin) = servers().await;
    let rules = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]}]});
    let policy = json!({"metadata": {"name": "names"}, "spec": {"matchConstraints": rules,
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.metadata.name != params.data.bad"}]}});
    let (policies, bindings) = (
        format!("{REGISTRATION}/validatingadmissionpolicies"),
        format!("{REGISTRATION}/validatingadmissionpolicybindings"),
    );
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "names", "validationActions": ["Deny"],
        "paramRef": {"name": "params", "namespace": "default", "parameterNotFoundAction": "Allow"}}});
    let params = json!({"metadata": {"name": "params"}, "data": {"bad": "x"}});
    for _ in 0..ROUNDS {
        made(&admin, &policies, policy.clone()).await;
        assert!(makes(&admin, "x").await);
        made(&admin, &bindings, binding.clone()).await;
        assert!(makes(&admin, "x").await, "there are no parameters yet");
        made(&admin, &format!("{NAMESPACE}/configmaps"), params.clone()).await;
        assert!(!makes(&admin, "x").await && makes(&admin, "y").await);
        merge(&admin, &format!("{NAMESPACE}/configmaps/params"), json!({"data": {"bad": "y"}})).await;
        assert!(makes(&admin, "x").await && !makes(&admin, "y").await);
        merge(&admin, &format!("{policies}/names"), json!({"spec": {"validations": [{"expression": "false"}]}})).await;
        assert!(!makes(&admin, "x").await && !makes(&admin, "y").await);
        delete(&admin, &format!("{bindings}/b")).await;
        assert!(makes(&admin, "x").await && makes(&admin, "y").await);
        delete(&admin, &format!("{policies}/names")).await;
        delete(&admin, &format!("{NAMESPACE}/configmaps/params")).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn of_mutating_policies() {
    let (server, admin) = servers().await;
    let (policies, bindings) = (
        format!("{REGISTRATION}/mutatingadmissionpolicies"),
        format!("{REGISTRATION}/mutatingadmissionpolicybindings"),
    );
    let with = |value: &str| {
        json!([{"patchType": "ApplyConfiguration", "applyConfiguration":
            {"expression": format!("Object{{data: {{'added': '{value}'}}}}")}}])
    };
    let policy = json!({"metadata": {"name": "adds"}, "spec": {"reinvocationPolicy": "Never", "mutations": with("1"),
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"]}]}}});
    let added = async || {
        let uri = format!("{NAMESPACE}/configmaps?dryRun=All");
        made(&admin, &uri, json!({"metadata": {"name": "a"}})).await["data"]["added"].clone()
    };
    for _ in 0..ROUNDS {
        made(&admin, &policies, policy.clone()).await;
        assert_eq!(added().await, Value::Null);
        made(&admin, &bindings, json!({"metadata": {"name": "b"}, "spec": {"policyName": "adds"}})).await;
        assert_eq!(added().await, "1");
        merge(&admin, &format!("{policies}/adds"), json!({"spec": {"mutations": with("2")}})).await;
        assert_eq!(added().await, "2");
        delete(&admin, &format!("{policies}/adds")).await;
        assert_eq!(added().await, Value::Null);
        delete(&admin, &format!("{bindings}/b")).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn of_quotas() {
    let (server, admin) = servers().await;
    let quotas = format!("{NAMESPACE}/resourcequotas");
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}});
    made(&admin, &quotas, quota).await;
    let used = json!({"status": {"hard": {"configmaps": "1"}, "used": {"configmaps": "0"}}});
    merge(&admin, &format!("{quotas}/q/status"), used).await;
    for _ in 0..ROUNDS {
        assert!(makes(&admin, "a").await);
        made(&admin, &format!("{NAMESPACE}/configmaps"), json!({"metadata": {"name": "a"}})).await;
        assert!(!makes(&admin, "b").await);
        // Whoever counts may be late; what is allowed is not.
        merge(&admin, &format!("{quotas}/q"), json!({"spec": {"hard": {"configmaps": "2"}}})).await;
        assert!(makes(&admin, "b").await);
        merge(&admin, &format!("{quotas}/q"), json!({"spec": {"hard": {"configmaps": "1"}}})).await;
        assert!(!makes(&admin, "b").await);
        delete(&admin, &format!("{NAMESPACE}/configmaps/a")).await;
        merge(&admin, &format!("{quotas}/q/status"), json!({"status": {"used": {"configmaps": "0"}}})).await;
    }
    delete(&admin, &format!("{quotas}/q")).await;
    made(&admin, &format!("{NAMESPACE}/configmaps"), json!({"metadata": {"name": "a"}})).await;
    assert!(makes(&admin, "b").await);
    server.shutdown().await;
}

#[tokio::test]
async fn of_flow_schemas_and_levels() {
    let (server, admin) = servers().await;
    const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let ann = server.as_user(User::new("ann", &["system:authenticated"]));
    let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited":
        {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}});
    let schema = json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"},
        "matchingPrecedence": 2, "rules": [{"subjects": [{"kind": "User", "user": {"name": "ann"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let of = async |header: &str| {
        let answer = get(&ann, "/version").await;
        answer.headers.get(header).and_then(|uid| uid.to_str().ok()).unwrap_or_default().to_owned()
    };
    const SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
    const LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";
    let (before, global) = (of(SCHEMA).await, of(LEVEL).await);
    for _ in 0..ROUNDS {
        let level = made(&admin, &format!("{FLOWS}/prioritylevelconfigurations"), level.clone()).await;
        let schema = made(&admin, &format!("{FLOWS}/flowschemas"), schema.clone()).await;
        assert_eq!(
            (of(SCHEMA).await.as_str(), of(LEVEL).await.as_str()),
            (schema["metadata"]["uid"].as_str().unwrap_or("?"), level["metadata"]["uid"].as_str().unwrap_or("?"))
        );
        merge(
            &admin,
            &format!("{FLOWS}/flowschemas/s"),
            json!({"spec": {"priorityLevelConfiguration": {"name": "exempt"}}}),
        )
        .await;
        assert_ne!(of(LEVEL).await, level["metadata"]["uid"].as_str().unwrap_or_default());
        delete(&admin, &format!("{FLOWS}/flowschemas/s")).await;
        assert_eq!((of(SCHEMA).await, of(LEVEL).await), (before.clone(), global.clone()));
        delete(&admin, &format!("{FLOWS}/prioritylevelconfigurations/l")).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn of_defaults_and_classes() {
    let (server, admin) = servers().await;
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = json!({"metadata": {"name": "c", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "p.example.com"});
    let claim = json!({"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let chosen = async || {
        let uri = format!("{NAMESPACE}/persistentvolumeclaims?dryRun=All");
        made(&admin, &uri, claim.clone()).await["spec"]["storageClassName"].clone()
    };
    for _ in 0..ROUNDS {
        assert_eq!(chosen().await, Value::Null);
        made(&admin, classes, class.clone()).await;
        assert_eq!(chosen().await, "c");
        delete(&admin, &format!("{classes}/c")).await;
    }
    let priorities = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let priority = async || made(&admin, &format!("{PODS}?dryRun=All"), pod.clone()).await["spec"]["priority"].clone();
    for _ in 0..ROUNDS {
        assert_eq!(priority().await, 0);
        made(&admin, priorities, json!({"metadata": {"name": "c"}, "value": 7, "globalDefault": true})).await;
        assert_eq!(priority().await, 7);
        delete(&admin, &format!("{priorities}/c")).await;
    }
    server.shutdown().await;
}
