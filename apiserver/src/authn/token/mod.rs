//! Service account tokens: signed by the API server, bound to objects, void when those are gone.

mod claims;
mod keys;
mod legacy;
mod request;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

pub use claims::{BoundObject, Claims, KubernetesClaims, TokenError, check, sign, verify};
pub use keys::{KeyError, SigningKey, VerifyingKey};
pub use legacy::SecretTokens;
pub use request::TokenRequests;

use super::{AuthnError, TokenAuthenticator};
use crate::environment::Environment;
use crate::objects::{GroupResource, Objects};
use crate::request::User;

/// Who issues tokens, with which key, for whom.
pub struct Issuer {
    /// The issuer's name in tokens, a URL.
    pub name: String,
    /// Names under which tokens were issued before: they are taken still.
    pub accepted: Vec<String>,
    /// Who the API server is: tokens without a wish are for these.
    pub audiences: Vec<String>,
    /// Signs new tokens.
    pub signing: SigningKey,
    /// Verifies tokens: the signing key's public half, and those of keys used before.
    pub verifying: Vec<VerifyingKey>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

impl Issuer {
    /// An issuer of that name with one key; it is its own audience.
    #[must_use]
    pub fn new(name: &str, signing: SigningKey) -> Self {
        let verifying = vec![signing.verifying_key().clone()];
        Self { name: name.into(), accepted: Vec::new(), audiences: vec![name.into()], signing, verifying }
    }

    /// The issuer's names: that of new tokens first, then those of tokens that are taken still.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        std::iter::once(&self.name).chain(&self.accepted).cloned().collect()
    }

    /// The key set that others verify tokens with (`/openid/v1/jwks`).
    #[must_use]
    pub fn key_set(&self) -> Value {
        let keys: Vec<Value> = self.verifying.iter().map(VerifyingKey::jwk).collect();
        serde_json::json!({ "keys": keys })
    }

    /// The discovery document (`/.well-known/openid-configuration`).
    #[must_use]
    pub fn discovery(&self, key_set_url: &str) -> Value {
        let mut algorithms: Vec<&str> = self.verifying.iter().map(VerifyingKey::algorithm_name).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        serde_json::json!({
            "issuer": self.name,
            "jwks_uri": key_set_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }
}

/// Tells whose a service account token is, and that neither the account nor what it is bound to is gone.
pub struct ServiceAccountTokens {
    issuer: Arc<Issuer>,
    names: Vec<String>,
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
}

impl fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceAccountTokens").field(&self.issuer.name).finish()
    }
}

/// An object's UID, and whether it has been gone for longer than clocks differ.
struct Fact {
    uid: String,
    gone: bool,
}

impl ServiceAccountTokens {
    /// Tokens of that issuer, checked against these objects.
    #[must_use]
    pub fn new(issuer: Arc<Issuer>, objects: Arc<dyn Objects>, environment: Arc<dyn Environment>) -> Self {
        Self { names: issuer.names(), issuer, objects, environment }
    }

    fn fact(&self, resource: &str, namespace: &str, name: &str, now: i64) -> Option<Fact> {
        let object = self.objects.cached(GroupResource::core(resource), namespace, name)?;
        let meta = &object["metadata"];
        let deleted = meta["deletionTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let gone = deleted.is_some_and(|time| time.as_second() < now - claims::LEEWAY_SECONDS);
        Some(Fact { uid: meta["uid"].as_str().unwrap_or_default().to_owned(), gone })
    }

    /// The user that good claims stand for.
    fn user(&self, claims: &Claims, now: i64) -> Result<User, TokenError> {
        let invalidated = |why: String| TokenError::Invalidated(why);
        let KubernetesClaims { namespace, node, pod, secret, serviceaccount: account, .. } = &claims.kubernetes;
        if claims.subject != format!("system:serviceaccount:{namespace}:{}", account.name) {
            return Err(invalidated("token subject does not match its service account".into()));
        }
        let fact = self
            .fact("serviceaccounts", namespace, &account.name, now)
            .ok_or_else(|| invalidated(format!("serviceaccounts {:?} not found", account.name)))?;
        if fact.uid != account.uid {
            let why = format!("service account UID ({}) does not match claim ({})", fact.uid, account.uid);
            return Err(invalidated(why));
        }
        if fact.gone {
            return Err(invalidated(format!("service account {namespace}/{} has been deleted", account.name)));
        }
        let node_binding = node.as_ref().filter(|_| pod.is_none());
        let bindings = [
            ("secrets", namespace.as_str(), secret.as_ref()),
            ("pods", namespace, pod.as_ref()),
            ("nodes", "", node_binding),
        ];
        for (resource, namespace, bound) in bindings {
            let Some(bound) = bound else { continue };
            let fact = self.fact(resource, namespace, &bound.name, now);
            if fact.is_none_or(|fact| fact.uid != bound.uid || fact.gone) {
                return Err(invalidated("service account token has been invalidated".into()));
            }
        }
        let mut user = User { name: claims.subject.clone(), uid: account.uid.clone(), ..User::default() };
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        let mut extra = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
            }
        };
        if !claims.id.is_empty() {
            extra("credential-id", &format!("JTI={}", claims.id));
        }
        for (kind, bound) in [("pod", pod), ("node", node)] {
            if let Some(bound) = bound {
                extra(&format!("{kind}-name"), &bound.name);
                extra(&format!("{kind}-uid"), &bound.uid);
            }
        }
        Ok(user)
    }
}

#[async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let claims = match verify(token, &self.names, &self.issuer.verifying) {
            Ok(claims) => claims,
            Err(TokenError::NotOurs) => return Ok(None),
            Err(error) => return Err(AuthnError::new(error.to_string())),
        };
        let now = self.environment.now().as_second();
        let shared = check(&claims, audiences, now).map_err(|error| AuthnError::new(error.to_string()))?;
        let user = self.user(&claims, now).map_err(|error| AuthnError::new(error.to_string()))?;
        Ok(Some((user, shared)))
    }
}
