//! Requests passed on to the servers behind APIServices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use kubewright_api::status::Status;

use super::{Extension, Extensions};
use crate::body::{self, Body};
use crate::connect::{Tunnels, pass_on};
use crate::layers::is_long_running;
use crate::objects::Objects;
use crate::remote::{Https, of_service};
use crate::request::{Context, RequestInfo, User, escape_header_key};
use crate::server::Endpoint;

/// Answers requests of the groups and versions that other servers have.
pub struct Aggregator {
    extensions: Arc<Extensions>,
    objects: Arc<dyn Objects>,
    https: Https,
    identity: Option<(Arc<str>, Arc<str>)>,
    /// Spreads requests over the endpoints.
    turn: AtomicUsize,
    tunnels: Tunnels,
}

impl Aggregator {
    /// Shows `identity`, the front proxy's certificate and key in PEM, to those servers.
    pub(crate) fn new(
        extensions: Arc<Extensions>,
        objects: Arc<dyn Objects>,
        identity: Option<(Arc<str>, Arc<str>)>,
        tunnels: Tunnels,
    ) -> Self {
        Self { extensions, objects, https: Https::default(), identity, turn: AtomicUsize::new(0), tunnels }
    }

    fn extension(&self, info: &RequestInfo) -> Option<Arc<Extension>> {
        if info.is_resource_request {
            return self.extensions.of(&info.api_group, &info.api_version);
        }
        let path = info.path.trim_matches('/');
        let mut parts = path.strip_prefix("openapi/v3/").unwrap_or(path).split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("apis"), Some(group), Some(version)) => self.extensions.of(group, version),
            _ => None,
        }
    }

    async fn answer(&self, mut request: Request<Body>) -> Result<Response<Body>, Response<Body>> {
        let broken = |error: String| body::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
        let context = request.extensions().get::<Context>().cloned();
        let context = context.ok_or_else(|| body::status(&Status::internal("the request has no context")))?;
        let extension = self.extension(&context.info).filter(|extension| extension.available);
        let extension = extension.ok_or_else(|| broken("service unavailable".to_owned()))?;
        // It told who asks by its own means; what the client said of that is not passed on.
        let user = identity_headers(&context.user).map_err(broken)?;
        let place = self.tunnels.open(is_long_running(&context.info)).map_err(|status| body::status(&status))?;
        let (namespace, name, port) = &extension.service;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = of_service(&*self.objects, namespace, name, *port, turn);
        let address = address.map_err(|_| broken("service unavailable".to_owned()))?;
        let target = extension.target(address, self.identity.clone());
        let target = target.ok_or_else(|| broken("service unavailable".to_owned()))?;
        let stream = self.https.connect(&target).await;
        let stream = stream.map_err(|error| broken(format!("error trying to reach service: {error}")))?;
        let path = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let host = target.url.authority().map_or_else(String::new, ToString::to_string);
        request.extensions_mut().remove::<Context>();
        let answer = pass_on(&place, request, stream, &host, &path, user).await;
        answer.map_err(|status| broken(status.message))
    }
}

/// Who asks, for those who believe the front proxy. Somebody whom headers cannot tell whole is not told of at all: who
/// hears of a part takes them for somebody else.
fn identity_headers(user: &User) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let unfit =
            || format!("error trying to reach service: the header {name:?} cannot hold what the user has there");
        // The other end would cut off what is blank around a value.
        if value.trim() != value {
            return Err(unfit());
        }
        let field = HeaderName::try_from(name).map_err(|_| unfit())?;
        headers.append(field, HeaderValue::try_from(value).map_err(|_| unfit())?);
        Ok(())
    };
    add("x-remote-user", &user.name)?;
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid)?;
    }
    user.groups.iter().try_for_each(|group| add("x-remote-group", group))?;
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escape_header_key(key));
        values.iter().try_for_each(|value| add(&name, value))?;
    }
    Ok(headers)
}

#[async_trait]
impl Endpoint for Aggregator {
    fn handles(&self, info: &RequestInfo) -> bool {
        self.extension(info).is_some()
    }

    fn takes_any_encoding(&self) -> bool {
        true
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.answer(request).await.unwrap_or_else(|refusal| refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_of_in_part() {
        let alice = User::new("alice", &["staff", "staff:berlin"]);
        let headers = identity_headers(&alice).unwrap();
        assert_eq!(
            (&headers["x-remote-user"], headers.get_all("x-remote-group").iter().count()),
            (&"alice".parse().unwrap(), 2)
        );
        for unfit in ["line\nbreak", "null\0", " system:masters", "system:masters\t"] {
            assert!(identity_headers(&User::new(unfit, &[])).unwrap_err().contains("x-remote-user"));
            assert!(identity_headers(&User::new("alice", &["staff", unfit])).unwrap_err().contains("x-remote-group"));
            let mut user = alice.clone();
            user.extra.insert("key".into(), vec![unfit.into()]);
            assert!(identity_headers(&user).unwrap_err().contains("x-remote-extra-key"));
        }
    }
}
