//! The listener.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::joined::Joined;
use super::threads::Threads;
use super::{Face, http2};

/// How long a client may take over a TLS handshake, and then to say anything.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);
/// After so long without a word the client's system is asked whether it is there, three times in as long again.
const QUIET: std::time::Duration = std::time::Duration::from_secs(30);
/// How long open requests may go on when the listener is cancelled.
pub(super) const FAREWELL: std::time::Duration = std::time::Duration::from_secs(1);

/// Has the system see to it that a connection ends whose client is not there any more, as it does when a machine loses its
/// power: it would keep its place for ever.
fn watch_over(stream: &TcpStream) {
    let often = TcpKeepalive::new().with_time(QUIET).with_interval(QUIET / 3).with_retries(3);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&often) {
        tracing::debug!(%error, "a connection is not watched over");
    }
}

impl Face {
    /// Serves what connects to `listener`, over TLS if it is given, until cancelled; then lets open
    /// requests end, except streams, and returns when every connection is closed.
    ///
    /// The TLS configuration decides about client certificates; its protocols are set here.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        cancelled: CancellationToken,
    ) {
        let tls = tls.map(|config| {
            let mut config = rustls::ServerConfig::clone(&config);
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        let room = Arc::new(Semaphore::new(self.inner.config.connections_max));
        let connections = TaskTracker::new();
        let threads = self.threads(tls.clone(), &cancelled);
        loop {
            let accepted = async {
                // Nobody closes it.
                let place = room.clone().acquire_owned().await.ok();
                (listener.accept().await, place)
            };
            let (accepted, Some(place)) = (tokio::select! {
                () = cancelled.cancelled() => break,
                accepted = accepted => accepted,
            }) else {
                break;
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: others must end before it gets better.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            if let Some(threads) = &threads {
                threads.give(stream, place);
                continue;
            }
            let (face, tls, cancelled) = (self.clone(), tls.clone(), cancelled.clone());
            connections.spawn(async move {
                face.connection(stream, tls, cancelled, Arc::default()).await;
                drop(place);
            });
        }
        connections.close();
        connections.wait().await;
        if let Some(threads) = threads {
            threads.end().await;
        }
    }

    fn threads(&self, tls: Option<TlsAcceptor>, cancelled: &CancellationToken) -> Option<Threads> {
        let count = self.inner.config.threads;
        if count == 0 {
            return None;
        }
        let started = Threads::start(count, self, tls, cancelled);
        started.inspect_err(|error| tracing::warn!(%error, "no threads for the face; it does without")).ok()
    }

    /// Serves a connection to its end; counts its requests.
    pub(super) async fn connection(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        cancelled: CancellationToken,
        calls: Arc<AtomicU64>,
    ) {
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        watch_over(&stream);
        let Some(tls) = tls else { return self.http(stream, cancelled, calls).await };
        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, cancelled, calls).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client failed the tls handshake"),
            Err(_) => tracing::debug!("a client took too long over the tls handshake"),
        }
    }

    async fn http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        cancelled: CancellationToken,
        calls: Arc<AtomicU64>,
    ) {
        let mut stream = Joined::new(stream);
        let first = tokio::time::timeout(HANDSHAKE, stream.speaks_http2());
        match cancelled.run_until_cancelled(first).await {
            Some(Ok(Ok(true))) => {
                if let Err(error) = http2::serve(self.inner, stream, &cancelled, calls).await {
                    tracing::debug!(%error, "a connection broke");
                }
            }
            Some(Ok(Ok(false))) => self.http1(stream, cancelled).await,
            Some(Ok(Err(error))) => tracing::debug!(%error, "a connection broke before anything was said"),
            Some(Err(_)) => tracing::debug!("a client said nothing"),
            None => {}
        }
    }

    /// Plain requests, for a server's version and health.
    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, cancelled: CancellationToken) {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(self));
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = cancelled.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(FAREWELL, connection).await {
                    Ok(result) => result,
                    Err(_) => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_watched_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (stream, _)) = (client.expect("connects"), accepted.expect("a connection"));
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().expect("known"));
        watch_over(&stream);
        assert!(socket.keepalive().expect("known"));
        assert_eq!(socket.tcp_keepalive_time().expect("known"), QUIET);
        assert_eq!(socket.tcp_keepalive_retries().expect("known"), 3);
    }
}
