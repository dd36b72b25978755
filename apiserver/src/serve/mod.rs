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
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower::util::BoxCloneSyncService;

pub use files::{FollowedTls, TlsFiles};
pub(crate) use tls::certificates;
pub use tls::{Tls, TlsError};

use crate::authn::PeerCertificates;
use crate::body::{Body, BoxError};

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

/// Most connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send the headers of a request.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(32);
/// Most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 250;
/// How long requests in flight may take to finish at shutdown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);

/// A bound address that takes TLS connections.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Tls,
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
        Ok(Self { socket, address, tls })
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
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        builder.http2().keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(Duration::from_secs(15));
        let builder = Arc::new(builder);
        let graceful = Arc::new(GracefulShutdown::new());
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
            let (builder, watcher) = (Arc::clone(&builder), graceful.watcher());
            let shutdown = shutdown.clone();
            connections.spawn(async move {
                let _slot = slot;
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, accept(tls, stream));
                let handshake = tokio::select! {
                    () = shutdown.cancelled() => return,
                    handshake = handshake => handshake,
                };
                let (stream, certificates) = match handshake {
                    Ok(Ok(accepted)) => accepted,
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
                };
                let service = hyper::service::service_fn(move |request| {
                    call(service.clone(), request, certificates.clone(), peer)
                });
                let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                let connection = watcher.watch(connection);
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "connection failed");
                }
            });
        }
        drop(self.socket);
        // Every connection holds a clone; those still shaking hands give theirs up.
        let finish = async {
            if let Some(graceful) = Arc::into_inner(graceful) {
                graceful.shutdown().await;
            }
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(FINISH_TIMEOUT, finish).await.is_err() {
            tracing::warn!("requests in flight did not finish in time");
        }
        connections.shutdown().await;
    }
}

type AnyService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;
type Accepted = (tokio_rustls::server::TlsStream<TcpStream>, Option<PeerCertificates>);

async fn accept(tls: TlsAcceptor, stream: TcpStream) -> io::Result<Accepted> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
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
