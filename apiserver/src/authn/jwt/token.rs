//! A token in compact form, taken apart. Nothing in it is to be believed before its signature is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::ALGORITHMS;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// How much earlier than its `nbf` a token is taken: clocks differ.
const NOT_BEFORE_LEEWAY_SECONDS: f64 = 300.0;

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// A token's parts.
pub(super) struct Token<'a> {
    header: &'a str,
    /// What is signed.
    pub(super) message: &'a [u8],
    signature: &'a str,
    pub(super) claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// The parts, if it has the form of a token at all.
    pub(super) fn split(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (message, signature) = text.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let claims = serde_json::from_slice(&B64.decode(payload).ok()?).ok()?;
        Some(Self { header, message: message.as_bytes(), signature, claims })
    }

    /// Who it says has issued it.
    pub(super) fn issuer(&self) -> &str {
        match self.claims.get("iss").and_then(Value::as_str).unwrap_or_default() {
            // The name that Google used before OpenID Connect demanded a URL.
            "accounts.google.com" => "https://accounts.google.com",
            issuer => issuer,
        }
    }

    /// The algorithm, the key's id and the signature.
    pub(super) fn signed(&self) -> Result<(String, String, Vec<u8>), String> {
        let malformed = |_| "malformed jwt".to_owned();
        let header: Header = serde_json::from_slice(&B64.decode(self.header).map_err(|_| "malformed jwt header")?)
            .map_err(|error| format!("malformed jwt header: {error}"))?;
        if !ALGORITHMS.contains(&header.alg.as_str()) {
            return Err(format!(
                "id token signed with unsupported algorithm, expected {ALGORITHMS:?} got {:?}",
                header.alg
            ));
        }
        Ok((header.alg, header.kid, B64.decode(self.signature).map_err(malformed)?))
    }

    /// Checks for whom and when it is good.
    pub(super) fn check(&self, audiences: &[String], now_seconds: i64) -> Result<(), String> {
        let found: Vec<&str> = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !found.iter().any(|audience| audiences.iter().any(|own| own == audience)) {
            return Err(format!("expected audience in {audiences:?} got {found:?}"));
        }
        let time = |name: &str| match self.claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("claim {name:?} is no number")),
        };
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a double")]
        let now = now_seconds as f64;
        // A token without an end would be good for ever.
        let expires = time("exp")?.ok_or("claim \"exp\" is missing")?;
        if now > expires {
            return Err(format!("token is expired (expiry: {expires}, now: {now})"));
        }
        match time("nbf")? {
            Some(from) if now + NOT_BEFORE_LEEWAY_SECONDS < from => {
                Err(format!("current time {now} before the nbf (not before) time: {from}"))
            }
            _ => Ok(()),
        }
    }
}
