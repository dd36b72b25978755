//! Encryption of stored objects (feature `encryption`): upstream's `EncryptionConfiguration`.
//!
//! [`EncryptionConfig`] says which resources are stored how; [`Encryption`] holds the keys and is given to
//! [`Builder::encryption`](crate::server::Builder::encryption). Values are stored as upstream stores them
//! (`k8s:enc:aesgcm:v1:key1:…`), bound to their key in the store where the cipher can. What was stored by another
//! provider or key than the first is written anew by the next update, even one that changes nothing.
//!
//! ```
//! use std::sync::Arc;
//!
//! use kubewright_apiserver::encryption::{Encryption, EncryptionConfig};
//! use kubewright_apiserver::environment::SystemEnvironment;
//! use kubewright_apiserver::server::ApiServer;
//! use kubewright_store::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = EncryptionConfig::parse(
//!     "apiVersion: apiserver.config.k8s.io/v1
//! kind: EncryptionConfiguration
//! resources:
//! - resources: [secrets]
//!   providers:
//!   - secretbox: {keys: [{name: first, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}
//!   - identity: {}",
//! )?;
//! let encryption = Encryption::new(&config, Arc::new(SystemEnvironment)).await?;
//! let server = ApiServer::builder(Arc::new(MemoryStore::new())).encryption(encryption).build().await?;
//! # server.shutdown().await;
//! # Ok(()) }
//! ```

mod cipher;
mod config;
mod kms;
mod provider;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kubewright_store::Store;
use tokio_util::sync::CancellationToken;

pub use config::{EncryptionConfig, EncryptionError};
pub(crate) use store::why_unreadable;

use crate::discovery::Check;
use crate::environment::Environment;
use crate::watched_file::{self, ReloadMetrics, WatchedFile};
use cipher::Cipher;
use config::{KeyConfig, ProviderConfig, split_resource};
use kms::Kms;
use provider::{Fault, Opened, Provider, Providers};

/// How often the file is read again, and the key management services are asked how they are.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often while one of them is not well.
const INTERVAL_UNWELL: Duration = Duration::from_secs(10);

/// The providers by resource.
#[derive(Default)]
struct Table {
    /// By `{group}/{resource}`, each of which may be `*`.
    providers: HashMap<String, Providers>,
    services: Vec<Arc<Kms>>,
}

impl Table {
    async fn new(config: &EncryptionConfig, environment: &dyn Environment) -> Result<Self, EncryptionError> {
        let mut table = Self::default();
        for rule in &config.rules {
            let mut providers = Vec::new();
            for provider in &rule.providers {
                providers.push(Arc::new(table.provider(provider)?));
            }
            for resource in &rule.resources {
                let (group, name) = split_resource(resource);
                for earlier in [format!("{group}/*"), "*/*".to_owned()] {
                    if table.providers.contains_key(&earlier) {
                        let (group, _) = earlier.split_once('/').unwrap_or_default();
                        let why = format!("resource {resource:?} is masked by earlier rule {:?}", format!("*.{group}"));
                        return Err(EncryptionError::new(why));
                    }
                }
                table.providers.entry(format!("{group}/{name}")).or_default().0.extend(providers.iter().cloned());
            }
        }
        for service in &table.services {
            if let Err(reason) = service.probe(environment).await {
                tracing::warn!(service = service.name, reason, "a key management service is not well");
            }
        }
        Ok(table)
    }

    fn provider(&mut self, config: &ProviderConfig) -> Result<Provider, EncryptionError> {
        let keys = |prefix, keys: &[KeyConfig], cipher: fn(&[u8]) -> Result<Cipher, String>| {
            let made = keys.iter().map(|key| Ok((key.name.clone(), cipher(&key.secret)?)));
            let keys: Result<_, String> = made.collect();
            Ok(Provider::Keys { prefix, keys: keys.map_err(EncryptionError::new)? })
        };
        match config {
            ProviderConfig::AesGcm(of) => keys("k8s:enc:aesgcm:v1:", of, Cipher::gcm),
            ProviderConfig::AesCbc(of) => keys("k8s:enc:aescbc:v1:", of, Cipher::cbc),
            ProviderConfig::Secretbox(of) => keys("k8s:enc:secretbox:v1:", of, Cipher::secretbox),
            ProviderConfig::Identity => Ok(Provider::Identity),
            ProviderConfig::Kms(kms) if kms.is_v1 => Err(EncryptionError::new(format!(
                "kms {:?}: KMSv1 is deprecated and not supported; use apiVersion v2",
                kms.name
            ))),
            ProviderConfig::Kms(kms) => {
                let kms = Arc::new(Kms::new(kms));
                self.services.push(Arc::clone(&kms));
                Ok(Provider::Kms(kms))
            }
        }
    }

    /// The providers of the resource that a key in the store belongs to.
    fn of_key(&self, key: &[u8]) -> Option<&Providers> {
        let path = std::str::from_utf8(key).ok()?.strip_prefix("/registry/")?;
        let (group, rest) = path.split_once('/')?;
        let (resource, _) = rest.split_once('/')?;
        let group = match group {
            "core" | "events.k8s.io" => "",
            group => group,
        };
        let exact = self.providers.get(&format!("{group}/{resource}"));
        exact.or_else(|| self.providers.get(&format!("{group}/*"))).or_else(|| self.providers.get("*/*"))
    }
}

struct Inner {
    table: RwLock<Arc<Table>>,
    file: Option<WatchedFile>,
    metrics: OnceLock<ReloadMetrics>,
    environment: Arc<dyn Environment>,
}

/// The keys under which objects are stored. Clones are handles onto the same keys.
#[derive(Clone)]
pub struct Encryption(Arc<Inner>);

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").field("follows", &self.0.file.is_some()).finish_non_exhaustive()
    }
}

impl Encryption {
    /// Encrypts so. Key management services are asked for a first key; one that does not answer is asked again while
    /// the server runs, and until then what it should seal can't be written.
    ///
    /// # Errors
    /// A rule is masked by an earlier one, or a provider is not supported.
    pub async fn new(config: &EncryptionConfig, environment: Arc<dyn Environment>) -> Result<Self, EncryptionError> {
        Self::with_file(config, environment, None).await
    }

    /// Encrypts as that file says, which is read again every minute: a configuration that can't be used changes
    /// nothing.
    ///
    /// # Errors
    /// The file can't be read, or its configuration can't be used.
    pub async fn from_file(path: PathBuf, environment: Arc<dyn Environment>) -> Result<Self, EncryptionError> {
        let (file, text) = WatchedFile::open(path).await.map_err(EncryptionError::new)?;
        Self::with_file(&EncryptionConfig::parse(&text)?, environment, Some(file)).await
    }

    async fn with_file(
        config: &EncryptionConfig,
        environment: Arc<dyn Environment>,
        file: Option<WatchedFile>,
    ) -> Result<Self, EncryptionError> {
        let table = RwLock::new(Arc::new(Table::new(config, &*environment).await?));
        Ok(Self(Arc::new(Inner { table, file, metrics: OnceLock::new(), environment })))
    }

    /// Encrypts so from now on.
    ///
    /// # Errors
    /// As for [`new`](Self::new), or one of its key management services is not well; nothing changes then.
    pub async fn replace(&self, config: &EncryptionConfig) -> Result<(), EncryptionError> {
        let table = Table::new(config, &*self.0.environment).await?;
        for service in &table.services {
            let well = service.health();
            well.map_err(|reason| EncryptionError::new(format!("kms {:?}: {reason}", service.name)))?;
        }
        *self.0.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        Ok(())
    }

    /// Reads the file again; tells whether its configuration is new.
    ///
    /// # Errors
    /// The file can't be read, or its configuration can't be used; nothing changes then.
    pub async fn reload(&self) -> Result<bool, EncryptionError> {
        let Some(file) = &self.0.file else { return Ok(false) };
        let Some(text) = file.changed().await.map_err(EncryptionError::new)? else { return Ok(false) };
        self.replace(&EncryptionConfig::parse(&text)?).await?;
        file.see(text);
        Ok(true)
    }

    /// Counts what comes of reading the file again.
    pub(crate) fn measure(&self, metrics: ReloadMetrics) {
        if let Some(file) = &self.0.file {
            metrics.in_force(file);
        }
        let _ = self.0.metrics.set(metrics);
    }

    /// That store, with values encrypted in it and plain outside.
    #[must_use]
    pub fn store(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(store::EncryptedStore::new(inner, self.clone()))
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.table().of_key(key).is_some()
    }

    async fn seal(&self, key: &[u8], plain: &Bytes) -> Result<Bytes, Fault> {
        let table = self.table();
        match table.of_key(key) {
            Some(providers) => providers.seal(key, plain, &*self.0.environment).await,
            None => Ok(plain.clone()),
        }
    }

    /// Nothing if the value is not to be changed.
    async fn open(&self, key: &[u8], stored: &Bytes) -> Result<Option<Opened>, Fault> {
        let table = self.table();
        match table.of_key(key) {
            Some(providers) => providers.open(key, stored, &*self.0.environment).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps keys fresh and follows the file until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        loop {
            let unwell = self.table().services.iter().any(|service| service.health().is_err());
            let pause = if unwell { INTERVAL_UNWELL } else { INTERVAL };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            watched_file::told("encryption configuration", self.reload().await, &|taken| {
                if let (Some(metrics), Some(file)) = (self.0.metrics.get(), &self.0.file) {
                    metrics.record(file, taken, self.0.environment.now());
                }
            });
            for service in &self.table().services {
                if let Err(reason) = service.probe(&*self.0.environment).await {
                    tracing::warn!(service = service.name, reason, "a key management service is not well");
                }
            }
        }
    }
}

#[async_trait]
impl Check for Encryption {
    fn name(&self) -> &str {
        // Upstream's name.
        "kms-providers"
    }

    async fn check(&self) -> Result<(), String> {
        self.table().services.iter().try_for_each(|service| service.health())
    }
}
