//! UDP frontends: one flow a client, each with a socket of its own towards an endpoint.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::balancer::Balancer;

const DATAGRAM_MAX: usize = 65_536;

pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = StdSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

struct Flow {
    socket: Arc<UdpSocket>,
    endpoint: SocketAddr,
    used: Instant,
    cancel: CancellationToken,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Carries datagrams until cancelled; every flow ends with it.
pub(super) async fn serve(socket: UdpSocket, balancer: Arc<Balancer>, shared: Arc<Shared>, cancel: CancellationToken) {
    let socket = Arc::new(socket);
    let idle = Duration::from_secs(shared.config.flow_idle_seconds);
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut replies = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut sweep = tokio::time::interval(idle.max(Duration::from_secs(2)) / 2);
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = replies.join_next(), if !replies.is_empty() => {}
            _ = sweep.tick() => flows.retain(|_, flow| flow.used.elapsed() < idle),
            received = socket.recv_from(&mut buffer) => {
                // An error here is a late ICMP answer to something sent before; the socket goes on.
                let Ok((length, client)) = received else { continue };
                if flows.get(&client).is_some_and(|flow| !balancer.has(flow.endpoint)) {
                    flows.remove(&client);
                }
                if !flows.contains_key(&client) {
                    make_room(&mut flows, shared.config.flows_max);
                    let Some(flow) = open(client, &balancer).await else { continue };
                    replies.spawn(reply(Arc::clone(&socket), client, Arc::clone(&flow.socket), flow.cancel.clone()));
                    flows.insert(client, flow);
                }
                if let Some(flow) = flows.get_mut(&client) {
                    flow.used = Instant::now();
                    flow.socket.send(&buffer[..length]).await.ok();
                }
            }
        }
    }
    flows.clear();
    while replies.join_next().await.is_some() {}
}

fn make_room(flows: &mut HashMap<SocketAddr, Flow>, flows_max: usize) {
    while flows.len() >= flows_max.max(1) {
        let Some(oldest) = flows.iter().min_by_key(|(_, flow)| flow.used).map(|(client, _)| *client) else { return };
        flows.remove(&oldest);
    }
}

async fn open(client: SocketAddr, balancer: &Balancer) -> Option<Flow> {
    let endpoint = balancer.pick(client.ip(), Instant::now(), rand::random(), &[])?;
    let any: SocketAddr = if endpoint.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(endpoint).await.ok()?;
    Some(Flow { socket: Arc::new(socket), endpoint, used: Instant::now(), cancel: CancellationToken::new() })
}

async fn reply(frontend: Arc<UdpSocket>, client: SocketAddr, endpoint: Arc<UdpSocket>, cancel: CancellationToken) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let received = tokio::select! {
            () = cancel.cancelled() => return,
            received = endpoint.recv(&mut buffer) => received,
        };
        if let Ok(length) = received {
            frontend.send_to(&buffer[..length], client).await.ok();
        }
    }
}
