//! Requests that make more requests, and streams without end.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use kubewright_apiserver::fairness::FairnessConfig;
use kubewright_apiserver::remote::{Remote, RemoteError, Target};

use super::*;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A webhook that asks the server for one more of what it is asked about.
#[derive(Default)]
struct Loop {
    server: OnceLock<ApiServer>,
    asked: AtomicUsize,
}

#[async_trait]
impl Remote for Loop {
    async fn send(&self, _: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        let at = self.asked.fetch_add(1, Ordering::SeqCst);
        let map = json!({"metadata": {"name": format!("m{at}")}});
        let server = self.server.get().expect("the server is up");
        // Boxed, for it leads back here.
        let inner: std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> =
            Box::pin(async { send_json(server, Method::POST, MAPS, &map).await });
        let allowed = inner.await.code == 201;
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": allowed}});
        Ok(Response::new(answer.to_string().into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_calls_itself() {
    let hook = Arc::new(Loop::default());
    let remote: Arc<dyn Remote> = hook.clone();
    let mut gate = Gate::with(|builder| builder.remote(remote).fairness(FairnessConfig::default().seats(60))).await;
    bind(&gate.admin, "editors", "edit", "alice").await;
    let alice = gate.as_user("alice");
    hook.server.set(alice.clone()).ok().expect("set once");
    let configuration = json!({"metadata": {"name": "loop"}, "webhooks": [{
        "name": "loop.example.com", "clientConfig": {"url": "https://loop/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    }]});
    let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    made(&gate.admin, uri, configuration).await;
    let tried = Tried::post(MAPS, &json!({"metadata": {"name": "first"}}));
    gate.refuses("webhook-loop", &[400, 403, 429, 500, 504], &alice, tried).await;
    let rounds = hook.asked.load(Ordering::SeqCst);
    assert!(rounds < 100, "it went round {rounds} times");
    assert_eq!(get(&gate.admin, MAPS).await.json()["items"], json!([]));
    gate.close().await;
}

#[tokio::test]
async fn a_webhook_about_webhooks() {
    // Nobody could remove it if it were asked about its own removal.
    let hook = Arc::new(Loop::default());
    let remote: Arc<dyn Remote> = hook.clone();
    let gate = Gate::with(|builder| builder.remote(remote)).await;
    let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let configuration = json!({"metadata": {"name": "own"}, "webhooks": [{
        "name": "own.example.com", "clientConfig": {"url": "https://own/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
    }]});
    made(&gate.admin, uri, configuration).await;
    let gone = common::send(&gate.admin, Method::DELETE, &format!("{uri}/own"), "", "").await;
    assert_eq!((gone.code.as_u16(), hook.asked.load(Ordering::SeqCst)), (200, 0));
    gate.close().await;
}

#[tokio::test]
async fn watches() {
    let mut gate = Gate::with(|builder| builder.fairness(FairnessConfig::default().watches_per_user(3))).await;
    bind(&gate.admin, "readers", "view", "alice").await;
    bind(&gate.admin, "others", "view", "bob").await;
    let (alice, bob) = (gate.as_user("alice"), gate.as_user("bob"));
    let watch = format!("{PODS}?watch=1&resourceVersion=0");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(common::Events::open(&alice, &watch, "application/json").await);
    }
    let why = gate.refuses("watch-flood", &[429], &alice, Tried::get(&watch)).await;
    assert!(why.contains("3 at a time"), "{why}");
    drop(common::Events::open(&bob, &watch, "application/json").await);
    // Who ends one may begin one.
    open.pop();
    drop(common::Events::open(&alice, &watch, "application/json").await);
    drop(open);
    gate.close().await;
}
