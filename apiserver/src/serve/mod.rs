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

mod connection;
mod files;
mod limits;
mod opening;
mod slots;
mod stall;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower::util::BoxCloneSyncService;

use self::connection::Connection;
use self::slots::Slots;
pub use files::{FollowedTls, TlsFiles};
pub use limits::Limits;
pub(crate) use tls::certificates;
pub use tls::{Tls, TlsError};

use crate::body::Body;
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
        let limits = self.limits;
        let connection = Connection::new(BoxCloneSyncService::new(service), limits, self.metrics, shutdown.clone());
        let slots = Arc::new(Slots::new(limits.connections_max));
        let mut connections = JoinSet::new();
        let mut waiting: Option<(TcpStream, SocketAddr)> = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.socket.accept(), if waiting.is_none() => match accepted {
                    Ok(accepted) => waiting = Some(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        // Out of descriptors, most likely: they come back as connections close.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                slot = slots.take(), if waiting.is_some() => {
                    if let Some((stream, peer)) = waiting.take() {
                        let tls = TlsAcceptor::from(self.tls.config());
                        connections.spawn(connection.clone().serve(slot, tls, stream, peer));
                    }
                }
            }
        }
        drop(self.socket);
        let finish = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.finish_timeout, finish).await.is_err() {
            tracing::warn!("requests in flight did not finish in time");
        }
        connections.shutdown().await;
    }
}
