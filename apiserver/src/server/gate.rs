//! The way in: who asks, for what, and may they.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use kubewright_api::status::Status;

use super::Core;
use crate::authz::{Attributes, Decision};
use crate::body::{self, Body};
use crate::request::{Context, RequestInfo, SYSTEM_MASTERS, User};

/// Identifies and authorizes a request, has it answered, and adds the warnings to the answer.
pub(super) async fn enter(core: Arc<Core>, user: Option<Arc<User>>, request: Request<Body>) -> Response<Body> {
    if core.cancel.is_cancelled() {
        return body::status(&Status::unavailable("the server is shutting down"));
    }
    let (parts, request_body) = request.into_parts();
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query());
    let user = match user {
        Some(user) => (*user).clone(),
        None => match identify(&core, &parts).await {
            Ok(user) => user,
            Err(status) => return body::status(&status),
        },
    };
    if let Err(status) = authorize(&core, &user, &info).await {
        return body::status(&status);
    }
    let context = Context::new(user, info, core.environment.now());
    let warnings = context.warnings.clone();
    let mut request = Request::from_parts(parts, request_body);
    request.extensions_mut().insert(context.clone());
    let mut response = core.dispatch(context, request).await;
    for warning in warnings.take() {
        if let Ok(value) = HeaderValue::from_str(&warning_header(&warning)) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// A warning as HTTP has it, with its text quoted.
fn warning_header(text: &str) -> String {
    let printable: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("299 - \"{}\"", printable.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn identify(core: &Core, parts: &http::request::Parts) -> Result<User, Status> {
    for authenticator in &core.authenticators {
        match authenticator.authenticate(parts).await {
            Ok(Some(user)) => return Ok(user),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "credentials refused");
                return Err(Status::unauthorized());
            }
        }
    }
    Ok(User::anonymous())
}

async fn authorize(core: &Core, user: &User, info: &RequestInfo) -> Result<(), Status> {
    if user.in_group(SYSTEM_MASTERS) {
        return Ok(());
    }
    let attributes = Attributes::new(user, info);
    let mut reasons = Vec::new();
    for authorizer in &core.authorizers {
        match authorizer.authorize(&attributes).await {
            Decision::Allow(_) => return Ok(()),
            Decision::Deny(reason) => return Err(forbidden(&attributes, &reason)),
            Decision::NoOpinion(reason) => reasons.extend((!reason.is_empty()).then_some(reason)),
        }
    }
    Err(forbidden(&attributes, &reasons.join(", ")))
}

/// The refusal in upstream's words: who cannot do what where.
fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let a = attributes;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !a.is_resource_request {
        let why = format!("User {:?} cannot {} path {:?}{because}", a.user.name, a.verb, a.path);
        return Status::forbidden("", "", "", &why);
    }
    let resource = match a.subresource.as_str() {
        "" => a.resource.clone(),
        subresource => format!("{}/{subresource}", a.resource),
    };
    let scope = match a.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}{because}",
        a.user.name, a.verb, a.group
    );
    Status::forbidden(&a.group, &a.resource, &a.name, &why)
}
