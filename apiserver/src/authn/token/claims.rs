//! What a service account token says, and how it is written and read: a JSON web token in compact form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::{Deserialize, Serialize};

use super::keys::{KeyError, SigningKey, VerifyingKey};

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far clocks may differ, in seconds.
pub(crate) const LEEWAY_SECONDS: i64 = 60;

/// An object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The claims of a service account token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom the token is for.
    #[serde(rename = "aud", default, deserialize_with = "one_or_many")]
    pub audiences: Vec<String>,
    /// When it expires, in seconds since 1970.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// When it was issued.
    #[serde(rename = "iat", default)]
    pub issued_at: i64,
    /// Who issued it.
    #[serde(rename = "iss", default)]
    pub issuer: String,
    /// Its own id.
    #[serde(rename = "jti", default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The account and what the token is bound to.
    #[serde(rename = "kubernetes.io", default)]
    pub kubernetes: KubernetesClaims,
    /// From when on it is valid.
    #[serde(rename = "nbf", default)]
    pub not_before: i64,
    /// The user name, `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(rename = "sub", default)]
    pub subject: String,
}

/// The account that a token stands for, and what it is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The account's namespace.
    #[serde(default)]
    pub namespace: String,
    /// The node of the pod it is bound to, or the node it is bound to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
    /// The pod it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The secret it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The account.
    #[serde(default)]
    pub serviceaccount: BoundObject,
    /// From when on its use is worth a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(from)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Why a token is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token of ours at all: another authenticator may know it.
    #[error("not a service account token of this issuer")]
    NotOurs,
    /// Our issuer's name under a signature that no key of ours made.
    #[error("invalid signature")]
    Signature,
    /// Too late.
    #[error("service account token has expired")]
    Expired,
    /// Too early.
    #[error("service account token is not valid yet")]
    NotYet,
    /// For someone else.
    #[error("token audiences {found:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// The token's.
        found: Vec<String>,
        /// Those asked for.
        wanted: Vec<String>,
    },
    /// The account, or what the token was bound to, is gone.
    #[error("{0}")]
    Invalidated(String),
}

/// Writes and signs a token.
///
/// # Errors
/// Signing failed.
pub fn sign(claims: &Claims, key: &SigningKey) -> Result<String, KeyError> {
    let verifying = key.verifying_key();
    let header = Header { alg: verifying.algorithm_name().into(), kid: verifying.id().into() };
    // Structs of strings and numbers always serialize.
    let part = |json: serde_json::Result<Vec<u8>>| B64.encode(json.unwrap_or_default());
    let message = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims)));
    let signed = key.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", B64.encode(signed)))
}

/// Reads a token and checks issuer and signature; times and audiences are [`check`]ed apart.
///
/// # Errors
/// It isn't a token of one of these issuers, or no key signed it.
pub fn verify(token: &str, issuers: &[String], keys: &[VerifyingKey]) -> Result<Claims, TokenError> {
    read(token, keys, |claims: &Claims| issuers.contains(&claims.issuer))
}

/// Reads a token of any claims that are ours, and checks its signature.
pub(super) fn read<C: serde::de::DeserializeOwned>(
    token: &str,
    keys: &[VerifyingKey],
    is_ours: impl FnOnce(&C) -> bool,
) -> Result<C, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::NotOurs);
    }
    let (message, signed) = token.rsplit_once('.').ok_or(TokenError::NotOurs)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::NotOurs)?;
    let decode = |part: &str| B64.decode(part).map_err(|_| TokenError::NotOurs);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::NotOurs)?;
    let claims: C = serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::NotOurs)?;
    if !is_ours(&claims) {
        return Err(TokenError::NotOurs);
    }
    let signed = B64.decode(signed).map_err(|_| TokenError::Signature)?;
    let mut candidates = keys.iter().filter(|key| header.kid.is_empty() || key.id() == header.kid);
    if candidates.any(|key| key.algorithm_name() == header.alg && key.verifies(message.as_bytes(), &signed)) {
        Ok(claims)
    } else {
        Err(TokenError::Signature)
    }
}

/// Checks times and audiences; gives the audiences that token and caller share.
///
/// # Errors
/// It is too late or too early, or the token is for others.
pub fn check(claims: &Claims, wanted: &[String], now_seconds: i64) -> Result<Vec<String>, TokenError> {
    if now_seconds > claims.expires.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    if now_seconds.saturating_add(LEEWAY_SECONDS) < claims.not_before.max(claims.issued_at) {
        return Err(TokenError::NotYet);
    }
    let shared: Vec<String> = claims.audiences.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
    if shared.is_empty() {
        return Err(TokenError::Audience { found: claims.audiences.clone(), wanted: wanted.to_vec() });
    }
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            audiences: vec!["api".into()],
            issuer: "us".into(),
            issued_at: 1000,
            not_before: 1000,
            expires: 4600,
            subject: "system:serviceaccount:a:b".into(),
            ..Claims::default()
        }
    }

    fn forge(header: &str, claims: &Claims, signature: &[u8]) -> String {
        let payload = serde_json::to_vec(claims).unwrap();
        format!("{}.{}.{}", B64.encode(header), B64.encode(payload), B64.encode(signature))
    }

    #[test]
    fn a_signed_token_reads_back() {
        let key = SigningKey::generate().unwrap();
        let token = sign(&claims(), &key).unwrap();
        let keys = [key.verifying_key().clone()];
        assert_eq!(verify(&token, &["us".into()], &keys), Ok(claims()));
        assert_eq!(verify(&token, &["them".into()], &keys), Err(TokenError::NotOurs));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let key = SigningKey::generate().unwrap();
        let keys = [key.verifying_key().clone()];
        let issuers = ["us".to_owned()];
        let token = sign(&claims(), &key).unwrap();
        let kid = keys[0].id();
        let (message, _) = token.rsplit_once('.').unwrap();
        let mut promoted = claims();
        promoted.subject = "system:admin".into();
        let payload = B64.encode(serde_json::to_vec(&promoted).unwrap());
        let parts: Vec<&str> = token.split('.').collect();
        for forged in [
            forge(r#"{"alg":"none"}"#, &claims(), b""),
            forge(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#), &claims(), b""),
            forge(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), &claims(), &[0; 32]),
            forge(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), &claims(), &[0; 64]),
            format!("{message}."),
            format!("{}.{payload}.{}", parts[0], parts[2]),
            sign(&claims(), &SigningKey::generate().unwrap()).unwrap(),
        ] {
            assert_eq!(verify(&forged, &issuers, &keys), Err(TokenError::Signature), "{forged}");
        }
        for nonsense in ["", ".", "..", "a.b.c", "secret-token"] {
            assert_eq!(verify(nonsense, &issuers, &keys), Err(TokenError::NotOurs));
        }
    }

    #[test]
    fn times_and_audiences_are_checked() {
        let api = ["api".to_owned()];
        assert_eq!(check(&claims(), &api, 2000), Ok(api.to_vec()));
        assert_eq!(check(&claims(), &api, 4660), Ok(api.to_vec()));
        assert_eq!(check(&claims(), &api, 4661), Err(TokenError::Expired));
        assert_eq!(check(&claims(), &api, 939), Err(TokenError::NotYet));
        assert!(matches!(check(&claims(), &["vault".into()], 2000), Err(TokenError::Audience { .. })));
    }

    #[test]
    fn an_audience_may_be_a_single_string() {
        let claims: Claims = serde_json::from_str(r#"{"aud":"x","exp":1}"#).unwrap();
        assert_eq!(claims.audiences, ["x"]);
    }
}
