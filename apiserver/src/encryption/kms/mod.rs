//! Key management services, version 2: a service wraps a seed, and every value has a key that is made of a seed.

mod client;
mod message;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::cipher::{Cipher, SEED_BYTES};
use super::config::KmsConfig;
use super::provider::{Fault, Opened};
use crate::environment::{Environment, new_uid};
use client::Client;
use message::{Annotations, Sealed, SourceKind};

/// How long a seed seals after the service was last well. Opening goes on for ever.
const SEALS_AFTER_FAULT: Duration = Duration::from_secs(180);
/// How many unwrapped seeds are kept, and how long after their last use.
const SEEDS_MAX: usize = 1000;
const SEED_IDLE_MAX: Duration = Duration::from_secs(3600);

/// The seed that seals now.
struct State {
    key_id: String,
    wrapped: Bytes,
    annotations: Annotations,
    cipher: Arc<Cipher>,
    seals_until: Instant,
}

type SeedKey = (SourceKind, Vec<u8>, String, Annotations);

/// One service.
pub(super) struct Kms {
    pub(super) name: String,
    /// Such as `k8s:enc:kms:v2:{name}:`.
    pub(super) prefix: String,
    client: Client,
    state: Mutex<Option<Arc<State>>>,
    health: Mutex<Result<(), String>>,
    seeds: Mutex<HashMap<SeedKey, (Arc<Cipher>, Instant)>>,
}

impl Kms {
    pub(super) fn new(config: &KmsConfig) -> Self {
        Self {
            name: config.name.clone(),
            prefix: format!("k8s:enc:kms:v2:{}:", config.name),
            client: Client::new(config.socket.clone(), config.timeout),
            state: Mutex::new(None),
            health: Mutex::new(Err("it has not been asked yet".into())),
            seeds: Mutex::new(HashMap::new()),
        }
    }

    /// How it was when it was asked last.
    pub(super) fn health(&self) -> Result<(), String> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> Option<Arc<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks how it is, and takes a new seed if its key is another one now.
    pub(super) async fn probe(&self, environment: &dyn Environment) -> Result<(), String> {
        let outcome = self.try_probe(environment).await;
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&outcome);
        outcome
    }

    async fn try_probe(&self, environment: &dyn Environment) -> Result<(), String> {
        // From before the call on: the time after a fault is an upper bound.
        let seals_until = Instant::now() + SEALS_AFTER_FAULT;
        let status = self.client.status().await?;
        if status.version != "v2" && status.version != "v2beta1" {
            return Err(format!("expected KMSv2 API version v2, got {}", status.version));
        }
        if status.health != "ok" {
            return Err(format!("got unexpected healthz status: {}", status.health));
        }
        message::check_key_id(&status.key_id)?;
        let state = match self.state() {
            Some(state) if state.key_id == status.key_id => State {
                key_id: state.key_id.clone(),
                wrapped: state.wrapped.clone(),
                annotations: state.annotations.clone(),
                cipher: Arc::clone(&state.cipher),
                seals_until,
            },
            _ => self.new_seed(environment, seals_until).await?,
        };
        if state.key_id != status.key_id {
            let both = format!("from Encrypt: {:?}, from Status: {:?}", state.key_id, status.key_id);
            return Err(format!("key ids of the service differ, {both}"));
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(state));
        Ok(())
    }

    async fn new_seed(&self, environment: &dyn Environment, seals_until: Instant) -> Result<State, String> {
        let mut seed = [0; SEED_BYTES];
        environment.fill_random(&mut seed);
        let wrapped = self.client.encrypt(&new_uid(environment), &seed).await?;
        let sealed = Sealed {
            data: Bytes::from_static(&[0]),
            key_id: wrapped.key_id.clone(),
            source: wrapped.ciphertext.clone(),
            annotations: wrapped.annotations.clone(),
            kind: SourceKind::Seed,
        };
        sealed.check()?;
        let cipher = Arc::new(Cipher::derived(&seed)?);
        self.remember(&sealed, Arc::clone(&cipher));
        let message::Wrapped { key_id, ciphertext, annotations } = wrapped;
        Ok(State { key_id, wrapped: ciphertext, annotations, cipher, seals_until })
    }

    pub(super) fn seal(&self, plain: &[u8], key: &[u8], environment: &dyn Environment) -> Result<Vec<u8>, Fault> {
        let unwell = || self.health().err().unwrap_or_else(|| "it has given no key".into());
        let named = |reason: String| Fault::Unavailable(format!("KMS provider {}: {reason}", self.name));
        let state = self.state().ok_or_else(|| named(unwell()))?;
        if Instant::now() > state.seals_until {
            return Err(named(format!("EDEK with keyID expired: {}", unwell())));
        }
        let data = state.cipher.seal(plain, key, environment).map_err(Fault::Unreadable)?;
        let sealed = Sealed {
            data: data.into(),
            key_id: state.key_id.clone(),
            source: state.wrapped.clone(),
            annotations: state.annotations.clone(),
            kind: SourceKind::Seed,
        };
        Ok(sealed.encode())
    }

    pub(super) async fn open(&self, stored: &[u8], key: &[u8], env: &dyn Environment) -> Result<Opened, Fault> {
        let sealed = Sealed::decode(stored).map_err(Fault::Unreadable)?;
        sealed.check().map_err(Fault::Unreadable)?;
        let cipher = match self.recall(&sealed) {
            Some(cipher) => cipher,
            None => {
                let asked = self.client.decrypt(&new_uid(env), &sealed).await;
                let source = asked.map_err(|reason| {
                    Fault::Unavailable(format!("KMS provider {}: failed to decrypt DEK: {reason}", self.name))
                })?;
                let cipher = match sealed.kind {
                    SourceKind::Seed => Cipher::derived(&source),
                    SourceKind::Key => Cipher::gcm(&source),
                };
                let cipher = Arc::new(cipher.map_err(Fault::Unreadable)?);
                self.remember(&sealed, Arc::clone(&cipher));
                cipher
            }
        };
        let plain = cipher.open(&sealed.data, key).map_err(Fault::Unreadable)?;
        let current = self.state().is_some_and(|state| state.key_id == sealed.key_id);
        Ok(Opened { plain: plain.into(), stale: !current || sealed.kind != SourceKind::Seed })
    }

    fn recall(&self, sealed: &Sealed) -> Option<Arc<Cipher>> {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        let (cipher, used) = seeds.get_mut(&sealed.seed_key())?;
        *used = Instant::now();
        Some(Arc::clone(cipher))
    }

    fn remember(&self, sealed: &Sealed, cipher: Arc<Cipher>) {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if seeds.len() >= SEEDS_MAX {
            seeds.retain(|_, (_, used)| now.duration_since(*used) < SEED_IDLE_MAX);
        }
        if seeds.len() >= SEEDS_MAX {
            seeds.clear();
        }
        seeds.insert(sealed.seed_key(), (cipher, now));
    }
}

impl Sealed {
    fn seed_key(&self) -> SeedKey {
        (self.kind, self.source.to_vec(), self.key_id.clone(), BTreeMap::clone(&self.annotations))
    }
}
