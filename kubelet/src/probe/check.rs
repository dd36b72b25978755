use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kubewright_runtime_shim::{ContainerId, Error as RuntimeError, Runtime};
use tokio::net::TcpStream;

use super::{grpc, http};
use crate::objects::Container;

/// What to look at.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Check {
    /// Run a command in the container.
    Exec {
        /// The container.
        container: ContainerId,
        /// The command.
        command: Vec<String>,
    },
    /// Ask over HTTP.
    Http {
        /// `http` or `https`.
        scheme: &'static str,
        /// Whom: an address or a name.
        host: String,
        /// Where.
        port: u16,
        /// For what, with its query.
        path: String,
        /// More headers.
        headers: Vec<(String, String)>,
    },
    /// Connect over TCP.
    Tcp {
        /// To whom: an address or a name.
        host: String,
        /// Where.
        port: u16,
    },
    /// Ask over gRPC, by its health protocol.
    Grpc {
        /// Whom.
        host: String,
        /// Where.
        port: u16,
        /// About which service; empty is the server as a whole.
        service: String,
    },
    /// Wait.
    Sleep(Duration),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All is well.
    Success,
    /// It is not: what the container said.
    Failure(String),
    /// Nothing can be said: why.
    Error(String),
}

impl Check {
    /// What a probe looks at.
    ///
    /// # Errors
    /// It cannot be done, with the reason.
    pub fn of_probe(
        probe: &Probe,
        container: &Container,
        id: &ContainerId,
        pod_ip: Option<IpAddr>,
    ) -> Result<Self, String> {
        if let Some(exec) = &probe.exec {
            return Ok(Self::Exec { container: id.clone(), command: exec.command.clone().unwrap_or_default() });
        }
        if let Some(http) = &probe.http_get {
            return Self::http(http, container, pod_ip);
        }
        if let Some(tcp) = &probe.tcp_socket {
            return Self::tcp(tcp.host.as_deref(), &tcp.port, container, pod_ip);
        }
        if let Some(grpc) = &probe.grpc {
            let port = port(&IntOrString::Int(grpc.port), container)?;
            let service = grpc.service.clone().unwrap_or_default();
            return Ok(Self::Grpc { host: host(None, pod_ip)?, port, service });
        }
        Err("missing probe handler".to_owned())
    }

    /// What a hook does.
    ///
    /// # Errors
    /// It cannot be done, with the reason.
    pub fn of_hook(
        hook: &LifecycleHandler,
        container: &Container,
        id: &ContainerId,
        pod_ip: Option<IpAddr>,
    ) -> Result<Self, String> {
        if let Some(exec) = &hook.exec {
            return Ok(Self::Exec { container: id.clone(), command: exec.command.clone().unwrap_or_default() });
        }
        if let Some(http) = &hook.http_get {
            return Self::http(http, container, pod_ip);
        }
        if let Some(sleep) = &hook.sleep {
            return Ok(Self::Sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))));
        }
        Err("invalid handler".to_owned())
    }

    fn http(action: &HTTPGetAction, container: &Container, pod_ip: Option<IpAddr>) -> Result<Self, String> {
        let path = action.path.clone().unwrap_or_default();
        let headers = action.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
        Ok(Self::Http {
            scheme: if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" },
            host: host(action.host.as_deref(), pod_ip)?,
            port: port(&action.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: headers.collect(),
        })
    }

    fn tcp(
        wanted: Option<&str>,
        at: &IntOrString,
        container: &Container,
        pod_ip: Option<IpAddr>,
    ) -> Result<Self, String> {
        Ok(Self::Tcp { host: host(wanted, pod_ip)?, port: port(at, container)? })
    }
}

fn host(wanted: Option<&str>, pod_ip: Option<IpAddr>) -> Result<String, String> {
    match (wanted.filter(|host| !host.is_empty()), pod_ip) {
        (Some(host), _) => Ok(host.to_owned()),
        (None, Some(ip)) => Ok(ip.to_string()),
        (None, None) => Err("the pod has no address".to_owned()),
    }
}

fn port(wanted: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match container.ports.iter().find(|port| port.name == *name) {
            Some(port) => port.container_port,
            None => {
                name.parse().map_err(|_| format!("couldn't find port {name:?} in container {:?}", container.name))?
            }
        },
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Looks at containers.
#[async_trait]
pub trait Prober: Send + Sync + 'static {
    /// Makes a check, giving up after `timeout`.
    async fn check(&self, check: &Check, timeout: Duration) -> Outcome;
}

/// Looks at containers from the node: commands through the runtime, everything else over the network.
pub struct NodeProber {
    runtime: Arc<dyn Runtime>,
    tls: Arc<rustls::ClientConfig>,
}

impl fmt::Debug for NodeProber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeProber").finish_non_exhaustive()
    }
}

impl NodeProber {
    /// Runs commands through that runtime.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, tls: Arc::new(super::unverified_tls()) }
    }

    async fn exec(&self, container: &ContainerId, command: &[String], timeout: Duration) -> Outcome {
        match self.runtime.exec_sync(container, command, Some(timeout)).await {
            Ok(output) if output.exit_code == 0 => Outcome::Success,
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                Outcome::Failure(String::from_utf8_lossy(&said[..said.len().min(OUTPUT_MAX)]).into_owned())
            }
            Err(RuntimeError::Timeout { .. }) => {
                Outcome::Failure(format!("command timed out: {command:?} timed out after {}s", timeout.as_secs()))
            }
            Err(error) => Outcome::Error(error.to_string()),
        }
    }
}

/// How much of what a container says is kept, in bytes.
const OUTPUT_MAX: usize = 10 * 1024;

#[async_trait]
impl Prober for NodeProber {
    async fn check(&self, check: &Check, timeout: Duration) -> Outcome {
        match check {
            Check::Exec { container, command } => self.exec(container, command, timeout).await,
            Check::Http { scheme, host, port, path, headers } => {
                http::get(&self.tls, scheme, host, *port, path, headers, timeout).await
            }
            Check::Tcp { host, port } => {
                match tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), *port))).await {
                    Ok(Ok(_)) => Outcome::Success,
                    Ok(Err(error)) => Outcome::Failure(format!("dial tcp {host}:{port}: {}", plain(&error))),
                    Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
                }
            }
            Check::Grpc { host, port, service } => grpc::health(host, *port, service, timeout).await,
            Check::Sleep(time) => {
                tokio::time::sleep(*time).await;
                Outcome::Success
            }
        }
    }
}

/// An error of the system in the words that users of Kubernetes know.
pub(super) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[path = "check_test.rs"]
mod tests;
