//! From a request's path to the method that answers it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body as HttpBody;
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{Face, Inner, watch};

type Answer = Response<Body>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<B> tower::Service<Request<B>> for Face
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move { Ok(route(inner, request).await) })
    }
}

async fn route<B>(inner: Arc<Inner>, request: Request<B>) -> Answer
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    let path = request.uri().path().to_owned();
    let call = Call { inner, request };
    let Some(method) = path.strip_prefix("/etcdserverpb.") else { return plain(&call.inner, &path).await };
    match method {
        "KV/Range" => call.unary(async |inner, r| inner.range(r).await).await,
        "KV/Put" => call.unary(async |inner, r| inner.put(r).await).await,
        "KV/DeleteRange" => call.unary(async |inner, r| inner.delete_range(r).await).await,
        "KV/Txn" => call.unary(async |inner, r| inner.txn(r).await).await,
        "KV/Compact" => call.unary(async |inner, r| inner.compact(r).await).await,
        "Watch/Watch" => call.streaming(watch::serve).await,
        "Lease/LeaseGrant" => call.unary(async |inner, r| inner.lease_grant(r).await).await,
        "Lease/LeaseRevoke" => call.unary(async |inner, r| inner.lease_revoke(r).await).await,
        "Lease/LeaseKeepAlive" => call.streaming(Inner::lease_keep_alive).await,
        "Lease/LeaseTimeToLive" => call.unary(async |inner, r| inner.lease_time_to_live(r).await).await,
        "Lease/LeaseLeases" => call.unary(async |inner, r| inner.lease_leases(r).await).await,
        "Maintenance/Status" => call.unary(async |inner, r| inner.status(r).await).await,
        "Maintenance/Alarm" => call.unary(async |inner, r| inner.alarm(r).await).await,
        "Maintenance/Defragment" => call.unary(async |inner, r| inner.defragment(r).await).await,
        "Maintenance/HashKV" => call.unary(async |inner, r| inner.hash_kv(r).await).await,
        "Cluster/MemberList" => call.unary(async |inner, r| inner.member_list(r).await).await,
        "Auth/AuthStatus" => call.unary(async |inner, r| inner.auth_status(r).await).await,
        other if other.starts_with("Auth/") => {
            Status::failed_precondition("etcdserver: authentication is not enabled").into_http()
        }
        other => Status::unimplemented(format!("{other} is not offered by this store")).into_http(),
    }
}

/// What etcd answers to plain HTTP requests.
async fn plain(inner: &Inner, path: &str) -> Answer {
    let json = match path {
        "/version" => {
            let version = &inner.config.version;
            format!(r#"{{"etcdserver":"{version}","etcdcluster":"{version}"}}"#)
        }
        "/health" | "/livez" | "/readyz" => {
            let healthy = inner.newest().await.is_ok();
            format!(r#"{{"health":"{healthy}"}}"#)
        }
        _ => return Status::unimplemented(format!("unknown path {path}")).into_http(),
    };
    let mut answer = Response::new(Body::new(http_body_util::Full::from(json)));
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}

struct Call<B> {
    inner: Arc<Inner>,
    request: Request<B>,
}

impl<B> Call<B>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    fn grpc<Q, A>(&self) -> Grpc<ProstCodec<A, Q>>
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
    {
        Grpc::new(ProstCodec::default()).max_decoding_message_size(self.inner.config.request_bytes_max)
    }

    async fn unary<Q, A>(self, method: impl AsyncFn(&Inner, Q) -> Result<A, Status>) -> Answer
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
    {
        let (mut grpc, inner) = (self.grpc::<Q, A>(), &self.inner);
        let service = service_fn(|request: tonic::Request<Q>| {
            let method = &method;
            async move { method(inner, request.into_inner()).await.map(tonic::Response::new) }
        });
        grpc.unary(service, self.request).await
    }

    async fn streaming<Q, A, S>(self, method: impl FnOnce(Arc<Inner>, Streaming<Q>) -> S + Send) -> Answer
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        S: futures::Stream<Item = Result<A, Status>> + Send + 'static,
    {
        let (mut grpc, inner) = (self.grpc::<Q, A>(), self.inner.clone());
        let mut method = Some(method);
        let service = service_fn(|request: tonic::Request<Streaming<Q>>| {
            let answers = method.take().map(|method| method(inner.clone(), request.into_inner()));
            async move { answers.map(tonic::Response::new).ok_or_else(|| Status::internal("called twice")) }
        });
        grpc.streaming(service, self.request).await
    }
}
