//! Asking the API server who one is and who may do what: the reviews of `authorization.k8s.io` and
//! `authentication.k8s.io`.

mod access;
mod selectors;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::rbac::Rbac;
use super::{Authorizer, Decision};
use crate::admission::{self, Admission, AdmissionAttributes, Operation};
use crate::authn::{self, Bearer};
use crate::body::{self, Body};
use crate::config_file;
use crate::environment;
use crate::layers::read_typed;
use crate::request::{Context, RequestInfo, User};
use crate::server::Endpoint;

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// How upstream begins what it says of a token that it does not take.
const INVALID_TOKEN: &str = "invalid bearer token";

/// Answers reviews.
pub struct Reviews {
    authorizer: Arc<dyn Authorizer>,
    rbac: Option<Rbac>,
    tokens: Option<Bearer>,
    admission: Arc<[Arc<dyn Admission>]>,
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
        Self { authorizer, rbac, tokens, admission: [].into() }
    }

    /// Lets these plugins change and refuse reviews, as they do what is stored (default: none).
    #[must_use]
    pub fn admitted(mut self, plugins: Arc<[Arc<dyn Admission>]>) -> Self {
        self.admission = plugins;
        self
    }

    async fn answer(&self, context: &Context, mut review: Value, options: &Value) -> Result<Value, Status> {
        let RequestInfo { api_group: group, resource, .. } = &*context.info;
        let kind = kind_of(&context.info);
        if !review["metadata"].is_object() {
            review["metadata"] = json!({});
        }
        self.place(context, &mut review)?;
        let mut asked = of_request(context, kind, review, options);
        admission::admit(&self.admission, &mut asked).await?;
        review = asked.object;
        // What is wrong with a review is told before anyone may refuse it.
        self.check(kind, &review)?;
        if !self.admission.is_empty() {
            let asked = of_request(context, kind, review, options);
            admission::validate(&self.admission, &asked).await?;
            review = asked.object;
        }
        let status = match resource.as_str() {
            "selfsubjectreviews" => {
                // Nothing of what was sent counts.
                review = json!({"metadata": {"creationTimestamp": environment::time(context.now)}});
                json!({"userInfo": user_info(&context.user)})
            }
            "tokenreviews" => self.review_token(&review).await,
            "selfsubjectrulesreviews" => {
                let status = self.rules(context, &review);
                review = json!({"metadata": {}, "spec": {}});
                status
            }
            _ => self.access(context, kind, &review).await,
        };
        review["apiVersion"] = format!("{group}/v1").into();
        review["kind"] = kind.into();
        if resource != "selfsubjectreviews" && !review["spec"].is_object() {
            review["spec"] = json!({});
        }
        review["status"] = status;
        Ok(review)
    }

    /// Whether a review can be answered at all.
    fn check(&self, kind: &str, review: &Value) -> Result<(), Status> {
        let spec = &review["spec"];
        match kind {
            "SelfSubjectReview" => Ok(()),
            "TokenReview" if text(&spec["token"]).is_empty() => {
                Err(Status::bad_request("token is required for TokenReview in authentication"))
            }
            "SelfSubjectRulesReview" if text(&spec["namespace"]).is_empty() => {
                Err(Status::bad_request("no namespace on request"))
            }
            "TokenReview" | "SelfSubjectRulesReview" => Ok(()),
            _ => {
                let faults = access::validate(kind, review);
                // Without a kind, as upstream says it.
                if faults.is_empty() { Ok(()) } else { Err(Status::invalid(AUTHORIZATION, "", "", &faults)) }
            }
        }
    }

    /// The review is of the request's namespace, or of none.
    fn place(&self, context: &Context, review: &mut Value) -> Result<(), Status> {
        let namespace = &context.info.namespace;
        let Some(metadata) = review["metadata"].as_object_mut() else { return Ok(()) };
        if namespace.is_empty() {
            metadata.remove("namespace");
            return Ok(());
        }
        let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if !given.is_empty() && given != namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(why));
        }
        metadata.insert("namespace".into(), namespace.as_str().into());
        Ok(())
    }

    async fn access(&self, context: &Context, kind: &str, review: &Value) -> Value {
        let spec = &review["spec"];
        let user = if kind == "SelfSubjectAccessReview" { User::clone(&context.user) } else { access::user_of(spec) };
        let (attributes, ignored) = access::attributes_of(user, spec);
        let mut status = match self.authorizer.authorize(&attributes).await {
            Decision::Allow(reason) => with_reason(json!({"allowed": true}), reason),
            Decision::NoOpinion(reason) => with_reason(json!({"allowed": false}), reason),
            Decision::Deny(reason) => with_reason(json!({"allowed": false, "denied": true}), reason),
        };
        if !ignored.is_empty() {
            status["evaluationError"] = ignored.join("; ").into();
        }
        status
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
        let silent = self.authorizer.cannot_list_rules(&context.user);
        if !silent.is_empty() {
            status["incomplete"] = true.into();
        }
        faults.extend(silent);
        if !faults.is_empty() {
            status["evaluationError"] = config_file::together(&faults).into();
        }
        status
    }

    async fn review_token(&self, review: &Value) -> Value {
        let token = text(&review["spec"]["token"]);
        let refused = |error: &str| json!({"user": {}, "error": error});
        let Some(tokens) = &self.tokens else { return json!({"user": {}}) };
        let asked: Vec<String> = serde_json::from_value(review["spec"]["audiences"].clone()).unwrap_or_default();
        let audiences = if asked.is_empty() { tokens.audiences() } else { &asked };
        match tokens.review(&token, audiences).await {
            Ok(Some((mut user, shared))) => {
                authn::add_authenticated(&mut user);
                json!({"authenticated": true, "user": user_info(&user), "audiences": shared})
            }
            Ok(None) => refused(INVALID_TOKEN),
            Err(error) => refused(&format!("[{INVALID_TOKEN}, {}]", error.reason)),
        }
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

/// The kind of reviews that a request makes.
fn kind_of(info: &RequestInfo) -> &'static str {
    kubewright_api::resources::find(&info.api_group, "v1", &info.resource).map_or("", |found| found.kind)
}

/// A review on its way through admission.
fn of_request<'a>(context: &'a Context, kind: &'a str, review: Value, options: &'a Value) -> AdmissionAttributes<'a> {
    AdmissionAttributes::of_request(context, Operation::Create, kind, review, None, options)
}

#[async_trait]
impl Endpoint for Reviews {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.is_resource_request
            && info.api_version == "v1"
            && info.name.is_empty()
            && info.subresource.is_empty()
            && (info.api_group == AUTHORIZATION || info.api_group == AUTHENTICATION)
            && kubewright_api::resources::find(&info.api_group, "v1", &info.resource).is_some()
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        // Reviews are made and never kept.
        if request.method() != Method::POST {
            return body::status(&Status::method_not_allowed());
        }
        let read = read_typed(request, |info| (format!("{}/v1", info.api_group), kind_of(info)));
        let (context, review, options) = match read.await {
            Ok(read) => read,
            Err(status) => return body::status(&status),
        };
        match self.answer(&context, review, &options).await {
            Ok(review) => body::json(StatusCode::CREATED, &review),
            Err(status) => body::status(&status),
        }
    }
}

#[cfg(test)]
mod tests;
