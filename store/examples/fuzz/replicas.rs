//! Damaged files of a replica, and damaged messages to one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kubewright_store::{Error, Inbox, LocalNetwork, RaftConfig, RaftStore, StoreExt, Transport};

use crate::files::Tally;
use crate::mutate::{Random, mutate};

/// A replica's files.
pub(crate) struct ReplicaFiles {
    directory: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl ReplicaFiles {
    /// Fills a replica's directory in `home` with checkpoints and a log.
    pub(crate) async fn new(home: &Path) -> Result<Self, Error> {
        let directory = home.join("replica");
        let mut config = RaftConfig::new(1, [1], &directory);
        (config.segment_bytes, config.checkpoint_after) = (8 << 10, 100);
        let store = RaftStore::open(config, LocalNetwork::new().transport(1)).await?;
        for n in 0..250 {
            store.put(format!("key/{}", n % 20), vec![n as u8; 100]).await?;
        }
        store.close().await;
        let io = |error: std::io::Error| Error::invalid(error.to_string());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let bytes = std::fs::read(&path).map_err(io)?;
            // The lock has nothing in it.
            if !bytes.is_empty() {
                files.push((path, bytes));
            }
        }
        Ok(Self { directory, files })
    }

    /// Damages a file, reads the directory, and mends it. An error says what went wrong with the reading.
    pub(crate) fn damage(&self, random: &mut Random, tally: &mut Tally) -> Result<(), String> {
        let (path, sound) = &self.files[random.below(self.files.len())];
        let mut bytes = sound.clone();
        mutate(&mut bytes, random);
        std::fs::write(path, &bytes).map_err(|error| error.to_string())?;
        let read = RaftStore::verify(&self.directory, &mut |_, _| ());
        std::fs::write(path, sound).map_err(|error| error.to_string())?;
        match read {
            Ok(_) => tally.unharmed += 1,
            Err(Error::Corrupt { reason, .. }) if !reason.is_empty() => tally.refused += 1,
            Err(Error::Format { .. }) => tally.refused += 1,
            Err(error) => return Err(format!("{}: {error:?}", path.display())),
        }
        Ok(())
    }
}

/// A network that notes what goes over it.
#[derive(Clone, Debug, Default)]
struct Tap {
    inboxes: Arc<Mutex<BTreeMap<u64, Inbox>>>,
    heard: Arc<Mutex<Vec<(u64, Bytes)>>>,
}

/// Messages that are kept to be damaged.
const HEARD_MAX: usize = 2000;

impl Transport for Tap {
    fn send(&self, to: u64, message: Bytes) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < HEARD_MAX {
            heard.push((to, message.clone()));
        }
        drop(heard);
        if let Some(inbox) = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).get(&to) {
            inbox.deliver(&message);
        }
    }
}

/// Replicas that get damaged messages between sound ones.
pub(crate) struct Replicas {
    tap: Tap,
    stores: Vec<RaftStore>,
}

impl Replicas {
    /// Three that have said to one another what replicas say.
    pub(crate) async fn start(home: &Path) -> Result<Self, Error> {
        let (tap, mut stores) = (Tap::default(), Vec::new());
        for id in 1..=3 {
            let mut config = RaftConfig::new(id, [1, 2, 3], home.join(format!("replica-{id}")));
            (config.tick, config.checkpoint_after) = (Duration::from_millis(10), 50);
            // Afterwards they may well not agree on anything, which is not waited for.
            config.request_timeout = Duration::from_millis(200);
            let store = RaftStore::open(config, Arc::new(tap.clone())).await?;
            tap.inboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, store.inbox());
            stores.push(store);
        }
        for n in 0..100 {
            while stores[n % 3].put(format!("key/{}", n % 9), vec![n as u8; 50]).await.is_err() {}
        }
        Ok(Self { tap, stores })
    }

    /// Hands a damaged message to whom it was for.
    pub(crate) fn damage(&self, random: &mut Random) {
        let (to, message) = {
            let heard = self.tap.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard[random.below(heard.len())].clone()
        };
        let mut bytes = message.to_vec();
        mutate(&mut bytes, random);
        self.stores[to as usize - 1].inbox().deliver(&bytes.into());
    }

    /// Whether all of them are still at work: damage may keep them from agreeing, but ends none of them.
    pub(crate) async fn stand(&self) -> Result<(), String> {
        for (n, store) in self.stores.iter().enumerate() {
            match store.put("after", "1").await {
                Ok(_) | Err(Error::Unavailable { .. }) => {}
                Err(error) => return Err(format!("replica {} fell over: {error}", n + 1)),
            }
        }
        Ok(())
    }

    pub(crate) async fn stop(self) {
        for store in &self.stores {
            store.close().await;
        }
    }
}
