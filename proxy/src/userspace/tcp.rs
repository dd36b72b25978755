//! TCP frontends: accept, connect to an endpoint, copy both ways.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::balancer::Balancer;

const BACKLOG: u32 = 1024;
/// Bytes in flight each way of a connection.
const BUFFER: usize = 16 * 1024;
/// How long to wait after an accept failed, which mostly means that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many endpoints are tried for one connection.
const TRIES_MAX: usize = 4;

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `cancel`; connections that are open then live on until they end or `ends` is cancelled.
pub(super) async fn serve(
    listener: TcpListener,
    balancer: Arc<Balancer>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    ends: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = accept(&listener, &shared) => accepted,
        };
        let (client, from, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let (balancer, ends, plane) = (Arc::clone(&balancer), ends.clone(), Arc::clone(&shared));
        shared.tasks.spawn(async move {
            tokio::select! {
                () = ends.cancelled() => {}
                () = carry(client, from.ip(), &balancer, &plane) => {}
            }
            drop(permit);
        });
    }
}

/// Waits for room, then for a connection, which holds its place until the permit is dropped.
async fn accept(
    listener: &TcpListener,
    shared: &Shared,
) -> io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed; without a permit the connection would just not be counted.
    let permit = Arc::clone(&shared.connections).acquire_owned().await.ok();
    let (client, from) = listener.accept().await?;
    Ok((client, from, permit))
}

async fn carry(mut client: TcpStream, from: IpAddr, balancer: &Balancer, shared: &Shared) {
    let Some(mut endpoint) = connect(from, balancer, shared).await else {
        // Ends with a reset, as if nobody listened.
        client.set_zero_linger().ok();
        return;
    };
    client.set_nodelay(true).ok();
    endpoint.set_nodelay(true).ok();
    if let Err(error) = copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn connect(from: IpAddr, balancer: &Balancer, shared: &Shared) -> Option<TcpStream> {
    let limit = Duration::from_millis(shared.config.connect_timeout_ms);
    let mut failed = Vec::new();
    while failed.len() < TRIES_MAX {
        let endpoint = balancer.pick(from, Instant::now(), rand::random(), &failed)?;
        match timeout(limit, TcpStream::connect(endpoint)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%endpoint, %error, "endpoint refused"),
            Err(_) => tracing::debug!(%endpoint, "endpoint didn't answer in time"),
        }
        failed.push(endpoint);
    }
    None
}
