//! The audit log over the API.

use async_trait::async_trait;
use kubewright_apiserver::audit::{AuditConfig, AuditPolicy, Event, Sink, SinkError};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;

struct Gather(mpsc::UnboundedSender<Value>);

#[async_trait]
impl Sink for Gather {
    async fn write(&mut self, events: &[Event]) -> Result<(), SinkError> {
        events.iter().try_for_each(|event| self.0.send(event.json().clone())).map_err(SinkError::new)
    }
}

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  resources: [{group: '', resources: [secrets, pods]}]
- level: None
  nonResourceURLs: [/version]
- level: Metadata
";

#[tokio::test]
async fn what_is_asked_and_refused_is_logged_and_secrets_are_masked() {
    let (sender, mut events) = mpsc::unbounded_channel();
    let policy = AuditPolicy::parse(POLICY).expect("a sound policy");
    let builder = ApiServer::builder(Arc::new(MemoryStore::new()));
    let server = builder.audit(AuditConfig::new(policy).sink(Gather(sender))).build().await.expect("a server");
    let admin = server.as_user(User::admin());
    let secret = json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"password": "aHVudGVyMg=="}});
    made(&admin, "/api/v1/namespaces/default/secrets", secret).await;
    let bob = server.as_user(User::new("bob", &["system:authenticated"]));
    assert_eq!(get(&bob, PODS).await.code, 403);
    assert_eq!(get(&admin, "/version").await.code, 200);
    let forged = with_headers(&server, PODS, &[("authorization", "Bearer forged"), ("audit-id", "mine")]).await;
    assert_eq!(forged.code, 401);
    let as_bob = with_headers(&admin, PODS, &[("impersonate-user", "bob"), ("audit-id", "mine")]).await;
    assert_eq!((as_bob.code.as_u16(), as_bob.headers["audit-id"].as_bytes()), (403, &b"mine"[..]));
    server.shutdown().await;
    let mut logged = Vec::new();
    while let Ok(event) = events.try_recv() {
        logged.push(event);
    }
    assert_eq!(logged.len(), 4, "{logged:#?}");
    let created = &logged[0];
    assert_eq!(created["objectRef"]["name"], "s");
    assert_eq!(created["requestObject"]["data"]["password"], "***");
    assert_eq!(created["responseObject"]["data"]["password"], "***");
    assert!(!logged.iter().any(|event| event.to_string().contains("aHVudGVy")));
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    let refused = &logged[1];
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!((&refused["responseStatus"]["code"], &refused["user"]["username"]), (&json!(403), &json!("bob")));
    assert_eq!((&logged[2]["responseStatus"]["code"], &logged[2]["auditID"]), (&json!(401), &json!("mine")));
    assert_eq!(logged[3]["impersonatedUser"]["username"], "bob");
    assert_eq!(logged[3]["user"]["username"], "kubernetes-admin");
}

#[tokio::test]
async fn a_request_that_is_cut_off_is_logged() {
    let (sender, mut events) = mpsc::unbounded_channel();
    let policy = AuditPolicy::parse(POLICY).expect("a sound policy");
    let builder = ApiServer::builder(Arc::new(MemoryStore::new()));
    let server = builder.audit(AuditConfig::new(policy).sink(Gather(sender))).build().await.expect("a server");
    // Its client leaves while the body is still to come.
    let body = http_body_util::StreamBody::new(futures::stream::pending::<Result<_, std::convert::Infallible>>());
    let request = Request::post("/api/v1/namespaces/default/configmaps");
    let request = request.body(http_body_util::combinators::BoxBody::<Bytes, _>::new(body)).unwrap();
    let mut call = Box::pin(server.as_user(User::admin()).oneshot(request));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    server.shutdown().await;
    let logged = events.try_recv().expect("it is logged");
    assert_eq!((&logged["responseStatus"]["code"], &logged["stage"]), (&json!(504), &json!("ResponseComplete")));
    assert_eq!(logged["objectRef"]["resource"], "configmaps");
    assert!(events.try_recv().is_err(), "once");
}

#[tokio::test]
async fn secrets_are_masked_in_patches_tables_and_reviews_without_a_kind() {
    let (sender, mut events) = mpsc::unbounded_channel();
    let everything = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}";
    let policy = AuditPolicy::parse(everything).expect("a sound policy");
    let builder = ApiServer::builder(Arc::new(MemoryStore::new()));
    let server = builder.audit(AuditConfig::new(policy).sink(Gather(sender))).build().await.expect("a server");
    let admin = server.as_user(User::admin());
    let secrets = "/api/v1/namespaces/default/secrets";
    made(&admin, secrets, json!({"metadata": {"name": "s"}, "data": {"password": "aHVudGVyMg=="}})).await;
    let patch = r#"[{"op": "add", "path": "/data/other", "value": "aHVudGVyMg=="}]"#;
    let request = Request::patch(format!("{secrets}/s")).header("content-type", "application/json-patch+json");
    let request = request.body(Full::new(Bytes::from_static(patch.as_bytes()))).unwrap();
    assert_eq!(admin.clone().oneshot(request).await.unwrap().status(), 200);
    let tables = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = with_headers(&admin, &format!("{secrets}?includeObject=Object"), &tables).await;
    assert_eq!(table.json()["rows"][0]["object"]["data"]["password"], "aHVudGVyMg==");
    let review = r#"{"spec": {"token": "aHVudGVyMg=="}}"#;
    let request =
        Request::post("/apis/authentication.k8s.io/v1/tokenreviews").header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from_static(review.as_bytes()))).unwrap();
    admin.clone().oneshot(request).await.unwrap();
    server.shutdown().await;
    let mut logged = Vec::new();
    while let Ok(event) = events.try_recv() {
        logged.push(event);
    }
    assert!(logged.iter().any(|event| event["requestObject"][0]["path"] == "/data/other"), "{logged:#?}");
    assert!(logged.iter().any(|event| event["responseObject"]["kind"] == "Table"), "{logged:#?}");
    assert!(logged.iter().any(|event| event["objectRef"]["resource"] == "tokenreviews"), "{logged:#?}");
    assert!(!logged.iter().any(|event| event.to_string().contains("aHVudGVy")), "{logged:#?}");
}

/// A body that says how long it is, and never comes.
struct Awaited;

impl http_body::Body for Awaited {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(1 << 40)
    }
}

#[tokio::test]
async fn what_is_streamed_to_pods_is_not_gathered_for_the_log() {
    let everything = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request}]}";
    let policy = AuditPolicy::parse(everything).expect("a sound policy");
    let (sender, _events) = mpsc::unbounded_channel();
    let builder = ApiServer::builder(Arc::new(MemoryStore::new()));
    let server = builder.audit(AuditConfig::new(policy).sink(Gather(sender))).build().await.expect("a server");
    let request = Request::post(format!("{PODS}/none/proxy/upload")).body(Awaited).unwrap();
    let call = server.as_user(User::admin()).oneshot(request);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), call).await;
    assert_eq!(answer.expect("answered before the body comes").unwrap().status(), 404);
    server.shutdown().await;
}
