//! Tokens that a webhook knows: a `TokenReview` is posted to it, and its answer remembered for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{AuthnError, TokenAuthenticator};
use crate::environment::Environment;
use crate::remote::{Kubeconfig, Remote, Reviewer};
use crate::request::User;
use crate::ttl_cache::TtlCache;

/// Most answers that are remembered.
const ANSWERS_MAX: usize = 8192;

/// How the webhook is called.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenWebhookConfig {
    /// The webhook and the credentials for it.
    pub kubeconfig: Kubeconfig,
    /// `v1` or `v1beta1` of `authentication.k8s.io`, which is posted.
    pub version: TokenReviewVersion,
    /// How long a token that was accepted is not asked for again; zero for never. Upstream's default is two minutes.
    pub accepted_ttl: Duration,
    /// How long a token that was refused is not asked for again; zero for never. Upstream's default is two minutes.
    pub refused_ttl: Duration,
    /// How long one call may take. Upstream's default is 30 seconds.
    pub timeout: Duration,
}

impl TokenWebhookConfig {
    /// Upstream's defaults for that webhook.
    #[must_use]
    pub const fn new(kubeconfig: Kubeconfig) -> Self {
        let ttl = Duration::from_secs(120);
        let version = TokenReviewVersion::V1;
        Self { kubeconfig, version, accepted_ttl: ttl, refused_ttl: ttl, timeout: Duration::from_secs(30) }
    }
}

/// A version of `TokenReview`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenReviewVersion {
    /// `authentication.k8s.io/v1`
    #[default]
    V1,
    /// `authentication.k8s.io/v1beta1`
    V1beta1,
}

/// What the webhook said: the user and the audiences, or why not.
type Answer = Result<(User, Vec<String>), String>;

/// Asks a webhook whose a token is.
pub struct TokenWebhook {
    reviewer: Reviewer,
    api_version: &'static str,
    accepted_ttl: SignedDuration,
    refused_ttl: SignedDuration,
    /// The API server's own audiences: what the webhook means if it names none.
    implicit: Vec<String>,
    environment: Arc<dyn Environment>,
    /// By a hash of token and audiences: no token stays in memory.
    answers: TtlCache<[u8; 32], Answer>,
}

impl fmt::Debug for TokenWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenWebhook").field(&self.reviewer.kubeconfig).finish()
    }
}

impl TokenWebhook {
    /// Asks that webhook; a server with these audiences is meant where it names none.
    #[must_use]
    pub fn new(
        config: TokenWebhookConfig,
        implicit: Vec<String>,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let ttl = |ttl| SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
        Self {
            api_version: match config.version {
                TokenReviewVersion::V1 => "authentication.k8s.io/v1",
                TokenReviewVersion::V1beta1 => "authentication.k8s.io/v1beta1",
            },
            accepted_ttl: ttl(config.accepted_ttl),
            refused_ttl: ttl(config.refused_ttl),
            reviewer: Reviewer { remote, kubeconfig: config.kubeconfig, timeout: config.timeout },
            implicit,
            environment,
            answers: TtlCache::new(ANSWERS_MAX),
        }
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Answer, AuthnError> {
        let review = json!({
            "apiVersion": self.api_version,
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token, "audiences": audiences},
        });
        let answer = self.reviewer.post(&review).await.map_err(|error| {
            tracing::warn!(%error, "the token webhook gave no answer");
            AuthnError::new(error.reason)
        })?;
        Ok(read(&answer["status"], audiences, &self.implicit))
    }
}

/// What a review's status means. An empty reason: the webhook doesn't know the token.
fn read(status: &Value, wanted: &[String], implicit: &[String]) -> Answer {
    let strings = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
    let named = strings(&status["audiences"]);
    let good = if named.is_empty() { implicit } else { &named };
    let shared: Vec<String> = wanted.iter().filter(|audience| good.contains(audience)).cloned().collect();
    if shared.is_empty() {
        return Err(String::new());
    }
    if status["authenticated"] != true {
        return Err(status["error"].as_str().unwrap_or_default().to_owned());
    }
    let user = &status["user"];
    let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
    let extra = serde_json::from_value(user["extra"].clone()).unwrap_or_default();
    if text("username").is_empty() {
        return Err("the token webhook named no user".into());
    }
    Ok((User { name: text("username"), uid: text("uid"), groups: strings(&user["groups"]), extra }, shared))
}

#[async_trait]
impl TokenAuthenticator for TokenWebhook {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let mut hash = Sha256::new();
        for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
            // Lengths keep parts apart.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let key: [u8; 32] = hash.finalize().into();
        let answer = match self.answers.get(&key, self.environment.now()) {
            Some(known) => known,
            None => {
                let answer = self.ask(token, audiences).await?;
                let ttl = if answer.is_ok() { self.accepted_ttl } else { self.refused_ttl };
                self.answers.put(key, answer.clone(), self.environment.now(), ttl);
                answer
            }
        };
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(reason) if reason.is_empty() => Ok(None),
            Err(reason) => Err(AuthnError::new(reason)),
        }
    }
}
