//! How much of the server one client, and all of them together, may take up.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

/// What connections are held to. Whoever keeps within them is served, however many others don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most connections at once (default: 10,000). When there are so many and another client comes, the one that has been
    /// idle for longest is closed of those whose clients never showed who they are; if there is none, it waits.
    pub connections_max: usize,
    /// How long an HTTP/2 connection may stay without a request (default: 90 s).
    pub idle_timeout: Duration,
    /// How long a client may take for the TLS handshake (default: 10 s).
    pub handshake_timeout: Duration,
    /// How long a client may take to send the headers of a request, and how long an HTTP/1.1 connection may stay
    /// without one (default: 32 s).
    pub headers_timeout: Duration,
    /// Largest headers of a request, in bytes (default: 64 KiB).
    pub headers_bytes_max: u32,
    /// Most requests at once on one HTTP/2 connection (default: 250).
    pub streams_max: u32,
    /// Most requests that a client of HTTP/2 may open and take back before the connection is closed (default: 20 that
    /// nobody has looked at yet, and 1,000 in all that the server itself had to end).
    pub resets_max: usize,
    /// How long a client may take nothing of what is sent to it (default: 60 s). Then the connection is closed: who
    /// only seems to be there must not hold a watch for ever.
    pub stall_timeout: Duration,
    /// After how long without a sign of life a client is asked whether it is still there (default: 30 s): by TCP, and
    /// over HTTP/2 by a ping. What was sent and never arrives ends the connection after this and `keep_alive_timeout`, too
    /// (on Linux).
    pub keep_alive_interval: Duration,
    /// How long the answer to that may take (default: 15 s).
    pub keep_alive_timeout: Duration,
    /// How long requests in flight may take to finish at shutdown (default: 60 s).
    pub finish_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            idle_timeout: Duration::from_secs(90),
            handshake_timeout: Duration::from_secs(10),
            headers_timeout: Duration::from_secs(32),
            headers_bytes_max: 64 << 10,
            streams_max: 250,
            resets_max: 20,
            stall_timeout: Duration::from_secs(60),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(15),
            finish_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Sets a connection up: answers leave at once, and a peer that is gone is noticed.
    pub(super) fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // The kernel counts in seconds, and wants at least one.
        let [time, interval] = [self.keep_alive_interval, self.keep_alive_timeout].map(|it| it.max(SECOND));
        let keep_alive = TcpKeepalive::new().with_time(time).with_interval(interval);
        let socket = SockRef::from(stream);
        // While something is under way the kernel doesn't ask, but sends it again, and gives up after a quarter of an hour.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(time + interval))?;
        socket.set_tcp_keepalive(&keep_alive)
    }
}
