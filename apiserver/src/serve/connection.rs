//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower::util::BoxCloneSyncService;

use super::Limits;
use super::opening::Opening;
use super::slots::{Activity, Slot, UnderWay};
use super::stall::Stall;
use crate::authn::PeerCertificates;
use crate::body::{Body, BoxError};
use crate::layers::Metrics;

pub(super) type AnyService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;
type Accepted = (tokio_rustls::server::TlsStream<Stall<TcpStream>>, Option<PeerCertificates>);

/// How long a connection that makes room for another may still take.
const GOING: Duration = Duration::from_secs(1);

/// Drives a connection to its end; when the server goes down, or nothing came for too long, to the end of the requests
/// that are under way.
async fn drive<C>(
    connection: C,
    finish: fn(Pin<&mut C>),
    shutdown: &CancellationToken,
    activity: &Activity,
    idle: Option<Duration>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done,
        () = shutdown.cancelled() => {}
        () = idle_for(activity, idle) => {}
        () = activity.goes.cancelled() => {
            finish(connection.as_mut());
            return tokio::time::timeout(GOING, connection).await.unwrap_or(Ok(()));
        }
    }
    finish(connection.as_mut());
    connection.await
}

/// Waits until nothing has been under way for so long; without a limit for ever.
async fn idle_for(activity: &Activity, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let until = activity.idle_since().unwrap_or_else(Instant::now) + limit;
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// Everything that a connection needs; clones are cheap.
#[derive(Clone)]
pub(super) struct Connection {
    service: AnyService,
    protocols: Arc<Protocols>,
    limits: Limits,
    metrics: Option<Metrics>,
    shutdown: CancellationToken,
}

impl Connection {
    pub(super) fn new(
        service: AnyService,
        limits: Limits,
        metrics: Option<Metrics>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { service, protocols: Arc::new(Protocols::new(&limits)), limits, metrics, shutdown }
    }

    /// Shakes hands and answers requests, until the client or the server ends it.
    pub(super) async fn serve(self, slot: Slot, tls: TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
        let activity = &slot.activity;
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, accept(tls, stream, self.limits));
        let handshake = tokio::select! {
            () = self.shutdown.cancelled() => return,
            () = activity.goes.cancelled() => return,
            handshake = handshake => handshake,
        };
        if let (Some(metrics), Err(_) | Ok(Err(_))) = (&self.metrics, &handshake) {
            metrics.handshake_failed();
        }
        let (stream, certificates) = match handshake {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
        };
        let service = hyper::service::service_fn(|request| {
            call(self.service.clone(), request, certificates.clone(), peer, Arc::clone(activity))
        });
        // As the handshake agreed: nobody has to guess by what comes first.
        let done = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let stream = TokioIo::new(Opening::new(stream, self.limits.headers_timeout));
            let connection = self.protocols.http2.serve_connection(stream, service);
            let idle = Some(self.limits.idle_timeout);
            drive(connection, http2::Connection::graceful_shutdown, &self.shutdown, activity, idle).await
        } else {
            let connection = self.protocols.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
            // One without a request is ended by the time limit for headers.
            let finish = http1::UpgradeableConnection::graceful_shutdown;
            drive(connection, finish, &self.shutdown, activity, None).await
        };
        if let Err(error) = done {
            tracing::debug!(%peer, %error, "connection failed");
        }
    }
}

/// How connections are spoken to.
struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(limits: &Limits) -> Self {
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(TokioExecutor::new()));
        let headers_bytes_max = usize::try_from(limits.headers_bytes_max).unwrap_or(usize::MAX);
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.headers_timeout)
            .max_buf_size(headers_bytes_max.max(HTTP1_BUFFER_MIN));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(limits.headers_bytes_max)
            .max_pending_accept_reset_streams(limits.resets_max)
            .keep_alive_interval(limits.keep_alive_interval)
            .keep_alive_timeout(limits.keep_alive_timeout);
        Self { http1, http2 }
    }
}

/// What hyper needs at least.
const HTTP1_BUFFER_MIN: usize = 8 << 10;

async fn accept(tls: TlsAcceptor, stream: TcpStream, limits: Limits) -> io::Result<Accepted> {
    limits.apply(&stream)?;
    let stream = tls.accept(Stall::new(stream, limits.stall_timeout)).await?;
    let certificates = PeerCertificates::new(stream.get_ref().1.peer_certificates());
    Ok((stream, certificates))
}

async fn call(
    mut service: AnyService,
    request: Request<Incoming>,
    certificates: Option<PeerCertificates>,
    peer: SocketAddr,
    activity: Arc<Activity>,
) -> Result<Response<Counted>, Infallible> {
    let under_way = activity.request();
    let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    let shows_who = certificates.is_some() || request.headers().contains_key(header::AUTHORIZATION);
    if let Some(certificates) = certificates {
        request.extensions_mut().insert(certificates);
    }
    request.extensions_mut().insert(peer);
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    let response = service.call(request).await?;
    if shows_who && response.status() != StatusCode::UNAUTHORIZED {
        activity.know();
    }
    Ok(response.map(|body| Counted { body, _under_way: under_way }))
}

pin_project! {
    /// The body of an answer, with whose end a request is over.
    struct Counted {
        #[pin]
        body: Body,
        _under_way: UnderWay,
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
