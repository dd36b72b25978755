//! What other replicas send.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as IncomingBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames::Incoming;
use super::owner::Owner;
use super::{CONNECTION_WINDOW, MEMBERS, MESSAGES, STATES, STREAM_WINDOW, Shared, Tracked, World, header};
use crate::Inbox;

/// Takes connections until cancelled.
pub(super) async fn accept(
    shared: &Arc<Shared>,
    listener: TcpListener,
    inbox: &Inbox,
    cancelled: &CancellationToken,
    tasks: &TaskTracker,
) {
    let room = Arc::new(Semaphore::new(shared.config.connections_max));
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let Some((accepted, place)) = cancelled.run_until_cancelled(accepted).await else { return };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others must end before it gets better.
                tracing::warn!(%error, "cannot accept a connection of another replica");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, inbox, cancelled, tracked) = (shared.clone(), inbox.clone(), cancelled.clone(), tasks.clone());
        tasks.spawn(async move {
            cancelled.run_until_cancelled(connection(&shared, stream, inbox, tracked)).await;
            drop(place);
        });
    }
}

async fn connection(shared: &Shared, stream: TcpStream, inbox: Inbox, tasks: TaskTracker) {
    // Acknowledgements are small and waited for. A connection on which that fails is broken anyway.
    let _ = stream.set_nodelay(true);
    let Some(identity) = &shared.identity else { return http(shared, stream, None, inbox, tasks).await };
    let accepting = TlsAcceptor::from(identity.server.clone()).accept(stream);
    let stream = match tokio::time::timeout(shared.config.connect_timeout, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return tracing::warn!(%error, "whoever wanted to be a replica failed the tls handshake");
        }
        Err(_) => return tracing::debug!("a replica took too long over the tls handshake"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    match shown.ok_or_else(|| "none was shown".to_owned()).and_then(|shown| Owner::of(shown)) {
        Ok(owner) => http(shared, stream, Some(Arc::new(owner)), inbox, tasks).await,
        Err(why) => tracing::warn!(why, "a replica's certificate cannot be read"),
    }
}

async fn http(
    shared: &Shared,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    owner: Option<Arc<Owner>>,
    inbox: Inbox,
    tasks: TaskTracker,
) {
    let message_bytes_max = shared.config.message_bytes_max;
    let service = service_fn(move |request: Request<IncomingBody>| {
        let (inbox, world) = (inbox.clone(), shared.world.subscribe());
        let speaker = Speaker { owner: owner.clone(), world, found: None };
        async move {
            Ok::<_, Infallible>(match (request.method(), request.uri().path()) {
                (&Method::GET, MEMBERS) => tell_members(&speaker),
                (&Method::POST, MESSAGES | STATES) => take(request, inbox, speaker, message_bytes_max).await,
                _ => answer(StatusCode::NOT_FOUND),
            })
        }
    });
    let mut builder = http2::Builder::new(Tracked(tasks));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(shared.config.keep_alive_interval)
        .keep_alive_timeout(shared.config.keep_alive_timeout)
        .max_concurrent_streams(4)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a replica's connection broke");
    }
}

/// Who is at the other end of a stream.
struct Speaker {
    /// Nobody knows, without certificates.
    owner: Option<Arc<Owner>>,
    world: watch::Receiver<World>,
    /// Whom it was found to be: as a rule it says the same again.
    found: Option<u64>,
}

impl Speaker {
    /// Whether it may speak for this member.
    fn is(&mut self, id: u64) -> bool {
        let Some(owner) = &self.owner else { return true };
        if self.found == Some(id) && !self.world.has_changed().unwrap_or(true) {
            return true;
        }
        let is_owner = owner.is(id, &self.world.borrow_and_update().known);
        self.found = is_owner.then_some(id);
        is_owner
    }
}

fn tell_members(speaker: &Speaker) -> Response<Full<Bytes>> {
    match &speaker.world.borrow().members {
        Some(members) if !members.members.is_empty() => {
            let mut bytes = Vec::new();
            crate::raft::put_members(&mut bytes, members);
            Response::new(Full::new(bytes.into()))
        }
        _ => answer(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Takes messages until the stream ends, which it does when something is wrong.
async fn take(
    request: Request<IncomingBody>,
    inbox: Inbox,
    mut speaker: Speaker,
    message_bytes_max: usize,
) -> Response<Full<Bytes>> {
    let (mut body, mut incoming) = (request.into_body(), Incoming::new(message_bytes_max));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        let Ok(piece) = frame.into_data() else { continue };
        incoming.push(piece);
        loop {
            let message = match incoming.next() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a replica's stream was refused");
                    return answer(StatusCode::PAYLOAD_TOO_LARGE);
                }
            };
            // What has no sender the inbox refuses, with the place.
            if let Some((sender, _)) = header(&message)
                && !speaker.is(sender)
            {
                tracing::warn!(
                    sender,
                    "a member was refused that spoke for another: its certificate is not that one's"
                );
                return answer(StatusCode::FORBIDDEN);
            }
            inbox.deliver(&message);
        }
    }
    answer(StatusCode::NO_CONTENT)
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
