//! Feeds the caches of all resources from one watch of the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kubewright_api::status::Status;
use kubewright_store::{
    Error, EventKind, KeyRange, RangeOptions, Revision, Store, WatchEvents, WatchOptions, WatchStream,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Cached;
use super::resource::Incoming;
use crate::object::codec;
use crate::registry::storage::Storage;

const ROOT: &str = "/registry/";
const PAGE: usize = 2000;

/// Storages by `{group}/{resource}` as keys write it.
pub(crate) type ByPrefix = HashMap<String, Arc<Storage>>;

/// Keeps the caches up to date.
pub(crate) struct Feed {
    store: Arc<dyn Store>,
    storages: ByPrefix,
    /// Everything up to this revision is in the caches.
    revision: watch::Sender<u64>,
    /// Someone waits for a revision that may bring no change: ask the store for its progress.
    ask: watch::Receiver<u64>,
}

impl Feed {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        storages: ByPrefix,
        revision: watch::Sender<u64>,
        ask: watch::Receiver<u64>,
    ) -> Self {
        Self { store, storages, revision, ask }
    }

    /// Fills the caches with what the store holds, and watches it from there on.
    pub(crate) async fn start(&self) -> Result<WatchStream, Error> {
        let range = KeyRange::prefix(ROOT);
        let (mut rest, mut at) = (range.clone(), None);
        let mut objects: HashMap<&str, Vec<Incoming>> = HashMap::new();
        loop {
            let page = self.store.range(rest.clone(), RangeOptions::latest().revision(at).limit(PAGE)).await?;
            at = Some(page.revision);
            for entry in &page.entries {
                if let Some((prefix, storage, path)) = self.locate(&entry.key)
                    && let Some(new) = decode(storage, path, &entry.value, entry.mod_revision)
                {
                    let incoming = Incoming { path: path.into(), new: Some(new) };
                    objects.entry(prefix).or_default().push(incoming);
                }
            }
            match page.entries.last() {
                Some(last) if page.more => rest = range.after(&last.key),
                _ => break,
            }
        }
        let revision = at.unwrap_or(Revision::INITIAL);
        let stream = self.store.watch(range, revision.next(), WatchOptions::default()).await?;
        for (prefix, storage) in &self.storages {
            storage.cache.reset(revision.get(), objects.remove(prefix.as_str()).unwrap_or_default());
        }
        self.revision.send_replace(revision.get());
        Ok(stream)
    }

    /// Applies changes until cancelled. What the store refuses to deliver is read anew.
    pub(crate) async fn run(mut self, mut stream: WatchStream, cancel: CancellationToken) {
        let mut pause = Duration::from_millis(50);
        loop {
            let error = tokio::select! {
                () = cancel.cancelled() => return,
                error = self.follow(&mut stream) => error,
            };
            if matches!(error, Error::Closed) {
                return;
            }
            tracing::warn!(%error, "the watch of the store ended; reading it anew");
            loop {
                if let Ok(next) = self.resume(&error).await {
                    (stream, pause) = (next, Duration::from_millis(50));
                    break;
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
                }
            }
        }
    }

    async fn resume(&self, error: &Error) -> Result<WatchStream, Error> {
        let from = Revision(*self.revision.borrow()).next();
        if !matches!(error, Error::Compacted { .. })
            && let Ok(stream) = self.store.watch(KeyRange::prefix(ROOT), from, WatchOptions::default()).await
        {
            return Ok(stream);
        }
        self.start().await
    }

    async fn follow(&mut self, stream: &mut WatchStream) -> Error {
        let progress = stream.progress();
        loop {
            tokio::select! {
                batch = stream.next() => match batch {
                    Some(Ok(batch)) => self.apply(&batch),
                    Some(Err(error)) => return error,
                    None => return Error::unavailable("the watch ended"),
                },
                asked = self.ask.changed() => match asked {
                    Ok(()) if *self.ask.borrow_and_update() > *self.revision.borrow() => progress.ask(),
                    Ok(()) => {}
                    Err(_) => return Error::Closed,
                },
            }
        }
    }

    fn apply(&self, batch: &WatchEvents) {
        let mut changed: Vec<(&Arc<Storage>, Vec<Incoming>)> = Vec::new();
        for event in batch.events.iter() {
            let Some((_, storage, path)) = self.locate(&event.entry.key) else { continue };
            let new = match event.kind {
                EventKind::Put => match decode(storage, path, &event.entry.value, event.entry.mod_revision) {
                    Some(new) => Some(new),
                    None => continue,
                },
                EventKind::Delete => None,
            };
            let incoming = Incoming { path: path.into(), new };
            match changed.iter_mut().find(|(known, _)| Arc::ptr_eq(known, storage)) {
                Some((_, list)) => list.push(incoming),
                None => changed.push((storage, vec![incoming])),
            }
        }
        for (storage, incoming) in changed {
            storage.cache.apply(batch.revision.get(), incoming);
        }
        self.revision.send_if_modified(|revision| {
            let newer = *revision < batch.revision.get();
            *revision = (*revision).max(batch.revision.get());
            newer
        });
    }

    /// The storage of a key and the rest of the key.
    fn locate<'a, 'k>(&'a self, key: &'k [u8]) -> Option<(&'a str, &'a Arc<Storage>, &'k str)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        let (group, rest) = key.split_once('/')?;
        let (resource, path) = rest.split_once('/')?;
        let (prefix, storage) = self.storages.get_key_value(&key[..group.len() + 1 + resource.len()])?;
        Some((prefix, storage, path))
    }
}

fn decode(storage: &Storage, path: &str, stored: &[u8], revision: Revision) -> Option<(Cached, serde_json::Value)> {
    let revision = revision.get();
    let decoded = codec::decode(stored, revision).map_err(Status::internal);
    let cached = decoded.and_then(|object| Ok((Cached::new(storage, &object, stored, path, revision)?, object)));
    cached
        .inspect_err(|error| {
            tracing::warn!(%error, prefix = storage.prefix, path, "a stored object cannot be decoded");
        })
        .ok()
}
