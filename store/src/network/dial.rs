//! Connections to other replicas.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Address, Identity, PeerConfig};
use super::frames::{Lane, Outgoing};
use super::owner::Owner;
use super::{CONNECTION_WINDOW, MEMBERS, MESSAGES, Route, STATES, STREAM_WINDOW, Shared, Tracked};
use crate::codec::Decoder;
use crate::{Error, Members};

const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// Far more than all members' names and URLs take.
const MEMBERS_BYTES_MAX: usize = 4 << 20;

/// Keeps up a connection to every replica whose address is known, until cancelled.
pub(super) async fn keep_connected(shared: &Arc<Shared>, cancelled: &CancellationToken, tasks: &TaskTracker) {
    let mut world = shared.world.subscribe();
    let mut links: BTreeMap<u64, (Vec<String>, CancellationToken)> = BTreeMap::new();
    loop {
        let known = world.borrow_and_update().known.clone();
        let wanted: BTreeMap<u64, Vec<String>> =
            known.into_values().map(|member| (member.id, member.peer_urls)).collect();
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
            changed = world.changed() => if changed.is_err() { return },
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
        let address = Address::parse(address).map_err(io::Error::other)?;
        match connect(&self.shared.config, self.shared.identity.as_ref(), &address).await? {
            Stream::Plain(stream) => self.send_over(stream, &address).await,
            Stream::Tls(stream) => {
                self.check_owner(&stream)?;
                self.send_over(*stream, &address).await
            }
        }
    }

    /// Nothing is told to who has another member's certificate.
    fn check_owner(&self, stream: &TlsStream) -> Result<(), io::Error> {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.ok_or_else(|| io::Error::other("no certificate was shown"))?;
        let owner = Owner::of(shown).map_err(io::Error::other)?;
        if owner.is(self.id, &self.shared.world.borrow().known) {
            return Ok(());
        }
        tracing::warn!(peer = self.id, "the certificate of another member was shown: nothing is sent there");
        Err(io::Error::other("the certificate is another member's"))
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
        let for_messages = send.send_request(request(address, Method::POST, MESSAGES, outgoing_messages)?);
        let for_states = send.send_request(request(address, Method::POST, STATES, outgoing_states)?);
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

/// Connects, and shakes hands if there are certificates.
async fn connect(config: &PeerConfig, identity: Option<&Identity>, address: &Address) -> Result<Stream, io::Error> {
    let connecting = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        // Messages are small and waited for.
        stream.set_nodelay(true)?;
        let Some(identity) = identity else { return Ok(Stream::Plain(stream)) };
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(identity.client.clone()).connect(name, stream).await?;
        Ok::<_, io::Error>(Stream::Tls(Box::new(stream)))
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long to connect");
    tokio::time::timeout(config.connect_timeout, connecting).await.map_err(late)?
}

/// Asks one member who the members are.
pub(super) async fn members_at(
    config: &PeerConfig,
    identity: Option<&Identity>,
    address: &str,
) -> Result<Members, Error> {
    let parsed = Address::parse(address).map_err(|why| Error::invalid(format!("peer {address}: {why}")))?;
    let asking = async {
        match connect(config, identity, &parsed).await? {
            Stream::Plain(stream) => ask(stream, &parsed).await,
            Stream::Tls(stream) => ask(*stream, &parsed).await,
        }
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long to answer");
    let answered = tokio::time::timeout(config.connect_timeout * 2, asking).await.map_err(late);
    let bytes = answered.flatten().map_err(|error| Error::unavailable(format!("{address}: {error}")))?;
    let mut from = Decoder::new(&bytes);
    let members = crate::raft::members(&mut from).and_then(|members| from.finish().map(|()| members));
    members.map_err(|why| Error::unavailable(format!("{address}: its answer does not decode: {why}")))
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &Address,
) -> Result<Bytes, io::Error> {
    let handshake = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = handshake.await.map_err(io::Error::other)?;
    let request = request(address, Method::GET, MEMBERS, Empty::new())?;
    let answer = async move {
        let answer = send.send_request(request).await.map_err(io::Error::other)?;
        if answer.status() != StatusCode::OK {
            return Err(io::Error::other(format!("it answers {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MEMBERS_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        Ok(body.to_bytes())
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => {
            ended.map_err(io::Error::other)?;
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other side ended it"))
        }
    }
}

fn request<B>(address: &Address, method: Method, path: &str, body: B) -> Result<Request<B>, io::Error> {
    let Address { host, port } = address;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let request = Request::builder().method(method).version(Version::HTTP_2);
    request.uri(format!("http://{host}:{port}{path}")).body(body).map_err(io::Error::other)
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}
