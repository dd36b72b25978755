//! The kubelet's HTTPS server, to which the API server comes for logs, `exec`, `attach`, `port-forward` and figures.
//!
//! Who calls must show a certificate that the cluster's CA signed, and be allowed: by name, or by the API server's word
//! (`SubjectAccessReview` on the node). Streams run over WebSocket (`v5.channel.k8s.io` and its elders); ports are
//! forwarded over SPDY/3.1 too, by itself or in a WebSocket, as kubectl does.

mod access;
mod channels;
mod exec;
mod forward;
mod identity;
mod logs;
mod query;
mod respond;
mod route;
mod spdy;
mod stats;
mod websocket;

pub use access::Authorization;
pub use identity::ServingIdentity;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::node::Context;

/// How the server is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where to listen; port 0 picks one, which the node then reports.
    pub address: SocketAddr,
    /// The server's certificate.
    pub identity: ServingIdentity,
    /// The CA that signs the certificates of those who may call, in PEM.
    pub client_ca_pem: String,
    /// Who of them may call.
    pub authorization: Authorization,
}

impl ServerConfig {
    /// A server with a certificate of its own making, for callers with a certificate of that CA whom the API server
    /// allows.
    #[must_use]
    pub fn new(address: SocketAddr, client_ca_pem: impl Into<String>) -> Self {
        Self {
            address,
            identity: ServingIdentity::SelfSigned,
            client_ca_pem: client_ca_pem.into(),
            authorization: Authorization::SubjectAccessReview,
        }
    }
}

/// How many connections are open at a time; more wait.
const CONNECTIONS_MAX: usize = 512;
/// How long a handshake or a request's head may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Listens, and serves until cancelled. Returns the port.
pub(crate) async fn serve(
    config: ServerConfig,
    node: Arc<Context>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<u16, Error> {
    let tls = identity::server_config(&config, &node.config)?;
    let bind = |source| Error::Bind { address: config.address, source };
    let listener = TcpListener::bind(config.address).await.map_err(bind)?;
    let port = listener.local_addr().map_err(bind)?.port();
    let server = Server {
        node,
        acceptor: TlsAcceptor::from(Arc::new(tls)),
        access: Arc::new(access::Access::new(config.authorization)),
        tasks: tasks.clone(),
        cancel: cancel.clone(),
    };
    tasks.spawn(server.run(listener));
    Ok(port)
}

#[derive(Clone)]
struct Server {
    node: Arc<Context>,
    acceptor: TlsAcceptor,
    access: Arc<access::Access>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Server {
    async fn run(self, listener: TcpListener) {
        let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let cancel = self.cancel.clone();
        let accepting = async {
            loop {
                let Ok(turn) = turns.clone().acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let server = self.clone();
                        self.tasks.spawn(async move {
                            let cancel = server.cancel.clone();
                            cancel.run_until_cancelled(server.connection(stream)).await.unwrap_or_default();
                            drop(turn);
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        cancel.run_until_cancelled(accepting).await.unwrap_or_default();
    }

    async fn connection(self, stream: TcpStream) {
        drop(stream.set_nodelay(true));
        let stream = match tokio::time::timeout(HANDSHAKE_MAX, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return,
        };
        let caller = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(identity::caller);
        let caller = Arc::new(caller);
        let streams = route::Streams { tasks: self.tasks.clone(), cancel: self.cancel.clone() };
        let service = service_fn(move |request| {
            let (node, access) = (self.node.clone(), self.access.clone());
            let (caller, streams) = (caller.clone(), streams.clone());
            async move { Ok::<_, std::convert::Infallible>(route::handle(node, access, caller, streams, request).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_MAX);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
            tracing::debug!(%error, "connection ended");
        }
    }
}
