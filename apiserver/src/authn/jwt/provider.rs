//! Where an issuer's keys come from: its discovery document says where they are; they are fetched once, kept, and
//! fetched again when a token comes that none of them signed, or when they have grown old.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use super::keys::KeySet;
use super::metrics::JwtMetrics;
use crate::authn::config::IssuerConfig;
use crate::environment::Environment;
use crate::remote::{Remote, Target};

/// How long one fetch may take.
pub(super) const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// Fetches are at least so far apart, in milliseconds: tokens signed by nobody must not become a flood at the issuer's.
const FETCH_GAP_MS: i64 = 1000;
/// Keys older than this are fetched anew before they are used: one that was taken out of the set must not live on.
const KEYS_AGE_SECONDS_MAX: i64 = 600;

/// Keys, and when they were fetched.
#[derive(Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Timestamp,
}

/// The last attempt, and what came of it.
#[derive(Default)]
struct Attempt {
    at: Option<Timestamp>,
    failed: Option<String>,
    keys_url: Option<Uri>,
}

/// An issuer's keys.
pub(super) struct Provider {
    issuer: String,
    discovery: String,
    authorities: Option<Arc<str>>,
    remote: Arc<dyn Remote>,
    environment: Arc<dyn Environment>,
    metrics: Arc<OnceLock<JwtMetrics>>,
    current: RwLock<Option<Fetched>>,
    /// One fetch at a time; who waits for it takes its outcome.
    fetching: Mutex<Attempt>,
}

impl Provider {
    pub(super) fn new(
        issuer: &IssuerConfig,
        remote: Arc<dyn Remote>,
        environment: Arc<dyn Environment>,
        metrics: Arc<OnceLock<JwtMetrics>>,
    ) -> Self {
        Self {
            metrics,
            issuer: issuer.url.clone(),
            discovery: issuer.discovery(),
            authorities: issuer.authorities.clone(),
            remote,
            environment,
            current: RwLock::new(None),
            fetching: Mutex::default(),
        }
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

    async fn fresh(&self) -> Result<Fetched, String> {
        let Some(known) = self.known() else { return self.fetch(None).await };
        if self.environment.now().as_second() - known.at.as_second() < KEYS_AGE_SECONDS_MAX {
            return Ok(known);
        }
        match self.fetch(Some(known.at)).await {
            Ok(newer) => Ok(newer),
            Err(reason) => {
                // An issuer that is away for a while does not lock everyone out.
                tracing::warn!(issuer = self.issuer, reason, "the issuer's keys could not be fetched anew");
                Ok(known)
            }
        }
    }

    fn known(&self) -> Option<Fetched> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches keys, unless someone has since `than`, or just tried.
    async fn fetch(&self, than: Option<Timestamp>) -> Result<Fetched, String> {
        let mut attempt = self.fetching.lock().await;
        let known = self.known();
        if let Some(known) = known.clone().filter(|known| Some(known.at) > than) {
            return Ok(known);
        }
        let now = self.environment.now();
        if attempt.at.is_some_and(|at| now.as_millisecond() - at.as_millisecond() < FETCH_GAP_MS) {
            return match (&attempt.failed, known) {
                (None, Some(known)) => Ok(known),
                (failed, _) => Err(failed.clone().unwrap_or_else(|| "the keys were not fetched".into())),
            };
        }
        attempt.at = Some(now);
        let outcome = self.fetch_keys(&mut attempt.keys_url).await;
        attempt.failed = outcome.as_ref().err().cloned();
        if let Some(metrics) = self.metrics.get() {
            let text = outcome.as_ref().ok().map(|keys| keys.text());
            let before = known.as_ref().map(|known| known.keys.text());
            metrics.fetched(&self.issuer, text, before, now);
        }
        let fetched = Fetched { keys: Arc::new(outcome?), at: now };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched)
    }

    async fn fetch_keys(&self, keys_url: &mut Option<Uri>) -> Result<KeySet, String> {
        let url = match keys_url {
            Some(url) => url.clone(),
            None => {
                let url = self.discover().await?;
                *keys_url = Some(url.clone());
                url
            }
        };
        let keys = async { KeySet::parse(self.get(&url).await?) }.await;
        if keys.is_err() {
            // Perhaps they have moved: ask again where they are.
            *keys_url = None;
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
