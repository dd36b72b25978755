//! Which addresses this cluster uses.
//!
//! Without privileges only loopback addresses may be bound, so pods that are processes, services and nodes get theirs
//! below 127.0.0.0/8. Each data directory keeps a slice of its own, so that clusters on one machine rarely meet.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context;

use crate::flags::RuntimeKind;

/// Slices of the loopback range that clusters share out among themselves.
const SLICES: u8 = 32;

/// Addresses of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Cluster IPs of services.
    pub(crate) services: String,
    /// Pods, where we attach them ourselves.
    pub(crate) pods: String,
    nodes: Ipv4Addr,
}

impl Addresses {
    /// The addresses for that runtime; the slice is chosen at the first start and kept in the data directory.
    pub(crate) fn choose(data_dir: &Path, runtime: RuntimeKind) -> anyhow::Result<Self> {
        if runtime == RuntimeKind::Cri {
            let nodes = primary_address()?;
            return Ok(Self { services: "10.96.0.0/16".into(), pods: "10.88.0.0/16".into(), nodes });
        }
        let slice = slice(data_dir)?;
        Ok(Self {
            services: format!("127.{}.0.0/16", 64 + slice),
            pods: format!("127.{}.0.0/16", 96 + slice),
            nodes: Ipv4Addr::new(127, 32 + slice, 0, 0),
        })
    }

    /// The port of the `kubernetes` Service: upstream's, unless an ordinary user can't listen there.
    pub(crate) fn kubernetes_port(&self) -> u16 {
        let loopback = self.nodes.is_loopback();
        let allowed = || std::net::TcpListener::bind((Ipv4Addr::from(u32::from(self.nodes) + 65_000), 443)).is_ok();
        if !loopback || allowed() { 443 } else { 6443 }
    }

    /// The address of the node at that place, counted from 0.
    pub(crate) fn node(&self, at: u16) -> IpAddr {
        if self.nodes.is_loopback() {
            Ipv4Addr::from(u32::from(self.nodes) + u32::from(at) + 1).into()
        } else {
            self.nodes.into()
        }
    }
}

fn slice(data_dir: &Path) -> anyhow::Result<u8> {
    let file = data_dir.join("loopback-slice");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let slice = text.trim().parse().ok().filter(|slice| *slice < SLICES);
        return slice.with_context(|| {
            format!("{}: must hold a number below {SLICES}; remove it to choose anew", file.display())
        });
    }
    let free = |slice: &u8| std::net::TcpListener::bind((Ipv4Addr::new(127, 32 + slice, 0, 1), 10_250)).is_ok();
    let start = u8::try_from(std::process::id() % u32::from(SLICES)).unwrap_or(0);
    let candidates = (0..SLICES).map(|step| (start + step) % SLICES);
    let slice = candidates.into_iter().find(free).context("every loopback slice is taken by another cluster")?;
    std::fs::write(&file, format!("{slice}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(slice)
}

/// The address that this host uses towards others, nothing being sent; without a way out, loopback's.
fn primary_address() -> anyhow::Result<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot make a UDP socket")?;
    if socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).is_err() {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => anyhow::bail!("the host's address {address} is not IPv4"),
    }
}

/// Makes a range of addresses local to this host, so that sockets can listen on them and pods reach them. Needs root
/// and iproute2; loopback ranges are local already.
#[derive(Debug)]
pub(crate) struct LocalRange(String);

impl LocalRange {
    /// Adds the route, or does nothing for a loopback range.
    pub(crate) fn claim(range: &str) -> anyhow::Result<Option<Self>> {
        if range.starts_with("127.") {
            return Ok(None);
        }
        route("replace", range)?;
        Ok(Some(Self(range.to_owned())))
    }
}

impl Drop for LocalRange {
    fn drop(&mut self) {
        if let Err(error) = route("del", &self.0) {
            tracing::warn!(%error, "the route to the service range is left");
        }
    }
}

fn route(verb: &str, range: &str) -> anyhow::Result<()> {
    let output = std::process::Command::new("ip").args(["route", verb, "local", range, "dev", "lo"]).output();
    let output = output.context("cannot run `ip`; install iproute2, which --runtime cri needs for Services")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`ip route {verb} local {range} dev lo` failed: {}", said.trim());
    Ok(())
}
