//! Where an issuer's keys come from: its discovery document says where they are; they are fetched once, kept, and
//! fetched again when a token comes that none of them signed, or when they have grown old.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::{Request, Uri, header};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::keys::KeySet;
use super::metrics::JwtMetrics;
use crate::authn::config::IssuerConfig;
use crate::environment::Environment;
use crate::remote::{Remote, Target};

/// How long one request to an issuer may take.
pub(super) const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// A fetch begins at least so long after the last one ended, in milliseconds: tokens signed by nobody must not become a
/// flood at the issuer's.
const FETCH_GAP_MS: i64 = 1000;
/// Keys older than this are fetched anew before they are used: one that was taken out of the set must not live on.
const KEYS_AGE_SECONDS_MAX: i64 = 600;
/// So long a token waits for old keys to be fetched anew. Then those that are known count, until the issuer answers.
const REFRESH_WAIT: Duration = Duration::from_secs(1);

/// Keys, and when they were fetched.
#[derive(Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Timestamp,
}

/// A fetch that all who need it wait for together. It goes on when one of them asks, and needs no task of its own.
type Fetch = Shared<BoxFuture<'static, Result<Fetched, String>>>;

#[derive(Default)]
struct Attempts {
    under_way: Option<(Fetch, Instant)>,
    /// When the last one ended.
    ended: Option<Timestamp>,
    failed: Option<String>,
}

/// What to do for newer keys.
enum Newer {
    Known(Fetched),
    /// It was just tried.
    Failed(String),
    /// Wait for this, which began then.
    Fetching(Fetch, Instant),
}

/// An issuer's keys.
pub(super) struct Provider {
    source: Arc<Source>,
    attempts: Mutex<Attempts>,
}

/// Where keys come from, and those that came last.
struct Source {
    issuer: String,
    discovery: String,
    authorities: Option<Arc<str>>,
    remote: Arc<dyn Remote>,
    environment: Arc<dyn Environment>,
    metrics: Arc<OnceLock<JwtMetrics>>,
    current: RwLock<Option<Fetched>>,
    keys_url: Mutex<Option<Uri>>,
}

impl Provider {
    pub(super) fn new(
        issuer: &IssuerConfig,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
        metrics: Arc<OnceLock<JwtMetrics>>,
    ) -> Self {
        let source = Source {
            metrics,
            issuer: issuer.url.clone(),
            discovery: issuer.discovery(),
            authorities: issuer.authorities.clone(),
            remote,
            environment,
            current: RwLock::new(None),
            keys_url: Mutex::default(),
        };
        Self { source: Arc::new(source), attempts: Mutex::default() }
    }

    /// Checks a signature with the issuer's keys.
    pub(super) async fn verify(&self, algorithm: &str, id: &str, message: &[u8], signed: &[u8]) -> Result<(), String> {
        let fresh = self.fresh().await?;
        if fresh.keys.verifies(algorithm, id, message, signed) {
            return Ok(());
        }
        // Perhaps a key that is newer than ours.
        let newer = self.fetch(Some(fresh.at)).await?;
        if newer.keys.verifies(algorithm, id, message, signed) {
            return Ok(());
        }
        Err("failed to verify signature: failed to verify id token signature".into())
    }

    /// Fetches the keys if there are none yet or they have grown old.
    pub(super) async fn prepare(&self) -> Result<(), String> {
        self.fresh().await.map(drop)
    }

    /// An issuer that is away, or does not answer, does not lock out those whose keys are known.
    async fn fresh(&self) -> Result<Fetched, String> {
        let Some(known) = self.source.known() else { return self.fetch(None).await };
        if self.source.environment.now().as_second() - known.at.as_second() < KEYS_AGE_SECONDS_MAX {
            return Ok(known);
        }
        Ok(match self.newer(Some(known.at)) {
            Newer::Known(newer) => newer,
            Newer::Failed(_) => known,
            Newer::Fetching(fetch, begun) => {
                let wait = REFRESH_WAIT.saturating_sub(begun.elapsed());
                match tokio::time::timeout(wait, self.outcome(fetch)).await {
                    Ok(Ok(newer)) => newer,
                    Ok(Err(_)) | Err(_) => known,
                }
            }
        })
    }

    /// Fetches keys, unless someone has since `than`, or just tried.
    async fn fetch(&self, than: Option<Timestamp>) -> Result<Fetched, String> {
        match self.newer(than) {
            Newer::Known(newer) => Ok(newer),
            Newer::Failed(reason) => Err(reason),
            Newer::Fetching(fetch, _) => self.outcome(fetch).await,
        }
    }

    fn newer(&self, than: Option<Timestamp>) -> Newer {
        let mut attempts = self.attempts();
        if let Some((fetch, begun)) = &attempts.under_way {
            return Newer::Fetching(fetch.clone(), *begun);
        }
        let known = self.source.known();
        if let Some(known) = known.clone().filter(|known| Some(known.at) > than) {
            return Newer::Known(known);
        }
        let now = self.source.environment.now().as_millisecond();
        if attempts.ended.is_some_and(|ended| now - ended.as_millisecond() < FETCH_GAP_MS) {
            return match (&attempts.failed, known) {
                (None, Some(known)) => Newer::Known(known),
                (failed, _) => Newer::Failed(failed.clone().unwrap_or_else(|| "the keys were not fetched".into())),
            };
        }
        let (source, begun) = (Arc::clone(&self.source), Instant::now());
        let fetch = async move { source.fetch().await }.boxed().shared();
        attempts.under_way = Some((fetch.clone(), begun));
        Newer::Fetching(fetch, begun)
    }

    /// Waits for a fetch. The first to hear of its end notes it.
    async fn outcome(&self, fetch: Fetch) -> Result<Fetched, String> {
        let outcome = fetch.clone().await;
        let mut attempts = self.attempts();
        if attempts.under_way.take_if(|(under_way, _)| under_way.ptr_eq(&fetch)).is_some() {
            attempts.ended = Some(self.source.environment.now());
            attempts.failed = outcome.as_ref().err().cloned();
            if let Err(reason) = &outcome {
                tracing::warn!(issuer = self.source.issuer, reason, "an issuer's keys could not be fetched");
            }
        }
        outcome
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn known(&self) -> Option<Fetched> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self) -> Result<Fetched, String> {
        let (now, known) = (self.environment.now(), self.known());
        let outcome = self.fetch_keys().await;
        if let Some(metrics) = self.metrics.get() {
            let text = outcome.as_ref().ok().map(|keys| keys.text());
            let before = known.as_ref().map(|known| known.keys.text());
            metrics.fetched(&self.issuer, text, before, now);
        }
        let fetched = Fetched { keys: Arc::new(outcome?), at: now };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched)
    }

    fn keys_url(&self) -> MutexGuard<'_, Option<Uri>> {
        self.keys_url.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_keys(&self) -> Result<KeySet, String> {
        let known = self.keys_url().clone();
        let url = match known {
            Some(url) => url,
            None => {
                let url = self.discover().await?;
                *self.keys_url() = Some(url.clone());
                url
            }
        };
        let keys = async { KeySet::parse(self.get(&url).await?) }.await;
        if keys.is_err() {
            // Perhaps they have moved: ask again where they are.
            *self.keys_url() = None;
        }
        keys
    }

    /// Where the keys are.
    async fn discover(&self) -> Result<Uri, String> {
        let url: Uri = self.discovery.parse().map_err(|error| format!("{}: {error}", self.discovery))?;
        let document: Value = serde_json::from_slice(&self.get(&url).await?)
            .map_err(|error| format!("{url}: the discovery document can't be read: {error}"))?;
        let issuer = document["issuer"].as_str().unwrap_or_default();
        if issuer != self.issuer {
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {:?} got {issuer:?}",
                self.issuer
            ));
        }
        let keys = document["jwks_uri"].as_str().unwrap_or_default();
        let keys: Uri = keys.parse().map_err(|_| "provider did not return JWKS URL".to_owned())?;
        if keys.scheme_str() == Some("https") { Ok(keys) } else { Err(format!("jwks_uri {keys}: must be a https URL")) }
    }

    async fn get(&self, url: &Uri) -> Result<Bytes, String> {
        let mut target = Target::new(url.clone());
        target.authorities.clone_from(&self.authorities);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path).header(header::ACCEPT, "application/json").body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(FETCH_LIMIT, self.remote.send(&target, request)).await;
        let answer = answer.map_err(|_| format!("Get {url}: no answer in time"))?;
        let answer = answer.map_err(|error| format!("Get {url}: {error}"))?;
        if !answer.status().is_success() {
            return Err(format!("Get {url}: the server answered {}", answer.status()));
        }
        Ok(answer.into_body())
    }
}
