//! Tokens of OpenID Connect issuers, by upstream's `AuthenticationConfiguration`.
//!
//! [`StructuredAuthentication`] holds the issuers and is given to
//! [`Builder::authentication`](crate::server::Builder::authentication). Each token is for the issuer that it names, whose
//! keys are found by discovery, cached, and fetched again when they have been rotated. Made of a file, it follows the file
//! while the server runs: a configuration that can't be used, or an issuer that can't be reached, changes nothing.
//!
//! ```
//! use std::sync::Arc;
//!
//! use kubewright_apiserver::authn::{AuthenticationConfig, StructuredAuthentication};
//! use kubewright_apiserver::environment::SystemEnvironment;
//! use kubewright_apiserver::remote;
//! use kubewright_apiserver::server::ApiServer;
//! use kubewright_store::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AuthenticationConfig::parse(
//!     "apiVersion: apiserver.config.k8s.io/v1
//! kind: AuthenticationConfiguration
//! jwt:
//! - issuer: {url: 'https://id.example.com', audiences: [cluster]}
//!   claimMappings:
//!     username: {expression: '\"corp:\" + claims.sub'}
//!     groups: {claim: groups, prefix: 'corp:'}
//!   userValidationRules:
//!   - {expression: \"!user.groups.exists(g, g.startsWith('system:'))\", message: reserved}
//! anonymous: {enabled: true, conditions: [{path: /livez}]}",
//! )?;
//! let authentication = StructuredAuthentication::new(config, remote::standard(), Arc::new(SystemEnvironment));
//! let server = ApiServer::builder(Arc::new(MemoryStore::new())).authentication(authentication).build().await?;
//! # server.shutdown().await;
//! # Ok(()) }
//! ```

mod distributed;
mod keys;
mod metrics;
mod provider;
#[cfg(test)]
mod tests;
mod token;
mod user;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::config::{AuthenticationConfig, AuthenticationConfigError, JwtConfig};
use super::{Anonymous, AuthnError, TokenAuthenticator};
use crate::environment::Environment;
use crate::remote::Remote;
use crate::request::User;
use crate::watched_file::{self, ReloadMetrics, WatchedFile};
use distributed::DistributedClaims;
pub(crate) use metrics::JwtMetrics;
use provider::Provider;
use token::Token;

/// How long the issuers of a new configuration may take to be reached.
const PREPARE_LIMIT: Duration = Duration::from_secs(60);

/// One issuer's tokens.
struct JwtAuthenticator {
    config: Arc<JwtConfig>,
    provider: Provider,
    distributed: Option<DistributedClaims>,
}

impl JwtAuthenticator {
    /// The user, if the token is this issuer's.
    async fn user(&self, token: &mut Token<'_>, now_seconds: i64) -> Result<User, String> {
        let (algorithm, id, signature) = token.signed().map_err(verify_failed)?;
        token.check(&self.config.issuer.audiences, now_seconds).map_err(verify_failed)?;
        self.provider.verify(&algorithm, &id, token.message, &signature).await.map_err(verify_failed)?;
        if let Some(distributed) = &self.distributed {
            let found = distributed.find(&token.claims).await;
            token.claims.extend(found.map_err(|why| format!("could not expand distributed claims: {why}"))?);
        }
        user::user_of(&self.config, &token.claims)
    }
}

fn verify_failed(why: String) -> String {
    format!("verify token: {why}")
}

struct Inner {
    issuers: RwLock<Arc<[JwtAuthenticator]>>,
    anonymous: Option<Anonymous>,
    file: Option<WatchedFile>,
    disallowed: OnceLock<Vec<String>>,
    remote: Arc<dyn Remote>,
    environment: Arc<dyn Environment>,
    tokens: Arc<OnceLock<JwtMetrics>>,
    reloads: OnceLock<ReloadMetrics>,
}

/// The issuers whose tokens are believed. Clones are handles onto the same issuers.
#[derive(Clone)]
pub struct StructuredAuthentication(Arc<Inner>);

impl fmt::Debug for StructuredAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.issuers();
        let names = issuers.iter().map(|issuer| issuer.config.issuer.url.as_str());
        f.debug_list().entries(names).finish()
    }
}

impl StructuredAuthentication {
    /// Believes these issuers. They are reached that way, when the first token comes.
    #[must_use]
    pub fn new(config: AuthenticationConfig, remote: Arc<dyn Remote>, environment: Arc<dyn Environment>) -> Self {
        Self::with_file(config, None, remote, environment)
    }

    /// Believes the issuers in that file, which is followed while the server runs.
    ///
    /// # Errors
    /// The file can't be read, or its configuration can't be used.
    pub async fn from_file(
        path: PathBuf,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, AuthenticationConfigError> {
        let (file, text) = WatchedFile::open(path).await.map_err(AuthenticationConfigError::new)?;
        Ok(Self::with_file(AuthenticationConfig::parse(&text)?, Some(file), remote, environment))
    }

    fn with_file(
        config: AuthenticationConfig,
        file: Option<WatchedFile>,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let tokens = Arc::default();
        let issuers = RwLock::new(authenticators(&config, &remote, &environment, &tokens));
        let AuthenticationConfig { anonymous, .. } = config;
        Self(Arc::new(Inner {
            issuers,
            anonymous,
            file,
            disallowed: OnceLock::new(),
            remote,
            environment,
            tokens,
            reloads: OnceLock::new(),
        }))
    }

    /// Who may come without credentials, where the configuration says so.
    pub(crate) fn anonymous(&self) -> Option<Anonymous> {
        self.0.anonymous.clone()
    }

    /// Refuses these issuers from now on: they are someone else's.
    pub(crate) fn disallow(&self, names: &[String]) -> Result<(), AuthenticationConfigError> {
        let configs = self.issuers().iter().map(|issuer| Arc::clone(&issuer.config)).collect();
        AuthenticationConfig { issuers: configs, anonymous: None }.disallow(names)?;
        let _ = self.0.disallowed.set(names.to_vec());
        Ok(())
    }

    /// Believes these issuers from now on, once all of them were reached.
    ///
    /// # Errors
    /// An issuer is someone else's or can't be reached, or who may come without credentials would change; nothing changes
    /// then.
    pub async fn replace(&self, config: &AuthenticationConfig) -> Result<(), AuthenticationConfigError> {
        self.check(config)?;
        let issuers = authenticators(config, &self.0.remote, &self.0.environment, &self.0.tokens);
        let prepare = async {
            for issuer in issuers.iter() {
                let url = &issuer.config.issuer.url;
                issuer.provider.prepare().await.map_err(|why| {
                    AuthenticationConfigError::new(format!("authenticator for issuer {url:?} is not healthy: {why}"))
                })?;
            }
            Ok::<(), AuthenticationConfigError>(())
        };
        let late = |_| AuthenticationConfigError::new("the issuers were not reached in time");
        tokio::time::timeout(PREPARE_LIMIT, prepare).await.map_err(late)??;
        *self.0.issuers.write().unwrap_or_else(PoisonError::into_inner) = issuers;
        Ok(())
    }

    fn check(&self, config: &AuthenticationConfig) -> Result<(), AuthenticationConfigError> {
        if config.anonymous != self.0.anonymous {
            return Err(AuthenticationConfigError::new(
                "anonymous: Forbidden: changed from initial configuration file",
            ));
        }
        config.disallow(self.0.disallowed.get().map_or(&[], Vec::as_slice))
    }

    /// Reads the file again; tells whether its configuration is new.
    ///
    /// # Errors
    /// As for [`replace`](Self::replace), or the file can't be read or used; nothing changes then. An issuer that can't
    /// be reached is tried again by the next call, other errors are told once for each text of the file.
    pub async fn reload(&self) -> Result<bool, AuthenticationConfigError> {
        let Some(file) = &self.0.file else { return Ok(false) };
        let Some(text) = file.changed().await.map_err(AuthenticationConfigError::new)? else { return Ok(false) };
        let sound = AuthenticationConfig::parse(&text).and_then(|config| self.check(&config).map(|()| config));
        let config = match sound {
            Ok(config) => config,
            Err(error) => {
                file.see(text);
                return Err(error);
            }
        };
        self.replace(&config).await?;
        file.see(text);
        Ok(true)
    }

    fn issuers(&self) -> Arc<[JwtAuthenticator]> {
        Arc::clone(&self.0.issuers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Measures tokens, and what comes of reading the file again.
    pub(crate) fn measure(&self, tokens: JwtMetrics, reloads: ReloadMetrics) {
        let _ = self.0.tokens.set(tokens);
        if let Some(file) = &self.0.file {
            reloads.in_force(file);
        }
        let _ = self.0.reloads.set(reloads);
    }

    /// Follows the file, if there is one, until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let Some(file) = &self.0.file else { return };
        let outcome = |taken| {
            if let Some(metrics) = self.0.reloads.get() {
                metrics.record(file, taken, self.0.environment.now());
            }
        };
        watched_file::follow("authentication configuration", || self.reload(), outcome, cancel).await;
    }
}

fn authenticators(
    config: &AuthenticationConfig,
    remote: &Arc<dyn Remote>,
    environment: &Arc<dyn Environment>,
    metrics: &Arc<OnceLock<JwtMetrics>>,
) -> Arc<[JwtAuthenticator]> {
    let authenticator = |config: &Arc<JwtConfig>| JwtAuthenticator {
        config: Arc::clone(config),
        provider: Provider::new(&config.issuer, Arc::clone(remote), Arc::clone(environment), Arc::clone(metrics)),
        distributed: DistributedClaims::new(config, Arc::clone(remote), Arc::clone(environment)),
    };
    config.issuers.iter().map(authenticator).collect()
}

#[async_trait]
impl TokenAuthenticator for StructuredAuthentication {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let issuers = self.issuers();
        if issuers.is_empty() {
            return Ok(None);
        }
        let Some(mut token) = Token::split(token) else { return Ok(None) };
        let Some(issuer) = issuers.iter().find(|issuer| issuer.config.issuer.url == token.issuer()) else {
            return Ok(None);
        };
        let started = Instant::now();
        let user = issuer.user(&mut token, self.0.environment.now().as_second()).await;
        if let Some(metrics) = self.0.tokens.get() {
            metrics.checked(&issuer.config.issuer.url, user.is_ok(), started.elapsed());
        }
        let user = user.map_err(|why| AuthnError::new(format!("oidc: {why}")))?;
        Ok(Some((user, audiences.to_vec())))
    }
}
