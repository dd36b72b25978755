//! Authentication: who asks.

use async_trait::async_trait;
use http::request::Parts;

use crate::request::User;

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
