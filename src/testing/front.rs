//! What the test's clients talk to: the server as one user sees it, with faults, and a note of every request.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use kubewright_apiserver::body::{Body, BoxError};
use kubewright_apiserver::request::{RequestInfo, User};
use kubewright_apiserver::server::ApiServer;

use super::cluster::TestCluster;
use super::faults::Faults;
use super::requests::{Log, Recorded};

/// What all clients of a cluster share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) faults: Faults,
    pub(super) log: Log,
}

/// A service for one client.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) server: ApiServer,
    pub(super) user: Arc<str>,
    pub(super) shared: Arc<Shared>,
    /// A cluster that lives as long as its client.
    pub(super) kept: Option<Arc<TestCluster>>,
}

impl Front {
    pub(super) fn new(server: &ApiServer, user: User, shared: &Arc<Shared>) -> Self {
        let name = user.name.as_str().into();
        Self { server: server.as_user(user), user: name, shared: Arc::clone(shared), kept: None }
    }

    pub(super) fn client(self) -> kube::Client {
        kube::Client::new(self, "default")
    }
}

impl<B> tower::Service<Request<B>> for Front
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (server, user, shared) = (self.server.clone(), Arc::clone(&self.user), Arc::clone(&self.shared));
        Box::pin(async move {
            let info = RequestInfo::parse(request.method(), request.uri().path(), request.uri().query());
            let answer = shared.faults.send(server, &user, &info, request).await;
            let code = answer.as_ref().ok().map(|response| response.status().as_u16());
            shared.log.add(Recorded::new(&user, &info, code));
            answer
        })
    }
}
