//! What other replicas send.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming as IncomingBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames::Incoming;
use super::{CONNECTION_WINDOW, MESSAGES, STATES, STREAM_WINDOW, Shared, Tracked};
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
    let Some(identity) = &shared.identity else { return http(shared, stream, inbox, tasks).await };
    let accepting = TlsAcceptor::from(identity.server.clone()).accept(stream);
    match tokio::time::timeout(shared.config.connect_timeout, accepting).await {
        Ok(Ok(stream)) => http(shared, stream, inbox, tasks).await,
        Ok(Err(error)) => tracing::warn!(%error, "whoever wanted to be a replica failed the tls handshake"),
        Err(_) => tracing::debug!("a replica took too long over the tls handshake"),
    }
}

async fn http(
    shared: &Shared,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    inbox: Inbox,
    tasks: TaskTracker,
) {
    let message_bytes_max = shared.config.message_bytes_max;
    let service = service_fn(move |request| take(request, inbox.clone(), message_bytes_max));
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

/// Takes messages until the stream ends, which it does when something is wrong.
async fn take(
    request: Request<IncomingBody>,
    inbox: Inbox,
    message_bytes_max: usize,
) -> Result<Response<Empty<bytes::Bytes>>, Infallible> {
    if request.method() != Method::POST || ![MESSAGES, STATES].contains(&request.uri().path()) {
        return Ok(answer(StatusCode::NOT_FOUND));
    }
    let (mut body, mut incoming) = (request.into_body(), Incoming::new(message_bytes_max));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        let Ok(piece) = frame.into_data() else { continue };
        incoming.push(piece);
        loop {
            match incoming.next() {
                Ok(Some(message)) => inbox.deliver(&message),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a replica's stream was refused");
                    return Ok(answer(StatusCode::PAYLOAD_TOO_LARGE));
                }
            }
        }
    }
    Ok(answer(StatusCode::NO_CONTENT))
}

fn answer(status: StatusCode) -> Response<Empty<bytes::Bytes>> {
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = status;
    answer
}
