//! The chain of authorizers that upstream's `AuthorizationConfiguration` describes.
//!
//! [`StructuredAuthorization`] is given to [`Builder::authorization`](crate::server::Builder::authorization) and takes the
//! place of the standard chain (Node, then RBAC); `system:masters` may do everything before it. Made of a file, it follows
//! the file while the server runs: a configuration that can't be used changes nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::config::{AuthorizationConfig, AuthorizationConfigError, AuthorizerConfig};
use super::metrics::AuthzMetrics;
use super::webhook::AuthorizationWebhook;
use super::{AllowAll, Attributes, Authorizer, Chain, Decision};
use crate::environment::Environment;
use crate::remote::Remote;
use crate::request::User;
use crate::watched_file::{self, ReloadMetrics, WatchedFile};

/// No to everything.
struct DenyAll;

#[async_trait]
impl Authorizer for DenyAll {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".into())
    }
}

/// Counts what one authorizer of the chain decides.
struct Counted {
    kind: &'static str,
    name: String,
    inner: Arc<dyn Authorizer>,
    metrics: AuthzMetrics,
}

#[async_trait]
impl Authorizer for Counted {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let decision = self.inner.authorize(attributes).await;
        self.metrics.decided(self.kind, &self.name, &decision);
        decision
    }

    fn cannot_list_rules(&self, user: &User) -> Vec<String> {
        self.inner.cannot_list_rules(user)
    }
}

/// An authorizer whose decisions are counted under that type and name.
pub(crate) fn counted(
    config: &AuthorizerConfig,
    inner: Arc<dyn Authorizer>,
    metrics: &AuthzMetrics,
) -> Arc<dyn Authorizer> {
    Arc::new(Counted { kind: config.kind(), name: config.name(), inner, metrics: metrics.clone() })
}

/// What the server lends to the chain.
pub(crate) struct Lent {
    pub(crate) node: Arc<dyn Authorizer>,
    pub(crate) rbac: Arc<dyn Authorizer>,
    pub(crate) metrics: AuthzMetrics,
}

struct Inner {
    config: RwLock<AuthorizationConfig>,
    current: RwLock<Chain>,
    /// The types that were there at the start, webhooks aside: they stay.
    required: BTreeSet<&'static str>,
    file: Option<WatchedFile>,
    lent: OnceLock<Lent>,
    remote: Arc<dyn Remote>,
    environment: Arc<dyn Environment>,
    metrics: OnceLock<ReloadMetrics>,
}

/// The configured chain. Clones are handles onto the same chain.
#[derive(Clone)]
pub struct StructuredAuthorization(Arc<Inner>);

impl fmt::Debug for StructuredAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(config.authorizers.iter().map(AuthorizerConfig::name)).finish()
    }
}

impl StructuredAuthorization {
    /// Asks these authorizers; webhooks are reached that way.
    #[must_use]
    pub fn new(config: AuthorizationConfig, remote: Arc<dyn Remote>, environment: Arc<dyn Environment>) -> Self {
        Self::with_file(config, None, remote, environment)
    }

    /// Asks the authorizers in that file, which is followed while the server runs.
    ///
    /// # Errors
    /// The file can't be read, or its configuration can't be used.
    pub async fn from_file(
        path: PathBuf,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, AuthorizationConfigError> {
        let (file, text) = WatchedFile::open(path).await.map_err(AuthorizationConfigError::new)?;
        Ok(Self::with_file(AuthorizationConfig::parse(&text)?, Some(file), remote, environment))
    }

    fn with_file(
        config: AuthorizationConfig,
        file: Option<WatchedFile>,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let required = config.built_in();
        let (config, current) = (RwLock::new(config), RwLock::new(Chain::new(Vec::new())));
        Self(Arc::new(Inner {
            config,
            current,
            required,
            file,
            lent: OnceLock::new(),
            remote,
            environment,
            metrics: OnceLock::new(),
        }))
    }

    /// Whether roles and bindings are asked.
    pub(crate) fn has_rbac(&self) -> bool {
        self.0.required.contains("RBAC")
    }

    /// Takes what the server lends; until then nobody may do anything.
    pub(crate) fn lend(&self, lent: Lent) {
        let _ = self.0.lent.set(lent);
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.install(config);
    }

    /// Asks these authorizers from now on.
    ///
    /// # Errors
    /// A type other than Webhook that was there at the start is missing; nothing changes then.
    pub fn replace(&self, config: AuthorizationConfig) -> Result<(), AuthorizationConfigError> {
        let has = config.built_in();
        let missing: Vec<&str> = self.0.required.difference(&has).copied().collect();
        if !missing.is_empty() {
            return Err(AuthorizationConfigError::new(format!("missing required types: [{}]", missing.join(" "))));
        }
        if let Some(new) =
            has.iter().find(|kind| matches!(**kind, "Node" | "RBAC") && !self.0.required.contains(**kind))
        {
            let why = format!("authorizer type {new} is not allowed if it was not enabled at initial server startup");
            return Err(AuthorizationConfigError::new(why));
        }
        self.install(config);
        Ok(())
    }

    fn install(&self, config: AuthorizationConfig) {
        let Some(lent) = self.0.lent.get() else { return };
        let chain = config.authorizers.iter().map(|entry| {
            let inner: Arc<dyn Authorizer> = match entry {
                AuthorizerConfig::Node => Arc::clone(&lent.node),
                AuthorizerConfig::Rbac => Arc::clone(&lent.rbac),
                AuthorizerConfig::AlwaysAllow => Arc::new(AllowAll),
                AuthorizerConfig::AlwaysDeny => Arc::new(DenyAll),
                AuthorizerConfig::Webhook(webhook) => Arc::new(AuthorizationWebhook::new(
                    (**webhook).clone(),
                    Arc::clone(&self.0.remote),
                    Arc::clone(&self.0.environment),
                    lent.metrics.clone(),
                )),
            };
            counted(entry, inner, &lent.metrics)
        });
        let chain = Chain::new(chain.collect());
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = chain;
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Reads the file again; tells whether its configuration is new.
    ///
    /// # Errors
    /// The file can't be read, or its configuration can't be used; nothing changes then, and the same text is not told
    /// of again.
    pub async fn reload(&self) -> Result<bool, AuthorizationConfigError> {
        let Some(file) = &self.0.file else { return Ok(false) };
        let Some(text) = file.changed().await.map_err(AuthorizationConfigError::new)? else { return Ok(false) };
        let parsed = AuthorizationConfig::parse(&text);
        file.see(text);
        self.replace(parsed?)?;
        Ok(true)
    }

    fn chain(&self) -> Chain {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts what comes of reading the file again.
    pub(crate) fn measure(&self, metrics: ReloadMetrics) {
        if let Some(file) = &self.0.file {
            metrics.in_force(file);
        }
        let _ = self.0.metrics.set(metrics);
    }

    /// Follows the file, if there is one, until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let Some(file) = &self.0.file else { return };
        let outcome = |taken| {
            if let Some(metrics) = self.0.metrics.get() {
                metrics.record(file, taken, self.0.environment.now());
            }
        };
        watched_file::follow("authorization configuration", || self.reload(), outcome, cancel).await;
    }
}

#[async_trait]
impl Authorizer for StructuredAuthorization {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        self.chain().authorize(attributes).await
    }

    fn cannot_list_rules(&self, user: &User) -> Vec<String> {
        self.chain().cannot_list_rules(user)
    }
}
