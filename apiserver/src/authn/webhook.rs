//! Tokens that a webhook knows: a `TokenReview` is posted to it, and its answer remembered for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::metrics::{Asks, TokenCacheMetrics};
use super::{AuthnError, TokenAuthenticator};
use crate::environment::Environment;
use crate::remote::{Kubeconfig, Remote, Reviewer};
use crate::request::User;
use crate::ttl_cache::TtlCache;

/// Most answers that are remembered.
const ANSWERS_MAX: usize = 8192;
/// From so many questions on it is looked which of them nobody waits for.
const SWEEP_AT: usize = 64;

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

/// A hash of token and audiences: no token stays in memory.
type Key = [u8; 32];
/// A question that is being asked; who has the same takes its answer.
type Asking = BoxFuture<'static, Result<Answer, AuthnError>>;

/// Asks a webhook whose a token is.
pub struct TokenWebhook {
    webhook: Arc<Webhook>,
    accepted_ttl: SignedDuration,
    refused_ttl: SignedDuration,
    environment: Arc<dyn Environment>,
    answers: TtlCache<Key, Answer>,
    asking: Mutex<HashMap<Key, WeakShared<Asking>>>,
    metrics: TokenCacheMetrics,
}

struct Webhook {
    reviewer: Reviewer,
    api_version: &'static str,
    /// The API server's own audiences: what the webhook means if it names none.
    implicit: Vec<String>,
}

impl fmt::Debug for TokenWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenWebhook").field(&self.webhook.reviewer.kubeconfig).finish()
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
        let api_version = match config.version {
            TokenReviewVersion::V1 => "authentication.k8s.io/v1",
            TokenReviewVersion::V1beta1 => "authentication.k8s.io/v1beta1",
        };
        let reviewer = Reviewer { remote, kubeconfig: config.kubeconfig, timeout: config.timeout };
        Self {
            accepted_ttl: ttl(config.accepted_ttl),
            refused_ttl: ttl(config.refused_ttl),
            webhook: Arc::new(Webhook { reviewer, api_version, implicit }),
            environment,
            answers: TtlCache::new(ANSWERS_MAX),
            asking: Mutex::default(),
            metrics: TokenCacheMetrics::default(),
        }
    }

    /// Measures into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: TokenCacheMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Asks, or waits for who asks the same already.
    fn ask(&self, key: Key, token: &str, audiences: &[String]) -> (Shared<Asking>, Asks) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = asking.get(&key).and_then(WeakShared::upgrade) {
            return (asked, self.metrics.asks(true));
        }
        if asking.len() >= SWEEP_AT {
            // What nobody waits for any more was given up.
            asking.retain(|_, asked| asked.upgrade().is_some());
        }
        let (webhook, token, audiences) = (Arc::clone(&self.webhook), token.to_owned(), audiences.to_vec());
        let metrics = self.metrics.clone();
        let asked = async move {
            let answer = webhook.ask(&token, &audiences).await;
            metrics.fetched(answer.is_ok());
            answer
        };
        let asked = asked.boxed().shared();
        asking.extend(asked.downgrade().map(|weak| (key, weak)));
        (asked, self.metrics.asks(false))
    }
}

impl Webhook {
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
        let key: Key = hash.finalize().into();
        let started = Instant::now();
        let known = self.answers.get(&key, self.environment.now());
        let remembered = known.is_some();
        let answer = match known {
            Some(known) => Ok(known),
            None => {
                let (asked, asks) = self.ask(key, token, audiences);
                let answer = asked.await;
                drop(asks);
                self.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                if let Ok(answer) = &answer {
                    let ttl = if answer.is_ok() { self.accepted_ttl } else { self.refused_ttl };
                    self.answers.put(key, answer.clone(), self.environment.now(), ttl);
                }
                answer
            }
        };
        self.metrics.looked_up(remembered, started.elapsed());
        match answer? {
            Ok(found) => Ok(Some(found)),
            Err(reason) if reason.is_empty() => Ok(None),
            Err(reason) => Err(AuthnError::new(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures::future::join_all;
    use http::{Request, Response};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::environment::SystemEnvironment;
    use crate::remote::{RemoteError, Target};

    /// Answers once it is let, and counts.
    struct Hook {
        calls: AtomicUsize,
        may_answer: Semaphore,
    }

    #[async_trait]
    impl Remote for Hook {
        async fn send(&self, _: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.may_answer.acquire().await.unwrap().forget();
            let review: Value = serde_json::from_slice(request.body()).unwrap();
            let status = json!({"authenticated": true, "user": {"username": review["spec"]["token"]}});
            Ok(Response::new(json!({ "status": status }).to_string().into()))
        }
    }

    #[tokio::test]
    async fn the_same_token_is_asked_for_once_at_a_time() {
        let hook = Arc::new(Hook { calls: AtomicUsize::new(0), may_answer: Semaphore::new(0) });
        let kubeconfig = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: [{name: \
                          k, cluster: {server: 'https://hook.test/'}}], users: [{name: u, user: {token: t}}]}";
        let mut config = TokenWebhookConfig::new(Kubeconfig::parse(kubeconfig, Path::new("/")).unwrap());
        // Nothing is remembered: what is spared is spared by asking together.
        (config.accepted_ttl, config.refused_ttl) = (Duration::ZERO, Duration::ZERO);
        let (remote, environment) = (Arc::clone(&hook) as _, Arc::new(SystemEnvironment));
        let mut registry = prometheus_client::registry::Registry::default();
        let webhook = TokenWebhook::new(config, vec!["api".into()], remote, environment);
        let webhook = webhook.measured(TokenCacheMetrics::new(&mut registry));
        let counts = |samples: &[&str]| {
            let page = crate::metrics::render(&registry, |_| true);
            for sample in samples {
                let sample = format!("authentication_token_cache_{sample}");
                assert!(page.lines().any(|line| line == sample), "{sample}\n{page}");
            }
        };
        let audiences = ["api".to_owned()];
        let ask = |token: &'static str| {
            let asked = webhook.authenticate_token(token, &audiences);
            async move { asked.await.unwrap().unwrap().0.name }
        };
        let mut many = Box::pin(join_all((0..10).map(|n| ask(if n == 9 { "other" } else { "one" }))));
        assert!(futures::poll!(&mut many).is_pending());
        assert_eq!(hook.calls.load(Ordering::Relaxed), 2);
        counts(&["active_fetch_count{status=\"in_flight\"} 2", "active_fetch_count{status=\"blocked\"} 8"]);
        // Who goes away takes the answer from nobody.
        let mut impatient = Box::pin(ask("one"));
        assert!(futures::poll!(&mut impatient).is_pending());
        drop(impatient);
        hook.may_answer.add_permits(2);
        let names = many.await;
        assert!(names[..9].iter().all(|name| name == "one") && names[9] == "other", "{names:?}");
        assert_eq!(hook.calls.load(Ordering::Relaxed), 2);
        hook.may_answer.add_permits(1);
        assert_eq!(ask("one").await, "one");
        assert_eq!(hook.calls.load(Ordering::Relaxed), 3);
        counts(&[
            "request_total{status=\"miss\"} 11",
            "fetch_total{status=\"ok\"} 3",
            "active_fetch_count{status=\"in_flight\"} 0",
            "active_fetch_count{status=\"blocked\"} 0",
        ]);
    }
}
