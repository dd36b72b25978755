//! Asking the API server who one is and who may do what: the reviews of `authorization.k8s.io` and
//! `authentication.k8s.io`.

mod selectors;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use kubewright_api::field::{FieldError, Path};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::rbac::Rbac;
use super::{Attributes, Authorizer, Decision};
use crate::authn::{self, Bearer};
use crate::body::{self, Body};
use crate::environment;
use crate::layers::read_json;
use crate::request::{Context, RequestInfo, User};
use crate::server::Endpoint;

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Answers reviews.
pub struct Reviews {
    authorizer: Arc<dyn Authorizer>,
    rbac: Option<Rbac>,
    tokens: Option<Bearer>,
}

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reviews")
    }
}

impl Reviews {
    /// Asks this authorizer, lists rules from these roles, and reviews tokens with these authenticators.
    #[must_use]
    pub fn new(authorizer: Arc<dyn Authorizer>, rbac: Option<Rbac>, tokens: Option<Bearer>) -> Self {
        Self { authorizer, rbac, tokens }
    }

    async fn answer(&self, context: &Context, mut review: Value) -> Result<Value, Status> {
        let RequestInfo { api_group: group, resource, .. } = &*context.info;
        if !review.is_object() {
            return Err(Status::bad_request("the request's body is no object"));
        }
        let kind = kubewright_api::resources::find(group, "v1", resource).map_or("", |found| found.kind);
        let status = match resource.as_str() {
            "selfsubjectreviews" => json!({"userInfo": user_info(&context.user)}),
            "tokenreviews" => self.review_token(&mut review).await?,
            "selfsubjectrulesreviews" => self.rules(context, &review),
            _ => self.access(context, kind, &review).await?,
        };
        review["apiVersion"] = format!("{group}/v1").into();
        review["kind"] = kind.into();
        if !review["metadata"].is_object() {
            review["metadata"] = json!({});
        }
        if resource == "selfsubjectreviews" {
            review["metadata"]["creationTimestamp"] = environment::time(context.now).into();
        } else if !review["spec"].is_object() {
            review["spec"] = json!({});
        }
        review["status"] = status;
        Ok(review)
    }

    async fn access(&self, context: &Context, kind: &str, review: &Value) -> Result<Value, Status> {
        let spec = &review["spec"];
        let invalid = |faults: &[FieldError]| Err(Status::invalid(AUTHORIZATION, kind, "", faults));
        let (resource, path) = (spec["resourceAttributes"].is_object(), spec["nonResourceAttributes"].is_object());
        let at = Path::new("spec");
        if resource == path {
            let field = if resource { "nonResourceAttributes" } else { "resourceAttributes" };
            let why = if resource {
                "cannot be specified in combination with resourceAttributes"
            } else {
                "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            };
            let value = spec[field].clone();
            return invalid(&[FieldError::invalid(&at.child(field), value, why)]);
        }
        let mut user = User::clone(&context.user);
        if kind != "SelfSubjectAccessReview" {
            user = user_of(spec);
            if user.name.is_empty() && user.groups.is_empty() {
                let why = "at least one of user or group must be specified";
                return invalid(&[FieldError::invalid(&at.child("user"), "", why)]);
            }
        }
        let faults = selectors::check(&spec["resourceAttributes"], &at.child("resourceAttributes"));
        if !faults.is_empty() {
            return invalid(&faults);
        }
        let attributes = attributes_of(user, spec);
        if kind == "LocalSubjectAccessReview" && path {
            let field = at.child("nonResourceAttributes");
            let value = spec["nonResourceAttributes"].clone();
            return invalid(&[FieldError::invalid(&field, value, "disallowed on this kind of request")]);
        }
        if kind == "LocalSubjectAccessReview" && attributes.namespace != context.info.namespace {
            let why = format!("must match metadata.namespace: {}", context.info.namespace);
            let field = at.child("resourceAttributes").child("namespace");
            return invalid(&[FieldError::invalid(&field, attributes.namespace, why)]);
        }
        Ok(match self.authorizer.authorize(&attributes).await {
            Decision::Allow(reason) => with_reason(json!({"allowed": true}), reason),
            Decision::NoOpinion(reason) => with_reason(json!({"allowed": false}), reason),
            Decision::Deny(reason) => with_reason(json!({"allowed": false, "denied": true}), reason),
        })
    }

    fn rules(&self, context: &Context, review: &Value) -> Value {
        let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
        let mut status = json!({"resourceRules": [], "nonResourceRules": [], "incomplete": false});
        let mut faults = Vec::new();
        if let Some(rbac) = &self.rbac {
            let (rules, found) = rbac.rules_for(&context.user, namespace);
            faults = found;
            for rule in rules {
                // A rule about paths has no resources, and the other way round.
                let list = if rule.non_resource_urls.is_empty() { "resourceRules" } else { "nonResourceRules" };
                let rule = serde_json::to_value(rule).unwrap_or_default();
                status[list].as_array_mut().into_iter().for_each(|list| list.push(rule.clone()));
            }
        }
        faults.extend(self.authorizer.cannot_list_rules(&context.user));
        if !faults.is_empty() {
            status["incomplete"] = true.into();
            status["evaluationError"] = faults.join(", ").into();
        }
        status
    }

    async fn review_token(&self, review: &mut Value) -> Result<Value, Status> {
        let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            let why = "token is required for TokenReview in authentication";
            return Err(Status::bad_request(why));
        }
        let Some(tokens) = &self.tokens else {
            return Ok(json!({"authenticated": false}));
        };
        let asked: Vec<String> = serde_json::from_value(review["spec"]["audiences"].clone()).unwrap_or_default();
        let audiences = if asked.is_empty() { tokens.audiences() } else { &asked };
        Ok(match tokens.review(&token, audiences).await {
            Ok(Some((mut user, shared))) => {
                authn::add_authenticated(&mut user);
                json!({"authenticated": true, "user": user_info(&user), "audiences": shared})
            }
            Ok(None) => json!({"authenticated": false}),
            Err(error) => json!({"authenticated": false, "error": error.reason}),
        })
    }
}

fn with_reason(mut status: Value, reason: String) -> Value {
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    status
}

/// `UserInfo`.
pub(crate) fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn user_of(spec: &Value) -> User {
    User {
        name: text(&spec["user"]),
        uid: text(&spec["uid"]),
        groups: serde_json::from_value(spec["groups"].clone()).unwrap_or_default(),
        extra: serde_json::from_value(spec["extra"].clone()).unwrap_or_default(),
    }
}

fn attributes_of(user: User, spec: &Value) -> Attributes {
    let path = &spec["nonResourceAttributes"];
    if path.is_object() {
        return Attributes { user, verb: text(&path["verb"]), path: text(&path["path"]), ..Attributes::default() };
    }
    let asked = &spec["resourceAttributes"];
    Attributes {
        user,
        verb: text(&asked["verb"]),
        group: text(&asked["group"]),
        version: text(&asked["version"]),
        namespace: text(&asked["namespace"]),
        resource: text(&asked["resource"]),
        subresource: text(&asked["subresource"]),
        name: text(&asked["name"]),
        is_resource_request: true,
        path: String::new(),
        label_selector: selectors::of_labels(&asked["labelSelector"]),
        field_selector: selectors::of_fields(&asked["fieldSelector"]),
    }
}

#[async_trait]
impl Endpoint for Reviews {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.is_resource_request
            && info.api_version == "v1"
            && info.verb == "create"
            && info.subresource.is_empty()
            && (info.api_group == AUTHORIZATION || info.api_group == AUTHENTICATION)
            && kubewright_api::resources::find(&info.api_group, "v1", &info.resource).is_some()
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (context, review) = match read_json(request).await {
            Ok(read) => read,
            Err(status) => return body::status(&status),
        };
        match self.answer(&context, review).await {
            Ok(review) => body::json(StatusCode::CREATED, &review),
            Err(status) => body::status(&status),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

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
        let info = RequestInfo::parse(&http::Method::POST, path, None);
        let context = Context::new(User::new("alice", &["staff"]), info, Timestamp::UNIX_EPOCH);
        let reviews = Reviews::new(Arc::new(OnlyGetPods), None, None);
        assert!(reviews.handles(&context.info));
        reviews.answer(&context, body).await
    }

    #[tokio::test]
    async fn access_reviews_ask_the_authorizer() {
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let asked = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
        let answer = review(path, asked("get")).await.unwrap();
        assert_eq!(answer["status"], json!({"allowed": true, "reason": "because"}));
        assert_eq!(answer["kind"], "SelfSubjectAccessReview");
        assert_eq!(review(path, asked("list")).await.unwrap()["status"], json!({"allowed": false}));
        assert_eq!(review(path, json!({"spec": {}})).await.unwrap_err().code, 422);
    }

    #[tokio::test]
    async fn others_are_asked_about_by_name() {
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let mut body = json!({"spec": {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
        assert_eq!(review(path, body.clone()).await.unwrap()["status"]["allowed"], true);
        body["spec"]["user"] = "bob".into();
        assert_eq!(review(path, body.clone()).await.unwrap()["status"]["allowed"], false);
        let local = "/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews";
        assert_eq!(review(local, body).await.unwrap_err().code, 422);
    }

    #[tokio::test]
    async fn one_may_ask_who_one_is() {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answer = review(path, json!({})).await.unwrap();
        assert_eq!(answer["status"]["userInfo"], json!({"username": "alice", "groups": ["staff"]}));
    }
}
