//! Runtimes that speak the CRI, version 1: containerd from 1.6, CRI-O.
//!
//! [`CriRuntime`] is a client of theirs, over gRPC on a unix socket. The streams of `exec`, `attach` and `port_forward`
//! go to the runtime's streaming server, at the address it gives for each, as SPDY: the one protocol that all versions
//! serve and in which an input can end before the output does.
//!
//! Where a runtime has no events (containerd before 1.7), they are made by listing once a second; steps that a container
//! passes through between two lists are then not told one by one.

mod call;
mod convert;
mod events;
mod messages;
mod read;
mod runtime;
mod spdy;
mod stats;
mod streams;

use std::{fmt, path::Path, time::Duration};

use tonic::transport::{Channel, Endpoint};

use crate::Error;

/// How to reach a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CriConfig {
    /// The socket, as `unix:///run/containerd/containerd.sock`, or a path alone.
    pub endpoint: String,
    /// How long to wait for the socket to take a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the answer to a call, beyond what the call itself is given (a stop's time, say). Pulls are
    /// not limited.
    pub request_timeout: Duration,
    /// How often to list, for events of runtimes that have none.
    pub relist_period: Duration,
}

impl CriConfig {
    /// A socket, and the kubelet's usual times.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(120),
            relist_period: Duration::from_secs(1),
        }
    }
}

/// A client of a runtime that speaks the CRI. Clones share its connection, which is made anew when it breaks.
#[derive(Clone)]
pub struct CriRuntime {
    config: CriConfig,
    channel: Channel,
}

impl fmt::Debug for CriRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CriRuntime").field("endpoint", &self.config.endpoint).finish_non_exhaustive()
    }
}

impl CriRuntime {
    /// Connects, and makes sure that the other side speaks the CRI.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the endpoint is no unix socket's; [`Error::Unavailable`], with what to do about
    /// it, when nobody answers there.
    pub async fn connect(config: CriConfig) -> Result<Self, Error> {
        let path = socket_path(&config.endpoint)?;
        if !path.exists() {
            return Err(Error::unavailable(format!(
                "no CRI runtime at {}: there is no such socket; start containerd or CRI-O, or give the endpoint that it \
                 listens on",
                config.endpoint
            )));
        }
        let invalid = |error: tonic::transport::Error| Error::invalid(format!("endpoint {}: {error}", config.endpoint));
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).map_err(invalid)?;
        let channel = endpoint.connect_timeout(config.connect_timeout).connect_lazy();
        let runtime = Self { config, channel };
        let asked = crate::Runtime::version(&runtime);
        let answered = tokio::time::timeout(runtime.config.connect_timeout, asked).await;
        let endpoint = &runtime.config.endpoint;
        match answered {
            Ok(Ok(_)) => Ok(runtime),
            Ok(Err(Error::Unsupported { .. })) => Err(Error::unavailable(format!(
                "{endpoint} does not serve the CRI, version 1; in containerd, the cri plugin must not be disabled"
            ))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::unavailable(format!("no answer from {endpoint}; is the runtime well?"))),
        }
    }
}

fn socket_path(endpoint: &str) -> Result<&Path, Error> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "endpoint {endpoint:?} is no unix socket: it has to look like unix:///run/containerd/containerd.sock"
        )));
    }
    Ok(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unix_sockets() {
        let path = Path::new("/run/c.sock");
        assert_eq!(socket_path("unix:///run/c.sock").unwrap(), path);
        assert_eq!(socket_path("/run/c.sock").unwrap(), path);
        assert!(socket_path("tcp://localhost:1").is_err());
        assert!(socket_path("").is_err());
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named_with_the_remedy() {
        let config = CriConfig::new("unix:///no/such/containerd.sock");
        let error = CriRuntime::connect(config).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("unix:///no/such/containerd.sock") && text.contains("start containerd"), "{text}");
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_unavailable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = CriRuntime::connect(CriConfig::new(path.display().to_string())).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("dead.sock"), "{error}");
    }
}
