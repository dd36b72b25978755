//! Calls to other servers: webhooks, identity providers, log collectors.
//!
//! [`Remote`] is how they are reached; the standard one is [`Https`] (feature `serve`). Who is called, and whom to
//! trust, is a [`Target`]; a Service of the cluster is found by [`of_service`].

mod client_config;
mod credentials;
#[cfg(feature = "serve")]
mod https;
mod kubeconfig;
mod review;
mod service;
#[cfg(feature = "serve")]
mod trust;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};

pub(crate) use client_config::of_client_config;
pub use credentials::Credentials;
#[cfg(feature = "serve")]
pub use https::Https;
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub(crate) use review::Reviewer;
pub use service::of_service;
#[cfg(feature = "serve")]
pub(crate) use trust::trusting;

/// Largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Target {
    /// `https://host[:port]/path`. Plain `http` is taken where the caller allows it.
    pub url: Uri,
    /// Where to connect to, as host and port, if elsewhere than the URL says. The certificate must be the URL's.
    pub connect: Option<(String, u16)>,
    /// The authorities (PEM) that must have signed the server's certificate; without it the system's.
    pub authorities: Option<Arc<str>>,
    /// The name that the certificate must hold, if not the URL's host.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// A client certificate and its key (PEM) to show.
    pub identity: Option<(Arc<str>, Arc<str>)>,
}

impl Target {
    /// The server of that URL, trusted as the system trusts it.
    #[must_use]
    pub const fn new(url: Uri) -> Self {
        Self { url, connect: None, authorities: None, server_name: None, insecure: false, identity: None }
    }

    /// Host and port to connect to.
    #[must_use]
    pub fn address(&self) -> (String, u16) {
        if let Some(connect) = &self.connect {
            return connect.clone();
        }
        let default = if self.url.scheme_str() == Some("http") { 80 } else { 443 };
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        (host.to_owned(), self.url.port_u16().unwrap_or(default))
    }
}

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The server can't be reached: try again later.
    #[error("{reason}")]
    Unreachable {
        /// What failed.
        reason: String,
    },
    /// The target can't be used: correct its configuration.
    #[error("{problem}")]
    Configuration {
        /// What is wrong with which.
        problem: String,
    },
    /// The answer is larger than what is read.
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

impl RemoteError {
    /// The server can't be reached for that reason.
    pub fn unreachable(reason: impl fmt::Display) -> Self {
        Self::Unreachable { reason: reason.to_string() }
    }

    /// The target can't be used for that reason.
    pub fn configuration(problem: impl fmt::Display) -> Self {
        Self::Configuration { problem: problem.to_string() }
    }
}

/// Sends requests to other servers. Callers limit the time.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// Sends a request whose URI is path and query, and reads the whole answer.
    ///
    /// # Errors
    /// There is no answer, whatever its status.
    async fn send(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError>;
}

/// Reaches nobody: for servers without the feature `serve` that were given no other way.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRemote;

#[async_trait]
impl Remote for NoRemote {
    async fn send(&self, _: &Target, _: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        Err(RemoteError::configuration("this API server has no way to call others: give its builder a remote"))
    }
}

/// The way that a standard server has.
#[must_use]
pub fn standard() -> Arc<dyn Remote> {
    #[cfg(feature = "serve")]
    let remote = Https::default();
    #[cfg(not(feature = "serve"))]
    let remote = NoRemote;
    Arc::new(remote)
}
