//! Feeds the caches of all resources from one watch of the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kubewright_api::status::Status;
use kubewright_store::{
    Entry, Error, EventKind, KeyRange, RangeOptions, Revision, Store, WatchEvents, WatchOptions, WatchStream,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Cached;
use super::resource::Incoming;
use crate::custom::CacheUse;
use crate::registry::published::Published;
use crate::registry::storage::Storage;
use crate::registry::table::{Redefined, Resources};

const ROOT: &str = "/registry/";
const PAGE: usize = 2000;
/// How long it is waited before the store is asked again: not at all the first time, then this and ever longer.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where the objects are that define resources, as keys write it.
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Keeps the caches up to date.
pub(crate) struct Feed {
    store: Arc<dyn Store>,
    resources: Arc<Resources>,
    /// Everything up to this revision is in the caches.
    published: Arc<Published>,
    /// Someone waits for a revision that may bring no change: ask the store for its progress.
    ask: watch::Receiver<u64>,
}

impl Feed {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        resources: Arc<Resources>,
        published: Arc<Published>,
        ask: watch::Receiver<u64>,
    ) -> Self {
        Self { store, resources, published, ask }
    }

    /// Fills the caches with what the store holds, and watches it from there on.
    pub(crate) async fn start(&self) -> Result<WatchStream, Error> {
        let at = self.define_all().await?;
        let range = KeyRange::prefix(ROOT);
        let mut objects: HashMap<String, Vec<Incoming>> = HashMap::new();
        let revision = self
            .read(range.clone(), at, |entry| {
                if let Some((prefix, storage, path)) = self.locate(&entry.key)
                    && let Some(new) = decode(&storage, path, &entry.value, entry.mod_revision)
                {
                    let incoming = Incoming { path: path.into(), new: Some(new) };
                    objects.entry(prefix.to_owned()).or_default().push(incoming);
                }
            })
            .await?;
        let stream = self.store.watch(range, revision.next(), WatchOptions::default()).await?;
        for (prefix, storage) in self.resources.storages() {
            storage.cache.reset(revision.get(), objects.remove(prefix.as_str()).unwrap_or_default());
        }
        self.published.set(revision.get());
        Ok(stream)
    }

    /// Reads all entries of a range as of one revision, the newest if none is given.
    async fn read(
        &self,
        range: KeyRange,
        mut at: Option<Revision>,
        mut each: impl FnMut(&Entry) + Send,
    ) -> Result<Revision, Error> {
        let mut rest = range.clone();
        loop {
            let page = self.store.range(rest.clone(), RangeOptions::latest().revision(at).limit(PAGE)).await?;
            at = Some(page.revision);
            page.entries.iter().for_each(|entry| each(entry));
            match page.entries.last() {
                Some(last) if page.more => rest = range.after(&last.key),
                _ => return Ok(page.revision),
            }
        }
    }

    /// Serves what the definitions in the store define, and nothing else.
    async fn define_all(&self) -> Result<Option<Revision>, Error> {
        let Some(definitions) = self.resources.of_prefix(DEFINITIONS) else { return Ok(None) };
        let mut found: HashMap<String, serde_json::Value> = HashMap::new();
        let at = self
            .read(KeyRange::prefix(definitions.prefix.as_str()), None, |entry| {
                if let Ok(object) = definitions.read(&entry.value, entry.mod_revision.get()) {
                    found.insert(object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), object);
                }
            })
            .await?;
        for name in self.resources.defined().into_iter().filter(|name| !found.contains_key(name)) {
            self.resources.install(&name, None);
        }
        for (name, object) in &found {
            match self.resources.redefine(name, Some(object)) {
                Redefined::New(definition) => self.resources.install(name, Some(definition)),
                Redefined::Gone => self.resources.install(name, None),
                Redefined::Same => {}
            }
        }
        Ok(Some(at))
    }

    /// A definition came, changed or went at that revision: serves what it defines from now on, with its cache filled.
    async fn redefine(&self, name: &str, object: Option<&serde_json::Value>, at: Revision) -> Result<(), Error> {
        let definition = match self.resources.redefine(name, object) {
            Redefined::Same => return Ok(()),
            Redefined::Gone => {
                self.resources.install(name, None);
                return Ok(());
            }
            Redefined::New(definition) => definition,
        };
        let storage = Arc::clone(&definition.storage);
        match definition.cache {
            CacheUse::Same => {}
            // As of the revision that the cache is at, so that its watchers miss nothing.
            CacheUse::Renewed => match self.read_objects(&storage, Some(at)).await {
                Ok((_, objects)) => storage.cache.renew(objects),
                Err(_) => self.refill(&storage).await?,
            },
            CacheUse::New => self.refill(&storage).await?,
        }
        self.resources.install(name, Some(definition));
        Ok(())
    }

    async fn refill(&self, storage: &Storage) -> Result<(), Error> {
        let (revision, objects) = self.read_objects(storage, None).await?;
        storage.cache.reset(revision.get(), objects);
        Ok(())
    }

    /// All objects of a resource as of one revision, the newest if none is given.
    async fn read_objects(&self, storage: &Storage, at: Option<Revision>) -> Result<(Revision, Vec<Incoming>), Error> {
        let mut objects = Vec::new();
        let read = |entry: &Entry| {
            let path = String::from_utf8_lossy(&entry.key[storage.prefix.len()..]).into_owned();
            if let Some(new) = decode(storage, &path, &entry.value, entry.mod_revision) {
                objects.push(Incoming { path: path.as_str().into(), new: Some(new) });
            }
        };
        let revision = self.read(KeyRange::prefix(storage.prefix.as_str()), at, read).await?;
        Ok((revision, objects))
    }

    /// Applies changes until cancelled. What the store refuses to deliver is read anew.
    pub(crate) async fn run(mut self, mut stream: WatchStream, cancel: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            let (since, from) = (Instant::now(), self.published.revision());
            let error = tokio::select! {
                () = cancel.cancelled() => return,
                error = self.follow(&mut stream) => error,
            };
            // A stream that opens and fails at once is no better than one that does not open.
            if self.published.revision() > from || since.elapsed() > PAUSE_MAX {
                pause = Duration::ZERO;
            }
            if matches!(error, Error::Closed) {
                return;
            }
            tracing::warn!(%error, "the watch of the store ended; reading it anew");
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX),
                }
                if let Ok(next) = self.resume(&error).await {
                    stream = next;
                    break;
                }
            }
        }
    }

    async fn resume(&self, error: &Error) -> Result<WatchStream, Error> {
        let from = Revision(self.published.revision()).next();
        if !matches!(error, Error::Compacted { .. })
            && let Ok(stream) = self.store.watch(KeyRange::prefix(ROOT), from, WatchOptions::default()).await
        {
            return Ok(stream);
        }
        self.start().await
    }

    async fn follow(&mut self, stream: &mut WatchStream) -> Error {
        let progress = stream.progress();
        // What was asked for on the stream before may not have been answered.
        if *self.ask.borrow_and_update() > self.published.revision() {
            progress.ask();
        }
        loop {
            tokio::select! {
                batch = stream.next() => match batch {
                    Some(Ok(batch)) => {
                        if let Err(error) = self.apply(&batch).await {
                            return error;
                        }
                    }
                    Some(Err(error)) => return error,
                    None => return Error::unavailable("the watch ended"),
                },
                asked = self.ask.changed() => match asked {
                    Ok(()) if *self.ask.borrow_and_update() > self.published.revision() => progress.ask(),
                    Ok(()) => {}
                    Err(_) => return Error::Closed,
                },
            }
        }
    }

    async fn apply(&self, batch: &WatchEvents) -> Result<(), Error> {
        let mut changed: Vec<(Arc<Storage>, Vec<Incoming>)> = Vec::new();
        let mut defining = Vec::new();
        for event in batch.events.iter() {
            let Some((prefix, storage, path)) = self.locate(&event.entry.key) else { continue };
            let new = match event.kind {
                EventKind::Put => match decode(&storage, path, &event.entry.value, event.entry.mod_revision) {
                    Some(new) => Some(new),
                    None => continue,
                },
                EventKind::Delete => None,
            };
            if prefix == DEFINITIONS {
                let object = new
                    .as_ref()
                    .map(|(cached, object)| object.clone().unwrap_or_else(|| cached.decode().unwrap_or_default()));
                defining.push((path.to_owned(), object));
            }
            let incoming = Incoming { path: path.into(), new };
            match changed.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &storage)) {
                Some((_, list)) => list.push(incoming),
                None => changed.push((storage, vec![incoming])),
            }
        }
        for (storage, incoming) in changed {
            storage.cache.apply(batch.revision.get(), incoming);
        }
        for (name, object) in defining {
            self.redefine(&name, object.as_ref(), batch.revision).await?;
        }
        self.published.advance(batch.revision.get());
        Ok(())
    }

    /// The storage of a key and the rest of the key.
    fn locate<'k>(&self, key: &'k [u8]) -> Option<(&'k str, Arc<Storage>, &'k str)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        let (group, rest) = key.split_once('/')?;
        let (resource, path) = rest.split_once('/')?;
        let prefix = &key[..group.len() + 1 + resource.len()];
        Some((prefix, self.resources.of_prefix(prefix)?, path))
    }
}

/// A stored object for its cache, and the object itself if it had to be decoded.
fn decode(
    storage: &Storage,
    path: &str,
    stored: &[u8],
    revision: Revision,
) -> Option<(Cached, Option<serde_json::Value>)> {
    let revision = revision.get();
    if !storage.cache.is_observed()
        && let Some(cached) = Cached::without_decoding(storage, stored, path, revision)
    {
        return Some((cached, None));
    }
    let decoded = storage.read(stored, revision).map_err(Status::internal);
    let cached = decoded.and_then(|object| Ok((Cached::new(storage, &object, stored, path, revision)?, Some(object))));
    cached
        .inspect_err(|error| {
            tracing::warn!(%error, prefix = storage.prefix, path, "a stored object cannot be decoded");
        })
        .ok()
}
