//! Admission webhooks over the API, with webhooks in process.

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine;
use http::Response;
use kubewright_apiserver::remote::{Remote, RemoteError, Target};

use super::*;

#[path = "webhooks/cases.rs"]
mod cases;

type Answers = Box<dyn Fn(&str, &Value) -> Value + Send + Sync>;

/// Webhooks that answer by their host's name, and remember who was asked.
struct Webhooks {
    answers: Answers,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Remote for Webhooks {
    async fn send(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        let host = target.url.host().unwrap_or_default().to_owned();
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        self.asked.lock().expect("no panic").push(host.clone());
        if host == "down" {
            return Err(RemoteError::unreachable("connection refused"));
        }
        if host == "slow" {
            std::future::pending::<()>().await;
        }
        let mut response = (self.answers)(&host, &review["request"]);
        // What is no review at all.
        if let Some(raw) = response["raw"].as_str() {
            let code = response["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(200);
            return Ok(Response::builder().status(code).body(raw.to_owned().into()).expect("a sound response"));
        }
        response["uid"] = review["request"]["uid"].clone();
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Ok(Response::new(answer.to_string().into()))
    }
}

async fn with_webhooks(answers: Answers) -> (ApiServer, ApiServer, Arc<Webhooks>) {
    let webhooks = Arc::new(Webhooks { answers, asked: Mutex::default() });
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).remote(Arc::clone(&webhooks) as _);
    let server = builder.build().await.expect("a server");
    let admin = server.as_user(User::admin());
    (server, admin, webhooks)
}

fn webhook(host: &str, more: Value) -> Value {
    let mut webhook = json!({
        "name": format!("{host}.example.com"), "clientConfig": {"url": format!("https://{host}/")},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
    });
    for (key, value) in more.as_object().expect("an object") {
        webhook[key] = value.clone();
    }
    webhook
}

async fn configure(admin: &ApiServer, kind: &str, name: &str, webhooks: Value) {
    let uri = format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations");
    made(admin, &uri, json!({"metadata": {"name": name}, "webhooks": webhooks})).await;
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn patch(operations: Value) -> Value {
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

#[tokio::test]
async fn webhooks_change_and_are_asked_again_where_they_want() {
    let answers = |host: &str, request: &Value| match host {
        "first" => {
            let seen = request["object"]["data"]["second"].as_str().unwrap_or("nothing");
            patch(json!([{"op": "add", "path": "/data/first", "value": seen}]))
        }
        _ => patch(json!([{"op": "test", "path": "/metadata/annotations", "value": null},
            {"op": "add", "path": "/data/second", "value": "here"}])),
    };
    let (server, admin, webhooks) = with_webhooks(Box::new(answers)).await;
    let both = json!([webhook("first", json!({"reinvocationPolicy": "IfNeeded"})), webhook("second", json!({}))]);
    configure(&admin, "mutating", "m", both).await;
    let object = made(&admin, MAPS, json!({"metadata": {"name": "a"}, "data": {"own": "1"}})).await;
    assert_eq!(object["data"], json!({"own": "1", "first": "here", "second": "here"}));
    assert_eq!(*webhooks.asked.lock().expect("no panic"), ["first", "second", "first"]);
    server.shutdown().await;
}

#[tokio::test]
async fn webhooks_refuse_in_upstreams_words() {
    let answers = |_: &str, request: &Value| {
        let allowed = request["object"]["data"]["good"] == "yes";
        json!({"allowed": allowed, "status": {"message": "be good", "code": 403}, "warnings": ["looked at"],
            "auditAnnotations": {"seen": "1"}})
    };
    let (server, admin, _) = with_webhooks(Box::new(answers)).await;
    configure(&admin, "validating", "v", json!([webhook("judge", json!({}))])).await;
    let bad = send_json(&admin, Method::POST, MAPS, &json!({"metadata": {"name": "a"}})).await;
    let (code, _, message) = bad.fault();
    assert_eq!((code, message.as_str()), (403, r#"admission webhook "judge.example.com" denied the request: be good"#));
    assert_eq!(bad.headers["warning"], r#"299 - "looked at""#);
    made(&admin, MAPS, json!({"metadata": {"name": "a"}, "data": {"good": "yes"}})).await;
    // What configures webhooks no webhook stands in the way of.
    let all = json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
    configure(&admin, "validating", "w", json!([webhook("judge", all)])).await;
    let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/w";
    assert_eq!(common::send(&admin, Method::DELETE, uri, "", "").await.code, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn reviews_pass_webhooks_too() {
    let answers = |host: &str, request: &Value| match host {
        "change" => patch(json!([{"op": "replace", "path": "/spec/resourceAttributes/verb", "value": "list"}])),
        _ => json!({"allowed": request["object"]["spec"]["resourceAttributes"]["verb"] == "list"}),
    };
    let (server, admin, webhooks) = with_webhooks(Box::new(answers)).await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": ["authorization.k8s.io"], "apiVersions": ["v1"],
        "resources": ["*"]}]});
    configure(&admin, "validating", "v", json!([webhook("judge", rules.clone())])).await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let (code, _, message) = send_json(&admin, Method::POST, reviews, &review).await.fault();
    let words = r#"admission webhook "judge.example.com" denied the request without explanation"#;
    assert_eq!((code, message.as_str()), (400, words));
    // What is no review nobody is asked about.
    webhooks.asked.lock().expect("no panic").clear();
    assert_eq!(send_json(&admin, Method::POST, reviews, &json!({"spec": {}})).await.code, 422);
    assert!(webhooks.asked.lock().expect("no panic").is_empty());
    configure(&admin, "mutating", "m", json!([webhook("change", rules)])).await;
    let answer = made(&admin, reviews, review).await;
    assert_eq!(
        (&answer["spec"]["resourceAttributes"]["verb"], &answer["status"]["allowed"]),
        (&json!("list"), &json!(true))
    );
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn failures_count_as_the_policy_says() {
    let (server, admin, webhooks) = with_webhooks(Box::new(|_, _| json!({"allowed": true}))).await;
    let map = json!({"metadata": {"name": "a"}});
    for (host, expected) in [("down", "connection refused"), ("slow", "context deadline exceeded")] {
        configure(&admin, "validating", "v", json!([webhook(host, json!({}))])).await;
        let refused = send_json(&admin, Method::POST, MAPS, &map).await;
        let (code, _, message) = refused.fault();
        assert_eq!(code, 500, "{message}");
        let start = format!(
            r#"Internal error occurred: failed calling webhook "{host}.example.com": failed to call webhook: Post "https://{host}/?timeout=1s": {expected}"#
        );
        assert_eq!(message, start);
        let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
        assert_eq!(common::send(&admin, Method::DELETE, uri, "", "").await.code, 200);
    }
    configure(&admin, "validating", "v", json!([webhook("down", json!({"failurePolicy": "Ignore"}))])).await;
    made(&admin, MAPS, map).await;
    // A webhook with side effects is not called for a dry run.
    let some = json!({"sideEffects": "NoneOnDryRun", "failurePolicy": "Ignore", "matchConditions":
        [{"name": "other", "expression": "object.metadata.name != 'skipped'"}]});
    configure(&admin, "mutating", "m", json!([webhook("up", some)])).await;
    webhooks.asked.lock().expect("no panic").clear();
    made(&admin, &format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "b"}})).await;
    made(&admin, MAPS, json!({"metadata": {"name": "skipped"}})).await;
    assert_eq!(*webhooks.asked.lock().expect("no panic"), ["up", "down", "down"]);
    server.shutdown().await;
}
