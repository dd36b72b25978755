use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ServiceAccount, ServiceAccountTokenProjection};
use kube::api::PostParams;

use crate::objects::Pod;

/// What tells one token of a pod from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenKey {
    /// For whom it is; empty is the API server.
    pub audience: String,
    /// How long it is asked to hold, in seconds.
    pub expiration_seconds: i64,
}

impl TokenKey {
    /// The key of a projection.
    #[must_use]
    pub fn of(token: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: token.audience.clone().unwrap_or_default(),
            expiration_seconds: token.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// The tokens that a pod's volumes show.
#[must_use]
pub fn needed_tokens(pod: &Pod) -> BTreeSet<TokenKey> {
    let projected = pod.spec.volumes.iter().filter_map(|volume| volume.projected.as_ref());
    let sources = projected.flat_map(|projected| projected.sources.iter().flatten());
    sources.filter_map(|source| source.service_account_token.as_ref()).map(TokenKey::of).collect()
}

struct Held {
    token: String,
    granted: Timestamp,
    expires: Timestamp,
}

/// The tokens of one pod, asked for when they are needed and again before they expire.
#[derive(Default)]
pub struct TokenSource {
    held: BTreeMap<TokenKey, Held>,
}

impl std::fmt::Debug for TokenSource {
    /// Never shows a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("held", &self.held.len()).finish()
    }
}

impl TokenSource {
    /// The tokens a pod's volumes show, asking for those that are missing or due. A token that still holds is kept when
    /// no new one can be had.
    pub async fn get(
        &mut self,
        client: &kube::Client,
        pod: &Pod,
        now: Timestamp,
    ) -> BTreeMap<TokenKey, Result<String, String>> {
        let mut out = BTreeMap::new();
        for key in needed_tokens(pod) {
            let held = self.held.get(&key);
            if held.is_none_or(|held| now >= refresh_at(held.granted, held.expires)) {
                match request(client, pod, &key, now).await {
                    Ok(held) => drop(self.held.insert(key.clone(), held)),
                    Err(why) if held.is_none_or(|held| now >= held.expires) => {
                        out.insert(key, Err(why));
                        continue;
                    }
                    Err(why) => tracing::warn!(pod = pod.full_name(), %why, "cannot refresh a service account token"),
                }
            }
            let token = self.held.get(&key).map(|held| held.token.clone()).unwrap_or_default();
            out.insert(key, Ok(token));
        }
        out
    }

    /// When the first of the tokens is to be asked for again.
    #[must_use]
    pub fn next_refresh(&self) -> Option<Timestamp> {
        self.held.values().map(|held| refresh_at(held.granted, held.expires)).min()
    }
}

/// After four fifths of its life, and after a day at the latest.
fn refresh_at(granted: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(granted);
    granted + (life * 4 / 5).min(SignedDuration::from_hours(24))
}

async fn request(client: &kube::Client, pod: &Pod, key: &TokenKey, now: Timestamp) -> Result<Held, String> {
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name().to_owned()),
        uid: Some(pod.uid().to_owned()),
    };
    let spec = TokenRequestSpec {
        audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
        bound_object_ref: Some(bound),
        expiration_seconds: Some(key.expiration_seconds),
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let account = Some(pod.spec.service_account_name.as_str()).filter(|name| !name.is_empty()).unwrap_or("default");
    let api: kube::Api<ServiceAccount> = kube::Api::namespaced(client.clone(), pod.namespace());
    let answer = api.create_token_request(account, &PostParams::default(), &request).await;
    let status = answer.map_err(|error| error.to_string())?.status.ok_or("the answer holds no token")?;
    let token = status.token.filter(|token| !token.is_empty()).ok_or("the answer holds no token")?;
    let asked = now + SignedDuration::from_secs(key.expiration_seconds);
    Ok(Held { token, granted: now, expires: status.expiration_timestamp.map_or(asked, |time| time.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_refreshed_in_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(refresh_at(at(0), at(3600)), at(2880));
        assert_eq!(refresh_at(at(0), at(365 * 86400)), at(86400));
    }
}
