//! Bearer tokens in the `Authorization` header.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{Authenticator, AuthnError};
use crate::request::User;

/// One way to tell whose a token is.
#[async_trait]
pub trait TokenAuthenticator: Send + Sync + 'static {
    /// The user and for which of these audiences the token is good; `None` if this authenticator doesn't know it.
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError>;
}

/// Reads the token out of a request and asks token authenticators in turn.
#[derive(Clone)]
pub struct Bearer {
    authenticators: Arc<[Arc<dyn TokenAuthenticator>]>,
    audiences: Arc<[String]>,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

impl Bearer {
    /// Asks these, for tokens meant for these audiences: the API server's own names.
    #[must_use]
    pub fn new(authenticators: Vec<Arc<dyn TokenAuthenticator>>, audiences: Vec<String>) -> Self {
        Self { authenticators: authenticators.into(), audiences: audiences.into() }
    }

    /// The API server's own audiences.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Whose a token is, and for which of the audiences.
    ///
    /// # Errors
    /// The token is known to be no good.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let mut refused = Vec::new();
        for authenticator in self.authenticators.iter() {
            match authenticator.authenticate_token(token, audiences).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) => refused.push(error.reason),
            }
        }
        if refused.is_empty() { Ok(None) } else { Err(AuthnError::new(refused.join(", "))) }
    }
}

/// An authenticator whose tokens name no audiences: they are good for the API server's own, and for no others.
#[derive(Clone, Debug)]
pub struct AudienceAgnostic<T> {
    inner: T,
    audiences: Vec<String>,
}

impl<T> AudienceAgnostic<T> {
    /// Its tokens are good for these audiences: the API server's own.
    pub const fn new(inner: T, audiences: Vec<String>) -> Self {
        Self { inner, audiences }
    }
}

#[async_trait]
impl<T: TokenAuthenticator> TokenAuthenticator for AudienceAgnostic<T> {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let shared: Vec<String> = audiences.iter().filter(|wanted| self.audiences.contains(wanted)).cloned().collect();
        if shared.is_empty() {
            return Ok(None);
        }
        self.inner.authenticate_token(token, &shared).await
    }
}

fn bearer_token(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        // Two headers: who passes which on? Neither counts.
        return None;
    }
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

#[async_trait]
impl Authenticator for Bearer {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, AuthnError> {
        let Some(token) = bearer_token(parts) else { return Ok(None) };
        match self.review(token, &self.audiences).await? {
            Some((user, _)) => Ok(Some(user)),
            None => Err(AuthnError::new("invalid bearer token")),
        }
    }
}

/// Tokens known beforehand, each for a user. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct StaticTokens {
    users: HashMap<[u8; 32], User>,
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({})", self.users.len())
    }
}

impl StaticTokens {
    /// These tokens, and whose they are.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = (String, User)>) -> Self {
        // Looking up a hash takes no longer for a token that is nearly right.
        let users = tokens.into_iter().filter(|(token, _)| !token.is_empty());
        Self { users: users.map(|(token, user)| (Sha256::digest(token).into(), user)).collect() }
    }
}

#[async_trait]
impl TokenAuthenticator for StaticTokens {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        Ok(self.users.get(&hash).map(|user| (user.clone(), audiences.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(values: &[&str]) -> Option<String> {
        let mut builder = http::Request::builder().uri("/");
        for value in values {
            builder = builder.header(AUTHORIZATION, *value);
        }
        bearer_token(&builder.body(()).unwrap().into_parts().0).map(str::to_owned)
    }

    #[tokio::test]
    async fn tokens_without_audiences_are_for_the_api_server_alone() {
        let tokens = StaticTokens::new([("t".to_owned(), User::new("alice", &[]))]);
        let tokens = AudienceAgnostic::new(tokens, vec!["api".into(), "other".into()]);
        let ask = |audiences: &[&str]| {
            let audiences: Vec<String> = audiences.iter().map(|&audience| audience.to_owned()).collect();
            let tokens = tokens.clone();
            async move { tokens.authenticate_token("t", &audiences).await.unwrap().map(|(_, shared)| shared) }
        };
        assert_eq!(ask(&["api", "vault"]).await.unwrap(), ["api"]);
        assert_eq!(ask(&["vault"]).await, None);
    }

    #[test]
    fn tokens_are_read_from_one_header_only() {
        assert_eq!(token_of(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(token_of(&["bearer  abc "]).as_deref(), Some("abc"));
        for none in [&["Basic abc"][..], &["Bearer"], &["Bearer "], &["Bearer a b"], &["Bearer a", "Bearer b"], &[]] {
            assert_eq!(token_of(none), None, "{none:?}");
        }
    }
}
