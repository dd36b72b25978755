//! Who asks, for what: puts the [`Context`] into the request.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use kubewright_api::status::Status;

use super::{Next, Step, info_of};
use crate::audit::{self, Auditor};
use crate::authn::Authentication;
use crate::body::{self, Body};
use crate::environment::Environment;
use crate::request::{Context, User};

/// How to tell who asks.
#[derive(Clone, Debug)]
pub enum Identity {
    /// By their credentials.
    Credentials(Authentication),
    /// It is always this user: for servers that only their own process can reach.
    Fixed(User),
}

/// The step.
pub struct Identify {
    identity: Identity,
    environment: Arc<dyn Environment>,
    auditor: Option<Arc<Auditor>>,
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identify").field(&self.identity).finish()
    }
}

impl Identify {
    /// Tells users so.
    #[must_use]
    pub fn new(identity: Identity, environment: Arc<dyn Environment>) -> Self {
        Self { identity, environment, auditor: None }
    }

    /// Logs refusals too.
    #[must_use]
    pub fn audited(mut self, auditor: Option<Arc<Auditor>>) -> Self {
        self.auditor = auditor;
        self
    }
}

#[async_trait]
impl Step for Identify {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let info = info_of(&request);
        let (mut parts, body) = request.into_parts();
        let user = match &self.identity {
            Identity::Fixed(user) => user.clone(),
            Identity::Credentials(authentication) => match authentication.authenticate(&parts).await {
                Ok(user) => user,
                Err(error) => {
                    tracing::debug!(reason = %error, path = parts.uri.path(), "authentication failed");
                    if let Some(auditor) = &self.auditor {
                        audit::refused_identity(auditor, &parts, &info, &*self.environment);
                    }
                    return body::status(&Status::unauthorized());
                }
            },
        };
        // The handlers, and whom they pass the request on to, have no business with it.
        parts.headers.remove(http::header::AUTHORIZATION);
        let claims: Vec<_> =
            parts.headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
        for name in claims {
            parts.headers.remove(name);
        }
        let mut context = Context::new(user, info, self.environment.now());
        if let Some(notes) = parts.extensions.remove() {
            context.warnings = notes;
        }
        let warnings = context.warnings.clone();
        parts.extensions.insert(context);
        let mut response = next(Request::from_parts(parts, body)).await;
        for warning in warnings.take() {
            if let Ok(value) = warning_header(&warning).try_into() {
                response.headers_mut().append(http::header::WARNING, value);
            }
        }
        response
    }
}

/// A `Warning` header's value: code 299, no agent, the text quoted.
fn warning_header(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("299 - \"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        assert_eq!(warning_header("a \"b\"\n\\c"), r#"299 - "a \"b\"\\c""#);
    }
}
