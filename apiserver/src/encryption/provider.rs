//! The providers of one resource, in order: the first seals, and each may open.

use std::sync::Arc;

use bytes::Bytes;

use super::cipher::Cipher;
use super::kms::Kms;
use crate::environment::Environment;

/// How everything begins that is stored encrypted.
pub(super) const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Why a value can't be opened or sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No provider can, and none will without another configuration.
    Unreadable(String),
    /// A key management service does not answer: try again later.
    Unavailable(String),
}

/// A value, and whether it should be written anew.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) plain: Bytes,
    pub(super) stale: bool,
}

/// One way of storing values.
pub(super) enum Provider {
    /// Keys by name, the first of which seals.
    Keys {
        /// Such as `k8s:enc:aesgcm:v1:`.
        prefix: &'static str,
        keys: Vec<(String, Cipher)>,
    },
    /// A key management service.
    Kms(Arc<Kms>),
    /// As they are.
    Identity,
}

/// The providers of a resource.
#[derive(Default)]
pub(super) struct Providers(pub(super) Vec<Arc<Provider>>);

impl Providers {
    /// The value as it is stored at that key.
    pub(super) async fn seal(&self, key: &[u8], plain: &Bytes, env: &dyn Environment) -> Result<Bytes, Fault> {
        match self.0.first().map(|provider| &**provider) {
            None | Some(Provider::Identity) => Ok(plain.clone()),
            Some(Provider::Keys { prefix, keys }) => {
                let (name, cipher) = keys.first().ok_or_else(|| Fault::Unreadable("there is no key".into()))?;
                let sealed = cipher.seal(plain, key, env).map_err(Fault::Unreadable)?;
                Ok([prefix.as_bytes(), name.as_bytes(), b":", &sealed].concat().into())
            }
            Some(Provider::Kms(kms)) => {
                let sealed = kms.seal(plain, key, env)?;
                Ok([kms.prefix.as_bytes(), &sealed].concat().into())
            }
        }
    }

    /// The value that is stored so at that key.
    pub(super) async fn open(&self, key: &[u8], stored: &Bytes, env: &dyn Environment) -> Result<Opened, Fault> {
        let mut fault = None;
        for (at, provider) in self.0.iter().enumerate() {
            let opened = match &**provider {
                Provider::Identity if stored.starts_with(ENCRYPTED) => {
                    Err(Fault::Unreadable("identity transformer tried to read encrypted data".into()))
                }
                Provider::Identity => Ok(Opened { plain: stored.clone(), stale: false }),
                Provider::Keys { prefix, keys } => {
                    let Some(rest) = stored.strip_prefix(prefix.as_bytes()) else { continue };
                    open_with_keys(keys, key, rest)
                }
                Provider::Kms(kms) => {
                    let Some(rest) = stored.strip_prefix(kms.prefix.as_bytes()) else { continue };
                    kms.open(rest, key, env).await
                }
            };
            match opened {
                Ok(opened) => return Ok(Opened { stale: opened.stale || at > 0, ..opened }),
                // A later provider may hold the key that an earlier one lacks.
                Err(Fault::Unavailable(reason)) => fault = Some(Fault::Unavailable(reason)),
                Err(other) => {
                    fault.get_or_insert(other);
                }
            }
        }
        Err(fault.unwrap_or_else(|| Fault::Unreadable("no matching prefix found".into())))
    }
}

fn open_with_keys(keys: &[(String, Cipher)], key: &[u8], rest: &[u8]) -> Result<Opened, Fault> {
    let mut fault = "no matching key was found".to_owned();
    for (at, (name, cipher)) in keys.iter().enumerate() {
        let sealed = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        let Some(sealed) = sealed else { continue };
        match cipher.open(sealed, key) {
            Ok(plain) => return Ok(Opened { plain: plain.into(), stale: at > 0 }),
            Err(reason) => fault = reason,
        }
    }
    Err(Fault::Unreadable(fault))
}
