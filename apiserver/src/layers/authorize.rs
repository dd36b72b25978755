//! Who may do what, and the 403 of who may not.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{Request, Response};
use kubewright_api::status::Status;

use super::{Next, Step};
use crate::authz::{Attributes, Authorizer, AuthzMetrics, Decision};
use crate::body::{self, Body};
use crate::request::Context;

/// The step.
pub struct Authorize {
    authorizer: Arc<dyn Authorizer>,
    metrics: AuthzMetrics,
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorize")
    }
}

impl Authorize {
    /// Asks this authorizer.
    #[must_use]
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer, metrics: AuthzMetrics::default() }
    }

    /// Measures into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AuthzMetrics) -> Self {
        self.metrics = metrics;
        self
    }
}

/// What upstream says to who may not: `pods is forbidden: User "x" cannot list resource "pods" in API group "" …`.
#[must_use]
pub fn forbidden(attributes: &Attributes, decision: Decision) -> Status {
    let a = attributes;
    let mut message = if a.is_resource_request {
        let mut resource = a.resource.clone();
        if !a.subresource.is_empty() {
            resource = format!("{resource}/{}", a.subresource);
        }
        let scope = if a.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", a.namespace)
        };
        format!("User {:?} cannot {} resource {resource:?} in API group {:?} {scope}", a.user.name, a.verb, a.group)
    } else {
        format!("User {:?} cannot {} path {:?}", a.user.name, a.verb, a.path)
    };
    // A browser that shows it must not run it.
    message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) = decision;
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    Status::forbidden(&a.group, &a.resource, &a.name, &message)
}

fn opens_a_connection(a: &Attributes) -> bool {
    a.is_resource_request
        && a.verb == "get"
        && a.group.is_empty()
        && a.resource == "pods"
        && matches!(a.subresource.as_str(), "exec" | "attach" | "portforward")
}

#[async_trait]
impl Step for Authorize {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let Some(context) = request.extensions().get::<Context>() else {
            return body::status(&Status::internal("the request was not identified"));
        };
        let mut attributes = Attributes::new(&context.user, &context.info);
        let started = Instant::now();
        let mut decision = self.authorizer.authorize(&attributes).await;
        if decision.is_allowed() && opens_a_connection(&attributes) {
            // WebSockets begin with a GET: reading must not be enough to run commands.
            attributes.verb = "create".into();
            decision = self.authorizer.authorize(&attributes).await;
        }
        self.metrics.attempted(&decision, started.elapsed());
        let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) = &decision;
        let verdict = if decision.is_allowed() { "allow" } else { "forbid" };
        context.warnings.annotate("authorization.k8s.io/decision", verdict);
        context.warnings.annotate("authorization.k8s.io/reason", reason.as_str());
        if decision.is_allowed() {
            return next(request).await;
        }
        let status = forbidden(&attributes, decision);
        tracing::debug!(user = attributes.user.name, reason = status.message, "forbidden");
        let mut response = body::status(&status);
        let nosniff = http::HeaderValue::from_static("nosniff");
        response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::User;

    fn check(attributes: Attributes, expected: &str) {
        let attributes = Attributes { user: User::new("x", &[]), ..attributes };
        assert_eq!(forbidden(&attributes, Decision::NoOpinion(String::new())).message, expected);
    }

    #[test]
    fn messages_are_upstreams() {
        let pods = Attributes {
            verb: "list".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        check(
            pods.clone(),
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
        );
        check(
            Attributes { namespace: String::new(), group: "apps".into(), ..pods.clone() },
            r#"pods.apps is forbidden: User "x" cannot list resource "pods" in API group "apps" at the cluster scope"#,
        );
        check(
            Attributes { verb: "get".into(), subresource: "log".into(), name: "a".into(), ..pods },
            r#"pods "a" is forbidden: User "x" cannot get resource "pods/log" in API group "" in the namespace "default""#,
        );
        check(
            Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() },
            r#"forbidden: User "x" cannot get path "/metrics""#,
        );
    }
}
