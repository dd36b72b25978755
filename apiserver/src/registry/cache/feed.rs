//! Feeds the caches of all resources from one watch of the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kubewright_api::status::Status;
use kubewright_store::{
    Entry, Error, EventKind, KeyRange, RangeOptions, ReadOptions, Revision, Store, WatchEvents, WatchOptions,
    WatchStream,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Cached;
use super::resource::{Incoming, State};
use super::unreadable::Unreadable;
use crate::custom::CacheUse;
use crate::registry::published::Published;
use crate::registry::storage::Storage;
use crate::registry::table::{Redefined, Resources};

const ROOT: &str = "/registry/";
const PAGE: usize = 2000;
/// How long it is waited before the store is asked again: not at all the first time, then this and ever longer.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often what could not be read is tried again, and how many objects of a resource at a time.
const TRIED_AGAIN: Duration = Duration::from_secs(1);
const TRIED_AT_ONCE: usize = 16;

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
    /// Some objects can't be read, and are to be tried again.
    unreadable: AtomicBool,
    /// Which of them were tried last, by the prefix of their resource.
    tried: HashMap<String, Arc<str>>,
}

impl Feed {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        resources: Arc<Resources>,
        published: Arc<Published>,
        ask: watch::Receiver<u64>,
    ) -> Self {
        Self { store, resources, published, ask, unreadable: AtomicBool::new(false), tried: HashMap::new() }
    }

    /// Fills the caches with what the store holds, and watches it from there on.
    pub(crate) async fn start(&self) -> Result<WatchStream, Error> {
        let at = self.define_all().await?;
        let range = KeyRange::prefix(ROOT);
        let mut objects: HashMap<String, Vec<Incoming>> = HashMap::new();
        let revision = self
            .read(range.clone(), at, |entry| {
                if let Some((prefix, storage, path)) = self.locate(&entry.key) {
                    let incoming = self.decode(&storage, path, entry);
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
            objects.push(self.decode(storage, &path, entry));
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
        let mut next_try = Instant::now() + TRIED_AGAIN;
        // What was asked for on the stream before may not have been answered.
        if *self.ask.borrow_and_update() > self.published.revision() {
            progress.ask();
        }
        loop {
            let again = self.unreadable.load(Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep_until(next_try), if again => {
                    if let Err(error) = self.try_again().await {
                        return error;
                    }
                    next_try = Instant::now() + TRIED_AGAIN;
                }
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
            let incoming = match event.kind {
                EventKind::Put => self.decode(&storage, path, &event.entry),
                EventKind::Delete => Incoming { path: path.into(), state: State::Gone },
            };
            if prefix == DEFINITIONS {
                defining.extend(incoming.definition().map(|object| (path.to_owned(), object)));
            }
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

    /// Tries some of what could not be read; if one of them can be, everything of its resource.
    async fn try_again(&mut self) -> Result<(), Error> {
        let mut left = false;
        for (prefix, storage) in self.resources.storages() {
            let after = self.tried.remove(&prefix);
            let paths = storage.cache.unreadable_after(after.as_deref(), TRIED_AT_ONCE);
            let Some(last) = paths.last().cloned() else { continue };
            let mut readable = false;
            for path in &paths {
                let key = format!("{}{path}", storage.prefix).into();
                let entry = self.store.get(&key, ReadOptions::latest()).await?;
                readable |= entry.is_some_and(|entry| storage.decode(&entry).is_ok());
            }
            if readable {
                for incoming in self.read_objects(&storage, None).await?.1 {
                    let definition = incoming.definition().filter(|_| prefix == DEFINITIONS).flatten();
                    let path = Arc::clone(&incoming.path);
                    let recovered = storage.cache.recover(incoming);
                    if let Some(object) = definition.filter(|_| recovered) {
                        self.redefine(&path, Some(&object), Revision(self.published.revision())).await?;
                    }
                }
            }
            self.tried.insert(prefix, last);
            left |= !storage.cache.unreadable_after(None, 1).is_empty();
        }
        self.unreadable.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// A stored object for its cache.
    fn decode(&self, storage: &Storage, path: &str, entry: &Entry) -> Incoming {
        let state = match decode(storage, path, entry) {
            Ok((cached, object)) => State::Is(cached, object),
            Err(status) => {
                tracing::warn!(error = %status, prefix = storage.prefix, path, "a stored object can't be read");
                self.unreadable.store(true, Ordering::Relaxed);
                State::Unreadable(Unreadable { revision: entry.mod_revision.get(), why: Box::new(status) })
            }
        };
        Incoming { path: path.into(), state }
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

impl Incoming {
    /// A definition's new state, `None` inside if it is gone; nothing if it can't be read: what it defined last stays.
    fn definition(&self) -> Option<Option<serde_json::Value>> {
        match &self.state {
            State::Is(_, Some(object)) => Some(Some(object.clone())),
            State::Is(cached, None) => Some(cached.decode().ok()),
            State::Unreadable(_) => None,
            State::Gone => Some(None),
        }
    }
}

/// A stored object for its cache, and the object itself if it had to be decoded.
fn decode(storage: &Storage, path: &str, entry: &Entry) -> Result<(Cached, Option<serde_json::Value>), Status> {
    let (stored, revision) = (&entry.value, entry.mod_revision.get());
    if !storage.cache.is_observed()
        && let Some(cached) = Cached::without_decoding(storage, stored, path, revision)
    {
        return Ok((cached, None));
    }
    let object = storage.decode(entry)?;
    Ok((Cached::new(storage, &object, stored, path, revision)?, Some(object)))
}
