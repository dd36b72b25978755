//! Reviews as they are asked for and answered.

use jiff::Timestamp;

use super::*;
use crate::authz::Attributes;

struct OnlyGetPods;

#[async_trait]
impl Authorizer for OnlyGetPods {
    async fn authorize(&self, a: &Attributes) -> Decision {
        if (a.verb.as_str(), a.resource.as_str(), a.user.name.as_str()) == ("get", "pods", "alice") {
            return Decision::Allow("because".into());
        }
        Decision::NoOpinion(String::new())
    }
}

async fn review(path: &str, body: Value) -> Result<Value, Status> {
    let info = RequestInfo::parse(&Method::POST, path.split('?').next().unwrap_or_default(), None);
    let context = Context::new(User::new("alice", &["staff"]), info, Timestamp::UNIX_EPOCH);
    let reviews = Reviews::new(Arc::new(OnlyGetPods), None, None);
    assert!(reviews.handles(&context.info));
    let mut request = Request::post(path).body(body::full(body.to_string())).unwrap();
    request.extensions_mut().insert(context);
    let read = read_typed(request, |info| (format!("{}/v1", info.api_group), kind_of(info)));
    let (context, review, options) = read.await?;
    reviews.answer(&context, review, &options).await
}

#[tokio::test]
async fn access_reviews_ask_the_authorizer() {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
    let answer = review(path, asked("get")).await.unwrap();
    assert_eq!(answer["status"], json!({"allowed": true, "reason": "because"}));
    assert_eq!(answer["kind"], "SelfSubjectAccessReview");
    assert_eq!(review(path, asked("list")).await.unwrap()["status"], json!({"allowed": false}));
}

#[tokio::test]
async fn others_are_asked_about_by_name() {
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let mut body = json!({"spec": {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(review(path, body.clone()).await.unwrap()["status"]["allowed"], true);
    body["spec"]["user"] = "bob".into();
    assert_eq!(review(path, body.clone()).await.unwrap()["status"]["allowed"], false);
}

#[tokio::test]
async fn reviews_are_only_ever_made() {
    let reviews = Reviews::new(Arc::new(OnlyGetPods), None, None);
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(method).uri(path).body(body::empty()).unwrap();
        assert!(reviews.handles(&RequestInfo::parse(request.method(), path, None)));
        assert_eq!(reviews.call(request).await.status(), 405);
    }
    assert!(!reviews.handles(&RequestInfo::parse(&Method::GET, &format!("{path}/name"), None)));
}

#[tokio::test]
async fn one_may_ask_who_one_is() {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = review(path, json!({})).await.unwrap();
    assert_eq!(answer["status"]["userInfo"], json!({"username": "alice", "groups": ["staff"]}));
}

#[tokio::test]
async fn what_is_wrong_with_a_review_is_upstreams() {
    let of = |name: &str| format!("/apis/authorization.k8s.io/v1/{name}");
    let own = of("selfsubjectaccessreviews");
    let local = of("namespaces/a/localsubjectaccessreviews");
    let pods = |namespace: &str| json!({"verb": "get", "resource": "pods", "namespace": namespace});
    let path = json!({"verb": "get", "path": "/x"});
    for (path, body, code, message) in [
        (
            &own,
            json!({"spec": {"resourceAttributes": pods(""), "nonResourceAttributes": path}}),
            422,
            ".authorization.k8s.io \"\" is invalid: spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: \
             cannot be specified in combination with resourceAttributes",
        ),
        (
            &own,
            json!({}),
            422,
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: \
             exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            &own,
            json!({"metadata": {"name": "n"}, "spec": {"resourceAttributes": pods("")}}),
            422,
            ".authorization.k8s.io \"\" is invalid: metadata: Invalid value: {\"name\":\"n\"}: must be empty",
        ),
        (
            &own,
            json!({"spec": {"resourceAttributes": {"verb": 1}}}),
            400,
            "SelfSubjectAccessReview in version \"v1\" cannot be \
             handled as a SelfSubjectAccessReview: json: cannot unmarshal number into Go struct field \
             ResourceAttributes.spec.resourceAttributes.verb of type string",
        ),
        (
            &of("subjectaccessreviews"),
            json!({"spec": {"resourceAttributes": pods("")}}),
            422,
            ".authorization.k8s.io \"\" is \
             invalid: spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ),
        (
            &local,
            json!({"spec": {"user": "bob", "resourceAttributes": pods("b")}}),
            422,
            ".authorization.k8s.io \"\" is invalid: \
             spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace",
        ),
        (
            &local,
            json!({"spec": {"user": "bob", "nonResourceAttributes": path}}),
            422,
            ".authorization.k8s.io \"\" is invalid: \
             spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: disallowed on this kind of request",
        ),
        (
            &local,
            json!({"metadata": {"namespace": "b"}, "spec": {}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (&of("selfsubjectrulesreviews"), json!({"spec": {}}), 400, "no namespace on request"),
        (
            &"/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
            json!({"spec": {}}),
            400,
            "token is required for TokenReview in authentication",
        ),
    ] {
        let refused = review(path, body).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (code, message));
    }
    let strict = format!("{own}?fieldValidation=Strict");
    let refused = review(&strict, json!({"spec": {"resourceAttributes": pods(""), "x": 1}})).await.unwrap_err();
    assert!(refused.message.ends_with("strict decoding error: unknown field \"spec.x\""), "{}", refused.message);
    // A review of its own namespace, whatever it says of that itself.
    let asked = json!({"metadata": {"namespace": "elsewhere"}, "spec": {"resourceAttributes": pods("")}});
    assert_eq!(review(&own, asked).await.unwrap()["metadata"], json!({}));
    let asked = json!({"spec": {"user": "alice", "resourceAttributes": pods("a")}});
    assert_eq!(review(&local, asked).await.unwrap()["metadata"], json!({"namespace": "a"}));
}

#[tokio::test]
async fn selectors_that_cannot_be_read_are_ignored_and_told() {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (whole, part) = ("ignored due to parse error", "partially ignored due to parse error");
    for (field, selector, expected) in [
        ("labelSelector", json!({"rawSelector": "a=b"}), None),
        ("labelSelector", json!({"rawSelector": "a in"}), Some(whole)),
        ("fieldSelector", json!({"rawSelector": "a!"}), Some(whole)),
        ("labelSelector", json!({"requirements": [{"key": "a", "operator": "Newer"}]}), Some(whole)),
        (
            "labelSelector",
            json!({"requirements": [{"key": "a", "operator": "Newer"}, {"key": "b", "operator": "Exists"}]}),
            Some(part),
        ),
        ("fieldSelector", json!({"requirements": [{"key": "a", "operator": "Exists"}]}), Some(whole)),
        (
            "fieldSelector",
            json!({"requirements": [{"key": "a", "operator": "In", "values": ["x", "y"]},
            {"key": "b", "operator": "In", "values": ["x"]}]}),
            Some(part),
        ),
    ] {
        let asked = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", field: selector}}});
        let status = review(path, asked).await.unwrap()["status"].clone();
        assert_eq!(status["allowed"], true);
        let expected = expected.map(|what| format!("spec.resourceAttributes.{field} {what}"));
        assert_eq!(status["evaluationError"].as_str(), expected.as_deref());
    }
}
