//! Bootstrap tokens: what a new node joins with, kept as Secrets in `kube-system`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{AuthnError, TokenAuthenticator};
use crate::environment::Environment;
use crate::objects::{GroupResource, Objects};
use crate::request::User;

const KIND: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Takes tokens of the form `abcdef.0123456789abcdef`.
pub struct BootstrapTokens {
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
}

impl fmt::Debug for BootstrapTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapTokens")
    }
}

/// The two halves of a token, if it is one.
fn halves(token: &str) -> Option<(&str, &str)> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    token.split_once('.').filter(|(id, secret)| id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

fn is_group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("system:bootstrappers:") else { return false };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b':' | b'-');
    let end = rest.bytes().last().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    end && rest.len() <= 256 && rest.bytes().all(fits)
}

impl BootstrapTokens {
    /// Tokens of the Secrets among these objects.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, environment: Arc<dyn Environment>) -> Self {
        Self { objects, environment }
    }

    fn user(&self, secret: &Value, id: &str, half: &str) -> Option<User> {
        let data = |key: &str| {
            let text = secret["data"][key].as_str()?;
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).ok()?).ok()
        };
        // Hashes of what is secret are compared: how long that takes tells nothing.
        let same = data("token-secret").is_some_and(|known| Sha256::digest(known) == Sha256::digest(half));
        let sound = secret["type"] == KIND && secret["metadata"]["deletionTimestamp"].is_null();
        if !same || !sound || data("token-id").as_deref() != Some(id) {
            return None;
        }
        if let Some(expiration) = data("expiration") {
            let expires: Timestamp = expiration.parse().ok()?;
            if self.environment.now() > expires {
                return None;
            }
        }
        if data("usage-bootstrap-authentication").as_deref() != Some("true") {
            return None;
        }
        let extra = data("auth-extra-groups").unwrap_or_default();
        let extra: Vec<&str> = extra.split(',').filter(|group| !group.is_empty()).collect();
        if !extra.iter().all(|group| is_group(group)) {
            return None;
        }
        let groups: Vec<&str> = std::iter::once(GROUP).chain(extra).collect();
        Some(User::new(&format!("system:bootstrap:{id}"), &groups))
    }
}

#[async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, AuthnError> {
        let Some((id, half)) = halves(token) else { return Ok(None) };
        let secret =
            self.objects.cached(GroupResource::core("secrets"), "kube-system", &format!("bootstrap-token-{id}"));
        let user = secret.and_then(|secret| self.user(&secret, id, half));
        Ok(user.map(|user| (user, audiences.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(halves("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for bad in
            ["abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef0123456789abcdef", "abcde.f0123456789abcdef"]
        {
            assert_eq!(halves(bad), None, "{bad}");
        }
        assert!(is_group("system:bootstrappers:kubeadm:default-node-token"));
        assert!(
            !is_group("system:masters") && !is_group("system:bootstrappers:a-") && !is_group("system:bootstrappers:")
        );
    }
}
