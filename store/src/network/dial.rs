//! Connections to other replicas.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Address;
use super::frames::{Lane, Outgoing};
use super::{CONNECTION_WINDOW, MESSAGES, Route, STATES, STREAM_WINDOW, Shared, Tracked};

const BACK_OFF_MIN: Duration = Duration::from_millis(50);

/// Keeps up a connection to every replica whose address is known, until cancelled.
pub(super) async fn keep_connected(shared: &Arc<Shared>, cancelled: &CancellationToken, tasks: &TaskTracker) {
    let mut known = shared.addresses.subscribe();
    let mut links: BTreeMap<u64, (Vec<String>, CancellationToken)> = BTreeMap::new();
    loop {
        let wanted = known.borrow_and_update().clone();
        links.retain(|id, (addresses, link)| {
            let stays = wanted.get(id) == Some(addresses);
            if !stays {
                link.cancel();
            }
            stays
        });
        for (id, addresses) in wanted {
            if id == shared.config.id || addresses.is_empty() || links.contains_key(&id) {
                continue;
            }
            let cancelled = cancelled.child_token();
            links.insert(id, (addresses.clone(), cancelled.clone()));
            let link = Link { shared: shared.clone(), id, addresses, tasks: tasks.clone() };
            tasks.spawn(async move { cancelled.run_until_cancelled(link.run()).await });
        }
        tokio::select! {
            () = cancelled.cancelled() => return,
            changed = known.changed() => if changed.is_err() { return },
        }
    }
}

struct Link {
    shared: Arc<Shared>,
    id: u64,
    addresses: Vec<String>,
    tasks: TaskTracker,
}

/// Takes the route away when the connection is no more, however it ended.
struct Open<'a> {
    link: &'a Link,
    lane: Lane,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut routes = self.link.shared.routes();
        // Another link may have taken the place already, when the address changed.
        if routes.get(&self.link.id).is_some_and(|route| route.messages.is(&self.lane)) {
            routes.remove(&self.link.id);
        }
    }
}

impl Link {
    /// Connects again and again.
    async fn run(self) {
        let mut back_off = BACK_OFF_MIN;
        // A replica may have several addresses: they get their turns.
        for address in self.addresses.iter().cycle() {
            let begun = Instant::now();
            let Err(error) = self.connection(address).await;
            tracing::debug!(peer = self.id, address, %error, "no connection to another replica");
            // It was good for a while: it may well be good again at once.
            if begun.elapsed() > self.shared.config.connect_timeout + self.shared.config.back_off_max {
                back_off = BACK_OFF_MIN;
            }
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(self.shared.config.back_off_max);
        }
    }

    /// Connects and sends, until the connection breaks.
    async fn connection(&self, address: &str) -> Result<std::convert::Infallible, io::Error> {
        let timeout = self.shared.config.connect_timeout;
        let connecting = async {
            let address = Address::parse(address).map_err(io::Error::other)?;
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            // Messages are small and waited for.
            stream.set_nodelay(true)?;
            let Some(identity) = &self.shared.identity else { return Ok((Stream::Plain(stream), address)) };
            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            let stream = TlsConnector::from(identity.client.clone()).connect(name, stream).await?;
            Ok::<_, io::Error>((Stream::Tls(Box::new(stream)), address))
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long to connect");
        match tokio::time::timeout(timeout, connecting).await.map_err(late)?? {
            (Stream::Plain(stream), address) => self.send_over(stream, &address).await,
            (Stream::Tls(stream), address) => self.send_over(*stream, &address).await,
        }
    }

    async fn send_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: &Address,
    ) -> Result<std::convert::Infallible, io::Error> {
        let config = &self.shared.config;
        let mut builder = http2::Builder::new(Tracked(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(config.keep_alive_interval)
            .keep_alive_timeout(config.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let handshake = builder.handshake::<_, Outgoing>(TokioIo::new(stream));
        let (mut send, connection) = handshake.await.map_err(io::Error::other)?;
        let (messages, outgoing_messages) = Lane::new(config.waiting_max, config.waiting_bytes_max);
        let (states, outgoing_states) = Lane::new(config.waiting_max, config.waiting_bytes_max);
        let for_messages = send.send_request(post(address, MESSAGES, outgoing_messages)?);
        let for_states = send.send_request(post(address, STATES, outgoing_states)?);
        let _open = Open { link: self, lane: messages.clone() };
        self.shared.routes().insert(self.id, Route { messages, states });
        // Nobody ends any of these while all is well.
        let ended = tokio::select! {
            ended = connection => ended.map_err(io::Error::other),
            answer = for_messages => answer.map(drop).map_err(io::Error::other),
            answer = for_states => answer.map(drop).map_err(io::Error::other),
        };
        ended?;
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other side ended it"))
    }
}

fn post(address: &Address, path: &str, body: Outgoing) -> Result<Request<Outgoing>, io::Error> {
    let Address { host, port } = address;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let request = Request::builder().method(Method::POST).version(Version::HTTP_2);
    request.uri(format!("http://{host}:{port}{path}")).body(body).map_err(io::Error::other)
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}
