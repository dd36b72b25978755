//! The server: routing, and the service that ties registry and layers together.

mod builder;
mod components;
mod core;
mod endpoint;
mod gate;
mod handlers;
mod list_body;
mod negotiate;
mod options;
mod parts;
pub(crate) mod pretty;
mod query;
mod represent;
mod standard;
mod transcode;
mod watch_stream;
#[cfg(feature = "serve")]
mod websocket;

pub use builder::{BuildError, Builder};
pub use endpoint::Endpoint;
pub use parts::Parts;

pub(crate) use core::Core;
use gate::{Gate, Stack};
pub(crate) use negotiate::{Encoding, of_document, preferred};

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use kubewright_store::Store;

use crate::body::{Body, BoxError};
use crate::layers::Identity;
#[cfg(feature = "serve")]
use crate::layers::Metrics;
use crate::objects::Objects;
use crate::request::User;

/// A Kubernetes API server. Clones are handles onto the same server.
///
/// It is a `tower::Service` of HTTP requests with any body, and so fits under `kube::Client::new` and under hyper alike.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    gate: Arc<Gate>,
    stack: Stack,
}

impl ApiServer {
    /// A server over that store.
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder::new(store)
    }

    /// A handle whose requests all come from that user, whatever credentials they carry: for clients in the same
    /// process.
    #[must_use]
    pub fn as_user(&self, user: User) -> Self {
        let stack = self.gate.stack(Identity::Fixed(user), &self.core);
        Self { core: Arc::clone(&self.core), gate: Arc::clone(&self.gate), stack }
    }

    /// What is measured, for a [listener](crate::serve::Listener) to add what it sees.
    #[cfg(feature = "serve")]
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.gate.metrics().clone()
    }

    /// The server's own handle onto its objects, without authorization and admission.
    #[must_use]
    pub fn objects(&self) -> Arc<dyn Objects> {
        Arc::clone(&self.core.objects)
    }

    /// Stops being ready and ends watches and connections into pods, while other requests are still answered: what
    /// comes first when a served server goes down. Then stop listening, then [`shutdown`](Self::shutdown).
    pub fn drain(&self) {
        self.core.unready.cancel();
        self.core.draining.cancel();
    }

    /// As [`drain`](Self::drain), but between not being ready and ending watches everything is served for so long: that
    /// load balancers see it, and send nobody here any more (upstream's `--shutdown-delay-duration`).
    pub async fn drain_after(&self, shutdown_delay: Duration) {
        self.core.unready.cancel();
        tokio::time::sleep(shutdown_delay).await;
        self.drain();
    }

    /// Ends all watches and all tasks, and waits for the tasks. Requests are refused from then on.
    pub async fn shutdown(&self) {
        self.core.shutdown().await;
    }
}

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Every layer is always ready, so a clone may be called at once.
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(self.stack.clone().call(request))
    }
}
