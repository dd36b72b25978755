//! The cache of one resource.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kubewright_api::status::Status;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cached::{name_in, namespace_in};
use super::unreadable::Unreadable;
use super::{Cached, Change, ChangeKind, Selection};
use crate::fairness::Extent;
use crate::objects::Observer;

/// How much history a resource keeps for watchers that resume or are slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) changes_max: usize,
    pub(crate) bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { changes_max: 8192, bytes_max: 16 << 20 }
    }
}

/// Changes older than this are dropped, down to so many.
const KEPT_FOR: Duration = Duration::from_secs(300);
const KEPT_MIN: usize = 100;
/// Of how many objects the size is looked at.
const EXTENT_SAMPLE: usize = 16;

pub(crate) struct ResourceCache {
    inner: RwLock<Inner>,
    /// Counts changes, to wake watchers.
    pub(super) head: watch::Sender<u64>,
}

pub(super) struct Inner {
    pub(super) objects: BTreeMap<Arc<str>, Arc<Cached>>,
    /// What is stored beside them and can't be read.
    pub(super) unreadable: BTreeMap<Arc<str>, Unreadable>,
    pub(super) changes: VecDeque<Arc<Change>>,
    changes_bytes: usize,
    /// The sequence number of the first change in the window.
    pub(super) first: u64,
    /// Every change after this revision is in the window.
    pub(super) complete_since: u64,
    /// Everything up to this revision is applied.
    pub(super) revision: u64,
    observers: Vec<Arc<dyn Observer>>,
    limits: Limits,
}

/// A change of one object, decoded, on its way into the cache.
pub(super) struct Incoming {
    pub(super) path: Arc<str>,
    pub(super) state: State,
}

/// What an object is from then on.
pub(super) enum State {
    /// This, with the object it was made of, if that was decoded.
    Is(Cached, Option<Value>),
    Unreadable(Unreadable),
    Gone,
}

impl ResourceCache {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            objects: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            changes: VecDeque::new(),
            changes_bytes: 0,
            first: 0,
            complete_since: 0,
            revision: 0,
            observers: Vec::new(),
            limits: Limits::default(),
        };
        Self { inner: RwLock::new(inner), head: watch::Sender::new(0) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.write().limits = limits;
    }

    pub(crate) fn get(&self, path: &str) -> Option<Arc<Cached>> {
        self.read().objects.get(path).cloned()
    }

    /// How many objects there are, and how large the first of them are on average.
    pub(crate) fn extent(&self) -> Extent {
        let inner = self.read();
        let some = inner.objects.values().take(EXTENT_SAMPLE);
        let bytes: usize = some.map(|cached| cached.bytes.len()).sum();
        let objects = inner.objects.len();
        Extent { objects, object_bytes: bytes / objects.clamp(1, EXTENT_SAMPLE) }
    }

    /// All selected objects in the order of their paths, and the revision they are of, which is `published` or later.
    ///
    /// # Errors
    /// What is to be said if one of them can't be read.
    pub(crate) fn list(&self, selection: &Selection, published: u64) -> Result<(Vec<Arc<Cached>>, u64), Status> {
        let inner = self.read();
        inner.check_readable(selection)?;
        Ok((inner.select(selection).cloned().collect(), inner.revision.max(published)))
    }

    /// Up to `limit` selected objects after a path, whether there are more, and the revision they are of.
    ///
    /// # Errors
    /// As for [`list`](Self::list), whichever page it would be on.
    pub(crate) fn list_page(&self, selection: &Selection, limit: usize, published: u64) -> Result<Page, Status> {
        let inner = self.read();
        inner.check_readable(selection)?;
        let mut selected = inner.select(selection);
        let objects: Vec<_> = selected.by_ref().take(limit).cloned().collect();
        let rest = selected.count();
        Ok(Page { objects, rest, revision: inner.revision.max(published) })
    }

    /// Whether anyone wants to see objects decoded.
    pub(crate) fn is_observed(&self) -> bool {
        !self.read().observers.is_empty()
    }

    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        let mut inner = self.write();
        for cached in inner.objects.values() {
            if let Ok(object) = cached.decode() {
                observer.changed(cached.namespace(), cached.name(), Some(&object));
            }
        }
        for path in inner.unreadable.keys() {
            observer.unreadable(namespace_in(path), name_in(path));
        }
        inner.observers.push(observer);
    }

    /// Goes on telling those whom another cache told.
    pub(crate) fn inherit(&self, other: &Self) {
        if std::ptr::eq(self, other) {
            return;
        }
        let observers = std::mem::take(&mut other.write().observers);
        observers.into_iter().for_each(|observer| self.observe(observer));
    }

    /// Replaces objects by the same states of them, read in another way. Nothing changed for watchers.
    pub(super) fn renew(&self, objects: Vec<Incoming>) {
        let mut inner = self.write();
        for incoming in objects {
            let State::Is(cached, object) = incoming.state else { continue };
            if inner.objects.get(&incoming.path).is_some_and(|known| known.revision == cached.revision) {
                inner.tell(&cached, object);
                inner.objects.insert(incoming.path, Arc::new(cached));
            }
        }
    }

    /// Applies the changes of one revision.
    pub(super) fn apply(&self, revision: u64, incoming: Vec<Incoming>) {
        let mut inner = self.write();
        // What was read from the store holds what came before already.
        if revision <= inner.revision {
            return;
        }
        for change in incoming {
            inner.apply(revision, change);
        }
        inner.revision = revision;
        inner.trim();
        let head = inner.first + inner.changes.len() as u64;
        drop(inner);
        self.head.send_replace(head);
    }

    /// Replaces everything by what the store holds at a revision. Watchers that are not there yet must start over.
    pub(super) fn reset(&self, revision: u64, objects: Vec<Incoming>) {
        let mut inner = self.write();
        let fresh = inner.revision == 0;
        let mut gone: BTreeMap<_, _> = std::mem::take(&mut inner.objects);
        let were_unreadable = std::mem::take(&mut inner.unreadable);
        for incoming in objects {
            let old = gone.remove(&incoming.path);
            match incoming.state {
                State::Is(cached, object) => {
                    if old.is_none_or(|old| old.revision != cached.revision) {
                        inner.tell(&cached, object);
                    }
                    inner.objects.insert(incoming.path, Arc::new(cached));
                }
                State::Unreadable(unreadable) => {
                    inner.tell_unreadable(&incoming.path);
                    inner.unreadable.insert(incoming.path, unreadable);
                }
                State::Gone => {}
            }
        }
        let there = |inner: &Inner, path| inner.objects.contains_key(path) || inner.unreadable.contains_key(path);
        let lost = were_unreadable.keys().filter(|path| !there(&inner, *path));
        for path in gone.keys().chain(lost) {
            inner.tell_gone(path);
        }
        let next = inner.first + inner.changes.len() as u64;
        inner.changes.clear();
        inner.changes_bytes = 0;
        // A gap in the sequence: whoever waits for `next` finds it gone.
        inner.first = if fresh { next } else { next + 1 };
        (inner.complete_since, inner.revision) = (revision, revision);
        let head = inner.first;
        drop(inner);
        self.head.send_replace(head);
    }
}

/// A part of a list.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Cached>>,
    /// How many more there are.
    pub(crate) rest: usize,
    pub(crate) revision: u64,
}

impl Inner {
    pub(super) fn select<'a>(&'a self, selection: &'a Selection) -> impl Iterator<Item = &'a Arc<Cached>> {
        let start = Bound::Included(selection.path_prefix.as_str());
        self.objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(selection.path_prefix.as_str()))
            .map(|(_, cached)| cached)
            .filter(|cached| selection.matches(cached))
    }

    fn apply(&mut self, revision: u64, incoming: Incoming) {
        let was_unreadable = self.unreadable.remove(&incoming.path).is_some();
        let change = match incoming.state {
            State::Is(cached, object) => {
                self.tell(&cached, object);
                let cached = Arc::new(cached);
                let prev = self.objects.insert(incoming.path, Arc::clone(&cached));
                Change::new(revision, ChangeKind::Set, cached, prev)
            }
            State::Unreadable(unreadable) => {
                self.tell_unreadable(&incoming.path);
                let object = Arc::new(Cached::unreadable(&incoming.path, revision));
                let prev = self.objects.remove(&incoming.path);
                self.unreadable.insert(incoming.path, unreadable);
                Change::new(revision, ChangeKind::Unreadable, object, prev)
            }
            State::Gone => {
                let prev = self.objects.remove(&incoming.path);
                if prev.is_some() || was_unreadable {
                    self.tell_gone(&incoming.path);
                }
                // Of what nobody could read nobody was told.
                let Some(prev) = prev else { return };
                let object = Arc::new(prev.at(revision));
                Change::new(revision, ChangeKind::Deleted, object, Some(prev))
            }
        };
        self.changes_bytes += change.object.size();
        self.changes.push_back(Arc::new(change));
    }

    /// Tells observers of a new state, which is decoded for them if it wasn't yet.
    pub(super) fn tell(&self, cached: &Cached, object: Option<Value>) {
        if self.observers.is_empty() {
            return;
        }
        let Some(object) = object.or_else(|| cached.decode().ok()) else { return };
        for observer in &self.observers {
            observer.changed(cached.namespace(), cached.name(), Some(&object));
        }
    }

    fn tell_gone(&self, path: &str) {
        for observer in &self.observers {
            observer.changed(namespace_in(path), name_in(path), None);
        }
    }

    fn tell_unreadable(&self, path: &str) {
        for observer in &self.observers {
            observer.unreadable(namespace_in(path), name_in(path));
        }
    }

    fn trim(&mut self) {
        let now = Instant::now();
        while let Some(oldest) = self.changes.front() {
            let many = self.changes.len() > self.limits.changes_max || self.changes_bytes > self.limits.bytes_max;
            let old = self.changes.len() > KEPT_MIN && now.duration_since(oldest.at) > KEPT_FOR;
            if !many && !old {
                return;
            }
            let Some(oldest) = self.changes.pop_front() else { return };
            self.changes_bytes -= oldest.object.size();
            self.first += 1;
            self.complete_since = oldest.revision;
        }
    }
}
