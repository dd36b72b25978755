//! Tokens that lie in Secrets of type `kubernetes.io/service-account-token`: a controller with the issuer's key signs them. They
//! name no audience and never expire, and are good for as long as their Secret holds them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Issuer;
use super::claims::{TokenError, read};
use crate::authn::{AuthnError, TokenAuthenticator};
use crate::environment::Environment;
use crate::object::{is_terminating, metadata_mut, uid};
use crate::objects::{GroupResource, Objects};
use crate::request::User;

const ISSUER: &str = "kubernetes/serviceaccount";
/// On the day of this label the token was used last, more or less.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// A token with this label was not used for long, and counts no more.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "iss", default)]
    issuer: String,
    #[serde(rename = "sub", default)]
    subject: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    account_uid: String,
}

/// Tells whose a token out of a Secret is.
pub struct SecretTokens {
    issuer: Arc<Issuer>,
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
}

impl fmt::Debug for SecretTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretTokens").field(&self.issuer.name).finish()
    }
}

impl SecretTokens {
    /// Tokens signed with one of that issuer's keys, checked against these objects.
    #[must_use]
    pub fn new(issuer: Arc<Issuer>, objects: Arc<dyn Objects>, environment: Arc<dyn Environment>) -> Self {
        Self { issuer, objects, environment }
    }

    /// The Secret that holds the token, if that and the account are still there.
    fn check(&self, token: &str, claims: &Claims) -> Result<Value, String> {
        let Claims { namespace, secret, account, account_uid, .. } = claims;
        if claims.subject != format!("system:serviceaccount:{namespace}:{account}") {
            return Err("sub claim is invalid".into());
        }
        let found = self.objects.cached(GroupResource::core("secrets"), namespace, secret);
        let found = found.filter(|secret| !is_terminating(secret)).ok_or("Token has been invalidated")?;
        let held = STANDARD.decode(found["data"]["token"].as_str().unwrap_or_default()).unwrap_or_default();
        // Hashes tell nothing of where two secrets differ.
        if Sha256::digest(&held) != Sha256::digest(token) {
            return Err("Token does not match server's copy".into());
        }
        let owner = self.objects.cached(GroupResource::core("serviceaccounts"), namespace, account);
        let owner = owner.ok_or_else(|| format!("serviceaccounts {account:?} not found"))?;
        if is_terminating(&owner) {
            return Err(format!("ServiceAccount {namespace}/{account} has been deleted"));
        }
        if uid(&owner) != account_uid {
            return Err(format!("ServiceAccount UID ({}) does not match claim ({account_uid})", uid(&owner)));
        }
        if found["metadata"]["labels"][INVALID_SINCE].as_str().is_some_and(|since| !since.is_empty()) {
            return Err(format!(
                "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked \
                 invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
                 '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            ));
        }
        Ok(found)
    }

    /// Writes down that the token was used today, once a day.
    async fn note_use(&self, mut secret: Value) {
        let now = self.environment.now();
        let day = |seconds: i64| {
            let time = jiff::Timestamp::from_second(now.as_second() + seconds).unwrap_or(now);
            time.strftime("%Y-%m-%d").to_string()
        };
        let noted = secret["metadata"]["labels"][LAST_USED].as_str().unwrap_or_default();
        if noted == day(0) || noted == day(24 * 3600) {
            return;
        }
        let metadata = metadata_mut(&mut secret);
        if !metadata.get("labels").is_some_and(Value::is_object) {
            metadata.insert("labels".into(), Value::Object(serde_json::Map::new()));
        }
        metadata["labels"][LAST_USED] = day(0).into();
        if let Err(error) = self.objects.update(GroupResource::core("secrets"), secret).await {
            // Someone else changed it: the next use notes it.
            tracing::debug!(%error, "could not note the use of a token");
        }
    }
}

#[async_trait]
impl TokenAuthenticator for SecretTokens {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let claims = match read(token, &self.issuer.verifying, |claims: &Claims| claims.issuer == ISSUER) {
            Ok(claims) => claims,
            Err(TokenError::NotOurs) => return Ok(None),
            Err(error) => return Err(AuthnError::new(error.to_string())),
        };
        let secret = self.check(token, &claims).map_err(AuthnError::new)?;
        self.note_use(secret).await;
        let groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{}", claims.namespace)];
        let user = User { name: claims.subject, uid: claims.account_uid, groups, ..User::default() };
        Ok(Some((user, audiences.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use bytes::Bytes;
    use http::{Method, Request, StatusCode};
    use http_body_util::{BodyExt, Full};
    use kubewright_store::MemoryStore;
    use serde_json::json;
    use tower::ServiceExt;

    use super::super::SigningKey;
    use super::*;
    use crate::server::ApiServer;

    /// What a controller with the issuer's key writes into the Secret.
    fn signed(key: &SigningKey, secret: &str, account_uid: &str) -> String {
        let verifying = key.verifying_key();
        let header = json!({"alg": verifying.algorithm_name(), "kid": verifying.id()});
        let claim = |name: &str| format!("kubernetes.io/serviceaccount/{name}");
        let claims = json!({
            "iss": ISSUER, "sub": "system:serviceaccount:default:robot",
            (claim("namespace")): "default", (claim("secret.name")): secret,
            (claim("service-account.name")): "robot", (claim("service-account.uid")): account_uid,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = key.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    async fn send(server: &ApiServer, method: Method, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("/api/v1/namespaces/default/{path}"));
        request = request.header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let (parts, body) = server.clone().oneshot(request).await.unwrap().into_parts();
        (parts.status, serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_token_is_good_while_its_secret_holds_it() {
        let key = SigningKey::generate().unwrap();
        let mut issuer = Issuer::new("https://issuer.test", SigningKey::generate().unwrap());
        issuer.verifying.push(key.verifying_key().clone());
        let server = ApiServer::builder(Arc::new(MemoryStore::new())).service_account_issuer(issuer).build();
        let server = server.await.unwrap();
        let admin = server.as_user(User::admin());
        let account = json!({"metadata": {"name": "robot"}});
        let (_, account) = send(&admin, Method::POST, "serviceaccounts", "", account).await;
        let token = signed(&key, "token", uid(&account));
        let ask = || async { send(&server, Method::GET, "pods", &token, Value::Null).await.0 };
        assert_eq!(ask().await, StatusCode::UNAUTHORIZED, "there is no secret yet");
        let secret = json!({
            "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token", "data": {"token": STANDARD.encode(&token)},
        });
        assert_eq!(send(&admin, Method::POST, "secrets", "", secret).await.0, StatusCode::CREATED);
        assert_eq!(ask().await, StatusCode::FORBIDDEN, "known, and allowed nothing");
        let (_, noted) = send(&admin, Method::GET, "secrets/token", "", Value::Null).await;
        assert_eq!(noted["metadata"]["labels"][LAST_USED].as_str().map(str::len), Some(10));
        for other in [signed(&key, "token", "other"), signed(&SigningKey::generate().unwrap(), "token", uid(&account))]
        {
            let answer = send(&server, Method::GET, "pods", &other, Value::Null).await;
            assert_eq!(answer.0, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(send(&admin, Method::DELETE, "secrets/token", "", Value::Null).await.0, StatusCode::OK);
        assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    }
}
