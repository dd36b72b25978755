//! Makes requests of the test's clients go wrong.

mod rule;
mod watch;

pub use rule::{Fault, Injected};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response, Uri};
use kubewright_api::status::Status;
use kubewright_apiserver::body::{Body, BoxError};
use kubewright_apiserver::request::RequestInfo;
use kubewright_apiserver::server::ApiServer;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use rule::{Effect, State};
use watch::End;

/// The faults of a cluster.
#[derive(Debug, Default)]
pub(super) struct Faults {
    active: Mutex<Vec<Arc<State>>>,
    /// Ends the watches that are under way.
    broken: Mutex<CancellationToken>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    pub(super) fn inject(&self, fault: Fault, revision: u64) -> Injected {
        let state = Arc::new(State::new(fault, revision));
        let mut active = lock(&self.active);
        active.retain(|fault| !Injected(Arc::clone(fault)).is_over());
        active.push(Arc::clone(&state));
        Injected(state)
    }

    /// Ends the watches that are under way; those that begin later go on.
    pub(super) fn break_watches(&self) {
        std::mem::take(&mut *lock(&self.broken)).cancel();
    }

    /// Sends a request, or does to it what faults say.
    pub(super) async fn send<B>(
        &self,
        server: ApiServer,
        user: &str,
        info: &RequestInfo,
        mut request: Request<B>,
    ) -> Result<Response<Body>, BoxError>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let broken = lock(&self.broken).clone();
        let (mut lost, mut end) = (false, None);
        let striking: Vec<_> = lock(&self.active).iter().filter(|fault| fault.strikes(user, info)).cloned().collect();
        for fault in striking {
            match &fault.fault.effect {
                Effect::Refuse(status) => return Ok(kubewright_apiserver::body::status(status)),
                Effect::Conflict => return Ok(kubewright_apiserver::body::status(&conflict(info))),
                Effect::Delay(by) => tokio::time::sleep(*by).await,
                Effect::LostRequest => return Err("the connection broke (injected by the test)".into()),
                Effect::LostAnswer => lost = true,
                Effect::EndWatch { events, expired } => end = Some(End { events: *events, expired: *expired }),
                Effect::StaleList => *request.uri_mut() = as_of(request.uri(), fault.revision)?,
            }
        }
        let response = server.oneshot(request).await.unwrap_or_else(|never| match never {});
        if lost {
            return Err("the connection broke before the answer came (injected by the test)".into());
        }
        if info.verb == "watch" && response.status().is_success() {
            return Ok(response.map(|body| watch::breakable(body, end, broken)));
        }
        Ok(response)
    }
}

fn conflict(info: &RequestInfo) -> Status {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    Status::conflict(&info.api_group, &info.resource, &info.name, why)
}

/// The list of that URI as of a revision; later pages of a list stay what they are.
fn as_of(uri: &Uri, revision: u64) -> Result<Uri, http::Error> {
    let query = uri.query().unwrap_or_default();
    if query.split('&').any(|pair| pair.starts_with("continue=") && pair.len() > "continue=".len()) {
        return Ok(uri.clone());
    }
    let mut kept: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("resourceVersion")).collect();
    let version = format!("resourceVersion={revision}");
    kept.extend([version.as_str(), "resourceVersionMatch=Exact"]);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{}", uri.path(), kept.join("&")).parse()?);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_list_asks_for_the_old_revision() {
        let stale = |uri: &str| as_of(&uri.parse().unwrap(), 7).unwrap().to_string();
        assert_eq!(stale("/api/v1/pods"), "/api/v1/pods?resourceVersion=7&resourceVersionMatch=Exact");
        assert_eq!(
            stale("/api/v1/pods?limit=5&resourceVersion=0&resourceVersionMatch=NotOlderThan"),
            "/api/v1/pods?limit=5&resourceVersion=7&resourceVersionMatch=Exact"
        );
        assert_eq!(stale("/api/v1/pods?continue=abc"), "/api/v1/pods?continue=abc");
    }
}
