//! What may be consumed under a quota only, and what webhooks are shown, by upstream's `AdmissionConfiguration`.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use http::Response;
use kubewright_apiserver::admission::AdmissionConfig;
use kubewright_apiserver::remote::{Remote, RemoteError, Target};

use super::*;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn config(plugins: &str) -> AdmissionConfig {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
    AdmissionConfig::parse(&format!("{head}{plugins}"), Path::new("/")).expect("a sound configuration")
}

async fn limited(resources: &str) -> (ApiServer, ApiServer) {
    let config = config(&format!(
        "- name: ResourceQuota\n  configuration:\n    apiVersion: apiserver.config.k8s.io/v1\n    \
         kind: ResourceQuotaConfiguration\n    limitedResources: [{resources}]\n"
    ));
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).admission_config(config);
    let server = builder.without_admission("ServiceAccount").build().await.expect("a server");
    let admin = server.as_user(User::admin());
    (server, admin)
}

/// Makes a quota, and says in the controller's stead that nothing is used.
async fn quota(admin: &ApiServer, name: &str, spec: Value) {
    made(admin, QUOTAS, json!({"metadata": {"name": name}, "spec": spec})).await;
    let hard = spec["hard"].as_object().expect("limits");
    let used: Value = hard.keys().map(|name| (name.clone(), json!("0"))).collect::<serde_json::Map<_, _>>().into();
    let status = json!({"status": {"hard": spec["hard"], "used": used}});
    let uri = format!("{QUOTAS}/{name}/status");
    let answer = common::send(admin, Method::PATCH, &uri, "application/merge-patch+json", status.to_string()).await;
    assert_eq!(answer.code, 200);
}

#[tokio::test]
async fn what_is_limited_needs_a_quota_that_names_it() {
    let (server, admin) = limited(
        "{resource: persistentvolumeclaims, matchContains: [gold.storageclass.storage.k8s.io/requests.storage]}",
    )
    .await;
    let claim = |name: &str, class: &str| {
        json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let refused = async |name: &str| {
        let (code, reason, message) = send_json(&admin, Method::POST, CLAIMS, &claim(name, "gold")).await.fault();
        assert_eq!((code, reason.as_str()), (403, "Forbidden"));
        message
    };
    let words = "persistentvolumeclaims \"a\" is forbidden: insufficient quota to consume: \
                 gold.storageclass.storage.k8s.io/requests.storage";
    assert_eq!(refused("a").await, words);
    // Another class is nobody's business, and a quota of something else is none of this.
    made(&admin, CLAIMS, claim("other", "silver")).await;
    quota(&admin, "claims", json!({"hard": {"persistentvolumeclaims": "9"}})).await;
    assert_eq!(refused("a").await, words);
    quota(&admin, "gold", json!({"hard": {"gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}})).await;
    made(&admin, CLAIMS, claim("a", "gold")).await;
    assert_eq!(
        refused("b").await,
        "persistentvolumeclaims \"b\" is forbidden: exceeded quota: gold, requested: \
         gold.storageclass.storage.k8s.io/requests.storage=1Gi, used: \
         gold.storageclass.storage.k8s.io/requests.storage=1Gi, limited: \
         gold.storageclass.storage.k8s.io/requests.storage=1Gi"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn scopes_that_are_limited_need_a_quota_of_the_scope() {
    let scope =
        "{resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [system-node-critical]}]}";
    let (server, admin) = limited(scope).await;
    let pod = |name: &str, class: &str| json!({"metadata": {"name": name}, "spec": {"priorityClassName": class, "containers": [{"name": "c", "image": "i"}]}});
    let critical = pod("a", "system-node-critical");
    let words = "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]";
    let refused = async || send_json(&admin, Method::POST, PODS, &critical).await.fault();
    assert_eq!(refused().await, (500, String::new(), words.to_owned()));
    made(&admin, PODS, pod("usual", "")).await;
    quota(&admin, "all", json!({"hard": {"pods": "9"}})).await;
    assert_eq!(refused().await.2, words);
    let selector = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]});
    quota(&admin, "critical", json!({"hard": {"pods": "1"}, "scopeSelector": selector})).await;
    made(&admin, PODS, critical.clone()).await;
    let (code, _, message) = send_json(&admin, Method::POST, PODS, &pod("b", "system-node-critical")).await.fault();
    assert_eq!(code, 403);
    assert!(
        message.ends_with("exceeded quota: critical, requested: pods=1, used: pods=1, limited: pods=1"),
        "{message}"
    );
    server.shutdown().await;
}

/// Lets everything in, and remembers what it was shown.
#[derive(Default)]
struct Shown(Mutex<Vec<Option<String>>>);

#[async_trait]
impl Remote for Shown {
    async fn send(&self, _: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        let shown = request.headers().get("authorization").map(|value| value.to_str().expect("text").to_owned());
        self.0.lock().expect("no panic").push(shown);
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Ok(Response::new(answer.to_string().into()))
    }
}

#[tokio::test]
async fn webhooks_are_shown_their_credentials_and_nobody_elses() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("webhooks.kubeconfig");
    std::fs::write(&file, "users: [{name: known.test, user: {token: secret}}]").expect("it is written");
    let config = config(&format!(
        "- name: ValidatingAdmissionWebhook\n  configuration: {{apiVersion: apiserver.config.k8s.io/v1, \
         kind: WebhookAdmissionConfiguration, kubeConfigFile: {}}}\n",
        file.display()
    ));
    let shown = Arc::new(Shown::default());
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).remote(Arc::clone(&shown) as _);
    let server = builder.admission_config(config).build().await.expect("a server");
    let admin = server.as_user(User::admin());
    let hook = |host: &str| {
        json!({"name": format!("{host}.example.com"), "clientConfig": {"url": format!("https://{host}/")}, "rules":
            [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"]})
    };
    for host in ["known.test", "stranger.test"] {
        let object = json!({"metadata": {"name": host}, "webhooks": [hook(host)]});
        let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        made(&admin, uri, object).await;
        made(&admin, "/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": host}})).await;
        assert_eq!(common::send(&admin, Method::DELETE, &format!("{uri}/{host}"), "", "").await.code, 200);
    }
    assert_eq!(*shown.0.lock().expect("no panic"), [Some("Bearer secret".to_owned()), None]);
    server.shutdown().await;
}
