//! Authentication: who asks.
//!
//! Each way to tell is an [`Authenticator`]; [`Authentication`] asks them in turn. Credentials that no authenticator
//! accepts are refused with 401, and so are requests without any, except for anonymous ones where they are let in.

mod bearer;
mod bootstrap_token;
mod config;
mod jwt;
mod metrics;
#[cfg(feature = "serve")]
mod request_header;
pub mod token;
mod webhook;
#[cfg(feature = "serve")]
mod x509;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::request::Parts;

pub use bearer::{AudienceAgnostic, Bearer, StaticTokens, TokenAuthenticator};
pub use bootstrap_token::BootstrapTokens;
pub use config::{AuthenticationConfig, AuthenticationConfigError};
pub(crate) use jwt::JwtMetrics;
pub use jwt::StructuredAuthentication;
pub use metrics::{AuthnMetrics, TokenCacheMetrics};
#[cfg(feature = "serve")]
pub use request_header::RequestHeader;
pub use webhook::{TokenReviewVersion, TokenWebhook, TokenWebhookConfig};
#[cfg(feature = "serve")]
pub use x509::{ClientAuthorities, ClientCertificates, PeerCertificates};

use crate::request::User;

/// The group of everyone whose credentials were accepted.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of everyone without credentials.
pub const ANONYMOUS: &str = "system:anonymous";

/// Credentials were given, and are no good; the answer is 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct AuthnError {
    /// Why, for the log; clients only hear `Unauthorized`.
    pub reason: String,
}

impl AuthnError {
    /// Refused for that reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// One way to tell who asks.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The user, or `None` if the request carries nothing that this authenticator knows.
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, AuthnError>;
}

/// Who may come without credentials, as `system:anonymous`. Authorization still decides what they may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    Never,
    /// Who asks for `/livez`, `/readyz` or `/healthz`.
    #[default]
    HealthPaths,
    /// Who asks for one of these paths, letter by letter.
    Paths(Vec<String>),
    /// Everyone.
    Everywhere,
}

impl Anonymous {
    fn admits(&self, path: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Paths(paths) => paths.iter().any(|known| known == path),
            Self::Everywhere => true,
            Self::HealthPaths => matches!(path, "/livez" | "/readyz" | "/healthz"),
        }
    }
}

/// Puts a user whose credentials were accepted into the group of all such.
pub(crate) fn add_authenticated(user: &mut User) {
    if !user.in_group(AUTHENTICATED) && user.name != ANONYMOUS {
        user.groups.push(AUTHENTICATED.into());
    }
}

/// All the ways to tell who asks, in order.
#[derive(Clone)]
pub struct Authentication {
    authenticators: Arc<[Arc<dyn Authenticator>]>,
    anonymous: Anonymous,
    metrics: AuthnMetrics,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").field("anonymous", &self.anonymous).finish_non_exhaustive()
    }
}

impl Authentication {
    /// Asks these authenticators, the first one first.
    #[must_use]
    pub fn new(authenticators: Vec<Arc<dyn Authenticator>>, anonymous: Anonymous) -> Self {
        Self { authenticators: authenticators.into(), anonymous, metrics: AuthnMetrics::default() }
    }

    /// Measures into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AuthnMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Who asks.
    ///
    /// # Errors
    /// The credentials are no good, or there are none and anonymous requests are not let in here.
    pub async fn authenticate(&self, parts: &Parts) -> Result<User, AuthnError> {
        let started = Instant::now();
        let outcome = self.identify(parts).await;
        let name = outcome.as_ref().ok().map(|user| user.name.as_str());
        self.metrics.attempted(name, started.elapsed());
        #[cfg(feature = "serve")]
        if let Some(left) = parts.extensions.get::<PeerCertificates>().and_then(PeerCertificates::seconds_left) {
            self.metrics.certificate(left);
        }
        outcome
    }

    async fn identify(&self, parts: &Parts) -> Result<User, AuthnError> {
        let mut refused = Vec::new();
        for authenticator in self.authenticators.iter() {
            match authenticator.authenticate(parts).await {
                Ok(Some(mut user)) => {
                    add_authenticated(&mut user);
                    return Ok(user);
                }
                Ok(None) => {}
                Err(error) => refused.push(error.reason),
            }
        }
        if !refused.is_empty() {
            return Err(AuthnError::new(format!("[{}]", refused.join(", "))));
        }
        // Credentials that nobody knows are not the same as none.
        let has_credentials = parts.headers.contains_key(http::header::AUTHORIZATION);
        if !has_credentials && self.anonymous.admits(parts.uri.path()) {
            return Ok(User::anonymous());
        }
        Err(AuthnError::new(if has_credentials { "credentials not recognized" } else { "no credentials provided" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str, token: Option<&str>) -> Parts {
        let mut builder = http::Request::builder().uri(path);
        if let Some(token) = token {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn authentication(anonymous: Anonymous) -> Authentication {
        let tokens = StaticTokens::new([("good".to_owned(), User::new("alice", &["staff"]))]);
        Authentication::new(vec![Arc::new(Bearer::new(vec![Arc::new(tokens)], vec![]))], anonymous)
    }

    #[tokio::test]
    async fn good_bad_and_no_credentials() {
        let authentication = authentication(Anonymous::HealthPaths);
        let alice = authentication.authenticate(&parts("/api", Some("good"))).await.unwrap();
        assert_eq!((alice.name.as_str(), alice.groups.len()), ("alice", 2));
        assert!(alice.in_group(AUTHENTICATED));
        assert!(authentication.authenticate(&parts("/api", Some("bad"))).await.is_err());
        assert!(authentication.authenticate(&parts("/api", None)).await.is_err());
        assert_eq!(authentication.authenticate(&parts("/livez", None)).await.unwrap(), User::anonymous());
        // Bad credentials are refused even where none are needed.
        assert!(authentication.authenticate(&parts("/livez", Some("bad"))).await.is_err());
        assert!(authentication.authenticate(&parts("/livez/../api", None)).await.is_err());
    }

    #[tokio::test]
    async fn anonymous_requests_are_let_in_where_asked_for() {
        assert!(authentication(Anonymous::Everywhere).authenticate(&parts("/api", None)).await.is_ok());
        assert!(authentication(Anonymous::Never).authenticate(&parts("/livez", None)).await.is_err());
        let paths = authentication(Anonymous::Paths(vec!["/version".into()]));
        assert!(paths.authenticate(&parts("/version", None)).await.is_ok());
        for other in ["/livez", "/version/", "/Version"] {
            assert!(paths.authenticate(&parts(other, None)).await.is_err(), "{other}");
        }
    }
}
