//! Serving over the network: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2, connections that can be upgraded.
//!
//! ```no_run
//! # async fn run(pki: kubewright_apiserver::pki::Pki, service: kubewright_apiserver::serve::Unspecified)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use kubewright_apiserver::serve::{Listener, Tls};
//! use tokio_util::sync::CancellationToken;
//!
//! let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, pki.authority.certificate_pem())?;
//! let listener = Listener::bind("127.0.0.1:6443".parse()?, tls).await?;
//! let shutdown = CancellationToken::new();
//! listener.serve(service, shutdown).await;
//! # Ok(()) }
//! ```

mod files;
mod limits;
mod opening;
mod stall;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower::util::BoxCloneSyncService;

pub use files::{FollowedTls, TlsFiles};
pub use limits::Limits;
use opening::Opening;
use stall::Stall;
pub(crate) use tls::certificates;
pub use tls::{Tls, TlsError};

use crate::authn::PeerCertificates;
use crate::body::{Body, BoxError};
use crate::layers::Metrics;

/// Stands for any service in examples; it cannot be made.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Unspecified {}

impl Service<Request<Body>> for Unspecified {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Pending<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        match *self {}
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        match *self {}
    }
}

/// A bound address that takes TLS connections.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Tls,
    limits: Limits,
    metrics: Option<Metrics>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.address).finish()
    }
}

impl Listener {
    /// Binds an address; port 0 picks one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, tls: Tls) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Self::from_socket(socket, tls)
    }

    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// It is no longer bound.
    pub fn from_socket(socket: TcpListener, tls: Tls) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { socket, address, tls, limits: Limits::default(), metrics: None })
    }

    /// Holds connections to these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Counts handshakes that fail into these metrics ([`ApiServer::metrics`](crate::server::ApiServer::metrics)).
    #[must_use]
    pub fn measured(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The bound address.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then takes no more connections, lets requests in flight finish (for at most a minute),
    /// and returns once every connection is closed.
    pub async fn serve<S>(self, service: S, shutdown: CancellationToken)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let service: AnyService = BoxCloneSyncService::new(service);
        let (limits, protocols) = (self.limits, Arc::new(Protocols::new(&self.limits)));
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = async {
                    // Never closed.
                    let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
                    self.socket.accept().await.map(|(stream, peer)| (slot, stream, peer))
                } => accepted,
            };
            let (slot, stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of descriptors, most likely: they come back as connections close.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (tls, service) = (TlsAcceptor::from(self.tls.config()), service.clone());
            let (protocols, shutdown) = (Arc::clone(&protocols), shutdown.clone());
            let metrics = self.metrics.clone();
            connections.spawn(async move {
                let _slot = slot;
                let handshake = tokio::time::timeout(limits.handshake_timeout, accept(tls, stream, limits));
                let handshake = tokio::select! {
                    () = shutdown.cancelled() => return,
                    handshake = handshake => handshake,
                };
                if let (Some(metrics), Err(_) | Ok(Err(_))) = (&metrics, &handshake) {
                    metrics.handshake_failed();
                }
                let (stream, certificates) = match handshake {
                    Ok(Ok(accepted)) => accepted,
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
                };
                let service = hyper::service::service_fn(move |request| {
                    call(service.clone(), request, certificates.clone(), peer)
                });
                // As the handshake agreed: nobody has to guess by what comes first.
                let done = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let stream = TokioIo::new(Opening::new(stream, limits.headers_timeout));
                    let connection = protocols.http2.serve_connection(stream, service);
                    drive(connection, http2::Connection::graceful_shutdown, &shutdown).await
                } else {
                    let connection = protocols.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
                    drive(connection, http1::UpgradeableConnection::graceful_shutdown, &shutdown).await
                };
                if let Err(error) = done {
                    tracing::debug!(%peer, %error, "connection failed");
                }
            });
        }
        drop(self.socket);
        let finish = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.finish_timeout, finish).await.is_err() {
            tracing::warn!("requests in flight did not finish in time");
        }
        connections.shutdown().await;
    }
}

type AnyService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;
type Accepted = (tokio_rustls::server::TlsStream<Stall<TcpStream>>, Option<PeerCertificates>);

/// Drives a connection to its end; when the server goes down, to the end of the requests that are under way.
async fn drive<C>(connection: C, finish: fn(Pin<&mut C>), shutdown: &CancellationToken) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done,
        () = shutdown.cancelled() => {}
    }
    finish(connection.as_mut());
    connection.await
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
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    if let Some(certificates) = certificates {
        request.extensions_mut().insert(certificates);
    }
    request.extensions_mut().insert(peer);
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}
