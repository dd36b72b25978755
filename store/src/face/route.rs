//! From a request's path to the method that answers it.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use http::{Request, Response};
use http_body::Body as HttpBody;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{Face, Inner, unary, watch};

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

pub(super) async fn route<B>(inner: Arc<Inner>, request: Request<B>) -> Answer
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
        "Watch/Watch" => call.encoded_streaming(watch::serve).await,
        "Lease/LeaseGrant" => call.unary(async |inner, r| inner.lease_grant(r).await).await,
        "Lease/LeaseRevoke" => call.unary(async |inner, r| inner.lease_revoke(r).await).await,
        "Lease/LeaseKeepAlive" => call.streaming(Inner::lease_keep_alive).await,
        "Lease/LeaseTimeToLive" => call.unary(async |inner, r| inner.lease_time_to_live(r).await).await,
        "Lease/LeaseLeases" => call.unary(async |inner, r| inner.lease_leases(r).await).await,
        "Maintenance/Status" => call.unary(async |inner, r| inner.status(r).await).await,
        "Maintenance/Alarm" => call.unary(async |inner, r| inner.alarm(r).await).await,
        "Maintenance/Defragment" => call.unary(async |inner, r| inner.defragment(r).await).await,
        "Maintenance/Hash" => call.unary(async |inner, r| inner.hash(r).await).await,
        "Maintenance/Snapshot" => call.server_streaming(Inner::snapshot).await,
        "Maintenance/MoveLeader" => call.unary(async |inner, r| inner.move_leader(r).await).await,
        "Maintenance/HashKV" => call.unary(async |inner, r| inner.hash_kv(r).await).await,
        "Cluster/MemberList" => call.unary(async |inner, r| inner.member_list(r).await).await,
        "Cluster/MemberAdd" => call.unary(async |inner, r| inner.member_add(r).await).await,
        "Cluster/MemberRemove" => call.unary(async |inner, r| inner.member_remove(r).await).await,
        "Cluster/MemberUpdate" => call.unary(async |inner, r| inner.member_update(r).await).await,
        "Cluster/MemberPromote" => call.unary(async |inner, r| inner.member_promote(r).await).await,
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

    /// Most calls are of this kind, and small: they do without the machinery for streams.
    async fn unary<Q, A>(self, method: impl AsyncFn(&Inner, Q) -> Result<A, Status>) -> Answer
    where
        Q: Message + Default + 'static,
        A: unary::Encode,
    {
        let answered = match unary::request(self.request.into_body(), self.inner.config.request_bytes_max).await {
            Ok(request) => method(&self.inner, request).await,
            Err(refused) => Err(refused),
        };
        match answered {
            Ok(answer) => unary::answer(&answer),
            Err(status) => status.into_http(),
        }
    }

    async fn server_streaming<Q, A, S>(self, method: impl FnOnce(Arc<Inner>, Q) -> S + Send) -> Answer
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        S: futures::Stream<Item = Result<A, Status>> + Send + 'static,
    {
        let (mut grpc, inner) = (self.grpc::<Q, A>(), self.inner.clone());
        let mut method = Some(method);
        let service = service_fn(|request: tonic::Request<Q>| {
            let answers = method.take().map(|method| method(inner.clone(), request.into_inner()));
            async move { answers.map(tonic::Response::new).ok_or_else(|| Status::internal("called twice")) }
        });
        grpc.server_streaming(service, self.request).await
    }

    /// As `streaming`, of a method whose answers are encoded already.
    async fn encoded_streaming<Q, S>(self, method: impl FnOnce(Arc<Inner>, Streaming<Q>) -> S + Send) -> Answer
    where
        Q: Message + Default + 'static,
        S: futures::Stream<Item = Result<Bytes, Status>> + Send + 'static,
    {
        let mut grpc = Grpc::new(Encoded(PhantomData));
        grpc = grpc.max_decoding_message_size(self.inner.config.request_bytes_max);
        let (inner, mut method) = (self.inner.clone(), Some(method));
        let service = service_fn(|request: tonic::Request<Streaming<Q>>| {
            let answers = method.take().map(|method| method(inner.clone(), request.into_inner()));
            async move { answers.map(tonic::Response::new).ok_or_else(|| Status::internal("called twice")) }
        });
        grpc.streaming(service, self.request).await
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

/// Decodes requests; answers are bytes.
struct Encoded<Q>(PhantomData<Q>);

struct PutBytes;

impl<Q: Message + Default + 'static> Codec for Encoded<Q> {
    type Encode = Bytes;
    type Decode = Q;
    type Encoder = PutBytes;
    type Decoder = <ProstCodec<Q, Q> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        PutBytes
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<Q, Q>::default().decoder()
    }
}

impl Encoder for PutBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}
