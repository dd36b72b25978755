//! Calls.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers may be whole ranges.
const ANSWER_BYTES_MAX: usize = 1 << 30;

type Connection = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// Something that takes calls: a connection, or a face in this process.
#[derive(Clone)]
pub(super) struct Client {
    service: Connection,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new<S>(service: S, timeout: Duration) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { service: BoxCloneSyncService::new(service.map_err(|error| Status::from_error(error.into()))), timeout }
    }

    async fn grpc(&self) -> Result<Grpc<Connection>, Status> {
        let mut grpc = Grpc::new(self.service.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        grpc.ready().await?;
        Ok(grpc)
    }

    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Status::unavailable("request timed out")),
        }
    }

    pub(super) fn unary<Q, A>(&self, path: &'static str, request: Q) -> BoxFuture<'_, Result<A, Status>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let call = self.in_time(async move {
            let path = PathAndQuery::from_static(path);
            let codec = ProstCodec::<Q, A>::default();
            let answer = self.grpc().await?.unary(tonic::Request::new(request), path, codec).await?;
            Ok(answer.into_inner())
        });
        call.boxed()
    }

    pub(super) fn streaming<Q, A>(
        &self,
        path: &'static str,
        requests: impl Stream<Item = Q> + Send + 'static,
    ) -> BoxFuture<'_, Result<Streaming<A>, Status>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let call = self.in_time(async move {
            let path = PathAndQuery::from_static(path);
            let codec = ProstCodec::<Q, A>::default();
            let answer = self.grpc().await?.streaming(tonic::Request::new(requests), path, codec).await?;
            Ok(answer.into_inner())
        });
        call.boxed()
    }
}
