//! Distributed claims (OpenID Connect Core 1.0, section 5.6.2): a token that does not carry the user's groups says where a
//! token is that does. Only what the issuer signed is followed, only over https, and only for the claim that is mapped to
//! groups, as upstream.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Uri, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::provider::{FETCH_LIMIT, Provider};
use super::token::Token;
use crate::authn::config::{IssuerConfig, JwtConfig, Mapping};
use crate::environment::Environment;
use crate::remote::{Remote, Target};

/// Most issuers of such tokens whose keys are kept; the others are forgotten.
const ISSUERS_MAX: usize = 16;

#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    access_token: String,
}

/// Finds the claim that groups are read from.
pub(super) struct DistributedClaims {
    claim: String,
    audiences: Vec<String>,
    authorities: Option<Arc<str>>,
    remote: Arc<dyn Remote>,
    environment: Arc<dyn Environment>,
    issuers: Mutex<HashMap<String, Arc<Provider>>>,
}

impl DistributedClaims {
    /// Those of that issuer's tokens; nothing if its groups are no claim.
    pub(super) fn new(config: &JwtConfig, remote: Arc<dyn Remote>, environment: Arc<dyn Environment>) -> Option<Self> {
        let Some(Mapping::Claim { claim, .. }) = &config.mappings.groups else { return None };
        Some(Self {
            claim: claim.clone(),
            audiences: config.issuer.audiences.clone(),
            authorities: config.issuer.authorities.clone(),
            remote,
            environment,
            issuers: Mutex::default(),
        })
    }

    /// The claim, if a token that was verified says where it is.
    pub(super) async fn find(&self, claims: &Map<String, Value>) -> Result<Option<(String, Value)>, String> {
        let names = claims.get("_claim_names").filter(|_| !claims.contains_key(&self.claim));
        let Some(names) = names else { return Ok(None) };
        let names: BTreeMap<String, String> = serde_json::from_value(names.clone())
            .map_err(|error| format!("error parsing distributed claim names: {error}"))?;
        let sources = claims.get("_claim_sources").ok_or("no claim sources")?;
        let mut sources: BTreeMap<String, Source> = serde_json::from_value(sources.clone())
            .map_err(|error| format!("could not parse claim sources: {error}"))?;
        let Some(name) = names.get(&self.claim) else { return Ok(None) };
        let source = sources
            .remove(name)
            .ok_or_else(|| format!("id token _claim_names contained a source {name} missing in _claims_sources"))?;
        if source.endpoint.is_empty() {
            // Perhaps an aggregated claim, which upstream leaves alone too.
            return Ok(None);
        }
        let value = self.resolve(&source).await?;
        Ok(Some((self.claim.clone(), value)))
    }

    async fn resolve(&self, source: &Source) -> Result<Value, String> {
        let (claim, endpoint) = (&self.claim, &source.endpoint);
        let text = self.get(source).await.map_err(|why| format!("while getting distributed claim {claim:?}: {why}"))?;
        let token = Token::split(text.trim()).ok_or_else(|| {
            format!("getting untrusted issuer from endpoint {endpoint} failed for claim {claim:?}: malformed jwt")
        })?;
        let failed = |why: String| format!("verify distributed claim token: {why}");
        let (algorithm, id, signature) = token.signed().map_err(failed)?;
        token.check(&self.audiences, self.environment.now().as_second()).map_err(failed)?;
        let issuer = self.issuer(token.issuer())?;
        issuer.verify(&algorithm, &id, token.message, &signature).await.map_err(failed)?;
        token.claims.get(claim).cloned().ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {endpoint:?} did not contain claim: {claim}")
        })
    }

    fn issuer(&self, url: &str) -> Result<Arc<Provider>, String> {
        if !url.parse::<Uri>().is_ok_and(|url| url.scheme_str() == Some("https")) {
            return Err(format!("verifying untrusted issuer {url} failed: it must be a https URL"));
        }
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = issuers.get(url) {
            return Ok(Arc::clone(known));
        }
        if issuers.len() >= ISSUERS_MAX {
            issuers.clear();
        }
        let config = IssuerConfig {
            url: url.to_owned(),
            discovery_url: String::new(),
            authorities: self.authorities.clone(),
            audiences: Vec::new(),
        };
        let (remote, environment) = (Arc::clone(&self.remote), Arc::clone(&self.environment));
        // They are not measured: whoever answers chooses their names.
        let provider = Arc::new(Provider::new(&config, remote, environment, Arc::default()));
        issuers.insert(url.to_owned(), Arc::clone(&provider));
        Ok(provider)
    }

    async fn get(&self, source: &Source) -> Result<String, String> {
        let url: Uri = source.endpoint.parse().map_err(|error| format!("{}: {error}", source.endpoint))?;
        if url.scheme_str() != Some("https") {
            return Err(format!("{url}: must be a https URL"));
        }
        let mut target = Target::new(url.clone());
        target.authorities.clone_from(&self.authorities);
        let mut request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()));
        if !source.access_token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", source.access_token));
        }
        let request = request.body(Bytes::new()).map_err(|_| "the access token is no header's value".to_owned())?;
        let answer = tokio::time::timeout(FETCH_LIMIT, self.remote.send(&target, request)).await;
        let answer = answer.map_err(|_| format!("Get {url}: no answer in time"))?;
        let answer = answer.map_err(|error| format!("Get {url}: {error}"))?;
        if !answer.status().is_success() {
            return Err(format!("error while getting distributed claim JWT: {}", answer.status()));
        }
        String::from_utf8(answer.into_body().to_vec()).map_err(|_| "could not decode distributed claim response".into())
    }
}
