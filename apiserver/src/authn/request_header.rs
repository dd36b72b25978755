//! A proxy that has told already who asks: believed only over a connection with its own certificate.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::request::Parts;

use super::x509::{ClientAuthorities, ClientCertificates, PeerCertificates};
use super::{Authenticator, AuthnError};
use crate::environment::Environment;
use crate::request::{User, unescape_header_key};

const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";

/// Believes the `X-Remote-…` headers of a front proxy.
pub struct RequestHeader {
    certificates: ClientCertificates,
    names: Vec<String>,
}

impl fmt::Debug for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHeader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl RequestHeader {
    /// Believes those whose certificate these authorities signed for one of these common names.
    ///
    /// # Errors
    /// There are no names: then every certificate of the authorities could claim to be anyone.
    pub fn new(
        authorities: ClientAuthorities,
        names: Vec<String>,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, AuthnError> {
        if names.is_empty() {
            return Err(AuthnError::new("front proxy: name the common names that its certificate may have"));
        }
        Ok(Self { certificates: ClientCertificates::new(authorities, environment), names })
    }
}

/// The user that the headers name.
fn user(headers: &HeaderMap) -> Option<User> {
    let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).ok();
    let name = headers.get(USER).and_then(text).filter(|name| !name.is_empty())?;
    let mut user = User { name, ..User::default() };
    user.uid = headers.get(UID).and_then(text).unwrap_or_default();
    user.groups = headers.get_all(GROUP).iter().filter_map(text).collect();
    for (header, value) in headers {
        if let (Some(key), Some(value)) = (header.as_str().strip_prefix(EXTRA), text(value)) {
            user.extra.entry(unescape_header_key(key)).or_default().push(value);
        }
    }
    Some(user)
}

#[async_trait]
impl Authenticator for RequestHeader {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, AuthnError> {
        let Some(user) = user(&parts.headers) else { return Ok(None) };
        let Some(peer) = parts.extensions.get::<PeerCertificates>() else { return Ok(None) };
        // Another's certificate is no fault: its owner is told by it, and the headers count for nothing.
        let proxy = self.certificates.holder(peer);
        Ok(proxy.filter(|proxy| self.names.contains(proxy)).map(|_| user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "pki")]
    use crate::environment::SystemEnvironment;

    #[test]
    fn headers_name_a_user() {
        let mut headers = HeaderMap::new();
        for (name, value) in [(USER, "bob"), (GROUP, "a"), (GROUP, "b"), ("x-remote-extra-acme.com%2fx", "1")] {
            headers.append(http::HeaderName::from_static(name), value.parse().unwrap());
        }
        let bob = user(&headers).unwrap();
        assert_eq!((bob.name.as_str(), bob.groups.as_slice()), ("bob", &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(bob.extra["acme.com/x"], ["1"]);
        assert_eq!(user(&HeaderMap::new()), None);
    }

    #[cfg(feature = "pki")]
    #[test]
    fn without_names_nobody_is_believed() {
        let authority = crate::pki::Authority::generate("proxies", jiff::Timestamp::UNIX_EPOCH).unwrap();
        let authorities = ClientAuthorities::new(authority.certificate_pem()).unwrap();
        assert!(RequestHeader::new(authorities, Vec::new(), Arc::new(SystemEnvironment)).is_err());
    }
}
